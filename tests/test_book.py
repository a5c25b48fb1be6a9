"""The scripts and extensions that make the book: numbers from the ledger, executed copies, live experiments."""

import ast
import fnmatch
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook

import chapters
import execute
import experiments
import experiments_table
import fingerprint
import results
import traps
from prunekit.errors import FileError
from prunekit.ledger import Ledger
from prunekit.paper.claims import CLAIMS

ROOT = Path(__file__).parents[1]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    ledger = Ledger(tmp_path / "results", "digits")
    rows = [{"layer": "conv1", "rate": r, "correct": c, "total": 360} for r, c in ((0.0, 351), (0.3, 342), (0.9, 36))]
    with ledger.run("prunekit reproduce sensitivity", seed=3) as run:
        ledger.add("sensitivity", rows, ["layer", "rate"], run)
    return ledger


@pytest.mark.parametrize(
    "text, expected",
    [
        ('digits/sensitivity; layer == "conv1" and rate == 0.3; correct / total; .1%', "95.0%"),
        ("digits/sensitivity; rate == 0.9; correct; d", "36"),
        ("digits/sensitivity; ; rate.max(); .1f", "0.9"),
        ("digits/sensitivity; rate == 0; layer; ", "conv1"),
        ("digits/sensitivity;;correct.sum();,d", "729"),
    ],
)
def test_a_number_is_found_and_printed(ledger: Ledger, text: str, expected: str):
    assert results.number(text, ledger.root) == expected


@pytest.mark.parametrize(
    "text, message",
    [
        ("digits/sensitivity; rate == 0.5; correct; d", "0 rows answer"),
        ("digits/sensitivity; ; correct; d", "3 rows answer"),
        ("digits/sensitivity; rate == 0.3; hits; d", "the columns are layer, rate, correct, total"),
        ("digits/sensitivity; speed == 1; correct; d", "the columns are layer, rate, correct, total"),
        ("digits/sensitivity; rate ==; correct; d", "the columns are"),
        ("digits/sensitivity; rate == 0.3; correct * 0 / 0; d", "not a number"),
        ("digits/sensitivity; rate == 0.3; layer; .1%", "format"),
        ("digits/sensitivity; rate == 0.3; correct", "setting/experiment; rows; value; format"),
        ("digits; rate == 0.3; correct; d", "cannot name an experiment"),
    ],
)
def test_what_is_not_one_number_is_refused(ledger: Ledger, text: str, message: str):
    with pytest.raises(ValueError, match=message):
        results.number(text, ledger.root)


def test_an_absent_table_is_refused(ledger: Ledger):
    with pytest.raises(FileError, match="no results of 'table1'"):
        results.number("digits/table1; ; error; .2f", ledger.root)


def test_listing_shows_rows_and_runs(ledger: Ledger):
    text = results.listing(ledger, "../results")
    for shown in (
        "sensitivity",
        "../results/digits/sensitivity.csv",
        "prunekit reproduce sensitivity",
        "342",
        "3 rows",
    ):
        assert shown in text


def test_long_tables_are_cut(tmp_path: Path):
    ledger = Ledger(tmp_path, "digits")
    with ledger.run("x") as run:
        ledger.add("long", [{"i": i} for i in range(results.SHOWN + 5)], ["i"], run)
    text = results.listing(ledger, "..")
    assert f"the first {results.SHOWN} of {results.SHOWN + 5} rows" in text
    assert f"<td>{results.SHOWN - 1}</td>" in text
    assert f"<td>{results.SHOWN}</td>" not in text


def test_fingerprint_follows_content_and_name(tmp_path: Path):
    (tmp_path / "a.py").write_text("x = 1")
    before = fingerprint.of_files(tmp_path, ["*.py"])
    (tmp_path / "note.txt").write_text("not asked for")
    assert fingerprint.of_files(tmp_path, ["*.py"]) == before
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    renamed = fingerprint.of_files(tmp_path, ["*.py"])
    (tmp_path / "b.py").write_text("x = 2")
    assert len({before, renamed, fingerprint.of_files(tmp_path, ["*.py"])}) == 3


def test_fingerprint_of_cells_leaves_outputs_out():
    notebook = new_notebook(cells=[new_code_cell("1")])
    before = fingerprint.of_cells(notebook)
    notebook.cells[0].execution_count = 5
    assert fingerprint.of_cells(notebook) == before
    notebook.cells[0].source = "2"
    assert fingerprint.of_cells(notebook) != before


def run_notebooks(*options: str | Path) -> subprocess.CompletedProcess[str]:
    """Without a limit on time, which a busy machine might exceed, unless the options have one."""
    command = [sys.executable, ROOT / "book" / "scripts" / "execute.py", "--limit", "0", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def write(path: Path, *sources: str) -> NotebookNode:
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = [new_code_cell(source) for source in sources]
    for i, cell in enumerate(cells):
        cell["id"] = f"cell-{i}"
    notebook = new_notebook(cells=cells)
    nbformat.write(notebook, path)
    return notebook


def test_copies_are_made_once_and_again_when_something_changes(tmp_path: Path):
    source, copies, ledger = tmp_path / "notebooks", tmp_path / "copies", tmp_path / "results"
    (ledger / "digits").mkdir(parents=True)
    where = ("import os, pathlib", "print(len(list(pathlib.Path(os.environ['PRUNEKIT_RESULTS']).glob('*/*.csv'))))")
    write(source / "01_a.ipynb", *where)
    options = ("--to", copies, "--results", ledger, source)

    first = run_notebooks(*options)
    assert first.returncode == 0, first.stdout + first.stderr
    made = nbformat.read(copies / "01_a.ipynb", as_version=4)
    assert made.cells[1].outputs[0].text == "0\n"
    assert dict(made.metadata) == execute.METADATA
    assert nbformat.read(source / "01_a.ipynb", as_version=4).cells[1].outputs == []

    assert "up to date" in run_notebooks(*options).stdout

    (ledger / "digits" / "x.csv").write_text("rate\n")
    assert "up to date" not in run_notebooks(*options).stdout
    assert nbformat.read(copies / "01_a.ipynb", as_version=4).cells[1].outputs[0].text == "1\n"

    (source / "01_a.ipynb").rename(source / "02_b.ipynb")
    run_notebooks(*options)
    assert [path.name for path in copies.glob("*.ipynb")] == ["02_b.ipynb"]


def test_executing_in_place_twice_gives_the_same_bytes(tmp_path: Path):
    path = tmp_path / "01_a.ipynb"
    write(path, "import matplotlib.pyplot as plt\n_ = plt.plot([1, 2])", "{'b': 1}")
    assert run_notebooks("--in-place", tmp_path).returncode == 0
    first = path.read_bytes()
    assert b"image/png" in first
    assert run_notebooks("--in-place", tmp_path).returncode == 0
    assert path.read_bytes() == first


def test_a_failing_notebook_stops_the_book_and_keeps_the_old_file(tmp_path: Path):
    bad, good = tmp_path / "01_bad.ipynb", tmp_path / "02_good.ipynb"
    write(bad, "1 / 0")
    write(good, "1 + 1")
    before = bad.read_bytes()
    done = run_notebooks("--in-place", tmp_path)
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stdout and done.stdout.count("FAILED") == 1
    assert bad.read_bytes() == before
    assert nbformat.read(good, as_version=4).cells[0].outputs[0].data["text/plain"] == "2", "the others are tried"


def test_a_notebook_that_takes_too_long_fails(tmp_path: Path):
    write(tmp_path / "01_slow.ipynb", "import time; time.sleep(30)")
    before = (tmp_path / "01_slow.ipynb").read_bytes()
    done = run_notebooks("--in-place", "--limit", "1", tmp_path)
    assert done.returncode == 1
    assert done.stdout.count("FAILED") == 1
    assert (tmp_path / "01_slow.ipynb").read_bytes() == before


def test_no_notebook_at_all_is_an_error(tmp_path: Path):
    done = run_notebooks("--in-place", tmp_path)
    assert done.returncode == 1
    assert "no notebook" in done.stderr


def test_live_ledger_takes_other_settings_from_the_committed_one(tmp_path: Path):
    committed, live = tmp_path / "results", tmp_path / "build" / "results"
    for setting in ("digits", "cifar10"):
        (tmp_path / "weights" / setting).mkdir(parents=True)
        (tmp_path / "weights" / setting / "vgg16-seed0.safetensors").write_text(setting)
        ledger = Ledger(committed, setting)
        for experiment, table in (("baseline-vgg16", "training-vgg16"), ("activations-vgg16", "activations-vgg16")):
            with ledger.run(f"prunekit reproduce {experiment} --setting {setting} --seed 0") as run:
                ledger.add(table, [{"seed": 0}], ["seed"], run)
    assert not experiments.prepare(committed, live, "code 1")
    tables = {path.relative_to(live).as_posix() for path in live.glob("*/*.csv")}
    assert tables == {"cifar10/training-vgg16.csv", "cifar10/activations-vgg16.csv", "digits/activations-vgg16.csv"}
    assert Ledger(live, "digits").table("activations-vgg16")["seed"].tolist() == [0]
    weights = [path.relative_to(live.parent).as_posix() for path in live.parent.rglob("*.safetensors")]
    assert weights == ["weights/cifar10/vgg16-seed0.safetensors"], "networks of the live setting are trained anew"

    (live / "digits" / "half.csv").write_text("x\n")
    assert not experiments.prepare(committed, live, "code 1")
    assert (live / "digits" / "half.csv").exists(), "an interrupted run goes on"

    (live / ".code").write_text("code 1 done")
    assert experiments.prepare(committed, live, "code 1")
    assert not experiments.prepare(committed, live, "code 2")
    assert not (live / "digits" / "half.csv").exists(), "rows of other code are dropped"


def test_the_readme_example_runs(tmp_path: Path):
    example, around = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    given = "batches = [(torch.randn(4, 3, 32, 32), torch.arange(4))]\n"
    given += "optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)\n"
    check = "\nfor a, b in zip(again.state_dict().values(), small.state_dict().values(), strict=True):\n"
    check += "    assert torch.equal(a, b)\nassert sum(pk.cost(small, x)['macs']) < sum(pk.cost(same, x)['macs'])\n"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", example + check + given + around],
        cwd=tmp_path,
        env=os.environ | {"MPLBACKEND": "agg"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["small.safetensors"]


# Claims: groups, chapters, and the tables beside them.


def test_every_claim_stands_under_a_heading_and_is_shown_in_a_chapter():
    parts = (ROOT / "book" / "claims.md").read_text().split("\n## ")[1:]
    assert [part.splitlines()[0] for part in parts] == list(chapters.GROUPS)
    assert all(f"```{{claims}} {name}\n" in part for name, part in zip(chapters.GROUPS, parts, strict=True))
    assert {chapters.group(id) for id in CLAIMS} == set(chapters.GROUPS)
    assert all(chapters.chapters(id) for id in CLAIMS)


def test_a_claim_without_a_place_or_with_two_is_an_error(monkeypatch):
    with pytest.raises(ValueError):
        chapters.group("11.1")
    monkeypatch.setitem(chapters.CHAPTERS, ".*", ("00_all",))
    with pytest.raises(ValueError):
        chapters.chapters("2b.1")


def judged_in(notebook: Path) -> set[str]:
    """The claims that a notebook judges: those named, or fitting a pattern, in its calls of `judge` and `judged`."""
    found = set()
    for cell in nbformat.read(notebook, as_version=4).cells:
        for call in ast.walk(ast.parse(cell.source if cell.cell_type == "code" else "")):
            if isinstance(call, ast.Call) and ast.unparse(call.func).split(".")[-1] in ("judge", "judged"):
                patterns = [x.value for x in ast.walk(call) if isinstance(x, ast.Constant) and isinstance(x.value, str)]
                found |= {id for id in CLAIMS if any(fnmatch.fnmatch(id, pattern) for pattern in patterns)}
    return found


def test_claims_link_to_the_chapters_that_judge_them():
    """Costs are the exception: chapter 1 counts them cell by cell, without asking for a verdict."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    names = [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]
    trained = [id for id, claim in CLAIMS.items() if claim.experiments]
    for name in [name for name in names if name.startswith("notebooks/")]:
        linked = {id for id in trained if name in chapters.chapters(id)}
        assert linked == judged_in(ROOT / f"{name}.ipynb") & set(trained), name


def test_the_table_of_costs_has_a_column_for_each_setting_and_machine(tmp_path: Path):
    ledgers = [Ledger(tmp_path, "cifar10-short"), Ledger(tmp_path, "cifar10")]
    assert experiments_table.costs(ledgers).empty
    with ledgers[0].run("prunekit reproduce ranking-vgg16 --setting cifar10-short") as run:
        ledgers[0].add("ranking-vgg16", [{"filter": 0}], ["filter"], run)
    table = experiments_table.costs(ledgers)
    assert list(table["experiment"]) == ["ranking-vgg16", experiments_table.ALL]
    threads = f"{run.threads} CPU thread{'s' * (run.threads != 1)}"
    assert list(table.columns) == ["experiment", f"cifar10-short: {run.device}, {threads}", "what"]
    assert list(table.iloc[:, 1]) == ["1 s", "1 s"] and "norm. Figures 2a, 5." in table["what"][0]


def test_traps_are_computed():
    assert len(traps.off_by_one()) == 5
    projections = traps.projections().set_index(["model", "quantity"]).loc[("ResNet-34", "FLOP")]
    assert list(projections) == ["3.64e9", "3,644,493,824", "3,663,761,408"]
    mistakes = traps.mistakes().set_index("mistake")
    assert list(mistakes.loc["Conv 13 is not pruned."])[1:] == ["64.0%", "59.2%", "64.0%"]
    assert (mistakes["with the mistake"] != mistakes["without"]).all()
    rounded = mistakes[mistakes.index.str.contains("rounded")]
    assert (
        len(rounded) == 2 and (rounded["without"] == "27 come out").all() and (rounded["printed"] == "32 cells").all()
    )
