"""Pages for teachers: what a chapter asks is counted from its notebook, and works are cited from CITATION.cff."""

from pathlib import Path

import nbformat
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

import citing
import lessons

ROOT = Path(__file__).parents[1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    cells = [
        new_markdown_cell("# A *title* & more\n\n" + "word " * 256),
        new_code_cell("x = 1\n\n" * lessons.LINES),
        new_code_cell("plot()", metadata={"mystnb": {"figure": {"caption": "It falls."}}, "tags": ["hide-input"]}),
        new_markdown_cell("### Exercise 1: x\n\n" + "word " * 999, metadata={"tags": ["exercise"]}),
        new_code_cell("x = ...", metadata={"tags": ["exercise"]}),
        new_code_cell("x = 1\n" * 99, metadata={"tags": ["solution"]}),
    ]
    nbformat.write(new_notebook(cells=cells), tmp_path / "01_a.ipynb")
    return tmp_path


def test_a_lesson_is_counted_from_the_notebook(folder: Path):
    row = lessons.lesson(folder / "01_a.ipynb")  # 260 words at 130 a minute, 8 lines at 8 a minute
    assert row == {"chapter": "A *title* & more", "to read": "3 min", "figures": 1, "exercises": 1, "to run": ""}
    (folder / "01_a.seconds").write_text("12.3\n")
    assert lessons.lesson(folder / "01_a.ipynb")["to run"] == "12 s"


def test_a_statement_counts_by_its_length_however_it_is_wrapped():
    short, wrapped = "total = first + second", "total = (\n    first\n    # the rest\n    + second\n)"
    assert lessons.statements(f"# a comment\n\nif x:\n    {short}") == ["# a comment", "if x:", short]
    cells = [new_code_cell(f"{wrapped}\nx = 1"), new_code_cell(f"y = '{'a' * lessons.WIDTH}'")]
    assert lessons.lines(new_notebook(cells=cells[:1])) == 3, "two statements and a comment"
    assert lessons.lines(new_notebook(cells=cells[1:])) == 2, "one that fills two lines"


def test_the_table_says_how_long_a_chapter_runs_only_if_that_was_measured(folder: Path):
    without = lessons.table(folder, "../")
    assert '<a href="../notebooks/01_a.html">1. A *title* &amp; more</a>' in without
    assert "<th>to run</th>" not in without and lessons.NOT_RUN in without
    (folder / "01_a.seconds").write_text("150.0\n")
    timed = lessons.table(folder, "../")
    assert "<th>to run</th>" in timed and "<td>2 min</td>" in timed and lessons.NOT_RUN not in timed


def test_works_are_cited_as_the_file_has_them():
    cff = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    own, paper = citing.entries(cff).split("\n\n")
    assert own.startswith("@misc{prunekit,") and "author = {{The prunekit authors}}" in own
    assert f"title = {{{{{cff['title']}}}}}" in own and f"version = {{{cff['version']}}}" in own
    assert paper.startswith("@inproceedings{li2017,") and "Li, Hao and Kadav, Asim and" in paper
    assert "year = {2017}" in paper and paper.endswith("\n}")
