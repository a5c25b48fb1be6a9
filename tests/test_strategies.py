"""Figure 3 as tables: what has been retrained by one strategy only is left out, and the last epoch counts."""

from pathlib import Path

import pytest

from prunekit.intervals import difference
from prunekit.ledger import Ledger
from prunekit.paper import strategies

FRONT = {"network": "vgg16", "seed": 0, "total": 1_000}
KEY = ["network", "seed", "split", "strategy", "rate"]


def row(strategy: str, rate: float, correct: int, split: str = "test", **more) -> dict:
    return FRONT | {"split": split, "strategy": strategy, "rate": rate, "correct": correct} | more


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    ledger = Ledger(tmp_path, setting="cifar10")
    cut = [
        row(s, rate, 100, split, differing=int(10 * rate))
        for s in strategies.STRATEGIES
        for rate in (0.5, 0.9)
        for split in ("test", "validation")
    ]
    right = {("independent", 0.9): 700, ("greedy", 0.9): 720, ("independent", 0.5): 900}  # the other is not there yet
    epochs = [
        row(s, rate, correct if epoch == 2 else 100, split, epoch=epoch)
        for (s, rate), correct in right.items()
        for split in ("test", "validation")
        for epoch in (0, 1, 2)
    ]
    with ledger.run(command="made up") as run:
        ledger.add("greedy-vgg16", cut, KEY, run)
        ledger.add("retrained-greedy-vgg16", epochs, [*KEY, "epoch"], run)
    return ledger


def test_right_after_the_cut(ledger: Ledger):
    found = strategies.beside(strategies.cut(ledger))
    assert found["rate"].tolist() == [0.5, 0.9] and found["differ"].tolist() == [5, 9]
    assert (found["points"] == 0).all() and set(found["when"]) == {"cifar10, right after the cut"}


def test_after_retraining(ledger: Ledger):
    (found,) = strategies.beside(strategies.retrained(ledger)).to_dict("records")
    low, high = difference((720, 1_000), (700, 1_000))
    assert found == {
        "when": "cifar10, after 2 epochs of retraining",
        "seed": 0,
        "rate": 0.9,
        "differ": 9,
        "independent": 70.0,
        "greedy": 72.0,
        "points": pytest.approx(2.0),
        "low": 100 * low,
        "high": 100 * high,
    }
