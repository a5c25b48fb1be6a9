"""Figures 3, 6 and 7: the book's tables follow from the rows of the ledger."""

from pathlib import Path

import pandas as pd
import pytest

from prunekit.intervals import difference
from prunekit.ledger import Ledger
from prunekit.paper import shortcuts, strategies
from prunekit.paper.shortcut_experiments import FIRST, FIRSTS, SECOND, SHORTCUTS


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path, setting="cifar10")


def put(ledger: Ledger, name: str, rows: list[dict], **more) -> None:
    """Rows of two seeds on both splits; only those of seed 3 on test are to be shown."""
    all_rows = [
        row | {"seed": seed, "split": split, "total": 1_000, "correct": row["correct"] - off}
        for row in rows
        for seed, split, off in ((3, "test", 0), (3, "validation", 1), (4, "test", 2), (4, "validation", 3))
    ]  # fmt: skip
    with ledger.run(command="made up") as run:
        ledger.add(name, all_rows, [c for c in all_rows[0] if c not in ("correct", "total", "differing")], run)


def first(network: str, block: str, number: int) -> list[dict]:
    return [{"network": network, "layer": f"{block}.conv1", "number": number, "rate": 0.5, "correct": 900 + number}]


def test_first_convs_are_those_that_are_there_and_the_paper_s_are_marked(ledger):
    put(ledger, "sensitivity-resnet110", first("resnet110", "layer1.17", 36) + first("resnet110", "layer2.0", 38))
    assert set(shortcuts.first_convs(ledger)["network"]) == {"resnet110"}
    put(ledger, "sensitivity-resnet56", first("resnet56", "layer2.8", 36) + first("resnet56", "layer3.0", 38))
    found = shortcuts.first_convs(ledger)[["panel", "line", "marked", "correct"]].to_dict("split")["data"]
    assert found == [
        ["cifar10, resnet56\nstage 2", "layer 36", False, 936],
        ["cifar10, resnet56\nstage 3", "layer 38", True, 938],
        ["cifar10, resnet110\nstage 1", "layer 36", True, 936],
        ["cifar10, resnet110\nstage 2", "layer 38", True, 938],
    ]


def test_both_kinds_of_conv_stand_in_the_panel_of_their_stage(ledger):
    layers = [(SECOND, name) for name in SHORTCUTS.values()] + [(FIRSTS, f"layer{n}") for n in SHORTCUTS]
    rows = [
        {"network": "net", "part": part, "layer": layer, "rate": rate, "correct": int(900 - 100 * rate)}
        for rate in (0.9, 0.1)
        for part, layer in [(FIRST, "layer1.0.conv1"), *layers]
    ]
    put(ledger, "projections-resnet56", rows)
    table = shortcuts.by_kind(ledger)
    found = {name: sorted(zip(some["line"], some["rate"], strict=True)) for name, some in table.groupby("panel")}
    assert list(found) == [f"cifar10, net\nstage {n}" for n in (1, 2, 3)]
    assert all(lines == [(part, rate) for part in (FIRSTS, SECOND) for rate in (0.1, 0.9)] for lines in found.values())


def test_strategies_stand_side_by_side_before_and_after(ledger):
    before = [("independent", 0.5, 400), ("greedy", 0.5, 300), ("independent", 0.9, 100), ("greedy", 0.9, 150)]
    put(ledger, "greedy-vgg16", [
        {"network": "vgg16", "strategy": name, "rate": rate, "correct": correct, "differing": int(10 * rate)}
        for name, rate, correct in before
    ])  # fmt: skip
    put(ledger, "retrained-greedy-vgg16", [
        {"network": "vgg16", "strategy": name, "rate": 0.9, "epoch": epoch, "correct": 700 + 10 * epoch + 5 * place}
        for epoch in (0, 1, 2)
        for place, name in enumerate(("greedy", "independent"))
    ])  # fmt: skip
    rows = pd.concat([strategies.cut(ledger), strategies.retrained(ledger)])
    panels = ["cifar10, right after the cut", "cifar10, after 2 epochs of retraining"]
    assert list(dict.fromkeys(rows["panel"])) == panels and rows["marked"].all()
    table = strategies.beside(rows)
    table = table[table["seed"] == 3].drop(columns="seed")
    low, high = difference((720, 1_000), (725, 1_000))
    assert table.iloc[:, :5].to_numpy().tolist() == [
        [panels[0], 0.5, 5, 40.0, 30.0],
        [panels[0], 0.9, 9, 10.0, 15.0],
        [panels[1], 0.9, 9, 72.5, 72.0],
    ]
    assert table["points"].tolist() == pytest.approx([-10, 5, -0.5])
    assert table.iloc[2, -2:].tolist() == pytest.approx([100 * low, 100 * high])
