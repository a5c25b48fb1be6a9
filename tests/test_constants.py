"""What is called constant does not depend on the input, for a reason that the weights give; the rest may vary."""

import operator
from collections.abc import Callable
from typing import Any

import pytest
import torch
from odd_nets import ALL, DRAWN, LAYERS, conv, made
from torch import Tensor, nn
from torch.nn import functional as F

from prunekit.constants import arrivals
from prunekit.tracing import operations


class Read(nn.Module):
    """Two maps, of which the first is constant, go through `between`; what arrives at `b` is asked."""

    def __init__(self, between: Callable[..., Tensor], channels: int = 2):
        super().__init__()
        self.a, self.c = nn.Conv2d(1, 2, 1), nn.Conv2d(1, 2, 1)
        self.b = nn.Conv2d(channels, 1, 1)
        self.bn, self.batch = nn.BatchNorm2d(2), nn.BatchNorm2d(2, track_running_stats=False)
        self.scale = nn.Parameter(torch.tensor([0.0, 2.0]).view(2, 1, 1))
        self.grouped, self.widened = nn.Conv2d(2, 2, 3, groups=2), nn.Conv2d(2, 4, 1, groups=2)
        self.wider, self.slopes = nn.ConvTranspose2d(2, 4, 2, groups=2), nn.Parameter(torch.tensor([0.5, -0.5]))
        for module in (self.a, self.c, self.grouped, self.widened):
            nn.init.constant_(module.weight, 0.7)
            nn.init.constant_(module.bias, 0.3)
        nn.init.zeros_(self.a.weight[0])
        self.between = between

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.between(self, self.a(x), self.c(x)))


def in_place(m: Any, a: Tensor, c: Tensor) -> Tensor:
    """The sum is written over the constant, which is then read under its old name."""
    a.add_(c)
    return a


def in_place_through_a_view(m: Any, a: Tensor, c: Tensor) -> Tensor:
    a.view(-1, 2, 36).add_(c.view(-1, 2, 36))
    return a


def activated_in_place(m: Any, a: Tensor, c: Tensor) -> Tensor:
    """Another tensor is changed than the one that is read."""
    F.relu(a).add_(c)
    return a


def unknown_in_place(m: Any, a: Tensor, c: Tensor) -> Tensor:
    a.masked_fill_(c > 100, 1.0)  # which does not happen to be so
    return a


@pytest.mark.parametrize(
    "between, constant",
    [
        (lambda m, a, c: a, [True, False]),
        (lambda m, a, c: F.relu(m.bn(a)), [True, False]),
        (lambda m, a, c: F.avg_pool2d(torch.sigmoid(a), 2), [True, False]),
        (lambda m, a, c: m.grouped(a), [True, False]),
        (lambda m, a, c: m.widened(a), [True, True, False, False]),
        (lambda m, a, c: F.conv2d(a, m.widened.weight, groups=2), [True, True, False, False]),
        (lambda m, a, c: F.conv2d(a, m.widened.weight + 0 * c.mean(), groups=2), [False] * 4),
        (lambda m, a, c: m.wider(a), [True, True, False, False]),
        (lambda m, a, c: F.prelu(a, m.slopes), [True, False]),
        (lambda m, a, c: torch.cat(a.split(1, 1)[::-1], 1), [False, True]),
        (lambda m, a, c: a[:, :1].expand_as(a), [True, True]),
        (lambda m, a, c: a + c, [False, False]),
        (lambda m, a, c: a + a.mean((2, 3), keepdim=True), [True, False]),
        (lambda m, a, c: a * 2 - 1, [True, False]),
        (lambda m, a, c: torch.cat([c, a], 1), [False, False, True, False]),
        (lambda m, a, c: torch.cat([a, torch.ones(2, 2, 6, 6, dtype=torch.float64)], 1), [True, False, True, True]),
        (lambda m, a, c: a.permute(0, 1, 3, 2).flatten(2).unsqueeze(3), [True, False]),
        (lambda m, a, c: F.pad(a, (1, 1)), [True, False]),
        (lambda m, a, c: F.pad(a, (0, 0, 0, 0, 0, 1)), [True, False, True]),
        # a factor of zero
        (lambda m, a, c: c * m.scale, [True, False]),
        (lambda m, a, c: m.scale * c, [True, False]),
        (lambda m, a, c: c * (m.scale + a), [False, False]),
        (lambda m, a, c: torch.mul(c, a - a), [True, False]),
        (lambda m, a, c: operator.truediv(m.scale, c), [False, False]),  # 0 / 0 is not zero
        (lambda m, a, c: (a - a).div(c), [False, False]),
        # constant for these inputs only
        (lambda m, a, c: F.relu(c - 100), [False, False]),
        (lambda m, a, c: a * F.relu(c - 100), [False, False]),
        # constant in each image, but not the same
        (lambda m, a, c: torch.cat([a, a + 1], 0), [False, False]),
        (lambda m, a, c: torch.cat([a, a], 0), [True, False]),
        # some pixels of a map, and then only these
        (lambda m, a, c: F.pad(c, (1, 0))[:, :, :, :1], [True, True]),
        (lambda m, a, c: m.bn(F.pad(c, (1, 0)))[:, :, :, :1], [True, True]),
        (lambda m, a, c: m.batch(F.pad(c, (1, 0)))[:, :, :, :1], [False, False]),
        (lambda m, a, c: F.avg_pool2d(F.pad(c, (1, 0)), 3, 1)[:, :, :, :1], [False, False]),
        (lambda m, a, c: m.batch(a), [True, False]),
        # written over
        (in_place, [False, False]),
        (in_place_through_a_view, [False, False]),
        (activated_in_place, [True, False]),
        # not known here
        (unknown_in_place, [False, False]),
        (lambda m, a, c: torch.softmax(a, 3), [False, False]),
        (lambda m, a, c: torch.where(a > 0, a, c), [False, False]),
    ],
)
def test_what_is_constant(between: Callable[..., Tensor], constant: list[bool]):
    torch.manual_seed(0)
    model = Read(between, len(constant)).double().eval()
    x = torch.randn(2, 1, 6, 6, dtype=torch.float64)
    nodes = operations(model, (), training=False)[0]
    (call,) = arrivals(model, nodes, [x])["b"]
    assert call.constant.tolist() == constant
    seen: list[Tensor] = []
    model.b.register_forward_pre_hook(lambda module, args: seen.append(args[0].clone()))
    model(x)
    model(x * -3)
    assert call.maps.shape == seen[0][0].shape
    for number, is_constant in enumerate(constant):
        maps = call.maps[number]
        assert not is_constant or all(torch.allclose(maps, y[:, number], atol=1e-12) for y in seen)


def test_one_weight_is_enough_to_vary():
    model = nn.Sequential(conv(3, 2), conv(2, 1))
    model[0].weight.data.zero_()
    model[0].weight.data[1, 2, 0, 0] = 1e-30
    x = torch.randn(2, 3, 8, 8)
    nodes = operations(model, (), training=False)[0]
    assert arrivals(model, nodes, [x])["1"][0].constant.tolist() == [True, False]


# None of these has such constants.
@pytest.mark.parametrize("name", sorted({*ALL, *DRAWN} - {"normalized", "group normed", "functional", "maxout"}))
def test_constants_are_the_same_for_all_inputs(name: str):
    """In networks with many zero weights: every layer's input, on inputs that the library has not seen."""
    model, inputs = made(name)
    for module in model.modules():
        if isinstance(module, (*LAYERS, nn.modules.batchnorm._BatchNorm)) and module.weight is not None:
            module.weight.data *= torch.rand(len(module.weight)).lt(0.5).view(-1, *[1] * (module.weight.dim() - 1))
    found = arrivals(model, operations(model, inputs, training=False)[0], inputs)
    constants = sum(int(call.constant.sum()) for calls in found.values() for call in calls)
    assert constants
    seen: dict[str, list[Tensor]] = {}
    for layer in found:
        module = model.get_submodule(layer)
        module.register_forward_pre_hook(
            lambda m, args, layer=layer: seen.setdefault(layer, []).append(args[0].clone())
        )
    with torch.inference_mode():
        for factor in (0.0, 1.0, -20.0):
            seen.clear()
            model(*(factor * x.flip(-1) for x in inputs))
            for layer, calls in found.items():
                linear = isinstance(model.get_submodule(layer), nn.Linear)
                for call, x in zip(calls, seen[layer], strict=True):
                    maps = x.movedim(-1 if linear else 1, 0)[call.constant]
                    assert torch.allclose(maps, call.maps[call.constant][:, None].expand_as(maps), rtol=1e-9, atol=1e-9)
