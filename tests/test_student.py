"""The student edition: no solution is left in it, everything else is, and it runs with the dots in place."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat
import pytest
from markdown_it import MarkdownIt
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

import student
from execute import execute

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def edition(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("edition") / student.NAME
    student.edition(folder, ROOT / "notebooks", ROOT / "results")
    return folder


def read(path: Path) -> NotebookNode:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


def said(notebook: NotebookNode) -> str:
    """Every text in a notebook: sources and outputs."""
    return nbformat.writes(notebook)


def of_solutions(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if student.tagged(cell, "solution")]


def without_outputs(cell: NotebookNode) -> tuple:
    return cell.cell_type, cell.metadata, cell.id, None if cell.cell_type == "markdown" else cell.source


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_solutions_are_gone_and_all_else_stays_in_place(path: Path, edition: Path):
    whole, left = read(path), read(edition / "notebooks" / path.name)
    stay = [cell for cell in whole.cells if not student.tagged(cell, "solution")]
    assert len(stay) < len(whole.cells)
    assert [without_outputs(cell) for cell in left.cells] == [without_outputs(cell) for cell in stay]
    text = said(left)
    lines = {line.strip() for cell in of_solutions(whole) for line in cell.source.splitlines() if len(line) > 30}
    open_lines = {line.strip() for cell in stay for line in cell.source.splitlines()}
    assert [line for line in lines - open_lines if json.dumps(line)[1:-1] in text] == []
    printed = [output for cell in left.cells if student.tagged(cell, "exercise") for output in cell.get("outputs", [])]
    assert printed == []
    assert {cell.execution_count for cell in left.cells if cell.cell_type == "code"} == {None}
    shown = [cell.outputs for cell in stay if cell.cell_type == "code" and not student.tagged(cell, "exercise")]
    kept = [cell.outputs for cell in left.cells if cell.cell_type == "code" and not student.tagged(cell, "exercise")]
    assert [[o.output_type for o in outputs] for outputs in kept] == [[o.output_type for o in outs] for outs in shown]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path, edition: Path):
    copy = edition / "notebooks" / path.name
    sources = [cell.source for cell in read(copy).cells if cell.cell_type == "markdown"]
    tokens = [t for source in sources for top in MarkdownIt().parse(source) for t in top.children or []]
    targets = [str(t.attrs.get("href") or t.attrs.get("src")) for t in tokens if t.type in ("link_open", "image")]
    inside = [target.partition("#")[0] for target in targets if "://" not in target and not target.startswith("#")]
    assert [target for target in inside if not (copy.parent / target).is_file()] == []


def test_links_to_pages_become_text_or_lead_to_the_book():
    text = "See [claims](../book/claims.md), [BN](../book/glossary.md#term-bn) and [one](01_one_filter.ipynb)."
    notebook = new_notebook(cells=[new_markdown_cell(text)])
    assert student.for_students(notebook).cells[0].source == "See claims, BN and [one](01_one_filter.ipynb)."
    there = student.for_students(notebook, "https://example.org/pruning/").cells[0].source
    assert "[claims](https://example.org/pruning/book/claims.html)" in there
    assert "[BN](https://example.org/pruning/book/glossary.html#term-bn)" in there


def tagged(source: str, *tags: str) -> NotebookNode:
    return new_code_cell(source, metadata={"tags": list(tags)})


def test_the_notebook_that_is_given_stays_as_it_is():
    output = new_output("execute_result", {"text/plain": "'Not answered yet.'"}, execution_count=1)
    blank = new_code_cell("x = ...", metadata={"tags": ["exercise"]}, outputs=[output], execution_count=1)
    notebook = new_notebook(cells=[blank, tagged("x = 12", "solution")])
    before = said(notebook)
    assert len(student.for_students(notebook).cells) == 1
    assert said(notebook) == before


@pytest.mark.parametrize(
    "cells, needed",
    [
        ([tagged("x = 1"), tagged("x = 2", "solution"), tagged("x")], {"x"}),
        ([tagged("def f(): ...", "solution"), tagged("f()")], {"f"}),
        ([tagged("import math", "solution"), tagged("math.pi")], {"math"}),
        ([tagged("for i in range(3): pass", "solution"), tagged("print(i)")], {"i"}),
        ([tagged("x = 1", "solution"), tagged("x = 2\nx")], set()),
        ([tagged("x = 1", "solution"), tagged("x = 2"), tagged("x")], set()),
        ([tagged("x = 1", "solution"), tagged("x", "solution")], set()),
    ],
)
def test_a_cell_that_needs_a_solution_is_found(cells: list[NotebookNode], needed: set[str]):
    assert student.missed(new_notebook(cells=cells)) == needed


@pytest.mark.parametrize(
    "source, files",
    [
        ('net = published("vgg16")', {"weights/cifar10/vgg16-seed0.safetensors"}),
        ('published("resnet56", "cifar10-short")', {"weights/cifar10-short/resnet56-seed0.safetensors"}),
        ("published = 3", set()),
    ],
)
def test_trained_networks_that_a_notebook_reads_are_found(source: str, files: set[str]):
    assert student.weights(new_notebook(cells=[tagged(source)])) == files


def test_they_come_along(edition: Path):
    read_somewhere = {file for path in NOTEBOOKS for file in student.weights(read(path))}
    there = {path.relative_to(edition).as_posix() for path in edition.glob("weights/*/*")}
    assert there == read_somewhere and there
    calls = [path.name for path in NOTEBOOKS if "published(" in "".join(c.source for c in read(path).cells)]
    assert calls == [path.name for path in NOTEBOOKS if student.weights(read(path))], "each call is understood"


def test_a_notebook_that_needs_a_solution_is_refused(tmp_path: Path):
    nbformat.write(new_notebook(cells=[tagged("x = 1", "solution"), tagged("x")]), tmp_path / "01_bad.ipynb")
    command = [sys.executable, ROOT / "book" / "scripts" / "student.py", "--notebooks", tmp_path, "--to", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "01_bad.ipynb: only a solution defines x" in done.stderr


def test_it_runs_by_itself_with_the_dots_in_place(edition: Path, monkeypatch: pytest.MonkeyPatch):
    """The package and the results of the edition, not those of the project that made it."""
    monkeypatch.setenv("PYTHONPATH", str(edition))
    monkeypatch.delenv("PRUNEKIT_RESULTS", raising=False)
    where = "import prunekit, prunekit.ledger\nprint(prunekit.__file__, prunekit.ledger.default_root(), sep='\\n')"
    done = subprocess.run([sys.executable, "-c", where], cwd=edition / "notebooks", capture_output=True, text=True)
    places = [Path(line) for line in done.stdout.split("\n") if line]
    assert [place.is_relative_to(edition) for place in places] == [True, True], done.stderr
    notebook = read(edition / "notebooks" / "01_one_filter.ipynb")
    execute(notebook, edition / "notebooks", limit=0)
    answers = [cell.outputs for cell in notebook.cells if cell.cell_type == "code" and student.tagged(cell, "exercise")]
    assert answers and all(outputs for outputs in answers)


def test_the_zip_holds_the_edition(tmp_path: Path):
    command = [sys.executable, ROOT / "book" / "scripts" / "student.py", "--to", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "student" / student.NAME
    files = {path.relative_to(folder.parent).as_posix() for path in folder.rglob("*") if path.is_file()}
    with zipfile.ZipFile(folder.with_suffix(".zip")) as archive:
        assert {name for name in archive.namelist() if not name.endswith("/")} == files
    names = {path.name for path in NOTEBOOKS} | {"README.md", "LICENSE", "LICENSE-TEXT", "surgery.py", "runs.jsonl"}
    assert names <= {Path(name).name for name in files}
