"""Dye tracing finds what belongs to each filter, says why the rest cannot go, and changes nothing."""

import copy
import math
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from odd_nets import ALL, DIVIDED, DRAWN, ODD, PAPER, Depthwise, Tied, Viewed, conv, depthwise, made, probe
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel
from users_nets import USERS

import prunekit as pk
from prunekit.errors import PlanError, TraceError
from prunekit.tracing import Graph

FREE = {
    "vgg16": [f"features.{i}" for i in (0, 3, 7, 10, 14, 17, 20, 24, 27, 30, 34, 37, 40)],
    "resnet20 pad": [f"layer{s}.{b}.conv1" for s in (1, 2, 3) for b in (0, 1, 2)],
    "resnet20 projection": [f"layer{s}.{b}.conv1" for s in (1, 2, 3) for b in (0, 1, 2)],
    "gray": ["a", "b"],
    "viewed": ["a"],
    "reshaped": ["a"],
    "concatenated": ["a", "b", "c"],
    "sliced": ["b"],
    "depthwise": ["a", "b", "c"],
    "grouped": ["c"],
    "shared": ["b"],
    "tied": ["a", "c"],
    "attended": ["squeeze", "b"],
    "gated": ["a", "b"],
    "averaged": ["b"],
    "normalized": [],
    "permuted": ["a"],
    "scaled": ["a", "b"],
    "doubled": ["c"],
    "stacked": ["c"],
    "pre-activation": ["side", "a"],
    "weighted": ["c", "d"],
    "padded product": ["e"],
    "two inputs": ["c"],
    "signal": ["a", "b"],
    "volume": ["a", "b"],
    "padded normed": ["c"],
    "padded fixed": ["c"],
    "doubled by zero": ["c"],
    "subclassed": ["a", "b"],
    "group counts": ["c", "d", "e"],
    "transposed": ["a", "up", "b"],
    "functional": ["first", "second", "up"],
    "group normed": ["a", "b"],
    "instance normed": ["a", "b"],
    "chunked": ["a", "b", "c"],
    "thirds": ["a", "b"],
    "gated halves": ["a", "b", "c"],
    "gated otherwise": ["a", "b", "c", "d"],
    "shuffled": ["inner.0", "inner.1"],
    "pixel shuffled": ["a"],
    "auxiliary": ["a", "b"],
    "scales": ["a"],
    "selected": ["c"],
    "added in place": ["before", "c"],
    "scaled in place": ["c"],
    "halves in place": ["c"],
    "pixels in place": ["a", "c"],
    "maps in place": ["c"],
    "u-net": ["down.0", "middle", "up", "out"],
    "pyramid": ["down.0", "down.1", "down.2"],
    "cell": [],
    "attention block": ["b"],
    "attention along": ["b"],
    "maxout": ["a", "b", "c"],
    "coordinates": ["a", "b"],
    "attending": ["value", "b"],
    "optional": [],
    "mixer": [],
}
UNITS = {  # of how many filters each
    ("grouped", "a"): [2, 2],
    ("grouped", "b"): [3, 3],
    ("group counts", "a"): [4, 4],
    ("group counts", "b"): [6, 6],
    ("group counts", "c"): [2] * 6,
    ("group counts", "d"): [2] * 3,
    ("functional", "first"): [2] * 3,
    ("functional", "second"): [2, 2],
    ("group normed", "a"): [2] * 3,
    ("chunked", "a"): [2] * 3,
    ("thirds", "a"): [3, 3],
    ("gated halves", "a"): [2] * 3,
    ("gated halves", "b"): [2] * 4,
    ("gated halves", "c"): [2] * 3,
    ("gated otherwise", "a"): [2] * 3,
    ("gated otherwise", "b"): [2] * 4,
    ("gated otherwise", "c"): [2] * 3,
    ("gated otherwise", "d"): [2] * 4,
    ("shuffled", "a"): [4, 4],
    ("shuffled", "outer.0"): [2, 2],
    ("shuffled", "outer.1"): [2, 2],
    ("pixel shuffled", "a"): [4, 4],
    ("selected", "weigh"): [2] * 6,
    ("halves in place", "a"): [2] * 3,
    ("halves in place", "b"): [2] * 3,
    ("cell", "gates"): [3] * 4,
    ("maxout", "a"): [2] * 4,
    ("maxout", "b"): [2] * 3,
}
FROZEN = {
    ("sliced", "a"): "takes a fixed part of the maps",
    ("gated", "gate"): "spreads it over several maps",
    ("averaged", "a"): "mean mixes maps",
    ("normalized", "a"): "norm mixes maps",
    ("weighted", "a"): "softmax mixes maps",
    ("weighted", "b"): "softmax mixes maps",
    ("padded fixed", "b"): "pad pads a fixed number of maps",
    ("group normed", "c"): "whole normalizes over several maps",
    ("pixel shuffled", "b"): "all filters of this layer go together",
    ("scaled in place", "gate"): "imul spreads it over several maps",
    ("maps in place", "a"): "setitem takes a fixed part of the maps",
    ("maps in place", "b"): "setitem takes a fixed part of the maps",  # which one layer reads as well
    ("attention block", "a"): "max mixes maps",
    ("attention block", "inner.3"): "max mixes maps",
    ("attention block", "pixels"): "mul spreads it over several maps",
    ("attention along", "a"): "expand_as spreads one map over several",
    ("attention along", "along"): "expand_as spreads one map over several",
    ("attending", "query"): "bmm mixes maps",
    ("attending", "key"): "bmm mixes maps",
    ("mixer", "patches"): "all filters of this layer go together",
    ("mixer", "across.2"): "all filters of this layer go together",
    ("mixer", "within.2"): "norm mixes maps",
}


def traced(name: str) -> tuple[nn.Module, list[Tensor], Graph]:
    model, inputs = made(name)
    return model, inputs, pk.trace(model, *(x[:1] for x in inputs))


def filters(graph: Graph, frozen: bool) -> list[tuple[str, int]]:
    """All filters, by layer and index, that are frozen, or all that are not."""
    return [
        (layer, i)
        for layer, colors in graph.layers.items()
        for i, color in enumerate(colors)
        if (color in graph.reasons) == frozen
    ]


# What is found


@pytest.mark.parametrize("name", ALL)
def test_filters_that_go_alone(name: str):
    assert traced(name)[2].free() == FREE[name]


@pytest.mark.parametrize("name", ALL)
def test_each_frozen_filter_has_its_reason(name: str):
    _, _, graph = traced(name)
    report = graph.report().set_index("layer")
    for layer, _ in filters(graph, frozen=True):
        expected = FROZEN.get((name, layer), "it reaches the network's output")
        assert expected in str(report.loc[layer, "reason"])
    assert {layer for layer, _ in filters(graph, frozen=True)} >= {layer for n, layer in FROZEN if n == name}


@pytest.mark.parametrize("name", DIVIDED | USERS)
def test_filters_that_go_together(name: str):
    """Groups, parts and shuffles tie filters of one layer, and not more than they must."""
    _, _, graph = traced(name)
    for layer, colors in graph.layers.items():
        sizes = sorted(Counter(color for color in colors if color not in graph.reasons).values())
        assert sizes == UNITS.get((name, layer), [1] * len(sizes)), layer


@pytest.mark.parametrize("name", PAPER | ODD | DRAWN)
def test_poison_arrives_where_the_dye_arrived(name: str):
    """A filter's map is NaN: the places it reaches, and the filters that reach the same places, are the unit."""
    model, inputs, graph = traced(name)
    found = reached(model, inputs)
    for layer, i in filters(graph, frozen=False):
        color = graph.layers[layer][i]
        partners = set(graph.givers[color])
        places = set().union(*(found[partner] for partner in partners))
        assert ("output", -1) not in places, (layer, i)
        assert places == dyed(model, graph, color), (layer, i)
        others = [f for f in filters(graph, frozen=False) if f not in partners]
        assert not any(places & found[other] for other in others), (layer, i)
        # and nothing is tied that need not be: the partners hang together by the places that they share
        assert connected([found[partner] for partner in partners]), (layer, i)


def reached(model: nn.Module, inputs: list[Tensor]) -> dict[tuple[str, int], set[tuple[str, int]]]:
    """What `probe` finds, with modules that share a weight under the first one's name."""
    names: dict[int, str] = {}
    same = {}
    for name, module in model.named_modules(remove_duplicate=False):
        if isinstance(weight := getattr(module, "weight", None), Tensor):
            same[name] = names.setdefault(id(weight), name)
    found: dict[tuple[str, int], set[tuple[str, int]]] = {}
    for (layer, i), places in probe(model, [x[:1] for x in inputs]).items():
        merged = found.setdefault((same[layer], i), set())
        merged |= {(same.get(name, name), j) for name, j in places}
    return found


def dyed(model: nn.Module, graph: Graph, color: int) -> set[tuple[str, int]]:
    """Input channels of readers, entries of BN and maps of depthwise convs that have this color."""
    places = set()
    for axis in graph.axes.values():
        name, _, _ = axis.tensor.rpartition(".")
        module = model.get_submodule(name)
        per_map = len(axis.colors) // getattr(module, "in_channels", 1) if depthwise(module) else 1
        carries = depthwise(module) or isinstance(module, nn.modules.batchnorm._BatchNorm)
        if axis.role == "reads" or (axis.role == "carries" and carries):
            places |= {(name, j // per_map) for j, c in enumerate(axis.colors) if c == color}
    return places


def connected(sets: list[set]) -> bool:
    """Whether the sets hang together: each shares something with the union of those before, in some order."""
    union, rest = set(sets[0]), sets[1:]
    while rest:
        touching = [s for s in rest if s & union]
        if not touching:
            return False
        union = union.union(*touching)
        rest = [s for s in rest if s not in touching]
    return True


def test_padded_shortcuts_tie_the_stages_from_the_front():
    """Stage 1's four maps are the first four of stage 2's eight and of stage 3's sixteen."""
    graph = traced("resnet20 pad")[2]
    stem = graph.colors("conv1")
    assert graph.colors("layer1.2.conv2") == stem
    assert graph.colors("layer2.1.conv2")[:4] == stem
    assert graph.colors("layer3.2.conv2")[:8] == graph.colors("layer2.0.conv2")
    assert len(set(graph.colors("layer3.0.conv2"))) == 16


def test_projections_end_a_stage():
    graph = traced("resnet20 projection")[2]
    assert graph.tied("conv1") == [f"layer1.{b}.conv2" for b in range(3)]
    assert set(graph.tied("layer2.0.downsample.0")) == {f"layer2.{b}.conv2" for b in range(3)}
    assert set(graph.tied("layer3.0.downsample.0")) == {f"layer3.{b}.conv2" for b in range(3)}


def test_as_many_zero_maps_as_are_lacking():
    """Three maps are padded to six and meet six others: by a product, after BN, and after a sigmoid."""
    graph = traced("padded product")[2]
    assert graph.report().set_index("layer").removable.to_dict() == {"a": 3, "b": 6, "c": 6, "d": 6, "e": 4, "fc": 0}
    assert graph.colors("a") == graph.colors("b")[:3] == graph.colors("c")[:3] == graph.colors("d")[:3]


@pytest.mark.parametrize("maps, sizes", [(8, [4, 4]), (4, []), (2, None)])
def test_groups_that_a_shuffle_asks_for(maps: int, sizes: list[int] | None):
    """Four groups of two maps lose a map each; four groups of one can lose none; two maps are no four groups."""

    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = conv(3, maps), conv(maps, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.a(x)
            n, c, h, w = x.shape
            return self.b(x.view(n, 4, c // 4, h, w).transpose(1, 2).reshape(n, c, h, w))

    x = torch.randn(1, 3, 8, 8)
    if sizes is None:
        with pytest.raises(TraceError, match="does not run"):
            pk.trace(Mixed(), x)
    else:
        graph = pk.trace(Mixed(), x)
        assert sorted(Counter(c for c in graph.colors("a") if c not in graph.reasons).values()) == sizes


def test_two_filters_of_one_layer_can_be_one_unit():
    graph = traced("doubled")[2]
    assert graph.colors("b")[:4] == graph.colors("b")[4:] == graph.colors("a")
    assert graph.tied("b") == ["a"]


def test_bn_and_bias_go_along():
    graph = traced("volume")[2]
    along = {(axis.tensor, axis.dim) for axis in graph.axes.values() if graph.colors("a")[2] in axis.colors}
    entries = ("a.bias", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var")
    assert along == {("a.weight", 0), ("b.weight", 1), *((entry, 0) for entry in entries)}


def test_flattened_maps_take_their_pixels_along():
    graph = traced("viewed")[2]
    assert graph.axes["fc.weight", 1].colors == tuple(np.repeat(graph.colors("a"), 4))


def test_report_counts_what_can_go():
    report = traced("resnet20 pad")[2].report().set_index("layer")
    assert list(report.columns) == ["kind", "filters", "removable", "tied", "reason", "macs", "weights"]
    rows = report.T.to_dict("list")
    # one filter of 3x3 over 8 maps at 8x8 pixels, and what reads it: 16 kernels of 3x3
    weights = 9 * 8 + 9 * 16
    assert rows["layer3.0.conv1"] == ["Conv2d", 16, 16, "", "", weights * 64, weights]
    assert rows["fc"][:-2] == ["Linear", 10, 0, "", "it reaches the network's output"]
    assert np.isnan(rows["fc"][-2:]).all()


@pytest.mark.parametrize("training", [False, True])
def test_train_and_eval_mode_give_the_same(training: bool):
    model = pk.nets.vgg16(1 / 16)
    x = torch.randn(1, 3, 32, 32)
    assert pk.trace(model.train(training), x).axes == pk.trace(model.eval(), x).axes


def test_number_format_and_batch_size_do_not_matter():
    model = pk.nets.resnet20(width=1 / 4)
    axes = pk.trace(model, torch.randn(1, 3, 32, 32)).axes
    assert pk.trace(model, torch.randn(5, 3, 32, 32)).axes == axes
    assert pk.trace(model.half(), torch.randn(1, 3, 32, 32).half()).axes == axes


def test_modules_called_with_keywords():
    class Net(Viewed):
        def forward(self, x: Tensor) -> Tensor:
            x = F.avg_pool2d(F.relu(input=self.bn(input=self.a(input=x))), kernel_size=4)
            return self.fc(torch.flatten(input=x, start_dim=1))

    assert pk.trace(Net(), torch.randn(1, 3, 8, 8)).axes == pk.trace(Viewed(), torch.randn(1, 3, 8, 8)).axes


def test_pruned_by_torch_is_not_taken_for_final():
    """torch.nn.utils.prune computes weights in a hook before each call: cutting the result would be undone."""
    from torch.nn.utils import prune

    model = Viewed()
    prune.l1_unstructured(model.a, "weight", amount=0.5)
    with pytest.raises(PlanError, match=r"'a' cannot be followed: its weight is computed elsewhere"):
        pk.plan(pk.trace(model, torch.randn(1, 3, 8, 8)), {"a": 0.5})


# Nothing is changed


@pytest.mark.parametrize("name", ["vgg16", "resnet20 pad", *ODD])
def test_tracing_changes_nothing(name: str):
    model, inputs = made(name)
    for i, module in enumerate(model.modules()):
        module.training = i % 3 == 0
    for i, parameter in enumerate(model.parameters()):
        parameter.requires_grad_(i % 2 == 0)
    hook = model.register_forward_hook(lambda *_: None)
    before = snapshot(model)
    numbers, inputs_before = torch.get_rng_state(), copy.deepcopy(inputs)
    pk.trace(model, *inputs)
    assert snapshot(model) == before
    assert torch.get_rng_state().equal(numbers)
    assert all(a.equal(b) for a, b in zip(inputs, inputs_before, strict=True))
    assert list(model._forward_hooks) == [hook.id]


def snapshot(model: nn.Module) -> list:
    """All that a model is: its tensors to the bit, modes, hooks, attributes."""
    tensors = [
        (name, id(t), t._version, t.detach().numpy().tobytes(), t.requires_grad, t.stride())
        for name, t in (*model.named_parameters(), *model.named_buffers())
    ]
    modules = [
        (name, id(m), m.training, list(m._forward_hooks), list(m._forward_pre_hooks), sorted(m.__dict__))
        for name, m in model.named_modules()
    ]
    return tensors + modules


def test_what_a_forward_keeps_and_draws_is_put_back():
    class Keeping(Viewed):
        last: Tensor | None = None

        def forward(self, x: Tensor) -> Tensor:
            self.last = maps = self.bn(self.a(x)) + torch.rand(1)
            return self.fc(F.avg_pool2d(maps, 4).flatten(1))

    model, x = Keeping(), torch.randn(1, 3, 8, 8)
    numbers = torch.get_rng_state()
    graph = pk.trace(model, x)
    assert model.last is None
    assert torch.get_rng_state().equal(numbers)
    assert pk.prune(model, pk.plan(graph, {"a": 0.5}))(x).shape == (1, 3)


def test_hooks_see_no_paint():
    def never(*_):
        raise AssertionError("called")

    model = Viewed()
    model.a.register_forward_hook(never)
    model.bn.register_forward_pre_hook(never)
    assert pk.trace(model, torch.randn(1, 3, 8, 8)).free() == ["a"]
    assert len(model.a._forward_hooks) == len(model.bn._forward_pre_hooks) == 1


class SamePadding(nn.Module):
    """Padding as in TensorFlow: how much depends on the size, and a branch asks whether there is any."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c, self.fc = (nn.Conv2d(n, m, 3, 2) for n, m in ((3, 5), (5, 4), (4, 4), (4, 3)))

    def forward(self, x: Tensor) -> Tensor:
        for layer in (self.a, self.b):
            lacking = [max((math.ceil(n / 2) - 1) * 2 + 3 - n, 0) for n in x.size()[2:]]
            if any(n > 0 for n in lacking):
                x = F.pad(
                    x, [lacking[1] // 2, lacking[1] - lacking[1] // 2, lacking[0] // 2, lacking[0] - lacking[0] // 2]
                )
            x = F.relu(layer(x))
        if x.shape[-1] < 4:
            return self.fc(F.pad(x, (1, 1, 1, 1))).mean((2, 3))
        return self.c(x).mean((2, 3))


def test_branches_on_sizes_are_those_of_the_example():
    model = SamePadding()
    small, large = pk.trace(model, torch.randn(1, 3, 9, 9)), pk.trace(model, torch.randn(1, 3, 32, 32))
    assert list(small.layers) == ["a", "b", "fc"] and list(large.layers) == ["a", "b", "c"]
    for graph, size in ((small, 9), (large, 32)):
        assert graph.free() == ["a", "b"]
        x, plan = torch.randn(2, 3, size, size), pk.plan(graph, 0.5)
        torch.testing.assert_close(pk.prune(model, plan)(x), pk.mask(model, plan)(x))


# What cannot be followed


class Stopping(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.fc = conv(3, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        if x.mean() > 0:
            x = -x
        return self.fc(x.mean((2, 3)))


def test_control_flow_on_values_is_refused_with_its_line():
    with pytest.raises(TraceError, match=r"test_tracing.py, line \d+: if x.mean\(\) > 0:\)\. Control flow"):
        pk.trace(Stopping(), torch.randn(1, 3, 8, 8))


@pytest.mark.parametrize("shape, layer", [((1, 4, 8, 8), "a"), ((1, 3, 16, 16), "fc"), ((8,), "a")])
def test_wrong_input_shape_is_quoted(shape: tuple[int, ...], layer: str):
    with pytest.raises(TraceError, match=rf"does not run on an input of shape {re.escape(str(shape))}: {layer} says"):
        pk.trace(Viewed(), torch.randn(shape))


@pytest.mark.parametrize(
    "name, count, message",
    [("vgg16", 2, r"takes 1 inputs \(x\), and 2 were given"), ("two inputs", 1, "does not run.* depth")],
)
def test_wrong_number_of_inputs(name: str, count: int, message: str):
    model, inputs = made(name)
    with pytest.raises(TraceError, match=message):
        pk.trace(model, *(inputs[:1] * count))


def test_one_image_needs_its_batch_axis():
    """Three maps of eight rows are not taken for three images."""
    model = nn.Sequential(conv(8, 4), conv(4, 3))
    with pytest.raises(TraceError, match=r"batch"):
        pk.trace(model, torch.randn(8, 8, 8))


def test_a_name_is_not_a_network():
    with pytest.raises(TraceError, match=r"takes a torch.nn.Module, not a str; pk.nets.vgg16\(\) builds one"):
        pk.trace("vgg16", torch.randn(1, 3, 32, 32))  # type: ignore[arg-type]


@pytest.mark.parametrize("example", [(), ((1, 3, 32, 32),), (None,)])
def test_an_example_is_a_tensor(example: tuple):
    with pytest.raises(TraceError, match=r"example input, such as torch.randn\(1, 3, 32, 32\)"):
        pk.trace(Viewed(), *example)


@pytest.mark.parametrize(
    "wrap, inner",
    [(nn.DataParallel, "model.module"), (lambda model: torch.compile(model, backend="eager"), "model._orig_mod")],
    ids=["parallel", "compiled"],
)
def test_wrappers_are_refused(wrap: Callable, inner: str):
    with pytest.raises(TraceError, match=rf"pass what is inside, `{inner}`"):
        pk.trace(wrap(Viewed()), torch.randn(1, 3, 8, 8))


@pytest.mark.parametrize("name", ["a", "more.0"])
def test_a_computed_weight_is_refused_until_it_is_a_plain_one(name: str):
    model = nn.Sequential()
    model.a, model.more = conv(3, 6), nn.Sequential(conv(6, 4), nn.Flatten(), nn.Linear(4 * 25, 3))
    x = torch.randn(1, 3, 5, 5)
    nn.utils.parametrizations.weight_norm(model.get_submodule(name))
    with pytest.raises(TraceError, match=rf"'{name}' is parametrized: its 'weight' is computed") as refused:
        pk.trace(model, x)
    remedy = re.search(r"remove_parametrizations\((.*), 'weight'\) first", str(refused.value))
    assert remedy and remedy[1] == f"model.get_submodule({name!r})"
    nn.utils.parametrize.remove_parametrizations(model.get_submodule(name), "weight")
    assert pk.trace(model, x).free() == ["a", "more.0"]


@pytest.mark.parametrize(
    "layer, message",
    [
        ("bb", r"has no layer 'bb'\. Did you mean 'b'"),
        ("bn", "'bn' is a BatchNorm2d: only conv and linear layers have filters"),
        ("dw", "'dw' is depthwise: its filters go with the maps it reads"),
    ],
)
def test_layers_without_filters_of_their_own(layer: str, message: str):
    with pytest.raises(PlanError, match=message):
        pk.trace(Depthwise(), torch.randn(1, 3, 8, 8)).colors(layer)


def test_a_second_name_for_one_weight():
    with pytest.raises(PlanError, match=r"'b' shares its weight with 'a'"):
        pk.trace(Tied(), torch.randn(1, 3, 8, 8)).colors("b")


class Spelled(nn.Module):
    """What `combine` makes of the network and its input is read by `b`; `k` is a weight that is no parameter."""

    def __init__(self, combine: Callable[["Spelled", Tensor], Tensor]):
        super().__init__()
        self.combine, self.a, self.c = combine, nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(3, 16, 3, padding=1)
        self.b, self.fc = nn.LazyConv2d(8, 3, padding=1), nn.Linear(8, 3)
        self.register_buffer("k", torch.randn(16, 16, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.b(self.combine(self, x)).mean(axis=(2, 3)))


def halves(x: Tensor, half: int) -> Tensor:
    """Sixteen maps as two rows."""
    return x.view(x.size(0), 2, half, x.size(2), x.size(3))


FIXED = "getitem takes a fixed part of the maps"


@pytest.mark.parametrize(
    "take, reason",
    [
        (lambda x: x[..., : x.size(1) // 2, :, :] * x[..., x.size(1) // 2 :, :, :], None),
        (lambda x: x[:, ..., :4, :], None),
        (lambda x: x[:, :, ::2, 1::2], None),
        (lambda x: x[:, None][:, 0], None),
        (lambda x: x[[0, 0]], None),
        (lambda x: halves(x, x.size(1) // 2)[:, 1], None),
        (lambda x: halves(x, -1)[:, 0], None),
        (lambda x: x.view(x.size(0), x.size(1) // 2, 2, 8, 8)[:, :, 1], None),
        (lambda x: halves(x, -1)[:, 0, :4] + halves(x, -1)[:, 1, :4], FIXED),
        (lambda x: x.repeat(1, 2, 1, 1)[0:1, :16], FIXED),
        (lambda x: x[:, :8, ...], FIXED),
        (lambda x: x[:, 3:4] * x, FIXED),
        (lambda x: x[:, 3].unsqueeze(1) * x, FIXED),
        (lambda x: x[:, ::2] * x[:, 1::2], FIXED),
        (lambda x: x.view(x.size(0), 8, 2, 8, 8)[:, :, 1], "view splits the axis of its maps"),
    ],
)
def test_what_an_index_takes(take: Callable[[Tensor], Tensor], reason: str | None):
    example = torch.randn(1, 3, 8, 8).double()
    model = Spelled(lambda net, x: take(net.a(x))).double().eval()
    model(example)  # now `b` knows how many maps it reads
    graph = pk.trace(model, example)
    if reason is None:
        plan = pk.plan(graph, {"a": 0.5}, criterion="random", seed=1)
        x = torch.randn(2, 3, 8, 8).double()
        assert torch.allclose(pk.prune(model, plan)(x), pk.mask(model, plan)(x), rtol=0, atol=1e-12)
    else:
        report: Any = graph.report().set_index("layer").loc["a"]
        assert report["removable"] == 0 and reason in report["reason"]


def selected(net: Spelled, x: Tensor) -> Tensor:
    """Selective kernels: shares of two branches, side by side on an axis of two."""
    a, c = net.a(x), net.c(x)
    shares = torch.cat([a.mean((2, 3)), c.mean((2, 3))], 1).view(x.size(0), 2, -1).softmax(1)
    first, second = (share.squeeze(1)[:, :, None, None] for share in shares.chunk(2, dim=1))
    return a * first + c * second


@pytest.mark.parametrize(
    "combine, tied",
    [
        (lambda net, x: net.a(x) * torch.mean(net.a(x), axis=[2, 3], keepdims=True), ""),
        (lambda net, x: net.a(x) * torch.amax(net.a(x), axis=(2, 3), keepdims=True), ""),
        (lambda net, x: F.conv2d(net.a(x), net.k, padding=1), ""),
        (lambda net, x: torch.clamp(net.a(x), max=net.c(x)), "c"),
        (lambda net, x: net.a(x).clamp_(0, 6), ""),
        (lambda net, x: net.a(x).clamp_max(net.c(x)).clip(0, 3), "c"),
        (lambda net, x: net.a(x) * torch.erf(net.a(x)), ""),
        (lambda net, x: torch.subtract(net.a(x), net.c(x)), "c"),
        (lambda net, x: net.a(x).mean((2, 3), keepdim=True).tile(1, 1, 8, 8), ""),
        (lambda net, x: torch.moveaxis(torch.moveaxis(net.a(x), 1, -1) * 2, -1, 1), ""),
        (lambda net, x: net.a(x).view(x.size(0), 2, -1, 8, 8)[:, 0:1].flatten(1, 2), ""),
        (lambda net, x: torch.sigmoid_(F.tanhshrink(F.elu_(F.leaky_relu_(net.a(x)))).sin().nan_to_num()), ""),
        (lambda net, x: torch.where(net.a(x).isnan(), 0.0, net.a(x).round(decimals=2).floor()), ""),
        (lambda net, x: F.rrelu(torch.rsub(net.a(x), 1)).multiply(3).divide(2), ""),
        (lambda net, x: torch.swapdims(torch.swapaxes(net.a(x), 1, 2), 1, 2), ""),
        (lambda net, x: net.a(x).mean((2, 3), keepdim=True).broadcast_to(-1, -1, 8, 8), ""),
        (lambda net, x: torch.concatenate([net.a(x), net.c(x)], axis=1), ""),
        (selected, "c"),
    ],
)
def test_other_ways_to_write_it(combine: Callable[[Spelled, Tensor], Tensor], tied: str):
    example = torch.randn(1, 3, 8, 8).double()
    model = Spelled(combine).double().eval()
    model(example)
    graph = pk.trace(model, example)
    report: Any = graph.report().set_index("layer").loc["a"]
    assert report["removable"] == 16 and report["tied"] == tied
    named = [layer for layer in graph.layers if layer in ("a", "k")]
    plan = pk.plan(graph, dict.fromkeys(named, 0.5), criterion="random", seed=1)
    x = torch.randn(2, 3, 8, 8).double()
    assert torch.allclose(pk.prune(model, plan)(x), pk.mask(model, plan)(x), rtol=0, atol=1e-12)


def test_len_in_a_forward_is_refused_with_what_to_write_instead():
    model = Spelled(lambda net, x: net.a(x).view(len(x), 16, 8, 8))
    model(torch.randn(1, 3, 8, 8))
    with pytest.raises(TraceError, match=r"'len' is not supported.* Take x\.size\(0\) in place of len\(x\)\."):
        pk.trace(model, torch.zeros(1, 3, 8, 8))


class ByKeyword(nn.Conv2d):
    def __init__(self):
        super().__init__(3, 4, 3)

    def forward(self, *, image: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(image)


def set_forward(module: nn.Module) -> nn.Module:
    module.forward = lambda x: type(module).forward(module, x).amax(3)
    return module


REFUSED_MODULES: dict[str, tuple[Callable[[], Any], str]] = {
    "average": (
        lambda: AveragedModel(nn.Conv2d(3, 4, 3)),
        r"AveragedModel: pass what is inside, `model.module`.*follow",
    ),
    "lazy": (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.LazyConv2d(4, 3)), r"'1' is a LazyConv2d without sizes yet"),
    "script": (lambda: torch.jit.trace(nn.Conv2d(3, 4, 3), torch.randn(1, 3, 8, 8)), r"of torch.jit: pass the network"),
    "set on the object": (
        lambda: set_forward(nn.Sequential(nn.Conv2d(3, 4, 3))),
        "The model has a forward that was set",
    ),
    "set on a layer": (
        lambda: nn.Sequential(set_forward(nn.Conv2d(3, 4, 3))),
        "'0' has a forward that was set on the ob",
    ),
    "by keyword only": (ByKeyword, "takes 'image' by keyword only"),
}


@pytest.mark.parametrize("what", REFUSED_MODULES)
@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_modules_that_cannot_be_followed_are_named_with_what_to_do(what: str):
    make, message = REFUSED_MODULES[what]
    with pytest.raises(TraceError, match=message):
        pk.trace(make(), torch.randn(1, 3, 8, 8))


def test_inputs_that_are_no_floating_point_numbers_are_refused():
    with pytest.raises(TraceError, match="Input 2 is bool: whole numbers and masks cannot be drawn"):
        pk.trace(nn.Conv2d(3, 4, 3), torch.randn(1, 3, 8, 8), torch.ones(1, 8, 8) > 0)
