"""What retraining regains: the book's tables follow from the rows of the ledger."""

from pathlib import Path

import pandas as pd
import pytest

from prunekit.ledger import Ledger
from prunekit.paper import recovery


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path, setting="cifar10")


def put(ledger: Ledger, name: str, rows: list[dict]) -> None:
    key = [c for c in ("network", "seed", "split", "number", "rate", "epoch") if c in rows[0]]
    with ledger.run(command="made up") as run:
        ledger.add(name, rows, key, run)


def rows(counts: dict[int, int], seed: int = 0, **more) -> list[dict]:
    """Counts by epoch on test, and others on validation that must not be looked at."""
    return [
        {"network": "net", "seed": seed, "split": split, "epoch": epoch, "correct": count, "total": 1_000} | more
        for epoch, right in counts.items()
        for split, count in (("test", right), ("validation", 7))
    ]


def whole(*correct: int) -> list[dict]:
    return [
        {"network": "net", "seed": seed, "split": "test", "correct": right, "total": 1_000}
        for seed, right in enumerate(correct)
    ]


def test_by_epoch_is_the_mean_over_seeds_beside_the_unpruned_networks(ledger):
    put(ledger, "baseline-vgg16", whole(940, 920))
    put(ledger, "retraining-vgg16-a", rows({0: 100, 1: 900}) + rows({0: 200, 1: 910}, seed=1))
    put(ledger, "retraining-vgg16-a", rows({0: 300, 1: 999}, seed=2))  # no baseline has this seed
    put(ledger, "retraining-resnet56-a", rows({0: 100, 1: 900}))  # its baseline is not there
    table = recovery.by_epoch(ledger)
    assert table["series"].tolist() == ["VGG-16-A"] * 2
    assert table["correct"].tolist() == [150, 905] and set(table["baseline_correct"]) == {930}


def test_speed_tells_the_first_epoch_that_is_close(ledger):
    put(ledger, "baseline-vgg16", whole(930))
    put(ledger, "baseline-resnet56", whole(930))
    put(ledger, "retraining-vgg16-a", rows({0: 100, 1: 900, 2: 919, 3: 920, 4: 915}))
    put(ledger, "retraining-resnet56-a", rows({0: 100, 1: 900, 2: 919}))
    fast, slow = recovery.speed(recovery.by_epoch(ledger)).to_dict("records")
    assert fast["network"] == "VGG-16-A" and fast["close"] == 3 and fast["epochs"] == 4
    assert [fast[c] for c in ("unpruned", "cut", "first", "last")] == pytest.approx([93, 10, 90, 91.5])
    assert slow["network"] == "ResNet-56-A" and pd.isna(slow["close"])


def test_each_layer_alone_before_and_after(ledger):
    put(ledger, "baseline-vgg16", whole(930, 10))
    cuts = {(1, 0.5): {0: 800, 1: 850, 2: 860}, (1, 0.9): {0: 100, 1: 200, 2: 150}}
    table = [
        row
        for (number, rate), counts in cuts.items()
        for seed in (0, 1)
        for row in rows(counts if seed == 0 else {0: 1}, seed, number=number, rate=rate, filters=64, kept=6)
    ]
    put(ledger, "retrained-sensitivity-vgg16", table[::-1])
    found = recovery.alone(ledger)
    assert found["rate"].tolist() == [0.5, 0.9] and set(found["baseline_correct"]) == {930}
    assert found["before"].tolist() == [800, 100] and found["after"].tolist() == [860, 150]


def test_one_shot_stands_beside_layer_by_layer(ledger):
    put(ledger, "retraining-vgg16-a", rows({0: 10, 1: 990, 2: 920}) + rows({0: 10, 1: 900}, seed=1))
    put(ledger, "iterative-vgg16-a", rows({1: 10, 5: 930, 4: 999}))
    (row,) = recovery.one_shot_beside(ledger).to_dict("records")
    assert (row["network"], row["seed"], row["one_shot_epochs"], row["iterative_epochs"]) == ("VGG-16-A", 0, 2, 5)
    assert (row["one_shot"], row["iterative"], row["difference"]) == pytest.approx((92, 93, -1))
    assert row["low"] < -1 < row["high"]


def test_without_training_each_layer_alone_and_all_together(ledger):
    def put_noted(name: str, **what) -> None:
        key = ["network", "seed", "split", *what]
        with ledger.run(command="made up") as run:
            for seed, split, more in ((0, "test", 0), (0, "validation", 1), (1, "test", 2)):
                counts = {"correct": 100 + more, "noted": 800 + more, "total": 1_000}
                ledger.add(name, [{"network": "net", "seed": seed, "split": split} | what | counts], key, run)

    for rate in (0.0, 0.5):
        for strategy in ("independent", "greedy"):
            put_noted("noted-vgg16", strategy=strategy, rate=rate)
    put_noted("alone-noted-vgg16", layer="features.3", number=2, rate=0.9)
    (row,) = recovery.alone_noted(ledger).to_dict("records")
    assert row == {"number": 2, "rate": 0.9, "before": 100, "after": 800, "total": 1_000, "baseline_correct": 100}
    table = recovery.together_noted(ledger)
    assert len(table) == 8 and table["marked"].all()
    found = table.groupby(["panel", "line"])[["rate", "correct"]].agg(list).T.to_dict()
    for panel in ("independent", "greedy"):
        assert found[panel, "as cut"] == {"rate": [0.0, 0.5], "correct": [100, 100]}
        assert found[panel, "statistics noted again"] == {"rate": [0.0, 0.5], "correct": [800, 800]}
