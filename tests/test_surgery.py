"""The contract: the pruned network is the original whose readers have zeros where a removed map arrived."""

import random
import warnings
from typing import Any

import pytest
import torch
import torch.nn.utils.prune
from hypothesis import given, settings
from hypothesis import strategies as st
from odd_nets import (
    ALL,
    DIVIDED,
    DRAWN,
    ODD,
    PAPER,
    PaddedBothSides,
    Viewed,
    ZeroConcatenated,
    agree,
    conv,
    depthwise,
    logits,
    made,
    probe,
    randomize,
)
from torch import Tensor, nn
from torch.nn import functional as F

import prunekit as pk
from prunekit.errors import PlanError, SurgeryError
from prunekit.plans import plan_by_hand
from prunekit.tracing import Graph

CONTRACT = settings(max_examples=5, deadline=None, derandomize=True, database=None)


def drawn(graph: Graph, seed: int) -> pk.Plan:
    """A random plan: units at random from anywhere, but one filter of each tensor stays."""
    chance = random.Random(seed)
    units = sorted({c for colors in graph.layers.values() for c in colors} - set(graph.reasons))
    wanted, share = [u for u in units if chance.random() < 0.9], chance.random()
    gone: set[int] = set()
    for unit in wanted:
        if chance.random() < share and all(graph.kept(gone | {unit}).values()):
            gone.add(unit)
    removed = {
        layer: [i for i, color in enumerate(colors) if color in gone]
        for layer, colors in graph.layers.items()
        if not gone.isdisjoint(colors)
    }
    return plan_by_hand(graph, removed)


def by_definition(model: nn.Module, inputs: list[Tensor], plan: pk.Plan) -> Tensor:
    """What the contract says, without the library: the maps of removed filters arrive as zeros at their readers.

    Where they arrive is seen with `probe`: a filter's map is NaN, and the layer's input channel is, too.
    """
    arrivals = probe(model, [x[:1] for x in inputs])
    layers = dict(model.named_modules(remove_duplicate=False))
    same = {name: [n for n, m in layers.items() if tied(m, layers[name])] for name in plan.kept}
    dead: dict[str, set[int]] = {}
    for layer, kept in plan.kept.items():
        for index in set(range(plan.filters[layer])) - set(kept):
            for name in same[layer]:
                for reader, channel in arrivals[name, index]:
                    dead.setdefault(reader, set()).add(channel)
    hooks = []
    for name, channels in dead.items():
        module = model.get_submodule(name)
        if isinstance(module, nn.Linear | nn.modules.conv._ConvNd) and not depthwise(module):

            def silence(module: nn.Module, args: tuple, channels: set[int] = channels) -> tuple:
                dim = args[0].dim() - 1 if isinstance(module, nn.Linear) else 1
                return (args[0].index_fill(dim, torch.tensor(sorted(channels)), 0.0), *args[1:])

            hooks.append(module.register_forward_pre_hook(silence))
    out = logits(model(*inputs))
    for hook in hooks:
        hook.remove()
    return out


def tied(a: nn.Module, b: nn.Module) -> bool:
    return getattr(a, "weight", 0) is getattr(b, "weight", 1)


@pytest.mark.parametrize("name", ALL)
@CONTRACT
@given(seed=st.integers(0, 2**31))
def test_pruned_equals_masked(name: str, seed: int):
    model, inputs = made(name, seed)
    plan = drawn(pk.trace(model, *inputs), seed)
    with torch.inference_mode():
        small, masked = (logits(net(*inputs)) for net in (pk.prune(model, plan), pk.mask(model, plan)))
    assert agree(small, masked, 1e-10)


@pytest.mark.parametrize("name", PAPER | ODD | DRAWN)
def test_pruned_equals_what_the_contract_says(name: str):
    changed = False
    for seed in (1, 2):
        model, inputs = made(name, seed)
        plan = drawn(pk.trace(model, *inputs), seed)
        with torch.inference_mode():
            wanted = by_definition(model, inputs, plan)
            assert agree(logits(pk.prune(model, plan)(*inputs)), wanted, 1e-10)
            assert agree(logits(pk.mask(model, plan)(*inputs)), wanted, 1e-10)
            changed |= not agree(logits(model(*inputs)), wanted, 1e-6)
    if name not in DRAWN:  # all but one can lose something, and then compute something else
        assert changed != (name == "normalized")


@pytest.mark.parametrize("name", ["vgg16", "resnet20 pad", "resnet20 projection", "depthwise", *DIVIDED])
def test_the_contract_holds_in_train_mode(name: str):
    """BN then works with the statistics of the batch; both networks see the same ones, and remember the same."""
    model, inputs = made(name)
    plan = drawn(pk.trace(model.train(), *inputs), 3)
    small, masked = pk.prune(model, plan), pk.mask(model, plan)
    inputs = [torch.randn(8, *x.shape[1:], dtype=torch.float64) for x in inputs]
    assert small.training and masked.training
    assert agree(logits(small(*inputs)), logits(masked(*inputs)), 1e-9)
    assert agree(logits(small.eval()(*inputs)), logits(masked.eval()(*inputs)), 1e-9)


@pytest.mark.parametrize("name", ["vgg16", "resnet20 pad", "resnet20 projection"])
def test_single_precision_is_close(name: str):
    model, inputs = made(name, dtype=torch.float32)
    plan = drawn(pk.trace(model, *inputs), 3)
    with torch.inference_mode():
        assert agree(pk.prune(model, plan)(*inputs), pk.mask(model, plan)(*inputs), 1e-5)


def test_zeroing_the_filter_itself_is_another_network():
    """The classic mistake: BN's shift revives the map of a filter that is zero."""
    model, (x,) = made("vgg16")
    plan = plan_by_hand(pk.trace(model, x), {"features.0": [0, 1]})
    small = pk.prune(model, plan)
    model.features[0].weight.data[:2] = 0
    assert not agree(model(x), small(x), 1e-3)
    model.features[1].weight.data[:2] = model.features[1].bias.data[:2] = 0  # with BN's entries the map is dead
    assert agree(model(x), small(x), 1e-10)


def test_one_layer_by_plain_slicing():
    """Hand-made surgery on two convs, as section 2 of the paper describes it."""
    model, (x,) = made("vgg16")
    keep = [0, 2]
    small = pk.prune(model, plan_by_hand(pk.trace(model, x), {"features.0": [1, 3]}))
    names = {"features.0.weight": 0, "features.3.weight": 1}
    names |= dict.fromkeys((f"features.1.{n}" for n in ("weight", "bias", "running_mean", "running_var")), 0)
    state = model.state_dict()
    for name, tensor in small.state_dict().items():
        wanted = state[name].index_select(names[name], torch.tensor(keep)) if name in names else state[name]
        assert tensor.equal(wanted), name


def test_resnet34_as_table_1_cuts_it():
    """ResNet-34-C: a fifth of the third stage's maps, chosen by the projection; half of one first conv besides."""
    torch.manual_seed(0)
    model = randomize(pk.nets.resnet34(num_classes=10).eval())
    x = torch.randn(1, 3, 64, 64)
    plan = pk.plan(pk.trace(model, x), {"layer3.0.downsample.0": 0.2, "layer1.1.conv1": 0.5})
    small = pk.prune(model, plan)
    widths = {name: len(small.get_parameter(f"{name}.weight")) for name, _ in small.named_modules() if "conv" in name}
    assert {widths[f"layer3.{b}.conv2"] for b in range(6)} == {204}
    assert widths["layer1.1.conv1"] == 32
    assert small.get_parameter("layer4.0.downsample.0.weight").shape[1] == 204
    with torch.inference_mode():
        assert agree(small(x), pk.mask(model, plan)(x), 1e-5)


# The copy, and the original


def everything(model: nn.Module) -> list:
    tensors = [
        (name, id(t), t._version, t.detach().contiguous().view(-1).numpy().tobytes(), t.requires_grad, t.stride())
        for name, t in (*model.named_parameters(), *model.named_buffers())
    ]
    return tensors + [
        (name, id(m), m.training, list(m._forward_hooks), list(m._forward_pre_hooks), repr(m))
        for name, m in model.named_modules()
    ]


@pytest.mark.parametrize("name", ALL)
def test_the_original_is_untouched(name: str):
    model, inputs = made(name)
    for i, module in enumerate(model.modules()):
        module.training = i % 3 == 0
    for i, parameter in enumerate(model.parameters()):
        parameter.requires_grad_(i % 2 == 0)
    model.register_forward_hook(lambda *_: None)
    before, numbers = everything(model), torch.get_rng_state()
    plan = drawn(pk.trace(model, *inputs), 1)
    for net in (pk.prune(model, plan), pk.mask(model, plan)):
        for parameter in net.parameters():
            parameter.data.fill_(float("nan"))
        for buffer in net.buffers():
            buffer.fill_(7)
    assert everything(model) == before
    assert torch.get_rng_state().equal(numbers)


@pytest.mark.parametrize("make", [pk.prune, pk.mask], ids=["prune", "mask"])
def test_modes_and_requires_grad_are_kept(make):
    model, inputs = made("resnet20 projection")
    for i, module in enumerate(model.modules()):
        module.training = i % 3 == 0
    for i, parameter in enumerate(model.parameters()):
        parameter.requires_grad_(i % 2 == 0)
    new = make(model, drawn(pk.trace(model, *inputs), 1))
    assert [m.training for m in new.modules()] == [m.training for m in model.modules()]
    assert [p.requires_grad for p in new.parameters()] == [p.requires_grad for p in model.parameters()]
    assert type(new) is type(model)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("make", [pk.prune, pk.mask], ids=["prune", "mask"])
def test_number_format_is_kept(make, dtype: torch.dtype):
    model, inputs = made("viewed", dtype=dtype)
    new = make(model, pk.plan(pk.trace(model, *inputs), {"a": 0.5}))
    assert {t.dtype for t in new.parameters()} == {dtype}
    assert new(*inputs).dtype == dtype


@pytest.mark.parametrize("make", [pk.prune, pk.mask], ids=["prune", "mask"])
def test_memory_format_is_kept(make):
    model, (x,) = made("vgg16", dtype=torch.float32)
    model = model.to(memory_format=torch.channels_last)
    new = make(model, pk.plan(pk.trace(model, x), 0.5))
    for name, parameter in new.named_parameters():
        if parameter.dim() == 4:
            assert parameter.is_contiguous(memory_format=torch.channels_last), name
            assert not parameter.is_contiguous(), name


def test_device_is_kept():
    with torch.device("meta"):
        model = pk.nets.vgg16(1 / 16)
    graph = pk.trace(model, torch.randn(1, 3, 32, 32))
    masked = pk.mask(model, plan_by_hand(graph, {"features.0": [0]}))
    assert {t.device.type for t in (*masked.parameters(), *masked.buffers())} == {"meta"}


def test_layers_know_their_new_sizes():
    model, (x,) = made("depthwise")
    small = pk.prune(model, plan_by_hand(pk.trace(model, x), {"a": [0], "b": [1, 2], "c": [3]}))
    sizes = {n: (m.in_channels, m.out_channels, m.groups) for n, m in small.named_modules() if hasattr(m, "groups")}
    assert sizes == {"a": (3, 3, 1), "dw": (3, 3, 3), "b": (3, 3, 1), "dw2": (3, 6, 3), "c": (6, 5, 1)}
    assert (small.bn.num_features, small.bn2.num_features) == (3, 6)
    assert (small.fc.in_features, small.fc.out_features) == (5, 3)


def test_one_input_channel_is_not_depthwise():
    model, (x,) = made("gray")
    small = pk.prune(model, pk.plan(pk.trace(model, x), {"a": 0.5}))
    assert (small.a.in_channels, small.a.out_channels, small.a.groups) == (1, 3, 1)


def test_pruned_twice_is_pruned_once_by_both():
    model, (x,) = made("resnet20 projection")
    first = plan_by_hand(pk.trace(model, x), {"layer1.0.conv1": [1]})
    once = pk.prune(model, first)
    second = plan_by_hand(pk.trace(once, x), {"layer1.0.conv1": [2]})  # the filter that was number 3
    both = plan_by_hand(pk.trace(model, x), {"layer1.0.conv1": [1, 3]})
    assert pk.prune(once, second)(x).equal(pk.prune(model, both)(x))


def test_a_plan_works_on_another_copy():
    model, (x,) = made("resnet20 pad", seed=1)
    other, _ = made("resnet20 pad", seed=2)
    plan = pk.plan(pk.trace(model, x), 0.5)
    with torch.inference_mode():
        assert agree(pk.prune(other, plan)(x), pk.mask(other, plan)(x), 1e-10)


def test_a_plan_is_looked_up_again_when_the_network_has_changed():
    model, (x,) = made("viewed")
    plan = pk.plan(pk.trace(model, x), {"a": 0.5})
    model.a, model.bn, model.fc = conv(3, 9).double(), nn.BatchNorm2d(9).double(), nn.Linear(36, 3).double()
    with pytest.raises(PlanError, match=r"another network: it knows 6 filters in layer 'a', and here there are 9"):
        pk.prune(model, plan)


def test_a_new_head_does_not_hurt_a_plan():
    model, (x,) = made("viewed")
    plan = pk.plan(pk.trace(model, x), {"a": 0.5})
    model.fc = nn.Linear(24, 7).double()
    assert pk.prune(model, plan)(x).shape == (2, 7)


def test_mask_shares_no_memory():
    model, (x,) = made("vgg16")
    masked = pk.mask(model, pk.plan(pk.trace(model, x), 0.5))
    theirs = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}
    assert all(t.untyped_storage().data_ptr() not in theirs for t in (*masked.parameters(), *masked.buffers()))


def test_mask_zeroes_readers_and_nothing_else():
    model, (x,) = made("vgg16")
    masked = pk.mask(model, plan_by_hand(pk.trace(model, x), {"features.0": [1, 3]})).state_dict()
    for name, tensor in model.state_dict().items():
        if name == "features.3.weight":
            assert not masked[name][:, [1, 3]].any()
            assert masked[name][:, [0, 2]].equal(tensor[:, [0, 2]])
        else:
            assert masked[name].equal(tensor), name


def test_ties_survive():
    model, inputs = made("tied")
    small = pk.prune(model, pk.plan(pk.trace(model, *inputs), {"a": 0.4}))
    assert small.a.weight is small.b.weight
    assert (len(small.a.weight), small.a.out_channels, small.b.out_channels) == (3, 3, 3)


def test_hooks_come_along():
    model, (x,) = made("viewed")
    seen = []
    model.a.register_forward_hook(lambda module, args, out: seen.append(out.size(1)))
    small = pk.prune(model, pk.plan(pk.trace(model, x), {"a": 0.5}))
    seen.clear()
    small(x)
    assert seen == [3]


@pytest.mark.parametrize("name", ["vgg16", "resnet20 pad", "resnet20 projection"])
def test_pruned_networks_learn(name: str):
    model, _ = made(name, dtype=torch.float32)
    x, y = torch.randn(16, 3, 32, 32), torch.arange(16) % 10
    small = pk.prune(model.train(), pk.plan(pk.trace(model, x), 0.5))
    optimizer = torch.optim.SGD(small.parameters(), lr=0.01, momentum=0.9)
    losses = []
    for _ in range(8):
        loss = F.cross_entropy(small(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert all(p.grad is not None for p in small.parameters())
    assert losses[-1] < losses[0]


def test_an_empty_plan_copies():
    model, (x,) = made("viewed")
    same = pk.prune(model, plan_by_hand(pk.trace(model, x), {}))
    assert same is not model
    assert same(x).equal(model(x))


# Padded shortcuts that are written in other ways: right, or refused


def test_zero_maps_made_by_hand():
    """As many zero maps are appended as the forward says, so what they meet stays; the rest can go."""
    model, x = ZeroConcatenated().double(), torch.randn(1, 3, 8, 8).double()
    graph = pk.trace(model, x)
    with pytest.raises(PlanError, match=r"'b' cannot lose this filter: it comes from new_zeros"):
        plan_by_hand(graph, {"b": [5]})
    plan = plan_by_hand(graph, {"c": [1]})
    assert agree(pk.prune(model, plan)(x), pk.mask(model, plan)(x), 1e-10)


def test_padding_on_both_sides():
    """Cut evenly the middle stays in the middle: a filter in front goes with one at the back."""
    torch.manual_seed(0)
    model, x = randomize(PaddedBothSides().double()), torch.randn(1, 3, 8, 8).double()
    graph = pk.trace(model, x)
    for removed in ([0, 6], [1, 7], [3], [0, 2, 6]):
        plan = plan_by_hand(graph, {"b": removed})
        assert agree(pk.prune(model, plan)(x), pk.mask(model, plan)(x), 1e-10)
    with pytest.raises(PlanError, match=r"keeps filter 6 of layer 'b', but removes one that is tied to it"):
        plan_by_hand(graph, {"b": [0]})


# Refused


class HardView(Viewed):
    def forward(self, x: Tensor) -> Tensor:
        x = F.avg_pool2d(torch.relu(self.bn(self.a(x))), 4)
        return self.fc(x.view(-1, 24))  # a size written as a number


class HardPad(nn.Module):
    """The number of maps is computed, but from another tensor than the one that it has to fit."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.fc = conv(3, 4), conv(4, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        y = self.b(x) + F.pad(x, (0, 0, 0, 0, 0, x.size(2) - 6))
        return self.fc(y.mean((2, 3)))


@pytest.mark.parametrize(
    "model, removed, line",
    [
        (HardView(), {"a": [0]}, r"return self.fc\(x.view\(-1, 24\)\)"),
        (HardPad(), {"b": [5]}, r"y = self.b\(x\) \+ F.pad"),
    ],
    ids=["view", "pad"],
)
def test_sizes_written_into_the_forward_are_refused_with_their_line(model: nn.Module, removed: dict, line: str):
    plan = plan_by_hand(pk.trace(model, torch.randn(1, 3, 8, 8)), removed)
    with pytest.raises(
        SurgeryError, match=rf"does not run.*\(test_surgery.py, line \d+: {line}.*\)\. A size.*x.size\(1\)"
    ):
        pk.prune(model, plan)


def test_a_size_that_happens_to_fit_is_found():
    """Two filters off, and view(-1, 24) makes one image of two: it runs, and is wrong."""
    model = HardView()
    plan = plan_by_hand(pk.trace(model, torch.randn(2, 3, 8, 8)), {"a": [0, 1, 2]})
    with pytest.raises(SurgeryError):
        pk.prune(model, plan)


def test_a_network_that_cannot_be_copied():
    class Held(Viewed):
        def __init__(self):
            super().__init__()
            self.kept = self.a.weight * 2  # not a leaf: deepcopy refuses

    model: Any = Held()
    with pytest.raises(SurgeryError, match=r"cannot be copied with copy.deepcopy: .*attribute"):
        pk.prune(model, plan_by_hand(pk.trace(model, torch.randn(1, 3, 8, 8)), {"a": [0]}))


def test_a_network_whose_output_is_not_finite():
    model, (x,) = made("viewed")
    model.fc.weight.data.fill_(float("inf"))
    with pytest.raises(SurgeryError, match=r"not finite"):
        pk.prune(model, plan_by_hand(pk.trace(model, x), {"a": [0]}))


@pytest.mark.parametrize("make", [pk.prune, pk.mask], ids=["prune", "mask"])
def test_rates_are_not_a_plan(make):
    with pytest.raises(PlanError, match=r"by what pk.plan\(...\) returns, not by a dict"):
        make(Viewed(), {"a": 0.5})


@pytest.mark.parametrize("make", [pk.prune, pk.mask], ids=["prune", "mask"])
def test_a_graph_is_not_a_network(make):
    model, (x,) = made("viewed")
    graph = pk.trace(model, x)
    with pytest.raises(PlanError, match=r"prune and mask take a torch.nn.Module, not a Graph"):
        make(graph, pk.plan(graph, 0.5))


@pytest.mark.parametrize("make", [pk.prune, pk.mask], ids=["prune", "mask"])
def test_a_plan_for_another_network(make):
    model, (x,) = made("vgg16")
    plan = pk.plan(pk.trace(model, x), 0.5)
    with pytest.raises(PlanError, match=r"has no layer 'features.0'"):
        make(made("resnet20 pad")[0], plan)
    with pytest.raises(PlanError, match=r"4 filters in layer 'features.0', and here there are 8"):
        make(pk.nets.vgg16(1 / 8), plan)


def test_a_layer_that_is_masked_or_normalized_is_named_where_it_cannot_be_copied():
    for compute in (lambda layer: torch.nn.utils.prune.ln_structured(layer, "weight", 2, n=1, dim=0), old_weight_norm):
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 2, 1))
        compute(model[0])
        made = pk.plan(pk.trace(model, torch.randn(1, 3, 8, 8)), {"2": 0.5})
        with pytest.raises(SurgeryError, match=r"'weight' of '0' is computed.*prune.remove or .*pk.shrink"):
            pk.prune(model, made)


def old_weight_norm(layer: nn.Module) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.nn.utils.weight_norm(layer)
