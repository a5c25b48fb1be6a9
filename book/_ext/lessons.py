"""The directive `lessons`: what each chapter asks of a class, computed from its notebook when the site is built.

Reading takes as long as its words and visible lines of code at a pace that is assumed, and stated on the page. Running
takes what it took when the chapter was last executed for this site, if it was; `execute.py` leaves the seconds beside.
"""

import html
import io
import math
import re
import tokenize
from pathlib import Path

import nbformat
import pandas as pd
from docutils import nodes
from nbformat import NotebookNode
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from prunekit.costs import device_name
from prunekit.paper.estimates import spoken

WORDS, LINES = 130, 8  # a minute: of prose about something new, of code that one wants to understand
WIDTH = 120  # columns of a line of code
HIDDEN = {"hide-input", "hide-cell", "remove-input", "remove-cell"}
PACE = f"Reading: {WORDS} words or {LINES} lines of code a minute, exercises left out; an estimate, not a measurement."
NOT_RUN = "This copy of the site was built from stored outputs, so it cannot say how long the cells take to run."


def tags(cell: NotebookNode) -> set[str]:
    return set(cell.metadata.get("tags", []))


def for_exercises(cell: NotebookNode) -> bool:
    return not tags(cell).isdisjoint({"exercise", "solution"})


def words(notebook: NotebookNode) -> list[str]:
    """The words of prose, exercises, code and formulas left out."""
    prose = "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown" and not for_exercises(c))
    prose = re.sub(r"```.*?```|\$\$.*?\$\$", " ", prose, flags=re.DOTALL)
    prose = re.sub(r"\]\([^)]*\)", " ", prose)
    return re.findall(r"[\w'’.,×%-]*\w[\w'’.,×%-]*", prose)


def lines(notebook: NotebookNode) -> int:
    """How many lines the code that is seen would fill at `WIDTH` columns, exercises left out.

    A statement counts by its length, so that it does not matter how it is wrapped.
    """
    code = [c for c in notebook.cells if c.cell_type == "code" and not for_exercises(c)]
    seen = [c for c in code if tags(c).isdisjoint(HIDDEN)]
    return sum(math.ceil(len(statement) / WIDTH) for cell in seen for statement in statements(cell.source))


def statements(source: str) -> list[str]:
    """The logical lines of some code, each on one line, and its lines of comment."""
    text, found, start = source.splitlines(), [], 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.NEWLINE or (token.type == tokenize.COMMENT and token.line.strip() == token.string):
            found.append(" ".join(line.strip() for line in text[start : token.end[0]] if line.strip()))
            start = token.end[0]
    return [statement for statement in found if statement]


def minutes(notebook: NotebookNode) -> int:
    """How long a chapter takes to read, exercises left out."""
    return math.ceil(len(words(notebook)) / WORDS + lines(notebook) / LINES)


def title(notebook: NotebookNode) -> str:
    return notebook.cells[0].source.splitlines()[0].removeprefix("# ")


def lesson(path: Path) -> dict[str, str | int]:
    """A chapter's row: what it has, how long it takes to read, and to run if that is known."""
    notebook = nbformat.read(path, as_version=4)
    blanks = [c for c in notebook.cells if c.cell_type == "code" and "exercise" in tags(c)]
    figures = [c for c in notebook.cells if "figure" in c.metadata.get("mystnb", {})]
    took = path.with_suffix(".seconds")
    return {
        "chapter": title(notebook),
        "to read": f"{minutes(notebook)} min",
        "figures": len(figures),
        "exercises": len(blanks),
        "to run": spoken(float(took.read_text())) if took.is_file() else "",
    }


def table(folder: Path, up: str) -> str:
    """The chapters in order, as an HTML table with the pace below it."""
    paths = sorted(folder.glob("*.ipynb"))
    rows = pd.DataFrame([lesson(path) for path in paths])
    rows["chapter"] = [
        f'<a href="{up}notebooks/{path.stem}.html">{int(path.stem[:2])}. {html.escape(name)}</a>'
        for path, name in zip(paths, rows["chapter"], strict=True)
    ]
    timed = (rows["to run"] != "").any()
    run = f"To run: from the first cell to the last, on {device_name('cpu')}, where this copy of the site was built."
    text = rows if timed else rows.drop(columns="to run")
    return (
        '<div class="ledger-box" tabindex="0" role="region" aria-label="chapters and their times">'
        + text.to_html(index=False, border=0, escape=False, classes=["ledger", "words"])
        + f"</div><p>{html.escape(f'{PACE} {run if timed else NOT_RUN}')}</p>"
    )


class Lessons(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        folder = Path(self.env.srcdir) / "notebooks"
        if not any(folder.glob("*.ipynb")):
            return [nodes.paragraph("", "There are no chapters in this copy of the project.")]
        return [nodes.raw("", table(folder, "../" * self.env.docname.count("/")), format="html")]


def setup(app: Sphinx) -> dict:
    app.add_directive("lessons", Lessons)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
