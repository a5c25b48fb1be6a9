"""Lint of the notebooks: what a reader, a browser and a second run may rely on. Nothing is executed here.

How an exercise is written, so that it reads well in Jupyter and folds in the book:

* a Markdown cell, tagged `exercise`, that begins with a heading `### Exercise 1: what it is about` and sets the task;
* a code cell, tagged `exercise`, where `...` stands for the answer, and an `assert` tells the reader whether it is
  right. It must pass while the dots are still there, so it allows for them: `assert kept in (..., expected)`;
* a code cell, tagged `solution` and `hide-cell`, with `"jupyter": {"source_hidden": true}` in its metadata, that fills
  in the answer and asserts without the dots. A text, if any, goes into its comments.

A figure is a cell whose only output is the image, with caption, name and alternative text in its metadata:
`"mystnb": {"figure": {"caption": "...", "name": "fig-..."}, "image": {"alt": "..."}}`. Beside these, `"data": [...]`
names the tables of the ledger that it draws, for a link to their CSV files; `"data": []` if cells above compute it all.
"""

import ast
import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest
import yaml
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

import figure_data
import lessons
from execute import METADATA
from lessons import for_exercises, tags
from prunekit.paper.settings import largest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MOST_BYTES = 2**20
MOST_WORDS = 900
MOST_LINES = 64  # of 120 columns: with as many words as may be, 15 minutes to read
LEAST_ALT = 30  # characters; less cannot describe a figure
MACHINE = re.compile(r"(?<![\w.:/])(/(home|Users|root|tmp|work|opt|mnt|var/folders|usr/local)/|[A-Za-z]:\\)")
MYST = re.compile(r"\{[a-z][\w:-]*\}`|^(`{3,}|~{3,}|:{3,})\s*\{|^\([\w-]+\)=\s*$|^\+\+\+", re.MULTILINE)

READERS = {"Ledger", "full_size", "largest", "measured"}  # what notebooks call to read the ledger

Finding = Iterator[str]


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def place(notebook: NotebookNode, cell: NotebookNode) -> str:
    return f"cell {notebook.cells.index(cell) + 1}"


def texts(cell: NotebookNode) -> Iterator[str]:
    """The source of a cell and every text among its outputs."""
    yield cell.source
    for output in cell.get("outputs", []):
        yield output.get("text", "")
        yield from (value for value in output.get("data", {}).values() if isinstance(value, str))


def images(cell: NotebookNode) -> list[NotebookNode]:
    return [o for o in cell.get("outputs", []) if any(kind.startswith("image/") for kind in o.get("data", {}))]


def executed(notebook: NotebookNode) -> Finding:
    counts = [cell.execution_count for cell in code_cells(notebook)]
    if counts != list(range(1, len(counts) + 1)):
        yield f"code cells were executed in the order {counts}: run `make notebooks`"


def without_errors(notebook: NotebookNode) -> Finding:
    for cell in code_cells(notebook):
        for output in cell.outputs:
            if output.output_type == "error":
                yield f"{place(notebook, cell)}: stored error {output.ename}"
            if output.get("name") == "stderr":
                yield f"{place(notebook, cell)}: output on stderr: {output.text[:80]!r}"


def figures_described(notebook: NotebookNode) -> Finding:
    names: list[str] = []
    for cell in code_cells(notebook):
        if not images(cell):
            continue
        if len(cell.outputs) != 1:
            yield f"{place(notebook, cell)}: an image beside other output; a figure's cell shows the figure only"
        rendering = cell.metadata.get("mystnb", {})
        figure, alt = rendering.get("figure", {}), rendering.get("image", {}).get("alt", "")
        if len(alt) < LEAST_ALT:
            yield f"{place(notebook, cell)}: the alternative text has {len(alt)} characters, too few to describe it"
        if not figure.get("caption") or figure.get("caption") == alt:
            yield f"{place(notebook, cell)}: no caption, or the same as the alternative text"
        if not str(figure.get("name", "")).startswith("fig-"):
            yield f"{place(notebook, cell)}: no figure name that begins with fig-"
        names.append(figure.get("name"))
    if len(set(names)) < len(names):
        yield f"two figures have one name: {names}"


def readings(code: ast.AST, known: dict[str, set[str]]) -> set[str]:
    """The calls that read the ledger for a piece of code: its own, and those behind the names that it uses."""
    found: set[str] = set()
    for node in ast.walk(code):
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in READERS:
            found.add(ast.unparse(node))
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            found |= known.get(node.id, set())
    return found


def behind_figures(notebook: NotebookNode) -> Iterator[tuple[NotebookNode, set[str]]]:
    """The cells of figures, each with the calls that read the ledger for its last line."""
    known: dict[str, set[str]] = {}
    for cell in code_cells(notebook):
        used: set[str] = set()
        for statement in ast.parse(cell.source).body:
            used = readings(statement, known)
            stored = {n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
            if isinstance(statement, ast.FunctionDef):
                stored.add(statement.name)
            known |= dict.fromkeys(stored, used)
        if images(cell):
            yield cell, used


def figures_have_data(notebook: NotebookNode) -> Finding:
    for cell, used in behind_figures(notebook):
        names = cell.metadata.get(figure_data.KEY)
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            yield f'{place(notebook, cell)}: no "data": [...] in the metadata of a figure'
        elif used and not names:
            yield f"{place(notebook, cell)}: the figure draws {', '.join(sorted(used))}, and its data names no table"
        elif names and not used:
            yield f"{place(notebook, cell)}: its data names {', '.join(names)}, and nothing reads them (see READERS)"


def without_machine_paths(notebook: NotebookNode) -> Finding:
    for cell in notebook.cells:
        for text in texts(cell):
            if found := MACHINE.search(text):
                yield f"{place(notebook, cell)}: a path of a machine: {text[found.start() : found.end() + 20]!r}"


def small(notebook: NotebookNode) -> Finding:
    if (size := len(nbformat.writes(notebook).encode())) > MOST_BYTES:
        yield f"{size} bytes; at most {MOST_BYTES}"


def short_prose(notebook: NotebookNode) -> Finding:
    if (count := len(lessons.words(notebook))) > MOST_WORDS:
        yield f"{count} words of prose; at most {MOST_WORDS}"


def short_code(notebook: NotebookNode) -> Finding:
    if (count := lessons.lines(notebook)) > MOST_LINES:
        yield f"{count} lines of visible code; at most {MOST_LINES}"


def plain_markdown(notebook: NotebookNode) -> Finding:
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and (found := MYST.search(cell.source)):
            yield f"{place(notebook, cell)}: {found.group()!r} shows as raw text in Jupyter: use plain Markdown"


def one_title(notebook: NotebookNode) -> Finding:
    prose = "\n\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
    prose = re.sub(r"```.*?```", "", prose, flags=re.DOTALL)
    levels = [len(marks) for marks in re.findall(r"^(#+) ", prose, flags=re.MULTILINE)]
    if not notebook.cells or not notebook.cells[0].source.startswith("# ") or levels.count(1) != 1:
        yield "the first cell must begin with the title, and no other heading is of level 1"
    if any(below > above + 1 for above, below in pairwise(levels)):
        yield f"heading levels {levels}: one is skipped"


def clean_metadata(notebook: NotebookNode) -> Finding:
    if dict(notebook.metadata) != METADATA:
        yield "metadata of a machine or an editor: run `make notebooks`"
    for cell in notebook.cells:
        if "execution" in cell.metadata:
            yield f"{place(notebook, cell)}: execution times are stored: run `make notebooks`"
    ids = [cell.get("id") for cell in notebook.cells]
    if None in ids or len(set(ids)) < len(ids):
        yield "a cell has no id, or one that another has"


def stable_output(notebook: NotebookNode) -> Finding:
    for cell in code_cells(notebook):
        if not cell.source.strip():
            yield f"{place(notebook, cell)}: an empty code cell"
        if cell.source.rstrip().endswith(";"):
            yield f"{place(notebook, cell)}: a closing semicolon confuses nbval; assign to _ instead"


def dots(source: str) -> int:
    """How many blanks the code has, those in an assert or an index aside."""
    tree = ast.parse(source)
    other = {id(n) for a in ast.walk(tree) if isinstance(a, ast.Assert | ast.Subscript) for n in ast.walk(a)}
    return sum(isinstance(n, ast.Constant) and n.value is ... and id(n) not in other for n in ast.walk(tree))


def asserts(source: str) -> int:
    return sum(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(source)))


def checked_exercises(notebook: NotebookNode) -> Finding:
    cells = [cell for cell in notebook.cells if for_exercises(cell)]
    kinds = "".join(
        "t" if c.cell_type == "markdown" and "exercise" in tags(c) else "b" if "exercise" in tags(c) else "s"
        for c in cells
    )
    if not re.fullmatch(r"(t+bs+)+", kinds):
        yield "each exercise is a task (Markdown), one blank (code) and a solution (code), in this order"
    numbers = [int(n) for c in cells for n in re.findall(r"^### Exercise (\d+): \S", c.source, flags=re.MULTILINE)]
    if numbers != list(range(1, kinds.count("b") + 1)):
        yield f"headings `### Exercise n: ...` are numbered {numbers} for {kinds.count('b')} exercises"
    for cell in notebook.cells:
        if re.search(r"^#+ +Exercise \d", cell.source, flags=re.MULTILINE) and "exercise" not in tags(cell):
            yield f"{place(notebook, cell)}: an exercise without the tag"
    for cell in cells:
        if cell.cell_type == "markdown":
            continue
        if not asserts(cell.source):
            yield f"{place(notebook, cell)}: no assert that tells right from wrong"
        if "exercise" in tags(cell) and not dots(cell.source):
            yield f"{place(notebook, cell)}: no blank (...) for the reader's answer"
        if "solution" in tags(cell):
            if "hide-cell" not in tags(cell) or not cell.metadata.get("jupyter", {}).get("source_hidden"):
                yield f"{place(notebook, cell)}: the solution is not folded"
            if dots(cell.source) or re.search(r"assert[^\n]*\(\.\.\.", cell.source):
                yield f"{place(notebook, cell)}: the solution leaves a blank"


RULES: list[Callable[[NotebookNode], Finding]] = [
    executed,
    without_errors,
    figures_described,
    figures_have_data,
    without_machine_paths,
    small,
    short_prose,
    short_code,
    plain_markdown,
    one_title,
    clean_metadata,
    stable_output,
    checked_exercises,
]


def test_the_book_has_exactly_these_notebooks():
    assert NOTEBOOKS
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    chapters = [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]
    listed = [name for name in chapters if name.startswith("notebooks/")]
    assert listed == [f"notebooks/{path.stem}" for path in NOTEBOOKS]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebook(path: Path, rule: Callable[[NotebookNode], Finding]):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert not list(rule(notebook))


def test_figure_names_are_unique_in_the_book():
    found = [
        cell.metadata.get("mystnb", {}).get("figure", {}).get("name")
        for path in NOTEBOOKS
        for cell in code_cells(nbformat.read(path, as_version=4))
        if images(cell)
    ]
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_the_data_of_figures_are_the_tables_that_the_notebook_reads(path: Path):
    """They exist, and where the notebook takes the largest setting with some tables, the links lead to the same."""
    for cell, used in behind_figures(nbformat.read(path, as_version=4)):
        found = figure_data.tables(cell.metadata[figure_data.KEY])
        calls = [ast.parse(call, mode="eval").body for call in used if call.startswith("largest(")]
        literal = [[x.value for x in call.args if isinstance(x, ast.Constant)] for call in calls]
        literal = [names for call, names in zip(calls, literal, strict=True) if len(names) == len(call.args)]
        assert {largest(*names).setting for names in literal} <= {setting for setting, _ in found}


# The lint itself: a notebook that is right, and for each rule notebooks that are not.

ALT = "A falling line from 0.9 at no pruning to 0.1 when 90% is cut."


def good() -> NotebookNode:
    figure = {"figure": {"caption": "Accuracy falls.", "name": "fig-fall"}, "image": {"alt": ALT}}
    cells = [
        new_markdown_cell("# A title\n\nIt costs $n$ operations, see [chapter 2](04_which_filters.ipynb)."),
        new_code_cell("1 + 1", outputs=[new_output("execute_result", {"text/plain": "2"}, execution_count=1)]),
        new_code_cell(
            "plot()",
            metadata={"mystnb": figure, "data": []},
            outputs=[new_output("display_data", {"image/png": "AAAA"})],
        ),
        new_markdown_cell("## Exercises"),
        new_markdown_cell("### Exercise 1: how many\n\nHow many stay?", metadata={"tags": ["exercise"]}),
        new_code_cell("kept = ...\nassert kept in (..., 12)", metadata={"tags": ["exercise"]}),
        new_code_cell(
            "kept = 64 // 5\nassert kept == 12",
            metadata={"tags": ["solution", "hide-cell"], "jupyter": {"source_hidden": True}},
        ),
    ]
    for count, cell in enumerate((c for c in cells if c.cell_type == "code"), 1):
        cell.execution_count = count
    return new_notebook(cells=cells, metadata=METADATA)


def test_a_good_notebook_passes():
    assert [found for rule in RULES for found in rule(good())] == []


def changed(change: Callable[[list[NotebookNode]], object]) -> NotebookNode:
    notebook = good()
    change(notebook.cells)
    return notebook


def put(path: str, value: object) -> Callable[[list[NotebookNode]], object]:
    """Set one item of the cells, e.g. `2/metadata/mystnb/image/alt`."""

    def change(cells: list[NotebookNode]) -> None:
        parts = [part.replace("~1", "/") for part in path.split("/")]  # ~1 is a slash, as in JSON pointers
        *way, last = [int(part) if part.isdigit() else part for part in parts]
        at: object = cells
        for step in way:
            at = at[step]  # type: ignore[index]
        at[last] = value  # type: ignore[index]

    return change


def both_cells(first: str, second: str) -> Callable[[list[NotebookNode]], object]:
    """Set the source of the first code cell and of the figure's."""

    def change(cells: list[NotebookNode]) -> None:
        cells[1].source, cells[2].source = first, second

    return change


STDERR = new_output("stream", name="stderr", text="a warning")
ERROR = new_output("error", ename="ValueError", evalue="", traceback=[])
TEXT = new_output("stream", name="stdout", text="a line")


@pytest.mark.parametrize(
    "rule, change, message",
    [
        (executed, put("1/execution_count", None), "in the order [None, 2, 3, 4]"),
        (executed, put("1/execution_count", 7), "in the order [7, 2, 3, 4]"),
        (without_errors, put("1/outputs", [ERROR]), "stored error ValueError"),
        (without_errors, put("1/outputs", [STDERR]), "output on stderr"),
        (figures_described, put("2/metadata/mystnb/image/alt", "A plot."), "too few to describe"),
        (figures_described, put("2/metadata/mystnb/figure/caption", ""), "no caption"),
        (figures_described, put("2/metadata/mystnb/figure/caption", ALT), "same as the alternative text"),
        (figures_described, put("2/metadata/mystnb/figure/name", "plot"), "no figure name"),
        (figures_described, lambda cells: cells[2].outputs.append(TEXT), "beside other output"),
        (figures_described, lambda cells: cells.append(cells[2]), "two figures have one name"),
        (figures_have_data, lambda cells: cells[2].metadata.pop("data"), 'no "data": [...]'),
        (figures_have_data, put("2/metadata/data", "demo"), 'no "data": [...]'),
        (figures_have_data, put("2/metadata/data", ["demo"]), "nothing reads them"),
        (figures_have_data, put("2/source", "plot(largest('demo'))"), "draws largest('demo'), and its data names no"),
        (
            figures_have_data,
            both_cells("rows = Ledger().table('demo')\nmore = rows + 1", "plot(more)"),
            "draws Ledger()",
        ),
        (figures_have_data, both_cells("def read():\n    return largest('demo')", "plot(read())"), "draws largest("),
        (without_machine_paths, put("1/source", "open('/home/someone/x.csv')"), "a path of a machine"),
        (without_machine_paths, put("1/outputs/0/data/text~1plain", "/tmp/x"), "a path of a machine"),
        (without_machine_paths, put("0/source", "# A title\n\nC:\\Users\\someone"), "a path of a machine"),
        (small, put("2/outputs/0/data/image~1png", "A" * MOST_BYTES), "bytes; at most"),
        (short_prose, put("0/source", "# A title\n\n" + "word " * MOST_WORDS), "903 words of prose"),
        (short_code, put("1/source", "x = 1\n" * MOST_LINES), "65 lines of visible code"),
        (plain_markdown, put("0/source", "# A title\n\n{cite}`li2017pruning`"), "shows as raw text"),
        (plain_markdown, put("0/source", "# A title\n\n```{note}\nx\n```"), "shows as raw text"),
        (plain_markdown, put("0/source", "# A title\n\n:::{note}\nx\n:::"), "shows as raw text"),
        (plain_markdown, put("0/source", "(label)=\n# A title"), "shows as raw text"),
        (one_title, put("0/source", "No title"), "must begin with the title"),
        (one_title, put("3/source", "# Exercises"), "must begin with the title"),
        (one_title, put("3/source", "#### Exercises"), "one is skipped"),
        (clean_metadata, put("1/metadata/execution", {"iopub.status.busy": "now"}), "execution times"),
        (clean_metadata, put("1/id", None), "has no id"),
        (stable_output, put("1/source", "plot();"), "semicolon"),
        (stable_output, put("1/source", ""), "an empty code cell"),
        (checked_exercises, lambda cells: cells.pop(6), "in this order"),
        (checked_exercises, lambda cells: cells.pop(5), "in this order"),
        (checked_exercises, put("4/source", "### Exercise 2: how many"), "are numbered [2] for 1"),
        (checked_exercises, put("4/source", "How many stay?"), "are numbered [] for 1"),
        (checked_exercises, lambda cells: cells.append(new_markdown_cell("### Exercise 2: x")), "without the tag"),
        (checked_exercises, put("5/source", "kept = ..."), "no assert"),
        (checked_exercises, put("5/source", "kept = 12\nassert kept in (..., 12)"), "no blank"),
        (checked_exercises, put("5/source", "kept = x[..., 0]\nassert kept"), "no blank"),
        (checked_exercises, put("6/source", "kept = 12"), "no assert"),
        (checked_exercises, put("6/source", "kept = ...\nassert kept is not None"), "leaves a blank"),
        (checked_exercises, put("6/metadata/tags", ["solution"]), "not folded"),
        (checked_exercises, put("6/metadata/jupyter", {}), "not folded"),
    ],
)
def test_a_bad_notebook_is_found(rule: Callable, change: Callable, message: str):
    assert message in "; ".join(rule(changed(change)))


def test_other_metadata_is_found():
    notebook = good()
    notebook.metadata = nbformat.from_dict(METADATA | {"language_info": {"name": "python", "version": "3.11.7"}})
    assert "metadata of a machine" in "; ".join(clean_metadata(notebook))
