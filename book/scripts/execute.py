"""Execute every notebook from top to bottom, in place or as copies.

    python book/scripts/execute.py --in-place
    python book/scripts/execute.py --to _build/notebooks --results _build/results

A copy is made again only when its notebook, the package or the results have changed. What is stored in a notebook
depends on nothing but those: no times, no versions of the machine, so executing in place twice gives the same bytes.
Beside a copy stands how many seconds it took.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

import fingerprint

ROOT = Path(__file__).parents[2]
WANTED = 30  # seconds for a notebook on two free cores; a slow or busy machine may take longer, up to --limit
SLOW = f": longer than the {WANTED} s that a chapter should take"
METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


class NotebookFailed(Exception):
    """A notebook stopped at a cell, or took longer than it may."""


def execute(notebook: nbformat.NotebookNode, folder: Path, limit: float) -> float:
    """Execute in place, with `folder` as working directory; seconds of wall-clock time, kernel start included."""
    client = NotebookClient(
        notebook,
        timeout=int(limit) or None,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,  # a busy machine delivers the lines that a cell prints in pieces
        extra_arguments=["--IPKernelApp.log_level=40"],  # errors only: it warns of a local connection each time
        resources={"metadata": {"path": str(folder)}},
    )
    start = time.perf_counter()
    try:
        client.execute()
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        raise NotebookFailed(str(error).strip()) from error
    seconds = time.perf_counter() - start
    if limit and seconds > limit:
        raise NotebookFailed(f"took {seconds:.0f} s, and {limit:.0f} s is the most that a notebook may take")
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    return seconds


def write(notebook: nbformat.NotebookNode, path: Path) -> None:
    """Write a notebook whole or not at all."""
    part = path.with_suffix(".part")
    nbformat.write(notebook, part)
    part.replace(path)


def main() -> int:
    parser = argparse.ArgumentParser(description="Execute every notebook from top to bottom.")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--in-place", action="store_true", help="write the outputs into the notebooks")
    where.add_argument("--to", type=Path, help="folder for executed copies; those up to date are kept")
    parser.add_argument("--results", type=Path, default=ROOT / "results", help="ledger that the notebooks read")
    parser.add_argument("--limit", type=float, default=300, help="seconds that one notebook may take; 0 for no limit")
    parser.add_argument("folder", type=Path, nargs="?", default=ROOT / "notebooks")
    options = parser.parse_args()

    sources = sorted(options.folder.glob("*.ipynb"))
    if not sources:
        print(f"There is no notebook in {options.folder}.", file=sys.stderr)
        return 1
    os.environ["PRUNEKIT_RESULTS"] = str(options.results.resolve())
    import matplotlib.font_manager  # noqa: F401  # its first import announces on stderr that it builds a cache

    same = fingerprint.of_files(ROOT, fingerprint.CODE) + fingerprint.of_files(options.results, ["*/**/*"])
    failed = 0
    for i, source in enumerate(sources, 1):
        print(f"[{i}/{len(sources)}] {source.name}", end=" ", flush=True)
        notebook = nbformat.read(source, as_version=4)
        copy = source if options.in_place else options.to / source.name
        stamp = copy.with_suffix(".made")
        depends = same + fingerprint.of_cells(notebook)
        if not options.in_place:
            if copy.is_file() and stamp.is_file() and stamp.read_text() == depends:
                print("up to date", flush=True)
                continue
            copy.parent.mkdir(parents=True, exist_ok=True)
            stamp.unlink(missing_ok=True)
        try:
            seconds = execute(notebook, copy.parent, options.limit)
        except NotebookFailed as error:
            print(f"FAILED\n{error}", flush=True)
            failed += 1
            continue
        write(notebook, copy)
        if not options.in_place:
            copy.with_suffix(".seconds").write_text(f"{seconds:.1f}\n")
            stamp.write_text(depends)
        print(f"{seconds:.1f} s" + SLOW * (seconds > WANTED), flush=True)
    if not options.in_place:
        for copy in options.to.glob("*.ipynb"):
            if not (options.folder / copy.name).is_file():
                copy.unlink()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
