"""An independent judge of what belongs to a filter: poison its map, run the network, see where the poison arrives.

Nothing here knows how prunekit traces. The network runs on real numbers; one filter's map is NaN, which no addition, no
zero weight and no activation removes. Every conv and linear layer that gets poison in an input channel *reads* the
filter; there the poison is taken out, so that only what the map feeds directly is found. Batch norm and depthwise convs
hand it on, and are noted. Layers are known by the name of their weight, so a module that is called twice, a weight with
two names and a conv written as a function need no care of their own.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

Place = tuple[str, int]  # a weight's name and one of its filters, or a weight's name and one of its input channels
OUTPUT = ("the network's output", -1)

TRANSPOSED = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)
CONVS = (F.conv1d, F.conv2d, F.conv3d, *TRANSPOSED)
NORMS = (F.batch_norm, F.instance_norm)
PRODUCTS = (torch.matmul, torch.bmm, Tensor.matmul, Tensor.bmm, Tensor.__matmul__)
PARTS = (torch.chunk, torch.split, torch.tensor_split, Tensor.chunk, Tensor.split, Tensor.tensor_split)
SHUFFLES = (F.channel_shuffle, torch.channel_shuffle, torch.native_channel_shuffle)
SHAPES = (torch.reshape, Tensor.view, Tensor.reshape, Tensor.unflatten, torch.unflatten)


@dataclass
class Found:
    """What the probe saw.

    `places` has, for each filter and each channel of the network's inputs, the input channels it arrives at, the
    entries of norms and depthwise convs it passes, and OUTPUT. `counted` has who stays or goes together because an
    operation counts maps by groups: for each such operation and place in its groups, who is there. `parts` has, for
    each operation that cuts the maps into parts of equal size, all that it deals out. `spread` has the filters whose
    single map is used for many, or goes into all that a product of matrices gives. `around` says whether zero maps are
    padded on at both ends, as many at each, which ties filters that the poison does not show. `readers` has the number
    of input channels of each weight that reads.
    """

    places: dict[Place, set[Place]] = field(default_factory=dict)
    counted: dict[Place, set[Place]] = field(default_factory=dict)
    parts: dict[Place, set[Place]] = field(default_factory=dict)
    spread: set[Place] = field(default_factory=set)
    around: bool = False
    readers: dict[str, int] = field(default_factory=dict)
    inputs: set[Place] = field(default_factory=set)

    def arrivals(self) -> dict[Place, set[Place]]:
        """`places` the other way round: who arrives there."""
        found: dict[Place, set[Place]] = {}
        for giver, places in self.places.items():
            for place in places:
                found.setdefault(place, set()).add(giver)
        return found


def names_of(model: nn.Module) -> dict[int, str]:
    """The first name of each tensor of the model, by the tensor's id."""
    return {id(t): name for name, t in (*model.named_parameters(), *model.named_buffers())}


def argument(args: tuple, kwargs: Mapping, position: int, name: str, default: Any = None) -> Any:
    return args[position] if len(args) > position else kwargs.get(name, default)


class Watcher(TorchFunctionMode):
    """Sees every call of a layer's function. `reads` is called for those that read, and may give another input."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.names = names_of(model)

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: Mapping | None = None) -> Any:
        kwargs = dict(kwargs or {})
        x = argument(args, kwargs, 0, "input")
        weight = self.names.get(id(argument(args, kwargs, 1, "weight")), "")
        if weight and (func in CONVS or func is F.linear):
            dim = x.dim() - 1 if func is F.linear else x.dim() + 1 - argument(args, kwargs, 1, "weight").dim()
            groups = 1 if func is F.linear else argument(args, kwargs, 6, "groups", 1)
            if 1 < groups == x.shape[dim]:
                self.passes(weight, x, dim)
                return func(*args, **kwargs)
            read = self.reads(weight, x, dim, groups)
            args, kwargs = (read, *args[1:]), {k: v for k, v in kwargs.items() if k != "input"}
            return self.gives(weight, func(*args, **kwargs), dim, groups)
        if func in NORMS:
            tensors = [argument(args, kwargs, *at) for at in ((3, "weight"), (1, "running_mean"))]
            norm = next((self.names[id(t)] for t in tensors if id(t) in self.names), "")
            if norm:
                self.passes(norm, x, 1)
        out = func(*args, **kwargs)
        self.other(func, args, kwargs, out)
        return out

    def reads(self, weight: str, x: Tensor, dim: int, groups: int) -> Tensor:
        """`x` is about to be read, its channels along `dim`; what is returned is read instead."""
        return x

    def gives(self, weight: str, out: Tensor, dim: int, groups: int) -> Tensor:
        """`out` was made by a layer, its filters along `dim`; what is returned goes on instead."""
        return out

    def passes(self, weight: str, x: Tensor, dim: int) -> None:
        """`x` goes through a norm or a depthwise conv."""

    def other(self, func: Any, args: tuple, kwargs: Mapping, out: Any) -> None:
        """Any other operation was carried out."""


class Census(Watcher):
    """Who has filters, and who reads, in the order of the forward pass."""

    def __init__(self, model: nn.Module):
        super().__init__(model)
        self.filters: dict[str, int] = {}
        self.readers: dict[str, int] = {}
        self.counted: dict[Place, set[Place]] = {}

    def reads(self, weight: str, x: Tensor, dim: int, groups: int) -> Tensor:
        self.readers[weight] = x.shape[dim]
        return x

    def gives(self, weight: str, out: Tensor, dim: int, groups: int) -> Tensor:
        self.filters[weight] = n = out.shape[dim]
        for i in range(n) if groups > 1 else ():
            self.counted.setdefault(group(weight, "made", i, n, groups, self.readers[weight]), set()).add((weight, i))
        return out


class Poison(Watcher):
    """Poisons one filter in each stretch of the batch, and notes where the poison goes."""

    def __init__(self, model: nn.Module, weight: str, indices: list[int], found: Found):
        super().__init__(model)
        self.weight, self.indices, self.found = weight, indices, found
        self.calls = 0

    def givers(self, x: Tensor, dim: int) -> Iterable[tuple[Place, int]]:
        """Each poisoned filter, with each index of `x` along `dim` that its poison has reached."""
        stretches = x.isnan().movedim(dim, 0).reshape(x.shape[dim], len(self.indices), -1).any(2)
        for index, stretch in stretches.nonzero().tolist():
            yield (self.weight, self.indices[stretch]), index

    def poison(self, x: Tensor, dim: int) -> Tensor:
        """`x` with one filter's map NaN in each stretch of the batch."""
        x = x.clone()
        maps = x.movedim(dim, 0)
        for stretch, index in enumerate(self.indices):
            torch.chunk(maps[index].unsqueeze(-1), len(self.indices))[stretch].fill_(math.nan)
        return x

    def reads(self, weight: str, x: Tensor, dim: int, groups: int) -> Tensor:
        self.passes(weight, x, dim)
        n = x.shape[dim]
        for giver, index in self.givers(x, dim) if groups > 1 else ():
            self.found.counted.setdefault(group(weight, "read", index, n, groups, n), set()).add(giver)
        return torch.where(x.isnan(), torch.zeros_like(x), x)

    def gives(self, weight: str, out: Tensor, dim: int, groups: int) -> Tensor:
        return self.poison(out, dim) if weight == self.weight else out

    def passes(self, weight: str, x: Tensor, dim: int) -> None:
        for giver, index in self.givers(x, dim):
            self.found.places[giver].add((weight, index))

    def other(self, func: Any, args: tuple, kwargs: Mapping, out: Any) -> None:
        self.calls += 1
        for x in args[:2]:
            if not (isinstance(x, Tensor) and isinstance(out, Tensor)) or not 2 < x.dim() == out.dim():
                continue
            if x.shape[1] == 1 < out.shape[1] and x.isnan().any():
                self.found.spread |= {giver for giver, _ in self.givers(x, 1)}
        if func in PRODUCTS and out.dim() > 2 and out.shape[1] > 1:
            reached = Counter(giver for giver, _ in self.givers(out, 1))
            self.found.spread |= {giver for giver, maps in reached.items() if maps == out.shape[1]}
        x = args[0] if args else None
        self.found.around |= func is F.pad and len(args[1]) == 2 * x.dim() - 2 and min(args[1][-2:]) > 0
        if isinstance(x, Tensor) and x.is_floating_point() and x.dim() > 1 and x.isnan().any():
            at = (f"{func.__name__} {self.calls}", 0)
            if cuts(func, args, kwargs, out):
                self.found.parts.setdefault(at, set()).update(giver for giver, _ in self.givers(x, 1))
            for giver, index in self.givers(x, 1) if (size := folds(func, args, kwargs, out)) else ():
                self.found.counted.setdefault((at[0], index % size), set()).add(giver)


def group(weight: str, what: str, index: int, count: int, groups: int, inputs: int) -> Place:
    """Who is counted together with one of the `count` maps that a grouped conv has read or made.

    Whole groups, with what they read and what they make, or the same place of every group: whichever is finer.
    """
    size = count // groups
    return (f"groups of {weight}", index // size) if groups**2 >= inputs else (f"{what} by {weight}", index % size)


def cuts(func: Any, args: tuple, kwargs: Mapping, out: Any) -> bool:
    """Whether an operation cuts maps into parts, which have to stay of one size."""
    if func in PARTS:
        return argument(args, kwargs, 2, "dim", 0) in (1, 1 - args[0].dim())
    return func is Tensor.__getitem__ and out.dim() == args[0].dim() and out.shape[1] < args[0].shape[1]


def folds(func: Any, args: tuple, kwargs: Mapping, out: Any) -> int:
    """How many maps are in each group where an operation deals them out in groups, as a channel shuffle does; else 0.

    The number of groups stays, so maps at the same place of every group are counted together.
    """
    channels = args[0].shape[1]
    if func in SHUFFLES:
        return channels // argument(args, kwargs, 1, "groups")
    if func in SHAPES and out.dim() > args[0].dim() and out.shape[1] * out.shape[2] == channels:
        return out.shape[2]
    return 0


def probe(model: nn.Module, inputs: list[Tensor], filters: Mapping[str, Iterable[int]] | None = None) -> Found:
    """Where each filter of each layer arrives, and each channel of the inputs; or only the `filters` of some weights.

    The network runs in eval mode, and in train mode if that calls other layers; batch norms always work with their
    statistics. Filters are poisoned one in each image of a batch, where the network keeps the images apart.
    """
    single = [x[:1] for x in inputs]
    found = Found()
    for training in (False, True):
        with torch.no_grad(), torch.random.fork_rng(devices=[]), mode(model, training):
            with Census(model) as census:
                model(*single)
            if list(census.readers) == list(found.readers):
                break
            found.readers |= census.readers
            found.counted |= census.counted
            look(model, single, census.filters if filters is None else filters, found)
            if filters is None:
                look_at_inputs(model, single, found)
    return found


@contextmanager
def mode(model: nn.Module, training: bool) -> Iterator[None]:
    """Within, all is in that mode but batch norms, which are in eval mode; afterwards each module as it was."""
    before = [(module, module.training) for module in model.modules()]
    try:
        for module, _ in before:
            module.training = training and not isinstance(module, nn.modules.batchnorm._NormBase)
        yield
    finally:
        for module, was in before:
            module.training = was


def look(model: nn.Module, single: list[Tensor], filters: Mapping[str, int | Iterable[int]], found: Found) -> None:
    """Poison each of these filters of each weight: so many, or these."""
    wanted = {weight: list(range(n) if isinstance(n, int) else n) for weight, n in filters.items()}
    width = 32 if any(len(indices) > 1 for indices in wanted.values()) and apart(model, single) else 1
    for weight, indices in wanted.items():
        for some in (indices[i : i + width] for i in range(0, len(indices), width)):
            for i in some:
                found.places.setdefault((weight, i), set())
            note(model, [x.expand(len(some), *x.shape[1:]) for x in single], Poison(model, weight, some, found))


def look_at_inputs(model: nn.Module, single: list[Tensor], found: Found) -> None:
    """Poison each channel of each of the network's inputs."""
    for k, x in enumerate(single):
        for c in range(x.shape[1]):
            found.inputs.add((f"input {k}", c))
            found.places.setdefault((f"input {k}", c), set())
            poison = Poison(model, f"input {k}", [c], found)
            note(model, [poison.poison(y, 1) if y is x else y for y in single], poison)


def note(model: nn.Module, inputs: list[Tensor], poison: Poison) -> None:
    """One run with `poison`, which notes what happens; here, what reaches the output."""
    with poison:
        out = model(*inputs)
    for leaf in tree_leaves(out):
        if isinstance(leaf, Tensor) and leaf.is_floating_point():
            stretches = leaf.reshape(len(poison.indices), -1).isnan().any(1)
            for stretch in stretches.nonzero()[:, 0].tolist():
                poison.found.places[poison.weight, poison.indices[stretch]].add(OUTPUT)


class Apart(Watcher):
    """Whether the second of three images, which is NaN, stays in its third of the batch at every layer."""

    def __init__(self, model: nn.Module):
        super().__init__(model)
        self.kept = True

    def reads(self, weight: str, x: Tensor, dim: int, groups: int) -> Tensor:
        self.look(x)
        return x

    def look(self, x: Tensor) -> None:
        self.kept &= len(x) % 3 == 0 and not x.isnan().reshape(3, -1)[[0, 2]].any()


def apart(model: nn.Module, single: list[Tensor]) -> bool:
    """Whether the network treats each image of a batch alone, in its place."""
    inputs = [x.repeat(3, *[1] * (x.dim() - 1)) for x in single]
    for x in inputs:
        x[1] = math.nan
    with Apart(model) as watcher:
        out = model(*inputs)
    for leaf in tree_leaves(out):
        if isinstance(leaf, Tensor) and leaf.is_floating_point():
            watcher.look(leaf)
    return bool(watcher.kept)


class Silence(Watcher):
    """What the contract says: each reader gets zeros where a removed map would arrive."""

    def __init__(self, model: nn.Module, dead: set[Place]):
        super().__init__(model)
        self.dead: dict[str, list[int]] = {}
        for weight, index in sorted(dead):
            self.dead.setdefault(weight, []).append(index)

    def reads(self, weight: str, x: Tensor, dim: int, groups: int) -> Tensor:
        if weight not in self.dead:
            return x
        return x.index_fill(dim, torch.tensor(self.dead[weight]), 0.0)


def masked(model: nn.Module, inputs: list[Tensor], found: Found, gone: Iterable[Place]) -> Any:
    """What `model` computes where every reader of a map of the filters `gone` gets zeros in its place."""
    with Silence(model, set().union(*(found.places[giver] for giver in gone))):
        return model(*inputs)


def difference(a: Any, b: Any) -> float:
    """The largest difference of two outputs, relative to the largest entry of b; the worst of several tensors."""
    pairs = list(zip(tree_leaves(a), tree_leaves(b), strict=True))
    tensors = [(x, y) for x, y in pairs if isinstance(y, Tensor) and y.is_floating_point()]
    if any(x.shape != y.shape for x, y in tensors):
        return math.inf
    found = [float((x - y).abs().max() / y.abs().max().clamp(min=1e-300)) for x, y in tensors]
    return math.nan if any(map(math.isnan, found)) else max(found)
