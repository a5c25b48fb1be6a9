"""Build the site, strictly: every warning is an error, and every page is read anew.

    python book/scripts/website.py --notebooks _build/notebooks --results _build/results --to .

The pages are gathered in one folder first, so that the book can hold other copies of the notebooks and of the results
than the committed ones. The site is then in `_build/html` below the folder given.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import yaml

import online
import packing

ROOT = Path(__file__).parents[2]
LEFT_OUT = shutil.ignore_patterns("scripts", "__pycache__", ".*", "*.made")


def gather(root: Path, notebooks: Path, results: Path, source: Path) -> None:
    """Put everything that the site is made of below `source`, in place of what was there."""
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(root / "book", source / "book", ignore=LEFT_OUT)
    shutil.copytree(notebooks, source / "notebooks", ignore=LEFT_OUT)
    for name in ("_config.yml", "_toc.yml", "CHANGELOG.md", "CITATION.cff"):
        if (root / name).is_file():
            shutil.copy(root / name, source / name)
    packing.pack(root, notebooks, results, source / "files")  # what is below files/ is copied to the site as it is


def put_online(config: Path, repository: str, branch: str) -> None:
    """Give the gathered configuration the buttons that lead to a public repository."""
    changed = online.with_buttons(yaml.safe_load(config.read_text(encoding="utf-8")), repository, branch)
    config.write_text(yaml.safe_dump(changed, sort_keys=False), encoding="utf-8")


def build(source: Path, to: Path) -> int:
    """Build the gathered pages into `to/_build/html`; the exit status, 0 only if nothing warned."""
    for old in ("html", ".doctrees"):
        shutil.rmtree(to / "_build" / old, ignore_errors=True)
    strictly = ["-W", "-n", "--keep-going", "--path-output", str(to)]
    environment = os.environ | {"PRUNEKIT_RESULTS": str((source / "files" / "results").resolve())}
    program = Path(sys.executable).with_name("jupyter-book")
    status = subprocess.run([program, "build", *strictly, source], env=environment).returncode
    if status:
        shutil.rmtree(to / "_build" / "html", ignore_errors=True)  # what warned is not to be read
    return status


def main() -> int:
    parser = argparse.ArgumentParser(description="Build the site; every warning is an error.")
    parser.add_argument("--root", type=Path, default=ROOT, help="where the pages and the configuration are")
    parser.add_argument("--notebooks", type=Path, default=ROOT / "notebooks", help="executed notebooks")
    parser.add_argument("--results", type=Path, default=ROOT / "results", help="ledger that the pages read")
    parser.add_argument("--to", type=Path, required=True, help="the site is built in _build/html below this folder")
    parser.add_argument("--started", type=float, help="when the whole command began, in seconds since 1970")
    parser.add_argument(
        "--repository", help="public address, https://github.com/owner/name, for buttons that lead there"
    )
    parser.add_argument("--branch", default="main", help="branch of the repository that the buttons lead to")
    options = parser.parse_args()
    source = options.to / "_build" / "source"
    gather(options.root, options.notebooks, options.results, source)
    if options.repository:
        try:
            put_online(source / "_config.yml", options.repository, options.branch)
        except ValueError as error:
            print(error, file=sys.stderr)
            return 1
    status = build(source, options.to)
    if status:
        print("The site was not built: the warnings above are errors.", file=sys.stderr)
        return status
    minutes, seconds = divmod(round(time.time() - (options.started or time.time())), 60)
    print(f"\nOpen {options.to / '_build' / 'html' / 'index.html'} in a browser.", end="")
    print(f" It took {minutes} min {seconds} s." if options.started else "")
    return 0


if __name__ == "__main__":
    sys.exit(main())
