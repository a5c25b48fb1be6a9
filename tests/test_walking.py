"""A fork answers what the masked networks answer, however it gets there."""

import copy
from typing import Any

import pytest
import torch
from odd_nets import ODD, logits, made
from torch import Tensor, nn
from torch.nn import functional as F

import prunekit as pk
from prunekit.errors import TraceError
from prunekit.plans import colors_gone
from prunekit.walking import Fork, Walker, fold, partial_sums, summable

RATES = (0.5, 0.2, 0.4)
ONE_INPUT = [name for name in ODD if name not in ("two inputs", "normalized", "doubled")]


def forked(model: nn.Module, x: Tensor, layer: str, folded: bool = True) -> tuple[Fork, Tensor]:
    """The fork of `layer` at RATES, and what its variants answer to `x`."""
    graph = pk.trace(copy.deepcopy(model).eval(), x[:1])
    gone = [colors_gone(graph, pk.plan(graph, {layer: rate})) for rate in RATES]
    if folded:
        fold(graph)
    walker = Walker(graph)
    fork = Fork(walker, gone)
    with torch.no_grad():
        trunk = walker.start(x.clone())
        walker.walk(trunk, 0, fork.start)
        found = fork.answers(trunk)
        again = fork.answers(trunk)  # nothing that the trunk still needs was written on
        walker.walk(trunk, fork.start)
    assert found.equal(again)
    whole = logits(model.eval()(x))
    assert (trunk[walker.order[-1]] - whole).abs().max() <= 1e-10 * whole.abs().max()
    return fork, found


def masked(model: nn.Module, x: Tensor, layer: str) -> Tensor:
    """What the fork must answer."""
    graph = pk.trace(model, x[:1])
    plans = [pk.plan(graph, {layer: rate}) for rate in RATES]
    with torch.no_grad():
        return torch.stack([logits(pk.mask(model, plan).eval()(x)) for plan in plans])


def agree(model: nn.Module, x: Tensor, layer: str, **how: Any) -> tuple[Fork, bool]:
    """The fork, and whether its variants answer something else than the whole network."""
    fork, found = forked(model, x, layer, **how)
    wanted = masked(model, x, layer)
    assert (found - wanted).abs().max() <= 1e-10 * wanted.abs().max(), layer
    return fork, not torch.allclose(wanted[0], logits(model.eval()(x)))


@pytest.mark.parametrize("name", ["vgg16", "resnet20 pad", "resnet20 projection", *ONE_INPUT])
def test_every_layer_of_every_network(name: str):
    model, (example, *_) = made(name)
    x = torch.randn(5, *example.shape[1:], dtype=example.dtype)
    graph = pk.trace(model, example)
    layers = [layer for layer in graph.layers if not set(graph.colors(layer)) & set(graph.reasons)]
    checked = [
        agree(model, x, layer, folded=folded)
        for layer in layers[:: max(1, len(layers) // 6)]
        for folded in (True, False)
    ]
    assert not layers or any(differs for _, differs in checked)  # or nothing would be shown


# Which way it goes


class Ways(nn.Module):
    """Maps of `a` that are read, with as much around them as each test wants."""

    def __init__(self):
        super().__init__()
        self.a, self.bn, self.b, self.c = conv(3, 6), nn.BatchNorm2d(6), conv(6, 4), conv(6, 4)
        self.fc = nn.Linear(4, 3)
        self.bn.running_mean.uniform_(-1, 1)
        self.bn.running_var.uniform_(0.5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(F.relu(self.b(F.relu(self.bn(self.a(x))))).mean((2, 3)))


def conv(inputs: int, filters: int, **options: Any) -> nn.Conv2d:
    return nn.Conv2d(inputs, filters, 3, padding=1, **options)


class Shortcut(Ways):
    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn(self.a(x)))
        y = self.b(x)
        return self.fc(F.relu(y + self.c(x)).mean((2, 3)))


class SizeBefore(Ways):
    """The number of images, taken before the fork, is used behind it."""

    def forward(self, x: Tensor) -> Tensor:
        n = x.size(0)
        x = F.relu(self.b(F.relu(self.bn(self.a(x)))))
        return self.fc(x.mean((2, 3)).view(n, -1))


class SizeBehind(Ways):
    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.b(F.relu(self.bn(self.a(x)))))
        return self.fc(x.mean((2, 3)).view(x.size(0), -1))


class Mixed(Ways):
    """Each image's answer depends on the other images of the batch."""

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.b(F.relu(self.bn(self.a(x))))).mean((2, 3))
        return self.fc(x - x.mean(0, keepdim=True))


class ImagesSecond(Ways):
    """What lives beside the fork has its images along the second axis."""

    def forward(self, x: Tensor) -> Tensor:
        a = self.a(x)
        beside = x.mean((2, 3)).t()
        return self.fc(self.b(F.relu(self.bn(a))).mean((2, 3))) + beside.t()


class WrittenThrough(Ways):
    """An operation in place, behind the fork, writes on two values that lie in the same memory."""

    def forward(self, x: Tensor) -> Tensor:
        other = self.c.bias.sum() + x.mean((2, 3))
        view = other.view(-1, 3)
        y = self.b(F.relu(self.bn(self.a(x)))).mean((2, 3))
        other.add_(1)
        return self.fc(y) + view


@pytest.mark.parametrize(
    "network, stacked, summed",
    [
        (Ways, True, True),
        (Shortcut, True, True),
        (SizeBehind, True, True),
        (SizeBefore, False, False),
        (Mixed, False, False),
        (ImagesSecond, False, False),
        (WrittenThrough, False, False),
    ],
)
def test_one_large_batch_only_where_that_is_right(network: type[Ways], stacked: bool, summed: bool):
    torch.manual_seed(0)
    model = network().double().eval()
    fork, _ = agree(model, torch.randn(5, 3, 8, 8, dtype=torch.float64), "a")
    assert (fork.stacked, fork.summed) == (stacked, summed)


class AddedThrough(Ways):
    """A view of what `+=` changes, which a hand-made sum would leave as it was."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.b(F.relu(self.bn(self.a(x)))).mean((2, 3))
        view = y.view(-1, 4)
        y += 1
        return self.fc(view)


def test_a_sum_in_place_changes_what_a_view_shows():
    torch.manual_seed(0)
    agree(AddedThrough().double().eval(), torch.randn(5, 3, 8, 8, dtype=torch.float64), "a")


def test_a_graph_that_is_not_the_network_is_refused():
    model = Ways().eval()
    model.register_forward_hook(lambda module, args, out: out.mul(2))
    with pytest.raises(TraceError, match=r"something else than its forward.*hooks on the network itself"):
        Walker(pk.trace(model, torch.randn(1, 3, 8, 8)))


def test_a_hook_on_the_reader_is_obeyed():
    torch.manual_seed(0)
    model = Ways().double().eval()
    model.b.register_forward_hook(lambda module, args, out: out.clamp(max=0.1))
    fork, _ = agree(model, torch.randn(5, 3, 8, 8, dtype=torch.float64), "a")
    assert fork.stacked and not fork.summed


# Partial sums


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("form", [torch.contiguous_format, torch.channels_last])
def test_partial_sums_in_any_order(bias: bool, form: torch.memory_format):
    layer, x = (
        conv(6, 4, bias=bias).double(),
        torch.randn(3, 6, 5, 5, dtype=torch.float64).contiguous(memory_format=form),
    )
    stays = torch.tensor([[1, 0, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1], [0, 0, 1, 0, 0, 0], [1, 0, 1, 1, 0, 0]]).bool()
    assert summable(layer, stays)
    with torch.no_grad():
        found = partial_sums(layer, x, stays)
        wanted = torch.cat([layer(x * stay.view(1, -1, 1, 1)) for stay in stays])
    assert (found - wanted).abs().max() < 1e-12
    assert found.is_contiguous(memory_format=form)


def test_linear_layers_read_their_last_axis():
    layer, x = nn.Linear(4, 3).double(), torch.randn(2, 5, 4, dtype=torch.float64)
    stays = torch.tensor([[1, 0, 0, 0], [1, 1, 0, 1]]).bool()
    with torch.no_grad():
        found = partial_sums(layer, x, stays)
        assert (found - torch.cat([layer(x * stay) for stay in stays])).abs().max() < 1e-12


@pytest.mark.parametrize(
    "layer, stays",
    [
        (conv(4, 4, groups=2), [[1, 0, 0, 0], [1, 1, 0, 0]]),
        (conv(4, 4), [[1, 0, 0, 0], [0, 1, 1, 0]]),  # neither keeps what the other keeps
        (conv(4, 4), [[0, 0, 0, 0], [0, 1, 1, 0]]),
        (nn.ConvTranspose2d(4, 4, 3), [[1, 0, 0, 0], [1, 1, 0, 0]]),
    ],
)
def test_not_summable(layer: nn.Module, stays: list[list[int]]):
    assert not summable(layer, torch.tensor(stays).bool())


# Batch norm


def kinds(model: nn.Module) -> list[str]:
    return [type(module).__name__ for module in model.children()]


def test_batch_norm_goes_into_the_conv():
    model = Ways().eval()
    graph = pk.trace(model, torch.randn(1, 3, 8, 8))
    fold(graph)
    assert kinds(model) == ["Conv2d", "Identity", "Conv2d", "Conv2d", "Linear"]


class Twice(Ways):
    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.b(F.relu(self.bn(self.a(x)) + self.bn(self.a(x.flip(3))))).mean((2, 3)))


class SeenBetween(Ways):
    def forward(self, x: Tensor) -> Tensor:
        a = self.a(x)
        return self.fc(self.b(F.relu(self.bn(a) + a)).mean((2, 3)))


class SharedWeight(Ways):
    def __init__(self):
        super().__init__()
        self.d = conv(3, 6)
        self.d.weight = self.a.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.b(F.relu(self.bn(self.a(x)) + self.d(x))).mean((2, 3)))


def hooked() -> Ways:
    model = Ways()
    model.a.register_forward_hook(lambda module, args, out: out)
    return model


def without_statistics() -> Ways:
    model = Ways()
    model.bn = nn.BatchNorm2d(6, track_running_stats=False)
    return model


@pytest.mark.parametrize("build", [Twice, SeenBetween, SharedWeight, hooked, without_statistics])
def test_batch_norm_stays_where_something_else_uses_it_or_the_conv(build: Any):
    model = build().eval()
    graph = pk.trace(model, torch.randn(1, 3, 8, 8))
    fold(graph)
    assert type(model.bn) is nn.BatchNorm2d
