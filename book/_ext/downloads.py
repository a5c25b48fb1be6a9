"""Directives for what the site offers to download, with sizes and checksums that are computed when it is built.

* `downloads`: the zips that `book/scripts/downloads.py` packed;
* `weights`: the trained networks, with their accuracy from the ledger. A network whose checksum is not the one that the
  ledger's rows are about is a warning.
"""

import html
import re
from collections.abc import Callable
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from prunekit.errors import PrunekitError
from prunekit.ledger import Ledger
from prunekit.origin import checksum
from prunekit.paper.claims import FULL_SIZE
from prunekit.paper.jobs import Job
from prunekit.paper.published import checked, wanted
from prunekit.paper.settings import setting
from results import LOGGER

ZIPS = {  # by the end of the name: what it holds
    "results": "Every table of the ledger as CSV, with the record of each run.",
    "notebooks": "The chapters, executed, with their solutions.",
    "student": "The chapters without solutions, with the library and the tables that they need to run.",
}
NONE = "There are none in this copy of the project."
NAME = re.compile(r"(.+)-seed(\d+)")

Files = dict[Path, str]  # what each one holds


def zips(folder: Path) -> Files:
    """The zips that were packed."""
    return {path: what for end, what in ZIPS.items() for path in sorted(folder.glob(f"downloads/*-{end}.zip"))}


def networks(folder: Path) -> Files:
    """The trained networks of full size that have been counted; digits' are trained in seconds.

    Raises PrunekitError if the ledger's rows are about other weights.
    """
    found = {}
    for path in sorted(path for name in FULL_SIZE for path in folder.glob(f"weights/{name}/*.safetensors")):
        if not (parts := NAME.fullmatch(path.stem)):
            continue
        here = setting(path.parent.name)
        job = Job(f"baseline-{parts[1]}", Ledger(folder / "results", here.name), here, seed=int(parts[2]))
        if not wanted(job, parts[1]):
            continue
        checked(job, parts[1])
        row = job.ledger.table(job.experiment).query("split == 'test' and seed == @job.seed").iloc[0]
        found[path] = (
            f"{here.called(parts[1])} in the setting {here.name}, {row['epochs']} epochs, seed {job.seed}: "
            f"{row['correct'] / row['total']:.2%} of {row['total']:,} test images right."
        )
    return found


def listing(files: Files, folder: Path, up: str) -> str:
    """Files as an HTML list; `up` leads from the page to the front of the site, which holds what is below `folder`."""
    entries = []
    for path, what in files.items():
        address = f"{up}{path.relative_to(folder).as_posix()}"
        entries.append(
            f'<dt><a href="{html.escape(address)}" download>{html.escape(path.name)}</a>, {size(path)}</dt>'
            f'<dd>{html.escape(what)}<br><span class="checksum">sha256 <code>{checksum(path)}</code></span></dd>'
        )
    return f'<dl class="files">{"".join(entries)}</dl>'


def size(path: Path) -> str:
    """A file's size as people say it; a MB is a million bytes."""
    count = path.stat().st_size
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"


class Offered(SphinxDirective):
    """A list of files."""

    found: Callable[[Path], Files]

    def run(self) -> list[nodes.Node]:
        folder = Path(self.env.srcdir) / "files"
        try:
            files = type(self).found(folder)
        except PrunekitError as error:
            LOGGER.warning("ledger: %s", error, location=self.get_location(), type="ledger")
            return []
        if not files:
            return [nodes.paragraph("", NONE)]
        return [nodes.raw("", listing(files, folder, "../" * self.env.docname.count("/")), format="html")]


class Zips(Offered):
    found = staticmethod(zips)


class Networks(Offered):
    found = staticmethod(networks)


def setup(app: Sphinx) -> dict:
    app.add_directive("downloads", Zips)
    app.add_directive("weights", Networks)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
