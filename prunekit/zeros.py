"""Find the filters that are zero, or that nothing reads, and say of each whether it can go exactly, or why not.

A zero filter's map is not gone. It is a constant, the filter's bias, that BN turns into another one, and that the next
layer reads. So a unit can go where each layer that reads it either has zero weights there, or gets a constant whose
share in the layer's sums is one number for each filter, which a bias can hold. A nonzero constant within zero padding
is not like that: at the border its share is another. But of several such units one can stand for all, when the kernels
that read the others are added, in proportion, to those that read the one.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from .canvas import Axis
from .constants import Arrival, arrivals, bare
from .graph import Graph, tensor_of
from .modes import evaluating
from .plans import Plan, finished
from .surgery import example
from .tracing import trace

EXACT = 1e-12  # of the sum of magnitudes: by how much float64 sums of the same numbers in another order may differ
LAST = "of every layer one filter has to stay"
UNEVEN = "its map is a constant that adds to {} unevenly: zero padding makes the border another"


@dataclass(frozen=True)
class Move:
    """Kernels over the inputs `of` a weight are added to those over the inputs `to`, multiplied by `ratios`."""

    axis: Axis
    of: list[int]
    to: list[int]
    ratios: Tensor


@dataclass(eq=False)
class Reader:
    """A weight that reads maps. `uses` (inputs, filters) says which of its kernels are not all zero."""

    axis: Axis
    uses: Tensor
    filters: tuple[int, ...]  # the color of each; empty where they have none
    calls: dict[str, list[Arrival]]  # by module; empty where it is not known what arrives
    shares: dict[int, dict[str, Tensor]] = field(default_factory=dict)  # what constants add: by color, by module

    def used(self, gone: set[int]) -> set[int]:
        """The colors that are read by filters that are not `gone`."""
        alive = torch.tensor([color not in gone for color in self.filters], dtype=torch.bool)
        read = (self.uses & alive if self.filters else self.uses).any(1)
        return {color for color, is_read in zip(self.axis.colors, read.tolist(), strict=True) if is_read}

    def inputs(self, color: int) -> list[int]:
        """The indices of this color."""
        return [i for i, c in enumerate(self.axis.colors) if c == color]

    def move(self, color: int, to: int) -> Move | None:
        """The constant maps of `color` as multiples of those of `to`, if they are that in every call."""
        of, carriers = self.inputs(color), self.inputs(to)
        if len(of) != len(carriers):
            return None
        maps = [call.maps.flatten(1) for calls in self.calls.values() for call in calls]
        constant = all(call.constant[carriers].all() for calls in self.calls.values() for call in calls)
        a, b = (torch.cat([m[i] for m in maps], 1) for i in (of, carriers))  # (inputs, positions)
        largest = b.abs().argmax(1, keepdim=True)
        ratios = a.gather(1, largest) / b.gather(1, largest)
        if not constant or not ((a - ratios * b).abs() <= EXACT * a.abs().amax(1, keepdim=True)).all():  # also no NaN
            return None
        return Move(self.axis, of, carriers, ratios)


class Zeros:
    """What of a network is zero or unread: `gone` are the colors that can go, `obstacles` says why others cannot.

    `zero` maps each layer to the indices of its zero filters. `trace` raises for a network that cannot be followed.
    """

    def __init__(self, model: nn.Module, inputs: tuple[Tensor, ...]):
        self.model = model
        with evaluating(model):
            self.graph = trace(model, *inputs)
            pairs = [(max(2, x.shape[0]), *x.shape[1:]) for x in self.graph.inputs]
            found = arrivals(model, self.graph.nodes, example(model, pairs))
        axes = self.graph.axes.values()
        gives = {axis.tensor: (~kernels(model, axis).any(1)).nonzero()[:, 0] for axis in axes if axis.role == "gives"}
        self.zero = {layer: gives[tensor].tolist() for layer, tensor in self.graph.weights.items()}
        self.biases = Counter(id(m.bias) for m in model.modules() if getattr(m, "bias", None) is not None)
        self.readers = [reader(self.graph, axis, found) for axis in axes if axis.role == "reads"]
        self.obstacles: dict[int, str] = dict(self.graph.reasons)
        self.carriers: dict[int, None] = {}
        self.moves: list[Move] = []
        self.gone = self.collected()

    def collected(self) -> set[int]:
        """The units that can go: first some, then those that only these read, until there are no more."""
        readers: dict[int, list[Reader]] = {}
        for each in self.readers:
            for color in set(each.axis.colors):
                readers.setdefault(color, []).append(each)
        places: dict[int, Counter[tuple[str, int]]] = {}
        for key, axis in self.graph.axes.items():
            for color in axis.colors:
                places.setdefault(color, Counter())[key] += 1
        left = {key: len(axis.colors) for key, axis in self.graph.axes.items()}
        gone: set[int] = set()
        waiting, before = [color for color in self.graph.givers if color not in self.graph.reasons], -1
        while len(gone) != before:
            before = len(gone)
            used = {each.axis.tensor: each.used(gone) for each in self.readers}
            for color in waiting:
                needing = {r: why for r in readers.get(color, ()) if (why := self.why_not(color, r, used))}
                if any(left[key] == count for key, count in places[color].items()):
                    self.obstacles[color] = next(iter(needing.values()), LAST)
                elif needing and not self.carried(color, needing):
                    self.obstacles[color] = next(iter(needing.values()))
                else:
                    gone.add(color)
                    for key, count in places[color].items():
                        left[key] -= count
            waiting = [color for color in waiting if color not in gone and color not in self.carriers]
        return gone

    def why_not(self, color: int, reader: Reader, used: dict[str, set[int]]) -> str | None:
        """Why `reader` needs the maps of this color, if it does. What they add as constants is kept in `shares`."""
        tensor = reader.axis.tensor
        if color not in used[tensor] or color in reader.shares:
            return None
        if not reader.calls:
            return f"{tensor} reads it, and not as the weight of a module in eval mode, so what arrives is not known"
        shares: dict[str, Tensor] = {}
        for name, calls in reader.calls.items():
            module: Any = self.model.get_submodule(name)
            for call in calls:
                share = share_of(module, name, reader, color, call)
                if isinstance(share, str):
                    return share
                if share.any() and self.biases[id(module.bias)] > 1:
                    return f"{name} reads it as a nonzero constant and shares its bias with another layer"
                if not torch.allclose(shares.setdefault(name, share), share, rtol=EXACT, atol=0):
                    return f"{name} is called several times and reads another constant each time"
        reader.shares[color] = shares
        return None

    def carried(self, color: int, needing: dict[Reader, str]) -> bool:
        """Whether another unit that stays can stand for this one; the moves are kept. If none can, this may do so."""
        if any(not why.startswith(UNEVEN.partition("{")[0]) for why in needing.values()):
            return False
        for other in self.carriers:
            if all(other in reader.axis.colors for reader in needing):
                moves = [reader.move(color, other) for reader in needing]
                if all(moves):
                    self.moves += filter(None, moves)
                    return True
        self.carriers[color] = None
        return False

    def plan(self) -> Plan:
        """The plan that removes the colors `gone`."""
        kept = {
            layer: tuple(i for i, color in enumerate(colors) if color not in self.gone)
            for layer, colors in self.graph.layers.items()
            if not self.gone.isdisjoint(colors)
        }
        return finished(self.graph, kept, criterion="zeros")

    def folds(self) -> dict[str, Tensor]:
        """For each module that read nonzero constants: what those add to each of its filters, float64 (filters,)."""
        found: dict[str, Tensor] = {}
        for each in self.readers:
            for color in self.gone & each.shares.keys():
                for name, share in each.shares[color].items():
                    if share.any():
                        found[name] = found.get(name, 0) + share
        return found


def kernels(model: nn.Module, axis: Axis) -> Tensor:
    """For each index of `axis` (rows), which of its weights are not zero."""
    weight = tensor_of(model, axis.tensor).detach().cpu()
    return (weight != 0).movedim(axis.dim, 0).flatten(1)


def reader(graph: Graph, axis: Axis, found: dict[str, list[Arrival]]) -> Reader:
    """The reader of which `axis` are the inputs. Its filters are the other one of the first two dimensions."""
    weight, other = tensor_of(graph.model, axis.tensor), 1 - axis.dim
    by_hand = any(node.op == "get_attr" and node.target == axis.tensor for node in graph.nodes.nodes)
    calls = {name: calls for name, calls in found.items() if graph.model.get_submodule(name).weight is weight}
    uses = kernels(graph.model, axis).view(len(axis.colors), weight.shape[other], -1).any(2)
    filters = graph.axes[axis.tensor, other].colors if (axis.tensor, other) in graph.axes else ()
    return Reader(axis, uses, filters, {} if by_hand else calls)


def share_of(module: Any, name: str, reader: Reader, color: int, call: Arrival) -> Tensor | str:
    """What the constant maps of one color add to each filter of `module`, float64 (filters,); or why none is known."""
    axis, inputs = reader.axis, reader.inputs(color)
    groups = getattr(module, "groups", 1)
    channels = [group * (len(call.constant) // groups) + i for group in range(groups) for i in inputs]
    if not call.constant[channels].all():
        return f"its map is not constant where {name} reads it"
    maps = call.maps[channels]
    if not maps.any():
        return torch.zeros((), dtype=torch.float64)
    if groups > 1:
        return f"{name} is a grouped conv and reads it as a nonzero constant"
    weight = module.weight.detach().cpu().double().index_select(axis.dim, torch.tensor(inputs))
    added = sums(module, weight, maps)
    size = sums(module, weight.abs(), maps.abs()).max()
    if (added.amax(1) - added.amin(1)).max() > EXACT * size:
        return UNEVEN.format(name)
    return added.mean(1)


def sums(module: nn.Module, weight: Tensor, maps: Tensor) -> Tensor:
    """What a layer like `module` with this weight makes of `maps` (inputs, ...): (filters, positions)."""
    last = isinstance(module, nn.Linear)
    x = maps.movedim(0, -1) if last else maps
    return bare(module, weight).forward(x[None]).movedim(-1 if last else 1, 0).flatten(1)
