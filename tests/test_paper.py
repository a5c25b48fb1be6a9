"""The paper as data: every exact count, every printed cell, and the networks that its configurations build."""

import math

import pytest
import torch
from paper_counts import COUNTS, WITH_PROJECTIONS

from prunekit import nets
from prunekit.costs import total
from prunekit.errors import PrunekitError
from prunekit.paper import arithmetic
from prunekit.paper.configurations import CONFIGURATIONS, build, configuration, image, widths
from prunekit.paper.tables import TABLE1, TABLE2, TABLE3, UNSURE, Cell


@pytest.mark.parametrize("name", COUNTS)
def test_every_exact_count(name):
    assert arithmetic.counts(name) == COUNTS[name]


@pytest.mark.parametrize("name", COUNTS)
def test_every_exact_count_with_projections(name):
    assert arithmetic.counts(name, projections=True) == WITH_PROJECTIONS.get(name, COUNTS[name])


@pytest.mark.parametrize("name", ["vgg16-a", "resnet56-b", "resnet110-b", "resnet34-c"])
def test_a_network_that_is_really_cut_costs_what_its_plan_said(name):
    counted = total(build(name), image(configuration(name).network))
    assert (counted.macs, counted.weights) == WITH_PROJECTIONS.get(name, COUNTS[name])


def test_table1_comes_out_but_for_the_five_marked_cells():
    table = arithmetic.table1()
    assert len(table) == 2 * 4 + 4 * 8, "four unpruned networks, eight pruned ones"
    odd = table[table["steps"] != 0]
    assert odd["marked"].all() and table["marked"].sum() == len(odd) == 5
    assert set(odd["steps"]) <= {-1, 1}
    assert list(odd["model"] + " " + odd["quantity"]) == [
        "ResNet-56-B params pruned",
        "ResNet-110-B flop pruned",
        "ResNet-110-B params pruned",
        "ResNet-34-A params",
        "ResNet-34-C flop pruned",
    ]


def test_with_projections_the_printed_resnet34_would_not_come_out():
    flop = next(row.flop for row in TABLE1 if row.name == "resnet34")
    assert flop is not None and flop.steps(COUNTS["resnet34"][0]) == 0
    assert flop.steps(WITH_PROJECTIONS["resnet34"][0]) == 2


@pytest.mark.parametrize("number", range(len(TABLE2) + 1))
def test_every_cell_of_table2(number):
    row = arithmetic.table2().iloc[number]
    for quantity in ("flop", "params", "saved", "size", "maps", "kept"):
        printed, ours = row[f"printed_{quantity}"], row[f"ours_{quantity}"]
        assert (row["layer"] == "total" and quantity in ("size", "maps", "kept")) or printed == ours, quantity
    assert row["agrees"]


def test_a_wrong_digit_would_be_noticed(monkeypatch):
    wrong = list(TABLE2)
    wrong[3] = type(wrong[3])(**{**wrong[3].__dict__, "params": Cell("1.6e5")})
    monkeypatch.setattr(arithmetic, "TABLE2", wrong)
    assert list(arithmetic.table2()["agrees"]) == [n != 3 for n in range(16)]


@pytest.mark.parametrize(
    "text, value, steps, like",
    [
        ("3.13e8", 313_463_808, 0, "3.13e8"),
        ("1.5e7", 14_977_728, 0, "1.5e7"),
        ("1.99e7", 19_962_560, 1, "2.00e7"),
        ("9.9e7", 99_600_000, 1, "1.0e8"),
        ("34.2%", 0.34193, 0, "34.2%"),
        ("13.7%", 0.137733, 1, "13.8%"),
        ("7.5%", 0.0741, -1, "7.4%"),
        ("0%", 0.0, 0, "0%"),
        ("64.0%", 0.64012, 0, "64.0%"),
    ],
)
def test_a_cell_compares_at_its_own_precision(text, value, steps, like):
    assert (Cell(text).steps(value), Cell(text).like(value)) == (steps, like)


def test_the_tables_are_whole_and_say_what_is_unsure():
    assert len(TABLE1) == 15 and sum(row.scratch for row in TABLE1) == 3
    assert {row.name for row in TABLE1} == {*CONFIGURATIONS, "vgg16", "resnet56", "resnet110", "resnet34"}
    cells = [c for row in TABLE3 for c in (row.seconds, row.flop_saved, row.time_saved) if c is not None]
    assert all(cell.mark == UNSURE for cell in cells)
    seconds = {row.name: row.seconds.value for row in TABLE3}
    for row in TABLE3:
        if row.time_saved:
            base = seconds[configuration(row.name).network]
            assert row.time_saved.steps(1 - row.seconds.value / base) in (-1, 0, 1), row.title


WIDTHS = {
    "vgg16-a": {(64, 32), (512, 256)},
    "resnet56-a": {(16, 14), (32, 28), (64, 57)},
    "resnet56-b": {(16, 6), (32, 22), (64, 57)},
    "resnet110-a": {(16, 8)},
    "resnet110-b": {(16, 8), (32, 19), (64, 44)},
    "resnet34-a": {(64, 44), (128, 89), (256, 179)},
    "resnet34-b": {(64, 32), (128, 51), (256, 153)},
    "resnet34-c": set(),
}
LAYERS = {
    "vgg16-a": [1, 8, 9, 10, 11, 12, 13],
    "resnet56-a": [n for n in range(2, 55, 2) if n not in (16, 20, 38, 54)],
    "resnet56-b": [n for n in range(2, 55, 2) if n not in (16, 18, 20, 34, 38, 54)],
    "resnet110-a": [n for n in range(2, 37, 2) if n != 36],
    "resnet110-b": [n for n in range(2, 109, 2) if n not in (36, 38, 74)],
    "resnet34-a": [4, 6, 10, 12, 18, 20, 22, 24],
    "resnet34-b": [4, 6, 10, 12, 18, 20, 22, 24],
    "resnet34-c": [],
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_configurations_name_the_papers_layers_and_widths(name):
    found = widths(name)
    assert list(found) == LAYERS[name]
    assert set(found.values()) == WIDTHS[name]


def test_rates_follow_the_modules_names_and_refuse_another_network():
    rates = configuration("resnet56-b").rates(nets.resnet56())
    assert (rates["layer1.0.conv1"], rates["layer2.1.conv1"], rates["layer3.1.conv1"]) == (0.6, 0.3, 0.1)
    assert "layer1.7.conv1" not in rates, "layer 16 is skipped"
    assert configuration("resnet34-c").rates(nets.resnet34()) == {"layer3.0.downsample.0": 0.2}
    with pytest.raises(PrunekitError, match="ResNet-56-B prunes layer 22"):
        configuration("resnet56-b").rates(nets.resnet20())


def test_the_projection_configuration_cuts_the_stage_and_all_that_reads_it():
    model = build("resnet34-c")
    shapes = {name: tuple(p.shape[:2]) for name, p in model.named_parameters() if p.dim() == 4}
    assert shapes["layer3.0.downsample.0.weight"] == (204, 128)
    assert all(shapes[f"layer3.{block}.conv2.weight"] == (204, 256) for block in range(6))
    assert all(shapes[f"layer3.{block}.conv1.weight"] == (256, 204) for block in range(1, 6))
    assert shapes["layer4.0.conv1.weight"] == (512, 204) == shapes["layer4.0.downsample.0.weight"]


def test_a_built_configuration_is_fresh_and_runs():
    torch.manual_seed(0)
    first, second = build("resnet56-b", width=0.7), build("resnet56-b", width=0.7)
    assert first(torch.randn(2, 3, 32, 32)).shape == (2, 10)
    weight = first.get_parameter("layer2.3.conv2.weight")
    assert not torch.equal(weight, second.get_parameter("layer2.3.conv2.weight"))
    expected = math.sqrt(2 / (weight.shape[0] * 9))  # He's, over the fan-out of the pruned shape
    assert weight.std().item() == pytest.approx(expected, rel=0.1)
    assert build("vgg16", width=0.1).get_parameter("features.0.weight").shape[0] == 6


@pytest.mark.parametrize("ask", [build, configuration])
def test_an_unknown_name_gets_the_nearest(ask):
    with pytest.raises(PrunekitError, match=r"'resnet56-c'.*Did you mean 'resnet56-"):
        ask("resnet56-c")
