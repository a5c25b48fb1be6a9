"""The probe sees what it should, and agrees with the traced units on every test network and on random ones."""

import random
from collections.abc import Callable

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from judge import complaints
from odd_nets import ALL, DRAWN, ODD, conv, made
from probe import OUTPUT, Found, Place, apart, difference, masked, probe
from random_nets import Recipe, example, recipes
from torch import Tensor, nn
from torch.nn import functional as F

import prunekit as pk
from prunekit.plans import plan_by_hand
from prunekit.tracing import Graph

TOLERANCE = 1e-10
# What freezes a filter although poison does not show it: the judge takes these reasons as given.
EXCUSED = {
    "takes a fixed part of the maps": "which maps a slice takes would change with a cut",
    "combines it with a tensor of the network's own": "the probe does not know whether that tensor could be cut",
    "pads a fixed number of maps": "how many is written into the forward",
    "what it is divided into has to stay of one size": "a part of the same size would have to lose a frozen filter",
    "it comes from new_zeros": "a constant that the forward makes, which the probe does not poison",
}
RANDOM = settings(
    max_examples=60, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)


def weights(graph: Graph) -> dict[str, str]:
    """The name of each layer's weight."""
    return getattr(graph, "weights", {layer: f"{layer}.weight" for layer in graph.layers})


def units(graph: Graph) -> dict[Place, int]:
    """The unit of each filter, by the name of its layer's weight and its index."""
    names = weights(graph)
    return {(names[layer], i): color for layer, colors in graph.layers.items() for i, color in enumerate(colors)}


def misread(graph: Graph, found: Found) -> list[str]:
    """Weights whose inputs, by the traced graph, do not get what the probe saw arrive there."""
    arrives: dict[Place, set[int]] = {}
    for giver, unit in units(graph).items():
        if unit not in graph.reasons:
            for place in found.places[giver]:
                arrives.setdefault(place, set()).add(unit)
    wrong = []
    for axis in graph.axes.values():
        if axis.role == "reads" and len(axis.colors) == found.readers.get(axis.tensor):
            for i, color in enumerate(axis.colors):
                wanted = arrives.get((axis.tensor, i), set())
                if wanted != ({color} - set(graph.reasons) - {0}):
                    wrong.append(f"{axis.tensor}, input {i}")
    return wrong


def drawn(graph: Graph, seed: int) -> set[int]:
    """Units drawn at random from anywhere, but something of each tensor stays."""
    chance = random.Random(seed)
    share = chance.random()
    gone: set[int] = set()
    for unit in sorted(set(units(graph).values()) - set(graph.reasons)):
        if chance.random() < share and all(graph.kept(gone | {unit}).values()):
            gone.add(unit)
    return gone


def inexactness(model: nn.Module, inputs: list[Tensor], graph: Graph, found: Found, gone: set[int]) -> float:
    """The largest difference, in both modes, between the pruned network, the masked one, and what the contract says."""
    removed = {
        layer: [i for i, color in enumerate(colors) if color in gone]
        for layer, colors in graph.layers.items()
        if not gone.isdisjoint(colors)
    }
    plan = plan_by_hand(graph, removed)
    small, full = pk.prune(model, plan), pk.mask(model, plan)
    dead = [giver for giver, unit in units(graph).items() if unit in gone]
    worst = 0.0
    with torch.no_grad():
        for training in (False, True):
            for net in (model, small, full):
                net.train(training)
            wanted = masked(model, inputs, found, dead)
            worst = max(worst, *(difference(net(*inputs), wanted) for net in (small, full)))
    model.eval()
    return worst


@pytest.mark.parametrize("name", ALL | DRAWN)
def test_probe_and_trace_agree(name: str):
    model, inputs = made(name)
    graph, found = pk.trace(model, *inputs), probe(model, inputs)
    assert complaints(found, units(graph), graph.reasons, EXCUSED) == []
    assert misread(graph, found) == []


@RANDOM
@given(recipe=recipes, seed=st.integers(0, 2**31))
def test_random_networks(recipe: Recipe, seed: int):
    model, inputs = example(recipe, seed)
    graph, found = pk.trace(model, *inputs), probe(model, inputs)
    assert complaints(found, units(graph), graph.reasons, EXCUSED) == []
    assert misread(graph, found) == []
    assert inexactness(model, inputs, graph, found, drawn(graph, seed)) < TOLERANCE


# The probe by itself


class Small(nn.Module):
    """Two convs, whatever is between them, and a linear layer."""

    def __init__(self, between: Callable[[Tensor], Tensor], reads: int = 4):
        super().__init__()
        self.a, self.b, self.fc = conv(3, 4), conv(reads, 3), nn.Linear(3, 2)
        self.between = between

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.b(self.between(self.a(x))).mean((2, 3)))


def arrivals(between: Callable[[Tensor], Tensor], reads: int = 4) -> list[set[int]]:
    """At which inputs of the second conv each filter of the first arrives."""
    found = probe(Small(between, reads).eval(), [torch.randn(1, 3, 8, 8)])
    assert found.places["fc.weight", 0] == {OUTPUT}
    assert {weight for i in range(4) for weight, _ in found.places["a.weight", i]} == {"b.weight"}
    return [{index for _, index in found.places["a.weight", i]} for i in range(4)]


ACTIVATIONS = (
    nn.ReLU(), nn.ReLU6(), nn.LeakyReLU(), nn.ELU(), nn.SELU(), nn.GELU(), nn.SiLU(), nn.Hardswish(), nn.Hardsigmoid(),
    nn.Sigmoid(), nn.Softplus(), nn.Mish(), nn.Hardtanh(), nn.Softsign(), nn.Tanh(), nn.MaxPool2d(2), nn.AvgPool2d(2),
    nn.AdaptiveAvgPool2d(3), nn.AdaptiveMaxPool2d(3), nn.Upsample(scale_factor=2),
)  # fmt: skip


@pytest.mark.parametrize("operation", ACTIVATIONS, ids=lambda f: type(f).__name__)
def test_poison_survives(operation: nn.Module):
    assert arrivals(operation) == [{0}, {1}, {2}, {3}]


BETWEEN: dict[str, tuple[Callable[[Tensor], Tensor], int, list[set[int]]]] = {
    "zero weights do not hide it": (lambda x: x * 0, 4, [{0}, {1}, {2}, {3}]),
    "side by side twice": (lambda x: torch.cat([x, x], 1), 8, [{0, 4}, {1, 5}, {2, 6}, {3, 7}]),
    "reversed": (lambda x: x.flip(1), 4, [{3}, {2}, {1}, {0}]),
    "a part": (lambda x: x[:, 1:3], 2, [set(), {0}, {1}, set()]),
    "halves added": (lambda x: torch.add(*x.chunk(2, 1)), 2, [{0}, {1}, {0}, {1}]),
    "padded": (lambda x: F.pad(x, (0, 0, 0, 0, 1, 0)), 5, [{1}, {2}, {3}, {4}]),
    "mixed": (lambda x: torch.softmax(x, 1), 4, [{0, 1, 2, 3}] * 4),
    "averaged": (lambda x: x.mean(1, keepdim=True), 1, [{0}] * 4),
    "normalized in groups": (lambda x: F.group_norm(x, 2), 4, [{0, 1}, {0, 1}, {2, 3}, {2, 3}]),
}


@pytest.mark.parametrize("between, reads, expected", BETWEEN.values(), ids=BETWEEN)
def test_where_filters_arrive(between: Callable[[Tensor], Tensor], reads: int, expected: list[set[int]]):
    if expected[0]:
        assert arrivals(between, reads) == expected
    else:
        found = probe(Small(between, reads).eval(), [torch.randn(1, 3, 8, 8)])
        assert [{index for _, index in found.places["a.weight", i]} for i in range(4)] == expected


def test_norms_and_depthwise_convs_hand_on_and_are_noted():
    found = probe(*made("depthwise"))
    assert found.places["b.weight", 3] == {
        ("dw2.weight", 3), ("bn2.weight", 6), ("bn2.weight", 7), ("c.weight", 6), ("c.weight", 7)
    }  # fmt: skip
    assert not any(weight.startswith("dw") for weight, _ in found.places)


def test_a_gate_is_spread():
    found = probe(*made("gated"))
    assert found.spread == {("gate.weight", 0)}
    assert found.places["gate.weight", 0] == {("b.weight", i) for i in range(6)}


def test_inputs_arrive_too():
    found = probe(*made("two inputs"))
    assert found.inputs == {("input 0", 0), ("input 0", 1), ("input 0", 2), ("input 1", 0)}
    assert found.places["input 1", 0] == {("b.weight", 0), OUTPUT}


@pytest.mark.parametrize("name", ODD)
def test_one_filter_in_each_image_or_one_at_a_time(name: str, monkeypatch: pytest.MonkeyPatch):
    """Where the images of a batch are kept apart, several filters are probed in one run: the same is found."""
    model, inputs = made(name)
    together = probe(model, inputs)
    monkeypatch.setattr("probe.apart", lambda *_: False)
    alone = probe(model, inputs)
    assert (together.places, together.spread) == (alone.places, alone.spread)


def test_a_batch_that_is_mixed_is_seen():
    for name, expected in (("stacked", False), ("doubled", True)):
        model, inputs = made(name)
        assert apart(model, [x[:1] for x in inputs]) == expected


# The judge by itself: it must find each kind of mistake


def judged(name: str, change: Callable[[dict[Place, int], dict[int, str]], None]) -> list[str]:
    model, inputs = made(name)
    graph = pk.trace(model, *inputs)
    partition, frozen = units(graph), dict(graph.reasons)
    assert complaints(probe(model, inputs), partition, frozen, EXCUSED) == []
    change(partition, frozen)
    return complaints(probe(model, inputs), partition, frozen, EXCUSED)


def test_a_missing_tie_is_found():
    def cut(partition, frozen):
        partition["layer1.0.conv2.weight", 1] = 10**6

    assert "are not one unit" in judged("resnet20 projection", cut)[0]


def test_a_tie_too_many_is_found():
    def tie(partition, frozen):
        partition["features.0.weight", 1] = partition["features.0.weight", 0]

    assert "though not all of them meet" in judged("vgg16", tie)[0]


def test_an_output_that_is_not_frozen_is_found():
    def free(partition, frozen):
        del frozen[partition["fc.weight", 0]]

    assert "reaches the output" in judged("viewed", free)[0]


def test_mixed_maps_that_are_not_frozen_are_found():
    def free(partition, frozen):
        del frozen[partition["a.weight", 0]]

    assert "are not one unit" in judged("averaged", free)[0]


def test_a_gate_that_is_not_frozen_is_found():
    def free(partition, frozen):
        del frozen[partition["gate.weight", 0]]

    assert "are not one unit" in judged("gated", free)[0]


@pytest.mark.parametrize(
    "name, weight", [("gated", "a.weight"), ("vgg16", "features.0.weight"), ("stacked", "c.weight")]
)
def test_frozen_without_a_cause_is_found(name: str, weight: str):
    def freeze(partition, frozen):
        frozen[partition[weight, 1]] = "it is Tuesday"

    assert "without a cause: it is Tuesday" in judged(name, freeze)[0]


def test_a_wrong_reader_is_found():
    model, inputs = made("vgg16")
    graph, found = pk.trace(model, *inputs), probe(model, inputs)
    a, b = ("features.0.weight", 0), ("features.0.weight", 1)
    found.places[a], found.places[b] = found.places[b], found.places[a]
    assert misread(graph, found) == ["features.3.weight, input 0", "features.3.weight, input 1"]


def test_a_cut_that_is_not_exact_is_found():
    model, inputs = made("vgg16")
    graph, found = pk.trace(model, *inputs), probe(model, inputs)
    gone = {graph.layers["features.0"][0]}
    assert inexactness(model, inputs, graph, found, gone) < TOLERANCE
    found.places["features.0.weight", 0] = found.places["features.0.weight", 1]
    assert inexactness(model, inputs, graph, found, gone) > 1e-3
