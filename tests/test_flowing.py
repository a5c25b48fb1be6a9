"""The course of a filter's paint, beside what tracing found in the end and beside what the probe sees."""

import re

import pytest
import torch
from odd_nets import ALL, DRAWN, Around, made
from probe import probe
from torch import nn

import prunekit as pk
from prunekit.errors import PlanError
from prunekit.flowing import COLUMNS, flow, slice_of
from prunekit.tracing import Graph

Slices = set[tuple[str, int, int]]  # tensor, dimension, index


def traced(name: str) -> Graph:
    model, inputs = made(name)
    return pk.trace(model, *inputs)


def parsed(text: str) -> Slices:
    """What a slice such as "fc.weight[:, 4:8]" takes."""
    found = re.fullmatch(r"(.+?)\[((?::, )*)(?:(\d+)|(\d+):(\d+)|\[([\d, ]+)\])\]", text)
    assert found is not None, text
    tensor, before, one, start, stop, several = found.groups()
    indices = [int(one)] if one else range(int(start), int(stop)) if stop else map(int, several.split(", "))
    return {(tensor, len(before) // 3, i) for i in indices}


def of_unit(graph: Graph, color: int) -> Slices:
    return {(a.tensor, a.dim, i) for a in graph.axes.values() for i, c in enumerate(a.colors) if c == color}


@pytest.mark.parametrize("name", [*ALL, *list(DRAWN)[:8]])
def test_the_steps_take_what_the_unit_has(name: str):
    graph = traced(name)
    eager = {node.target for node in graph.nodes.nodes}
    for layer, colors in list(graph.layers.items())[:3]:
        if graph.training is not None and layer not in eager:
            with pytest.raises(PlanError, match="no maps in eval mode"):
                flow(graph, layer, 0)
            continue
        for index in {0, len(colors) - 1}:
            table = flow(graph, layer, index)
            assert list(table.columns) == COLUMNS
            goes = {s for texts in table["goes"] for text in texts for s in parsed(text)}
            expected = of_unit(graph, colors[index])
            assert goes <= expected if graph.training is not None else goes == expected
            for number, row in enumerate(table.to_dict("records")):
                assert len(row["painted"]) == len(row["paints"]) > 0
                assert set(row["painted"]) <= set(range(row["channels"]))
                assert set(row["sources"]) <= set(range(number))
                assert row["sources"] or row["happens"] not in ("reads", "passes", "moves", "divides")
                assert not row["reason"] or colors[index] in graph.reasons


@pytest.mark.parametrize("name", [name for name in ALL if name != "auxiliary" and name[:6] not in ("vgg16", "resnet")])
def test_paint_is_read_where_poison_arrives(name: str):
    model, inputs = made(name)
    graph = pk.trace(model, *inputs)
    reading = {axis.tensor for axis in graph.axes.values() if axis.role == "reads"}  # others lose whole groups
    layers = list(graph.layers.items())[:3]
    found = probe(model, inputs)
    for layer, colors in layers:
        for color in {colors[0], colors[-1]} - graph.reasons.keys():
            table = flow(graph, layer, colors.index(color))
            reads = table[table["happens"] == "reads"]
            rows = zip(reads["goes"], reads["painted"], strict=True)
            ours = {(goes[0].partition("[")[0], place) for goes, painted in rows for place in painted}
            givers = [(graph.weights[name], index) for name, index in graph.givers[color]]
            poisoned = {place for giver in givers for place in found.places[giver] if place[0] in reading}
            assert ours == poisoned


def test_step_by_step():
    table = flow(pk.trace(Around(), torch.zeros(1, 3, 2, 2)), "a", 2)
    assert list(table["operation"]) == ["a", "bn", "relu", "b", "b", "add", "flatten", "fc"]
    assert list(table["happens"]) == ["gives", "carries", "passes", "reads", "gives", "joins", "moves", "reads"]
    assert list(table["kind"])[:4] == ["Conv2d", "BatchNorm2d", "function", "Conv2d"]
    assert list(table["shape"])[:6] == [(4, 2, 2)] * 6 and table["shape"][7] == (16,)
    assert list(table["painted"]) == [(2,)] * 6 + [(8, 9, 10, 11)] * 2
    assert list(table["channels"]) == [4] * 6 + [16] * 2
    assert table["paints"][2] == (("a[2]",),) and table["paints"][4] == (("b[2]",),)
    assert table["paints"][5] == (("a[2]", "b[2]"),) and table["paints"][7] == (("a[2]", "b[2]"),) * 4
    assert table["goes"][1] == ("bn.weight[2]", "bn.bias[2]", "bn.running_mean[2]", "bn.running_var[2]")
    assert [table["goes"][i] for i in (3, 4, 7)] == [("b.weight[:, 2]",), ("b.weight[2]", "b.bias[2]"),
                                                     ("fc.weight[:, 8:12]",)]  # fmt: skip
    assert [set(sources) for sources in table["sources"]] == [set(), {0}, {1}, {2}, set(), {2, 4}, {5}, {6}]
    assert flow(pk.trace(Around(), torch.zeros(1, 3, 2, 2)), "b", 2).equals(table)  # one unit, one course


def test_what_freezes_says_why():
    table = flow(pk.trace(Around(), torch.zeros(1, 3, 2, 2)), "fc", 1)
    assert list(table["happens"]) == ["gives", "freezes"] and list(table["operation"]) == ["fc", "output"]
    assert table["reason"][1] == "it reaches the network's output" and table["painted"][1] == (1,)


def test_a_depthwise_conv_carries_and_an_unknown_operation_freezes():
    depthwise = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 2, 1))
    table = flow(pk.trace(depthwise, torch.zeros(1, 3, 4, 4)), "0", 1)
    assert list(table["happens"]) == ["gives", "carries", "reads"] and table["goes"][1] == ("1.weight[1]", "1.bias[1]")
    unknown = nn.Sequential(nn.Conv2d(3, 4, 1), nn.LocalResponseNorm(2), nn.Conv2d(4, 2, 1))
    table = flow(pk.trace(unknown, torch.zeros(1, 3, 4, 4)), "0", 1)
    assert list(table["happens"]) == ["gives", "freezes"] and "prunekit does not know" in table["reason"][1]


def test_parts_of_one_size_divide():
    table = flow(traced("chunked"), "a", 0)
    assert "divides" in set(table["happens"])


def test_maps_that_are_padded_on_and_go_along_are_told():
    graph = traced("resnet20 pad")
    new = set(graph.layers["layer2.0.conv2"]) - set(graph.layers["conv1"])  # the first stage does not have as many
    color = min(new)
    table = flow(graph, "layer2.0.conv2", graph.layers["layer2.0.conv2"].index(color))
    assert list(table["happens"])[:4] == ["gives", "carries", "pads", "joins"]
    assert table["paints"][2] == ((),) and table["painted"][2] == table["painted"][0]
    assert table["sources"][2] == () and set(table["sources"][3]) == {1, 2}


def test_the_network_is_not_touched():
    model = Around().train()
    graph = pk.trace(model, torch.zeros(1, 3, 2, 2))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    flow(graph, "a", 0)
    assert model.training and all(module.training for module in model.modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())


def test_filters_that_are_not_there():
    graph = pk.trace(Around(), torch.zeros(1, 3, 2, 2))
    with pytest.raises(PlanError, match="no layer 'c'"):
        flow(graph, "c", 0)
    for index in (4, -1):
        with pytest.raises(PlanError, match=f"filters 0 to 3; there is no filter {index}"):
            flow(graph, "a", index)


def test_slices_are_written_as_python_writes_them():
    assert slice_of("a.weight", 0, [3]) == "a.weight[3]"
    assert slice_of("fc.weight", 1, [4, 5, 6]) == "fc.weight[:, 4:7]"
    assert slice_of("fc.weight", 1, [1, 4]) == "fc.weight[:, [1, 4]]"
    assert parsed("fc.weight[:, [1, 4]]") == {("fc.weight", 1, 1), ("fc.weight", 1, 4)}
