"""Make the student edition: the notebooks without solutions, and what they need to run, in one folder and one zip.

    python book/scripts/student.py --to _build

What a notebook says, its exercises and their blanks stay as they are. Solutions go, and so does what the blanks
printed. Other outputs stay, so that the text can be read before anything has run; no cell has a number, so a student
sees which ones have. Links to pages of the book become text, or lead to the book's address if there is one.
"""

import argparse
import ast
import re
import shutil
import sys
from copy import deepcopy
from pathlib import Path

import nbformat
from nbformat import NotebookNode

ROOT = Path(__file__).parents[2]
NAME = "pruning-filters-student"
NEEDED = ("prunekit", "pyproject.toml", "constraints.txt", "LICENSE", "LICENSE-TEXT", "CITATION.cff")
LEFT_OUT = shutil.ignore_patterns("__pycache__", ".*", "*.made", "*.part", "*.seconds")
PUBLISHED = re.compile(r"""\bpublished\("([\w-]+)"(?:, "([\w-]+)")?\)""")  # a trained network that a notebook reads
TO_A_PAGE = re.compile(r"(?<!!)\[([^\]]+)\]\(\.\./([^)#\s]+)\.md(#[^)\s]*)?\)")


class NotIndependent(Exception):
    """A cell needs what only a solution defines, so that it would fail without it."""


def tagged(cell: NotebookNode, tag: str) -> bool:
    return tag in cell.metadata.get("tags", [])


def for_students(notebook: NotebookNode, book: str | None = None) -> NotebookNode:
    """A copy without solutions, without the outputs of exercises and without numbers of execution.

    Raises NotIndependent if a later cell would miss a solution. `book` is the address of the book, for links to it.
    """
    if needed := missed(notebook):
        raise NotIndependent(f"only a solution defines {', '.join(sorted(needed))}, and a later cell uses it")
    copy = deepcopy(notebook)
    copy.cells = [cell for cell in copy.cells if not tagged(cell, "solution")]
    for cell in copy.cells:
        if cell.cell_type == "markdown":
            cell.source = links(cell.source, book)
            continue
        if tagged(cell, "exercise"):
            cell.outputs = []
        cell.execution_count = None
        for output in cell.get("outputs", []):
            if "execution_count" in output:
                output.execution_count = None
    return copy


def links(source: str, book: str | None = None) -> str:
    """Markdown whose links to pages of the book lead to its address; without one, only their texts are left."""

    def linked(found: re.Match[str]) -> str:
        text, page, place = found.groups("")
        return f"[{text}]({book.rstrip('/')}/{page}.html{place})" if book else text

    return TO_A_PAGE.sub(linked, source)


def missed(notebook: NotebookNode) -> set[str]:
    """Names that cells read after a solution gave them their values, so that another value or none would be there."""
    last: dict[str, bool] = {}  # by name, whether a solution was the last to define it
    found = set()
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        tree, solution = ast.parse(cell.source), tagged(cell, "solution")
        own = defined(tree)
        if not solution:
            names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
            found |= {name for name in names - own if last.get(name)}
        last |= dict.fromkeys(own, solution)
    return found


def defined(tree: ast.AST) -> set[str]:
    """The names that a cell gives a value to, at its top level or below."""
    names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    names |= {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    imported = [a for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom) for a in n.names]
    return names | {(a.asname or a.name).partition(".")[0] for a in imported}


def weights(notebook: NotebookNode) -> set[str]:
    """The files of the trained networks that a notebook reads."""
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    return {f"weights/{setting or 'cifar10'}/{name}-seed0.safetensors" for name, setting in PUBLISHED.findall(code)}


def edition(folder: Path, notebooks: Path, results: Path, book: str | None = None) -> list[Path]:
    """Make the edition in `folder`, in place of what was there; its notebooks."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "notebooks").mkdir(parents=True)
    for name in NEEDED:
        source = ROOT / name
        shutil.copytree(source, folder / name, ignore=LEFT_OUT) if source.is_dir() else shutil.copy(source, folder)
    shutil.copy(Path(__file__).with_suffix(".md"), folder / "README.md")
    if results.is_dir():
        shutil.copytree(results, folder / "results", ignore=LEFT_OUT)
    made = []
    for path in sorted(notebooks.glob("*.ipynb")):
        try:
            copy = for_students(nbformat.read(path, as_version=4), book)
        except NotIndependent as error:
            raise NotIndependent(f"{path.name}: {error}") from None
        for name in weights(copy):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
        made.append(folder / "notebooks" / path.name)
        nbformat.write(copy, made[-1])
    return made


def archive(folder: Path) -> Path:
    """The folder as a zip beside it."""
    return Path(shutil.make_archive(str(folder), "zip", folder.parent, folder.name))


def main() -> int:
    parser = argparse.ArgumentParser(description="Make the student edition: notebooks without solutions, and a zip.")
    parser.add_argument("--notebooks", type=Path, default=ROOT / "notebooks", help="executed notebooks")
    parser.add_argument("--results", type=Path, default=ROOT / "results", help="ledger that the notebooks read")
    parser.add_argument("--book", help="address of the built book, for links to its pages; without it they are text")
    parser.add_argument("--to", type=Path, required=True, help="the edition is made in student/ below this folder")
    options = parser.parse_args()
    folder = options.to / "student" / NAME
    try:
        made = edition(folder, options.notebooks, options.results, options.book)
    except NotIndependent as error:
        print(f"The student edition was not made: {error}.", file=sys.stderr)
        return 1
    print(f"{len(made)} notebooks without solutions are in {folder}, and all of it in {archive(folder)}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
