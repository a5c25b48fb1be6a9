"""What experiments took: the runs' own time, and the training before them where a table has it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from prunekit import origin
from prunekit.ledger import Ledger
from prunekit.paper.spent import COLUMNS, spent


def record(ledger: Ledger, experiment: str, seconds: float, tables: dict[str, list[dict]], **facts) -> None:
    """Rows of an experiment, and a run behind them that took so long."""
    command = f"prunekit reproduce {experiment} --setting {ledger.setting} --seed {facts.get('seed', 0)}"
    with ledger.run(command, seed=facts.get("seed", 0)) as run:
        for name, rows in tables.items():
            ledger.add(name, [{"seed": run.seed} | row for row in rows], ["seed", *rows[0]], run)
    path = ledger.folder / "runs.jsonl"
    runs = origin.parse(path.read_text(), path)
    path.write_text(origin.format(runs | {run.id: replace(runs[run.id], seconds=seconds, **facts)}))


def trained(seconds: float) -> list[dict]:
    return [{"split": s, "recipe": "short", "epochs": 2, "seconds": seconds} for s in ("test", "validation")]


BY_EPOCH = [{"split": "test", "epoch": e} for e in (0, 1, 2)]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path, "cifar10")


def rows(ledger: Ledger) -> dict[str, tuple]:
    return {row["experiment"]: tuple(row.values())[1:] for row in spent(ledger).to_dict("records")}


def test_runs_of_all_parts_and_seeds_are_added_up(ledger):
    for seed, seconds in ((0, 10.0), (0, 20.0), (1, 40.0)):
        record(ledger, "sweep", seconds, {"sweep": [{"rate": seconds}]}, seed=seed, device="a chip", threads=2)
    assert rows(ledger) == {"sweep": ("a chip", 2, 2, 70.0, False)}


def test_training_counts_once_where_it_was_timed_and_is_missed_where_it_was_not(ledger):
    here = {"device": "a chip", "threads": 2}
    record(ledger, "retraining-a", 5.0, {"retraining-a": BY_EPOCH, "final-retraining-a": trained(100.0)}, **here)
    record(ledger, "iterative-a", 5.0, {"iterative-a": BY_EPOCH}, **here)
    assert rows(ledger) == {
        "retraining-a": ("a chip", 2, 1, 105.0, False),
        "iterative-a": ("a chip", 2, 1, 5.0, True),
    }


def test_machines_are_told_apart_and_other_programs_left_out(ledger):
    record(ledger, "sweep", 10.0, {"sweep": [{"rate": 1}]}, device="a chip", threads=2)
    record(ledger, "sweep", 3.0, {"sweep": [{"rate": 2}]}, device="another", threads=8)
    with ledger.run("python benchmarks/sweeping.py") as run:
        ledger.add("other", [{"x": 1}], ["x"], run)
    table = spent(ledger)
    assert list(zip(table["device"], table["seconds"], strict=True)) == [("a chip", 10.0), ("another", 3.0)]


def test_nothing_was_run(ledger):
    assert list(spent(ledger)) == COLUMNS and spent(ledger).empty


def test_the_committed_baseline_includes_its_training():
    ledger = Ledger(setting="cifar10-short")
    took = spent(ledger).set_index("experiment")["seconds"]["baseline-vgg16"]
    lines = [json.loads(line) for line in (ledger.folder / "runs.jsonl").read_text().splitlines()]
    runs = sum(line["seconds"] for line in lines if "reproduce baseline-vgg16 " in line["command"])
    training = ledger.table("baseline-vgg16").query("split == 'test'")["seconds"].sum()
    assert took == pytest.approx(runs + training) and training > runs
