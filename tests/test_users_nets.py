"""What users write: what changes in place is followed or refused, and nothing of theirs is changed on the way."""

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from odd_nets import agree, randomize
from torch import Tensor, nn
from torch.nn import functional as F
from users_nets import Three, conv

import prunekit as pk
from prunekit.errors import SurgeryError, TraceError

X = torch.randn(2, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


class Between(Three):
    """Something is done to the maps of `a` before `c` reads them."""

    def __init__(self, between: Callable[["Between", Tensor], Tensor]):
        super().__init__()
        self.between = between
        self.register_buffer("order", torch.tensor([5, 3, 1, 4, 2, 0]))
        self.register_buffer("flag", torch.tensor(1.0))
        self.one = conv(6, 1)
        self.scale, self.shift = nn.Parameter(torch.rand(6)), nn.Parameter(torch.rand(6))
        self.register_buffer("mean", torch.rand(6))
        self.register_buffer("variance", torch.rand(6))
        self.register_buffer("blur", torch.ones(6, 1, 3, 3) / 9)
        self.n, self.slopes = nn.GroupNorm(6, 6), nn.PReLU(6)

    def only(self, a: Tensor) -> Tensor:
        """One map, from all of them: (images, 1, pixels)."""
        return self.one(a).flatten(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.answer(self.between(self, self.a(x)))


def between(what: Callable[[Any, Tensor], Tensor]) -> Between:
    torch.manual_seed(0)
    return randomize(Between(what).double().eval())


def cut(model: nn.Module) -> tuple[nn.Module, nn.Module]:
    """The pruned network and the masked one, without half of the filters of `a`."""
    graph = pk.trace(model, X)
    plan = pk.plan(graph, {"a": 0.5})
    return pk.prune(model, plan), pk.mask(model, plan)


FOLLOWED: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "a method": lambda m, a: a.add_(1).sub_(2).div_(3).relu_(),
    "a function": lambda m, a: torch.relu_(F.relu(a, inplace=True)),
    "written over by one value": lambda m, a: (a[:, :, 2:4].fill_(0.5), a)[1],
    "rows by a list": lambda m, a: a[:, :, [0, 2, 5]],
    "where as a method": lambda m, a: a.where(a > 0, 0.1 * a),
    "a mask of pixels": lambda m, a: a.masked_fill(torch.ones(8, 8).tril() == 0, 0.0),
    "a mask of values": lambda m, a: a.masked_fill((a > 1) | ~(a > -1), 0.0),
    "extremes by name": lambda m, a: (a.max(dim=3).values + torch.min(a, 2)[0]).unsqueeze(-1),
    "how many axes": lambda m, a: a.view(*a.shape[: len(a.shape) - 2], -1).view(*a.shape),
    "a loop over axes": lambda m, a: sum((a.flip(d) for d in range(2, a.ndim)), a),
    "an attribute": lambda m, a: a.data.mT,
    "a number of the network's own": lambda m, a: a * 2 if m.flag > 0.5 and m.flag.item() == 1 else a[:, :1],
    "random factors": lambda m, a: a * (torch.rand(len(X), 1, 1, 1, dtype=a.dtype) > -1),
    "the number of pixels": lambda m, a: a.sum((2, 3), keepdim=True) / (a.shape[2] * a.size(3)) + a / a.shape[0],
    "mixed": lambda m, a: torch.lerp(torch.addcmul(a, a, a.tanh()), a.relu(), 0.3),
    "soft extremes": lambda m, a: a - a.logsumexp((2, 3), keepdim=True),
    "pools of powers": lambda m, a: F.lp_pool2d(a.abs(), 2.0, 2),
    "a constant of its kind": lambda m, a: a * torch.ones(1).to(a) + torch.zeros(1).type_as(a),
    "attention over pixels": lambda m, a: (
        a.flatten(2) @ torch.softmax(torch.bmm(m.only(a).transpose(1, 2), m.only(a)), 1)
    ).view_as(a),
    "a constant matrix of pixels": lambda m, a: torch.matmul(a, torch.ones(8, 8, dtype=a.dtype).tril()),
    "a batch norm by hand": lambda m, a: (
        a * (m.scale * (m.variance + 1e-5).rsqrt()).view(1, -1, 1, 1)
        + (m.shift - m.mean * (m.scale * (m.variance + 1e-5).rsqrt())).reshape(-1, 1, 1)
    ),
    "a blur for each map": lambda m, a: F.conv2d(a, m.blur, stride=2, groups=a.shape[1]),
    "two filters for each map": lambda m, a: (
        F.conv2d(a, m.blur[:1].repeat(2 * a.size(1), 1, 1, 1).to(a), groups=a.shape[1])[:, ::1]
        .view(len(X), a.size(1), 2, -1, 6)
        .sum(2)
    ),
    "an axis that is computed": lambda m, a: a.view(*a.shape[: a.dim() - 2], -1).view(*a.shape),
    "one blur for all": lambda m, a: F.conv2d(a, m.blur[:1].expand(a.size(1), -1, -1, -1), None, 2, groups=a.size(1)),
    "a causal mask": lambda m, a: torch.where(torch.ones(8, 8).tril() > 0, a, 0.0),
    "rounded": lambda m, a: a[:, :, : round(a.size(2) * 0.6)] * float(a.size(3) / 3),
    "a layer on a constant of its kind": lambda m, a: (
        a * m.b(torch.ones(1, 3, 8, 8, dtype=a.dtype, device=a.device)).mean()
    ),
    "the size of a kernel": lambda m, a: F.pad(a, (m.a.weight.shape[-1] // 2,) * 4) * m.a.weight.size(2),
    "of a weight's kind": lambda m, a: a.to(m.a.weight.dtype).to(m.a.weight.device) * m.a.weight.dim(),
    "norms of pixels": lambda m, a: (
        F.normalize(a, dim=3)
        + F.normalize(a, dim=(2, 3))
        + torch.norm(a, dim=2, keepdim=True)
        + torch.linalg.vector_norm(a, 1, (2, 3), True)
    ),
    "entries spread out": lambda m, a: a * m.scale.view(1, -1, 1, 1).expand_as(a) + m.shift.view(-1, 1, 1).expand_as(a),
    "a number for each image": lambda m, a: a * (1 + torch.zeros(a.size(0), 1, 1, 1, dtype=a.dtype, device=a.device)),
    "one blur, taken along": lambda m, a: F.conv2d(
        a, m.blur[:1].repeat(a.size(1), 1, 1, 1).to(a.device), groups=a.size(1)
    ),
    "one or the other of its own": lambda m, a: a * torch.where(a > 0, m.scale.view(-1, 1, 1), m.shift.view(-1, 1, 1)),
    "all by name": lambda m, a: torch.add(input=a, other=m.scale.view(-1, 1, 1)).masked_fill(mask=a < -1, value=0.5),
    "a running mean": lambda m, a: (m.mean.mul_(0.9).add_(a.detach().mean((0, 2, 3)), alpha=0.1), a)[1],
    "a branch that goes alike": lambda m, a: a if a.size(1) == m.c.in_channels else -a,
    "spread": lambda m, a: a / (a.std((2, 3), keepdim=True) + a.var(dim=(2, 3), keepdim=True) + 1),
}
PINNED: dict[str, tuple[Callable[[Any, Tensor], Tensor], str]] = {
    "maps in a fixed order": (lambda m, a: a[:, m.order], "getitem takes a fixed part of the maps"),
    "maps in a listed order": (lambda m, a: a[:, [5, 4, 3, 2, 1, 0]], "getitem takes a fixed part of the maps"),
    "one map after another": (
        lambda m, a: torch.cat([a[:, i : i + 1] * i for i in range(a.size(1))], 1),
        "getitem takes a fixed part of the maps",
    ),
    "a number of maps, rounded": (
        lambda m, a: torch.cat([a[:, : int(a.size(1) * 0.5)], a[:, 3:]], 1),
        "getitem takes a fixed part of the maps",
    ),
    "into zeros": (
        lambda m, a: (z := a.new_zeros(a.shape), z.__setitem__(slice(None), a))[0],
        "new_zeros computes with the number of its maps",
    ),
    "divided by how many": (lambda m, a: a / a.size(1), "truediv computes with the number of its maps"),
    "less how many": (lambda m, a: torch.relu(a - a.shape[1] // 2), "sub computes with the number of its maps"),
    "no more than how many": (lambda m, a: a.clamp(max=a.size(dim=1)), "clamp computes with the number of its maps"),
    "how many elements": (lambda m, a: a * a.numel() ** -0.5, "mul computes with the number of its maps"),
    "how many, unpacked": (
        lambda m, a: (lambda n, c, h, w: torch.where(a > c / h, a, 0))(*a.shape),
        "gt computes with the number of its maps",
    ),
    "how many, as a tensor": (
        lambda m, a: a + torch.arange(a.size(1), dtype=a.dtype).sum(),
        "add computes with the number of its maps",
    ),
    "full of how many": (
        lambda m, a: a + a.new_full((len(X), 1, 1, 1), a.size(1)),
        "new_full computes with the number of its maps",
    ),
    "written with how many": (
        lambda m, a: (a.__setitem__((slice(None), slice(None), 0), a.size(1)), a)[1],
        "setitem computes with the number of its maps",
    ),
    "the extreme of how many": (
        lambda m, a: torch.min(a, torch.ones(1, dtype=a.dtype) * a.size(1)),
        "min computes with the number of its maps",
    ),
    "filled by name": (
        lambda m, a: torch.minimum(a, a.new_full((1, 1, 1, 1), fill_value=60.0 * a.size(1))),
        "new_full computes with the number of its maps",
    ),
    "padded with how many": (
        lambda m, a: F.max_pool2d(F.pad(a, (1, 1, 1, 1), value=-10 * a.size(1)), 3),
        "pad computes with the number of its maps",
    ),
    "pixels padded by how many": (lambda m, a: F.pad(a, (0, a.size(1) // 3)), "pad computes with the number of"),
    "pixels up to how many": (lambda m, a: a[:, :, : a.size(1)], "getitem computes with the number of its maps"),
    "pixels from how many": (
        lambda m, a: a.narrow(2, a.size(1) // 6, 3),
        "narrow computes with the number of its maps",
    ),
    "the pixel of how many": (
        lambda m, a: (a.__setitem__((..., a.size(1) // 2), 0.0), a)[1],
        "setitem computes with the number of its maps",
    ),
    "pixels repeated": (lambda m, a: a.repeat(1, 1, a.size(1), 1), "repeat computes with the number of its maps"),
    "as many pixels": (lambda m, a: F.interpolate(a, size=a.size(1)), "interpolate computes with the number of its"),
    "pixels split by how many": (lambda m, a: a.split(a.size(1), 2)[0], "split computes with the number of its maps"),
    "pixels in as many chunks": (lambda m, a: a.chunk(a.size(1), 2)[0], "chunk computes with the number of its maps"),
    "each pixel repeated": (lambda m, a: a.repeat_interleave(a.size(1), 3), "repeat_interleave computes with the"),
    "pixels in rows of how many": (
        lambda m, a: a.reshape(a.size(0), a.size(1), a.size(1) // 3 * 4, -1),
        "reshape computes with the number of its maps",
    ),
    "as many copies": (
        lambda m, a: a + m.one(a).expand(-1, a.size(1), -1, -1).sum(1, True),
        "expand computes with the number of its maps",
    ),
    "copies like another": (
        lambda m, a: a + m.one(a).expand_as(a).sum(1, True),
        "expand_as spreads one map over several",
    ),
    "ones, added up": (lambda m, a: a + a.new_ones(a.size(1)).cumsum(0)[-1], "new_ones computes with the number of"),
    "ones, pooled": (
        lambda m, a: a + F.adaptive_avg_pool1d(F.pad(torch.ones(1, 1, a.size(1)), (0, 3)), 1).view(1, 1, 1, 1),
        "ones computes with the number of its maps",
    ),
    "ones, convolved": (
        lambda m, a: a + F.conv2d(a.new_ones(1, 1, a.size(1), 8), m.blur[:1]).mean(),
        "new_ones computes with the number of its maps",
    ),
    "one of the ones": (
        lambda m, a: a + torch.cat([a.new_ones(a.size(1)), a.new_zeros(3)])[4],
        "new_ones computes with the number of its maps",
    ),
    "as many ones as filters": (
        lambda m, a: a + a.new_ones(m.a.weight.shape[0]).sum(),
        "computes with the size of 'a.weight'",
    ),
    "its own layer, on a constant": (
        lambda m, a: a + m.a(torch.ones(1, 3, 8, 8, dtype=torch.float64)).abs().mean(),
        "computes with all entries of 'a.weight' at once",
    ),
    "another shift": (
        lambda m, a: F.group_norm(a, m.n.num_groups, m.n.weight, m.n.bias - m.n.bias.mean()),
        "group_norm normalizes over several maps",
    ),
    "ones, summed": (lambda m, a: a + a.new_ones(a.size(1)).sum(), "new_ones computes with the number of its maps"),
    "ones, counted": (lambda m, a: a + a.new_ones(a.shape).shape[1], "new_ones computes with the number of"),
    "ones, multiplied": (
        lambda m, a: a + a.new_ones(1, a.size(1)) @ torch.ones(a.size(1), 1, dtype=a.dtype),
        "new_ones computes with the number of its maps",
    ),
    "ones of torch's, averaged": (
        lambda m, a: a + (torch.ones(2, a.size(1)) * torch.arange(2).view(2, 1)).mean(1).view(2, 1, 1, 1),
        "ones computes with the number of its maps",
    ),
    "full of how many, by torch": (
        lambda m, a: torch.minimum(a, torch.full((1,), 60.0 * a.size(1), dtype=a.dtype)),
        "full computes with the number of its maps",
    ),
    "new maps, as many": (
        lambda m, a: a + torch.zeros(a.size(0), a.size(1), 8, 8, dtype=a.dtype),
        "zeros computes with the number of its maps",
    ),
    "how many, beside pixels": (
        lambda m, a: torch.cat([a, (torch.arange(1) + a.size(1)).view(1, 1, 1, 1).expand(2, 6, 8, 1)], 3),
        "cat computes with the number of its maps",
    ),
    "a kernel of how many": (
        lambda m, a: F.conv2d(a, m.blur[:1].repeat(a.size(1), 1, 1, 1) * a.size(1), groups=a.size(1)),
        "conv2d computes with the number of its maps",
    ),
    "a share of all entries": (
        lambda m, a: torch.minimum(a, (60 * m.scale / m.scale.sum()).view(1, -1, 1, 1)),
        "minimum combines it with a tensor of the network's own",
    ),
    "entries and their sum": (
        lambda m, a: torch.minimum(a * m.scale.view(-1, 1, 1), 20 * m.scale.sum()),
        "computes with all entries of 'scale' at once",
    ),
    "how many weights": (
        lambda m, a: a.clamp(max=10 * m.a.weight.size(0)),
        "computes with the size of 'a.weight'",
    ),
    "how many numbers": (lambda m, a: a.clamp(max=m.scale.numel()) * m.scale.view(-1, 1, 1), "the size of 'scale'"),
    "how long a shape is": (
        lambda m, a: a * m.scale.view(-1, 1, 1) + m.scale.repeat(2).shape[0],
        "computes with all entries of 'scale' at once",
    ),
    "written groups": (lambda m, a: F.conv2d(a, m.blur, groups=6), "conv2d has groups, and how many is written into"),
    "in groups of maps": (lambda m, a: F.group_norm(a, 2, m.scale, m.shift), "group_norm normalizes over several maps"),
    "a norm over maps": (lambda m, a: a / a.norm(dim=1, keepdim=True) + F.normalize(a), "norm mixes maps"),
    "an entry written over": (
        lambda m, a: a * (lambda t: (t.__setitem__(0, 0.5), t)[1])(m.scale + 1).view(-1, 1, 1),
        "computes with all entries of 'scale' at once",
    ),
    "an entry for all": (
        lambda m, a: a * m.scale[:1].expand(6).view(-1, 1, 1) * m.scale.view(-1, 1, 1),
        "mul combines it with a tensor of the network's own",
    ),
    "rolled by how many": (lambda m, a: torch.roll(a, a.size(1) // 2, 2), "roll computes with the number of its maps"),
    "attention over maps": (lambda m, a: (a.flatten(2).mT @ a.flatten(2))[:, :6, :8].unsqueeze(3), "matmul mixes maps"),
    "all elements": (lambda m, a: a / torch.std(a, True) + a.max(), "mixes maps"),
    "no axis for all": (lambda m, a: a / a.sum(dim=()), "sum mixes maps"),
    "not known": (lambda m, a: a.cumsum_(1), "it passes through cumsum_"),
}
REFUSED: dict[str, tuple[Callable[[Any, Tensor], Tensor], str]] = {
    "out": (lambda m, a: torch.add(a, 1, out=a), r"add writes into a tensor that is there, by out=: take what it ret"),
    "another shape": (lambda m, a: a.transpose_(1, 2), r"transpose_ changes a tensor's shape in place: write x = x.tr"),
    "places by value": (lambda m, a: a + torch.where(a > 0)[0][0], "where finds elements by their values"),
    "elements by value": (lambda m, a: a[a > 0].mean() + a, r"getitem picks elements by their values.*torch.where"),
    "values where values say": (
        lambda m, a: (a.__setitem__(a > 0, a[:, :, 0, 0]), a)[1],
        "setitem writes where values of tensors say: use torch.where instead",
    ),
    "a loop over values": (
        lambda m, a: a * len(range(a.argmax())),
        "values of tensors decides.*Control flow",
    ),
    "a branch": (lambda m, a: a if a.sum() > 0 else -a, r"test_users_nets.py, line \d+.*Control flow must not depend"),
    "a module made on the way": (
        lambda m, a: nn.Sequential(nn.ReLU())(a),
        "an attribute of the network, made in",
    ),
    "a new tensor": (lambda m, a: a + torch.tensor(a.size(1)), r"torch.full or x.new_zeros"),
}


@pytest.mark.parametrize("what", FOLLOWED)
def test_followed(what: str):
    model = between(FOLLOWED[what])
    assert pk.trace(model, X).free() == ["a", "c"]
    with torch.no_grad():
        small, masked = (net(X) for net in cut(model))
        assert agree(small, masked, 1e-10)
        assert not agree(small, model(X), 1e-3)


@pytest.mark.parametrize("what", PINNED)
def test_pinned(what: str):
    do, reason = PINNED[what]
    graph = pk.trace(between(do), X)
    assert all(reason in graph.reasons[color] for color in graph.layers["a"])
    assert graph.free() == ["c"]


@pytest.mark.parametrize("what", REFUSED)
def test_refused(what: str):
    do, message = REFUSED[what]
    with pytest.raises(TraceError, match=message):
        pk.trace(between(do), X)


def test_a_number_of_maps_out_of_sight_is_refused_at_the_cut():
    """Tracing cannot know what becomes of Python's own numbers; the comparison with the masked network does."""
    with pytest.raises(SurgeryError, match=r"computes with the number of its maps, as in x / int\(x.size\(1\)\)"):
        cut(between(lambda m, a: a / int(a.size(1))))


DECIDED: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "a number": lambda m, a: a.clamp(max=60.0 * int(a.size(1))),
    "half of it, as a float": lambda m, a: a.clamp(max=60.0 * float(a.size(1) / 2)),
    "a number in train mode": lambda m, a: a.clamp(max=float(a.size(1))) if m.training else a,
    "another number in train mode": lambda m, a: a.clamp(max=int(a.size(1)) if m.training else 60.0),
    "what a layer says": lambda m, a: a.clamp(max=60.0 * m.a.out_channels),
    "what parameters say": lambda m, a: a.clamp(max=60.0 * next(m.a.parameters()).shape[0]),
    "what a layer says in train mode": lambda m, a: a / m.c.in_channels if m.training else a,
    "a branch": lambda m, a: a.clamp(max=60.0) if a.size(1) == 6 else a,
    "the smaller of two": lambda m, a: a.clamp(max=60.0 * min(5.5, a.size(1))),
    "a list": lambda m, a: a.clamp(max=[90.0, 80.0, 70.0, 60.0, 50.0, 40.0, 30.0][a.size(1)]),
    "a list that is too short": lambda m, a: a.clamp(max=60.0 + {6: 1}[int(a.size(1))]) if m.training else a,
    "another input": lambda m, a: torch.minimum(
        *((a.clamp(max=50.0), a.clamp(max=90.0))[:: 1 if a.size(1) == 6 else -1])
    ).sub(torch.tensor(0.0)),
    "one of two": lambda m, a: (
        lambda low, high: torch.minimum(low if a.size(1) == 6 else high, low.abs() + high.abs())
    )(a.clamp(max=50.0), a.clamp(max=90.0)),
    "more of the same": lambda m, a: torch.minimum(a, 20.0 * torch.stack([m.flag.to(a.dtype)] * int(a.size(1))).sum(0)),
    "padding in train mode": lambda m, a: (
        F.conv2d(a, m.blur, None, 1, int(a.size(1)) // 6, 1, a.size(1)) if m.training else a
    ),
    "another epsilon": lambda m, a: (
        F.group_norm(m.n(a), m.n.num_groups, m.n.weight, m.n.bias, 1.0 * int(a.size(1))) if m.training else m.n(a)
    ),
    "so many ones": lambda m, a: torch.minimum(a, 60 * torch.ones(int(a.size(1)), dtype=a.dtype).sum()),
    "slopes": lambda m, a: m.slopes(a).clamp(max=60.0 * m.slopes.num_parameters),
    "a loop": lambda m, a: a.clamp(max=60.0 * sum(1 for _ in range(a.size(1)))),
    "a tensor": lambda m, a: torch.minimum(a, torch.tensor(60.0 * int(a.size(1)))),
    "a place": lambda m, a: a[:, :, : int(a.size(1))] if m.training else a,
    "entries": lambda m, a: (a.clamp(max=60.0) if (m.mean > 0).sum() == 6 else a) * m.mean.view(-1, 1, 1),
}


@pytest.mark.parametrize("what", DECIDED)
def test_decided_by_the_number_of_maps(what: str):
    """Where the one random input of the comparison does not come to, the operations are looked at."""
    model = between(DECIDED[what])
    graph = pk.trace(model, X)
    assert "a" in graph.free()
    with pytest.raises(SurgeryError, match="It decides by how many maps there are"):
        cut(model)
    assert len(pk.prune(model, pk.plan(graph, {"c": 0.5})).c.weight) == 2


class Input(Three):
    """Changes its own input: what is told apart, prepared or walked twice must not."""

    def forward(self, x: Tensor) -> Tensor:
        x -= 0.5
        x.div_(2)
        return self.answer(F.relu(self.a(x), inplace=True))


def test_an_input_that_is_changed_in_place():
    torch.manual_seed(0)
    model, x = Input().double().eval(), X.clone()
    small, masked = cut(model)
    images, labels = torch.randn(6, 3, 8, 8), torch.arange(6) % 3
    with torch.no_grad():
        assert agree(small(X.clone()), masked(X.clone()), 1e-10)
        assert x.equal(X)
        before = images.clone()
        table = pk.sweep(model.float(), [(images, labels)], X[:1].float(), (0.5,), layers="a", progress=False)
        assert images.equal(before)
        right = [int((net(images.clone()).argmax(1) == labels).sum()) for net in (small.float(), model)]
    assert table[["correct", "baseline_correct"]].iloc[0].tolist() == right


class Norm(nn.BatchNorm2d):
    """A norm with a forward of its own, which counts its calls: torch.fx looks inside."""

    def forward(self, input: Tensor) -> Tensor:
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        use = self.training
        return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, use, 0.1, self.eps)


class Counting(nn.Module):
    calls: Tensor
    mean: Tensor

    def __init__(self):
        super().__init__()
        self.a, self.norm, self.b, self.fc = conv(3, 6), Norm(6), conv(6, 4), nn.Linear(4, 3)
        self.register_buffer("calls", torch.tensor(0))
        self.register_buffer("mean", torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        if self.training:
            self.mean.mul_(0.9).add_(x.mean((0, 2, 3)), alpha=0.1)
        return self.fc(self.b(F.relu(self.norm(self.a(x)))).mean((2, 3)))


@pytest.mark.parametrize("training", [False, True])
def test_tracing_counts_nothing(training: bool):
    model = randomize(Counting().double().train(training))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    graph = pk.trace(model, X)
    assert all(tensor.equal(before[name]) for name, tensor in model.state_dict().items())
    assert all(buffer is model.get_buffer(name) for name, buffer in model.named_buffers())
    assert graph.free() == ["a", "b"]
    small, masked = cut(model.eval())
    with torch.no_grad():
        assert agree(small(X), masked(X), 1e-10)


class Drops(nn.Module):
    """Stochastic depth in two ways, which draw a number for each image in train mode."""

    def __init__(self):
        super().__init__()
        self.stem, self.a, self.b, self.fc = conv(3, 6), conv(6, 5), conv(5, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.b(F.relu(self.a(x)))
        if self.training:
            y = y * (0.9 + torch.rand((x.shape[0],) + (1,) * (x.ndim - 1), dtype=x.dtype)).floor_()
            y = y * x.new_empty((x.shape[0], 1, 1, 1)).bernoulli_(0.9).div_(0.9)
        return self.fc((x + y).mean((2, 3)))


def test_stochastic_depth_leaves_its_maps_free():
    model = Drops().double()
    graph = pk.trace(model, X)
    assert graph.training is not None and set(graph.reasons.values()) >= {"it reaches the network's output"}
    assert not graph.reasons.keys() & {*graph.layers["stem"], *graph.layers["a"]}
    small, masked = cut(model)
    for training in (False, True):
        outs = []
        for net in (small.train(training), masked.train(training)):
            torch.manual_seed(1)
            outs.append(net(X))
        assert agree(*outs, 1e-10)


class Grouped(nn.GroupNorm):
    """With a forward of its own, as networks have it that put the activation behind."""

    def forward(self, input: Tensor) -> Tensor:
        return F.relu(F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps))


def test_a_group_norm_that_is_called_as_a_function_loses_whole_groups():
    torch.manual_seed(0)
    model = nn.Sequential(conv(3, 12), Grouped(4, 12), conv(12, 5), nn.Flatten(), nn.Linear(5 * 64, 3))
    model = randomize(model.double().eval())
    graph = pk.trace(model, X)
    assert {graph.layers["0"].count(color) for color in graph.layers["0"]} == {3}
    plan = pk.plan(graph, {"0": 0.5})
    small, masked = pk.prune(model, plan), pk.mask(model, plan)
    assert small[1].num_groups == 2
    with torch.no_grad():
        assert agree(small(X), masked(X), 1e-10)


def test_numbers_that_compare_to_nothing_and_random_ones_do_not_change_by_themselves():
    """A branch on how many maps there are has both forwards compared; NaN is the same NaN, a draw the same draw."""
    model = between(
        lambda m, a: (a.masked_fill(a != a, float("nan")) + torch.rand(1, dtype=a.dtype)) if a.size(1) > 1 else a
    )
    graph = pk.trace(model, X)
    torch.rand(3)
    pk.prune(model, pk.plan(graph, {"a": 0.5}))


class Writing(Three):
    """Writes into buffers of its own at each call."""

    def __init__(self):
        super().__init__()
        self.register_buffer("steps", torch.zeros(()))
        self.register_buffer("factors", torch.tensor([-1.0, 1.0, 2.0, -2.0, 3.0, 4.0]))
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        self.steps += 1
        return self.answer(self.a(x) * self.act(self.factors).view(1, -1, 1, 1))


def test_what_a_forward_writes_into_its_buffers_is_not_there_after_a_cut():
    torch.manual_seed(0)
    model = Writing().double().eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    small, masked = cut(model)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert small.steps == 0 == masked.steps
    assert torch.isin(small.factors, before["factors"]).all() and len(small.factors) == 3
    with torch.no_grad():
        assert agree(small(X), masked(X), 1e-10)


def test_another_number_of_outputs_is_refused_at_the_cut():
    class Several(Three):
        def forward(self, x: Tensor) -> list[Tensor]:
            maps = self.a(x)
            return [self.answer(maps)] * int(maps.size(1))

    with pytest.raises(SurgeryError, match="computes something else"):
        cut(Several().double().eval())


def test_draws_of_pythons_own_go_alike_and_are_as_before():
    model = between(lambda m, a: a * 2 if random.random() > 0.5 else a)
    random.seed(3)
    wanted = random.random()
    random.seed(3)
    cut(model)
    assert random.random() == wanted


class Caching(Three):
    """Keeps what it computed from its weights, as attention does with the biases of its positions."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.rand(6))
        self.cache: dict[str, list] = {"of": []}

    def forward(self, x: Tensor) -> Tensor:
        if not self.cache["of"]:
            self.cache["of"].append(self.scale.view(-1, 1, 1) * 2)
        return self.answer(self.a(x) * self.cache["of"][0])


def test_a_cache_is_as_empty_as_before():
    torch.manual_seed(0)
    model = Caching().double().eval()
    small, masked = cut(model)
    assert model.cache == {"of": []}
    with torch.no_grad():
        assert agree(small(X), masked(X), 1e-10)


class Heads(nn.Module):
    """Attention whose values are laid out by the size of what all of it is computed from."""

    def __init__(self):
        super().__init__()
        self.stem, self.a, self.c, self.fc = conv(3, 8), conv(8, 8), conv(8, 5), nn.Linear(5, 3)
        self.gate, self.d = nn.Linear(8, 8), conv(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        b, c, h, w = x.shape
        gate = self.gate(x.mean((2, 3))).view(b, c, 1, 1).sigmoid()
        v = self.a(x).reshape(b, 2, c // 2, h * w)
        v = (v @ torch.ones(h * w, h * w, dtype=v.dtype)).reshape(b, c, h, w)
        return self.fc((self.c(v) * self.d(x * gate)).mean((2, 3)))


def test_maps_laid_out_by_the_number_of_others_stay():
    torch.manual_seed(0)
    model = randomize(Heads().double().eval())
    graph = pk.trace(model, X)
    assert {graph.reasons[color] for color in graph.layers["a"]} == {"reshape takes their number from other maps"}
    assert graph.reasons.keys().isdisjoint(graph.layers["stem"])
    assert graph.layers["gate"] == graph.layers["stem"]


class Slow(Three):
    """Others can begin while its forward is written down."""

    def forward(self, x: Tensor) -> Tensor:
        time.sleep(0.05)
        return self.answer(self.a(x))


def test_two_networks_traced_at_once():
    zeros = torch.zeros
    with ThreadPoolExecutor(4) as pool:
        graphs = [*pool.map(lambda model: pk.trace(model.double(), X), [Slow() for _ in range(4)])]
    assert torch.zeros is zeros
    assert all(graph.free() == ["a", "c"] for graph in graphs)
