"""Every family of torchvision's classification networks is traced, agrees with the probe, and is cut exactly."""

import math
import random
from dataclasses import dataclass

import pandas as pd
import pytest
import torch
from probe import OUTPUT as REACHED
from probe import difference, masked, probe
from test_probe import TOLERANCE, units, weights
from torch import Tensor, nn
from zoo import FAMILIES, SMALLEST, UNTESTED, small, unlisted

import networks_table
import prunekit as pk
from networks import OUTPUT, build, images, measure, names, random_plan
from prunekit.plans import plan_by_hand
from prunekit.tracing import Graph

LARGE = ("VGG", "Wide ResNet", "ViT", "Inception v3")
# What of a network cannot go, apart from the layers that make its output: (share of the filters, reason).
FROZEN = {
    "ShuffleNet v2": (0.15, "all filters of this layer go together, and nothing would be left"),
    "ConvNeXt": (0.23, "mixes maps"),
    "ViT": (0.21, "add"),
    "Swin": (0.25, "mixes maps"),
}


@dataclass
class Traced:
    family: str
    model: nn.Module
    x: Tensor
    graph: Graph


@pytest.fixture(scope="module", params=SMALLEST)
def net(request: pytest.FixtureRequest) -> Traced:
    """The smallest network of a family; pytest runs all tests of one before it comes to the next."""
    model, example, x = small(request.param)
    return Traced(request.param, model, x, pk.trace(model, example))


def frozen(graph: Graph) -> list[str]:
    """The reason of each filter that cannot go, but for those of the network's output."""
    reasons = (graph.reasons.get(color, OUTPUT) for colors in graph.layers.values() for color in colors)
    return [reason for reason in reasons if reason != OUTPUT]


def test_every_network_of_torchvision_is_of_a_family():
    assert unlisted() == []
    for family, (name, _, _) in SMALLEST.items():
        assert name.startswith(FAMILIES[family]) and name in names()
    assert set(FAMILIES) == set(SMALLEST)
    assert set(UNTESTED) <= set(names())


def test_all_filters_but_the_last_can_go(net: Traced):
    reasons, filters = frozen(net.graph), sum(map(len, net.graph.layers.values()))
    share, expected = FROZEN.get(net.family, (0.0, OUTPUT))
    assert len(reasons) / filters == pytest.approx(share, abs=0.005)  # of all filters
    assert all(expected in reason for reason in reasons)


def test_single_units(net: Traced):
    """Units drawn at random arrive where the probe says, and go exactly."""
    model, x, graph = net.model, net.x, net.graph
    chance = random.Random(0)
    names_of, members = weights(graph), {}
    for giver, unit in units(graph).items():
        members.setdefault(unit, []).append(giver)
    free = [unit for unit in members if unit not in graph.reasons]
    several = [unit for unit in free if len(members[unit]) > 1]
    for unit in (chance.choice(some) for some in (free, several) if some):
        wanted: dict[str, list[int]] = {}
        for weight, index in members[unit]:
            wanted.setdefault(weight, []).append(index)
        found = probe(model, [x], wanted)
        places = set().union(*(found.places[giver] for giver in members[unit]))
        assert REACHED not in places
        readers = {  # those without groups, whose weights have a column for each channel
            axis.tensor: axis.colors
            for axis in graph.axes.values()
            if axis.role == "reads" and len(axis.colors) == found.readers.get(axis.tensor)
        }
        reads = {(weight, i) for weight, colors in readers.items() for i, color in enumerate(colors) if color == unit}
        assert reads == {(weight, i) for weight, i in places if weight in readers}
        layer = next(layer for layer, weight in names_of.items() if weight == members[unit][0][0])
        plan = plan_by_hand(graph, {layer: [i for weight, i in members[unit] if weight == names_of[layer]]})
        with torch.inference_mode():
            assert difference(pk.prune(model, plan)(x), masked(model, [x], found, members[unit])) < TOLERANCE


def test_random_plan(net: Traced):
    """A third of nearly every layer goes, and what is left computes what the masked network computes."""
    plan = random_plan(net.graph, 1 / 3)
    small, full = pk.prune(net.model, plan), pk.mask(net.model, plan)
    with torch.inference_mode():
        wanted = full(net.x)
        assert difference(small(net.x), wanted) < TOLERANCE
        assert difference(wanted, net.model(net.x)) > 1e-3


def test_greedy_plan(net: Traced):
    if net.family in LARGE:
        pytest.skip("takes seconds, and the ResNet and others have the same parts")
    graph = net.graph
    alone = [n for n, colors in graph.layers.items() if not graph.tied(n) and graph.reasons.keys().isdisjoint(colors)]
    plan = pk.plan(graph, dict.fromkeys(alone, 0.5), strategy="greedy")
    with torch.inference_mode():
        assert difference(pk.prune(net.model, plan)(net.x), pk.mask(net.model, plan)(net.x)) < TOLERANCE


def test_auxiliary_heads_in_train_mode(net: Traced):
    """In train mode these networks have more outputs; filters of their heads can go, and all outputs stay exact."""
    if net.family not in ("GoogLeNet", "Inception v3"):
        pytest.skip("has no auxiliary heads")
    plan = random_plan(net.graph, 1 / 3)
    assert any("aux" in layer.lower() for layer in plan.kept)
    small, full = pk.prune(net.model, plan).train(), pk.mask(net.model, plan).train()
    for module in (*small.modules(), *full.modules()):
        if isinstance(module, nn.Dropout):
            module.p = 0.0  # draws as many numbers as there are features, which are fewer after a cut
    x = images(net.graph.inputs[0].shape[-1], count=2)
    with torch.no_grad():
        got, wanted = small(x), full(x)
    assert len(wanted) > 1
    assert difference(got, wanted) < TOLERANCE


# The table in the book


def test_a_network_is_measured():
    row = measure("a", build("shufflenet_v2_x0_5"), 64)
    assert row["error"] < TOLERANCE
    assert 0 < row["removed"] <= row["rate"] * row["filters"] < row["removable"] < row["filters"]
    assert row["trace"] > 0 and row["prune"] > 0
    assert row["reason"] == FROZEN["ShuffleNet v2"][1]


def test_a_refused_network_is_a_row_with_its_reason():
    class Stopping(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    row = measure("refused", Stopping(), 8)
    assert "Control flow must not depend on values" in row["reason"]
    assert row["filters"] == row["removed"] == 0 and math.isnan(row["error"])


def test_the_book_shows_the_rows():
    measured = {"network": "a", "image": 224, "rate": 0.3, "convs": 2, "layers": 3, "filters": 3000, "removable": 2999}
    measured |= {"removed": 900, "error": 1.5e-15, "trace": 0.123, "prune": 1.5, "reason": "", "run": "1"}
    refused = measured | {"network": "A", "filters": 0, "removable": 0, "removed": 0, "reason": "because"}
    refused |= dict.fromkeys(("error", "trace", "prune"), math.nan)
    shown = networks_table.rows(pd.DataFrame([refused, measured])).to_numpy().tolist()
    assert shown == [
        ["a", 224, 2, "3,000", "99.9%", "30.0%", "1.5e-15", "0.12", "1.50", ""],
        ["A", 224, 2, "", "", "", "", "", "", "because"],
    ]
