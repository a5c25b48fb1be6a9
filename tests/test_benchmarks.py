"""Each comparison runs from end to end on a tiny case, and says what it measured in the ledger."""

import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

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
