"""Costs against the paper's printed digits, against closed formulas, and against two other counters."""

import copy
import time
import warnings
from collections.abc import Callable
from functools import partial

import pandas as pd
import pytest
import torch
from odd_nets import ALL, made
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from prunekit import costs, nets
from prunekit._torchvision import torchvision
from prunekit.costs import cost, latency, size, total
from prunekit.errors import PrunekitError
from prunekit.plans import plan
from prunekit.surgery import prune
from prunekit.tracing import trace

SMALL, MEDIUM, LARGE = (1, 3, 32, 32), (1, 3, 64, 64), (1, 3, 224, 224)


@pytest.mark.parametrize(
    "name, shape, macs, weights",
    [
        ("vgg16", SMALL, 313_463_808, 14_977_728),
        ("resnet56", SMALL, 125_485_696, 848_944),
        ("resnet110", SMALL, 252_887_680, 1_719_856),
        ("resnet34", LARGE, 3_663_761_408, 21_779_648),
    ],
)
def test_the_papers_networks_have_its_exact_counts(name, shape, macs, weights):
    counted = total(nets.build(name), torch.randn(shape))
    assert (counted.macs, counted.weights) == (macs, weights)


def test_resnet34_without_projections_has_the_printed_counts():
    table = cost(nets.resnet34(), torch.randn(LARGE))
    numbered = table[~table["layer"].str.contains("downsample")]
    assert (numbered["macs"].sum(), numbered["weights"].sum()) == (3_644_493_824, 21_607_616)
    assert len(table) - len(numbered) == 3


def test_a_projection_net_on_cifar_costs_more_than_the_paper_prints():
    x = torch.randn(SMALL)
    extra = (16 * 32 * 16**2) + (32 * 64 * 8**2)
    assert total(nets.resnet56("projection"), x).macs == 125_485_696 + extra


def with_torch(model: nn.Module, x: Tensor) -> int:
    model = copy.deepcopy(model).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(x)
    return counter.get_total_flops() // 2


def with_thop(model: nn.Module, x: Tensor) -> int:
    """thop's sum over conv and linear layers; its total also takes BN and pooling."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # thop asks distutils for torch's version
        from thop import profile

    model = copy.deepcopy(model).eval()  # thop leaves buffers behind
    *_, layers = profile(model, inputs=(x,), verbose=False, ret_layer_info=True)

    def walk(module: nn.Module, found: dict) -> float:
        return sum(
            found[name][0] if isinstance(child, costs.READERS) else walk(child, found[name][2])
            for name, child in module.named_children()
        )

    return int(walk(model, layers))


OTHERS = ("resnet50", "resnext50_32x4d", "mobilenet_v2", "densenet121", "squeezenet1_0")
NETWORKS: list[tuple[str, Callable[[], nn.Module], tuple[int, ...]]] = [
    ("vgg16", nets.vgg16, SMALL),
    ("resnet56", nets.resnet56, SMALL),
    ("resnet34", nets.resnet34, LARGE),
    *((f"torchvision {name}", partial(torchvision.models.get_model, name, weights=None), MEDIUM) for name in OTHERS),
]


@pytest.mark.parametrize("build, shape", [n[1:] for n in NETWORKS], ids=[n[0] for n in NETWORKS])
def test_three_counters_agree(build, shape):
    model, x = build(), torch.randn(shape)
    ours = int(cost(model, x)["macs"].sum())
    assert ours == with_torch(model, x)
    assert ours == with_thop(model, x)


LAYERS = {
    "conv1d": (nn.Conv1d(6, 8, 5, stride=2), (2, 6, 40), 2 * 8 * 6 * 5 * 18),
    "conv2d": (nn.Conv2d(3, 4, (3, 5), padding=1), (2, 3, 9, 9), 2 * 4 * 3 * 15 * 9 * 7),
    "conv3d": (nn.Conv3d(2, 3, 3), (1, 2, 5, 6, 7), 3 * 2 * 27 * 3 * 4 * 5),
    "groups": (nn.Conv2d(8, 12, 3, groups=4), (1, 8, 6, 6), 12 * 2 * 9 * 16),
    "depthwise": (nn.Conv2d(8, 8, 3, groups=8), (1, 8, 6, 6), 8 * 9 * 16),
    "dilated": (nn.Conv2d(2, 3, 3, dilation=2), (1, 2, 7, 7), 3 * 2 * 9 * 9),
    "transposed 1d": (nn.ConvTranspose1d(4, 6, 3, stride=2), (2, 4, 10), 2 * 4 * 6 * 3 * 10),
    "transposed 2d": (nn.ConvTranspose2d(4, 6, 3, stride=2), (1, 4, 5, 7), 4 * 6 * 9 * 35),
    "transposed groups": (nn.ConvTranspose2d(4, 6, 3, groups=2), (1, 4, 5, 7), 4 * 3 * 9 * 35),
    "transposed 3d": (nn.ConvTranspose3d(2, 3, 2, stride=2), (1, 2, 3, 3, 3), 2 * 3 * 8 * 27),
    "linear": (nn.Linear(7, 5), (3, 7), 3 * 7 * 5),
    "linear on tokens": (nn.Linear(7, 5, bias=False), (2, 11, 7), 2 * 11 * 7 * 5),
}


@pytest.mark.parametrize("layer, shape, macs", LAYERS.values(), ids=LAYERS)
def test_every_kind_of_layer_by_its_closed_formula(layer, shape, macs):
    x = torch.randn(shape)
    row = cost(nn.Sequential(layer), x).iloc[0]
    assert row["macs"] == macs == with_torch(layer, x)
    assert row["weights"] == layer.weight.numel()
    assert (row["layer"], row["kind"]) == ("0", type(layer).__name__)


def test_a_row_says_what_the_layer_is():
    row = cost(nn.Sequential(nn.Conv2d(3, 4, (3, 5), padding=1)), torch.randn(1, 3, 9, 9)).iloc[0].to_dict()
    assert row == {
        "layer": "0", "kind": "Conv2d", "inputs": 3, "filters": 4, "kernel": "3x5", "height": 9, "width": 7,
        "macs": 4 * 3 * 15 * 63, "weights": 180,
    }  # fmt: skip


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.last = nn.Linear(4, 2)
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.unused = nn.Conv2d(4, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(input=self.conv(x)[:, :, ::2])
        return self.last(x.mean((2, 3)))


def test_a_layer_called_twice_has_two_macs_and_one_set_of_weights_and_rows_follow_the_calls():
    table = cost(Twice(), torch.randn(1, 4, 8, 8))
    assert list(table["layer"]) == ["conv", "last"]
    assert list(table["macs"]) == [4 * 4 * 9 * (64 + 32), 8]
    assert list(table["weights"]) == [144, 8]


def test_shared_weights_count_once():
    a, b = nn.Linear(4, 4), nn.Linear(4, 4)
    b.weight = a.weight
    model = nn.Sequential(a, b)
    assert list(cost(model, torch.randn(1, 4))["weights"]) == [16, 0]
    assert list(cost(model, torch.randn(1, 4))["macs"]) == [16, 16]
    assert size(model) == 4 * (16 + 4 + 4)


def test_several_inputs_go_in_a_tuple():
    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(2, 3), nn.Linear(4, 3)

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return self.a(x) + self.b(y)

    assert list(cost(Sum(), (torch.randn(1, 2), torch.randn(1, 4)))["macs"]) == [6, 12]


class Careless(nn.Module):
    """Changes its buffers in eval mode, in place and by assignment, adds one, overrides eval, and may stop halfway."""

    def __init__(self, fails: bool):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2)
        self.fails = fails
        self.register_buffer("seen", torch.zeros(1))
        self.register_buffer("kept", torch.zeros(1), persistent=False)
        self.register_buffer("empty", None)

    def train(self, mode: bool = True):
        raise AssertionError("cost sets the flags itself")

    def forward(self, x: Tensor) -> Tensor:
        assert not self.training and not self.bn.training
        self.seen += 1
        self.kept = self.kept + 1
        self.register_buffer("late", torch.ones(1))
        x = self.bn(self.conv(x))
        if self.fails:
            raise RuntimeError("halfway")
        return x


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_left_as_it_was_whatever_happens(fails):
    model = Careless(fails)
    model.bn.training = False  # frozen BN in a network that trains
    user = model.conv.register_forward_hook(lambda *_: None)
    state = {name: value.clone() for name, value in model.named_buffers()}
    tensors = {name: id(value) for name, value in model.named_buffers()}
    hooks = {m: (dict(m._forward_hooks), dict(m._forward_pre_hooks)) for m in model.modules()}
    if fails:
        with pytest.raises(PrunekitError, match=r"shape \(1, 1, 2, 2\).*layer 'conv'.*halfway"):
            cost(model, torch.ones(1, 1, 2, 2))
    else:
        cost(model, torch.ones(1, 1, 2, 2))
        latency(model, torch.ones(1, 1, 2, 2), seconds=0.01)
    assert [m.training for m in model.modules()] == [True, True, False]
    assert {name: id(value) for name, value in model.named_buffers()} == tensors
    for name, value in model.named_buffers():
        assert torch.equal(value, state[name]), name
    assert {m: (dict(m._forward_hooks), dict(m._forward_pre_hooks)) for m in model.modules()} == hooks
    assert all(p.grad is None for p in model.parameters())
    user.remove()


def test_a_wrong_input_shape_is_refused_with_the_layer():
    with pytest.raises(PrunekitError, match=r"\(1, 1, 32, 32\).*'features.0', Conv2d\(3, 64.*instead\. Give"):
        cost(nets.vgg16(), torch.randn(1, 1, 32, 32))


def test_lazy_layers_are_refused_and_stay_lazy():
    model = nn.Sequential(nn.LazyConv2d(4, 3))
    with pytest.raises(PrunekitError, match="lazy"):
        cost(model, torch.randn(1, 3, 8, 8))
    assert nn.parameter.is_lazy(next(model.parameters()))


def test_size_counts_every_parameter_and_buffer():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    assert size(model) == 4 * (4 * 27 + 4) + 4 * (4 * 4) + 8  # BN counts its batches in an int64


def test_latency_names_what_it_measured():
    measured = latency(nets.vgg16(0.05), torch.randn(1, 3, 32, 32), seconds=0.05, threads=1)
    assert 0 < measured.median < 1 and measured.iqr >= 0 and measured.runs >= 5
    assert measured.threads == 1 and measured.device == costs.device_name("cpu") != ""


def test_latency_is_the_seconds_of_one_call():
    class Waits(nn.Module):
        def forward(self, x):
            time.sleep(0.02)
            return x

    measured = latency(Waits(), torch.zeros(1), seconds=0.01)
    assert 0.02 <= measured.median < 2, "a busy machine makes a call longer, and nothing makes it shorter"
    assert measured.runs >= 5 and measured.iqr > 0, "one call has no spread"


@pytest.mark.parametrize("name", ALL)
def test_the_cost_of_a_plan_is_the_cost_of_the_network_it_makes(name):
    model, inputs = made(name)
    graph = trace(model, *inputs)
    layers = [n for n in graph.free() if len(graph.layers[n]) > 1 and n in dict(model.named_modules())]
    if not layers:
        pytest.skip("no module in it can lose a filter alone")
    chosen = plan(graph, dict.fromkeys(layers, 0.5))
    before, after = cost(model, tuple(inputs)), cost(prune(model, chosen), tuple(inputs))
    pd.testing.assert_frame_equal(costs.cost_of(graph, chosen), after)
    assert after["macs"].sum() < before["macs"].sum()


def test_layers_that_a_plan_leaves_alone_keep_their_cost_whatever_their_kind():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.ConvTranspose2d(4, 6, 2))
    x = torch.randn(2, 3, 9, 9)
    graph = trace(model, x)
    chosen = plan(graph, {"0": 0.5})
    pd.testing.assert_frame_equal(costs.cost_of(graph, chosen), cost(prune(model, chosen), x))


def test_compared_gives_the_share_that_went():
    table = costs.compared(costs.Total(200, 100, 800), costs.Total(150, 50, 400))
    assert list(table["pruned"]) == [0.25, 0.5, 0.5]
