"""Each comparison runs from end to end on a tiny case, says what it measured in the ledger, and the book shows it."""

import re
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pandas as pd
import pytest

import benchmarks_table
from prunekit.errors import PrunekitError
from prunekit.ledger import Ledger

ROOT = Path(__file__).parents[1]
TABLES = {
    "pruning": {"pruning"},
    "sweeping": {"sweep"},
    "memory": {"memory"},
    "training": {"training"},
    "forward": {"forward"},
    "growth": {"tracing", "sweep-growth"},
}


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Ledger]:
    """What a script wrote, which is run once."""

    @cache
    def of(script: str) -> Ledger:
        results = tmp_path_factory.mktemp(script)
        command = [sys.executable, f"benchmarks/{script}.py", "--tiny", "--threads", "1", "--results", str(results)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return Ledger(results, "benchmarks")

    return of


def test_every_script_is_run_here():
    scripts = {path.stem for path in (ROOT / "benchmarks").glob("*.py")} - {"common"}
    assert scripts == set(TABLES)


@pytest.mark.parametrize("script", TABLES)
def test_a_tiny_case(script: str, ledger: Callable[[str], Ledger]):
    if script == "pruning" and not (ROOT / "_build" / "torch-pruning").exists():
        pytest.skip("Torch-Pruning is not here; `make bench-env` gets it")
    written = ledger(script)
    assert set(written.experiments()) == TABLES[script]
    for table in TABLES[script]:
        rows, origin = written.table(table), written.origin(table)
        seconds = [name for name in ("ours", "theirs", "seconds", "full", "small") if name in rows]
        assert (rows[seconds] > 0).all(axis=None)
        assert origin.threads.tolist() == [1] * len(origin)
        assert all(f"benchmarks/{script}.py --tiny" in command for command in origin.command)
        if {"ours", "theirs", "ratio"} <= set(rows):
            over = rows.theirs / rows.ours
            assert rows.ratio.tolist() == pytest.approx((1 / over if script == "memory" else over).tolist())
        if {"ratio", "wanted", "reached"} <= set(rows):
            reached = rows.ratio <= rows.wanted if script == "memory" else rows.ratio >= rows.wanted
            assert (rows.reached == "yes").tolist() == reached.tolist()


def test_both_sides_of_a_sweep_count_the_same(ledger: Callable[[str], Ledger]):
    rows = ledger("sweeping").table("sweep")
    exact = rows[rows.way.str.startswith("float32")]
    assert len(exact) >= 2
    assert exact.different.tolist() == [0] * len(exact)
    assert (rows.cuts == rows.layers * 2).all()


# The tables in the book


def test_every_table_is_on_the_page_once():
    page = (ROOT / "book" / "benchmarks.md").read_text()
    shown = re.findall(r"^```\{benchmark\} (\S+)$", page, flags=re.MULTILINE)
    assert sorted(shown) == sorted(benchmarks_table.TABLES) == sorted(set().union(*TABLES.values()))
    assert "|" not in page  # no table is typed


@pytest.mark.parametrize("name", benchmarks_table.TABLES)
def test_what_a_script_writes_can_be_shown(name: str, ledger: Callable[[str], Ledger]):
    script = next(script for script, written in TABLES.items() if name in written)
    if script == "pruning" and not (ROOT / "_build" / "torch-pruning").exists():
        pytest.skip("Torch-Pruning is not here; `make bench-env` gets it")
    table = ledger(script).table(name)
    shown = benchmarks_table.rows(name, table)
    assert len(shown) == len(table) and not shown.iloc[:, 0].eq("").any()


def test_the_book_shows_the_rows():
    row = {
        "case": "resnet56-b",
        "multiple": 8,
        "macs_saved": 0.2,
        "time_saved": -0.0251,
        "share": -0.1255,
        "wanted": 0.8,
    }
    table = pd.DataFrame(
        [
            row | {"reached": "no"},
            row | {"case": "vgg16-a", "multiple": 1, "wanted": 0.0, "reached": "no"},  # nothing was wanted
            row | {"macs_saved": 0.0, "share": 0.0, "reached": "no"},  # nothing is saved, of which no share can be told
        ]
    )
    assert benchmarks_table.rows("forward", table).to_numpy().tolist() == [
        ["ResNet-56-B", "8", "20.0%", "-2.5%", "-0.13", "0.8", "no"],
        ["VGG-16-A", "1", "20.0%", "-2.5%", "-0.13", "", ""],
        ["ResNet-56-B", "8", "0.0%", "-2.5%", "", "0.8", "no"],
    ]
    sweep = {
        "case": "torchvision-densenet121",
        "way": "bfloat16 channels_last",
        "ours": 2.04,
        "theirs": 10.0,
        "ratio": 4.9,
    }
    sweep |= {"wanted": 20.0, "reached": "no", "images": 256, "layers": 13, "cuts": 117, "different": 3}
    sweep |= {"shared": 2.464}
    shown = benchmarks_table.rows("sweep", pd.DataFrame([sweep | {"outside_noise": 0}]))
    assert dict(shown.iloc[0]) == {
        "network": "torchvision DenseNet-121", "layers": "13",
        "sweep computes in": "bfloat16 channels last", "sweep (s)": "2.0", "loop (s)": "10.0", "shared": "2.46",
        "times faster": "4.90", "wanted": "20", "reached": "no", "cuts": "117", "different": "3", "beyond noise": "0",
    }  # fmt: skip


@pytest.mark.parametrize(
    "case, title",
    [
        ("vgg16", "VGG-16"),
        ("resnet110-b", "ResNet-110-B"),
        ("torchvision-vgg16", "torchvision VGG-16"),
        ("mobilenet_v2", "mobilenet_v2"),
    ],
)
def test_networks_have_their_names(case: str, title: str):
    assert benchmarks_table.called(case) == title


def test_a_table_from_before_a_column_is_refused():
    with pytest.raises(PrunekitError, match=r"tracing is older than this page: .*per_layer.*Measure it again"):
        benchmarks_table.rows("tracing", pd.DataFrame([{"depth": 20, "seconds": 0.1}]))
