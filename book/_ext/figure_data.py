"""Below the caption of a figure: the tables of the ledger that it was made of, as CSV files to download.

A notebook's figure cell names them in its metadata, `"data": ["sensitivity-vgg16"]`. What a chapter shows comes from
the largest setting that has its tables, and so do the links: the largest one that has every name without a setting. A
name may carry a setting, `"benchmarks/forward"`. Either part may be a pattern, which takes what is there. An empty list
says that the cells above compute everything that the figure shows.
"""

import fnmatch
import html
import os
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx

from prunekit.errors import PrunekitError
from prunekit.ledger import Ledger, default_root
from prunekit.paper.settings import SETTINGS
from results import LOGGER

KEY = "data"  # in a cell's metadata
COMPUTED = "Data: computed by the cells above."


def tables(names: list[str], root: str | Path | None = None) -> list[tuple[str, str]]:
    """The tables that a figure's names stand for, as (setting, table), each once.

    Raises PrunekitError if a name that is no pattern stands for none, or all together do.
    """
    root = Path(root) if root is not None else default_root()
    largest = next((s for s in reversed(SETTINGS) if not lacking(root, s, names)), None)
    found = []
    for name in names:
        setting, _, table = name.rpartition("/")
        folders = sorted(path.name for path in root.glob(setting) if path.is_dir()) if setting else [largest or ""]
        these = [(folder, each) for folder in folders for each in fitting(root, folder, table)]
        if not these and (exact(name) or largest is None):
            raise PrunekitError(f"No table is called {name}. `prunekit list` shows the names of experiments.")
        found += these
    if names and not found:
        raise PrunekitError(f"No table fits any of {', '.join(names)}. `prunekit list` shows the names of experiments.")
    return list(dict.fromkeys(found))


def lacking(root: Path, setting: str, names: list[str]) -> list[str]:
    """The tables that a setting would have to have, and has not."""
    return sorted({name for name in names if "/" not in name and exact(name)} - {*Ledger(root, setting).experiments()})


def exact(name: str) -> bool:
    return not set(name) & set("*?[")


def fitting(root: Path, setting: str, pattern: str) -> list[str]:
    """The tables of a setting whose names fit."""
    return fnmatch.filter(Ledger(root, setting).experiments(), pattern) if setting else []


def line(found: list[tuple[str, str]], up: str) -> str:
    """The line below a caption, as HTML; `up` leads from the page to the front of the site."""
    if not found:
        return COMPUTED
    links = [
        f'<a href="{up}results/{setting}/{table}.csv" download>{html.escape(table)}.csv</a>' for setting, table in found
    ]
    settings = ", ".join(dict.fromkeys(setting for setting, _ in found))
    return f"Data: {', '.join(links)} ({html.escape(settings)})."


def add_lines(app: Sphinx, doctree: nodes.document) -> None:
    """Give every figure of a notebook its line."""
    up = "../" * app.env.docname.count("/")
    for cell in doctree.findall(nodes.container):
        names = cell.get("cell_metadata", {}).get(KEY)
        if names is None:
            continue
        try:
            text = line(tables(names, os.environ.get("PRUNEKIT_RESULTS")), up)
        except PrunekitError as error:
            LOGGER.warning("figure data: %s", error, location=cell, type="ledger")
            continue
        for figure in cell.findall(nodes.figure):
            figure += nodes.legend("", nodes.raw("", f'<p class="figure-data">{text}</p>', format="html"))


def setup(app: Sphinx) -> dict:
    app.connect("doctree-read", add_lines)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
