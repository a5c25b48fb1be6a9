"""What is painted so far: the colors, the axes of a network's tensors that have them, and what else rules find out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import torch
from torch import Tensor, fx, nn

from . import balance
from .counting import Counted
from .errors import TraceError
from .paint import Colors, Paint, squeezed


@dataclass(frozen=True)
class Axis:
    """One dimension of a parameter or buffer, and the color of each of its indices.

    `role` is "gives" (a layer's filters), "carries" (entries that belong to a map, such as BN's) or "reads" (a layer's
    weights on its inputs).
    """

    tensor: str
    dim: int
    role: str
    colors: tuple[int, ...]


class Canvas:
    """What rules work on: each takes paint that arrives at an operation, notes here what follows, and returns paint.

    `axes` are the dimensions of tensors that have colors, by tensor and dimension. `positions` says, for each weight,
    at how many places of one input's maps it is used; `widths` has the colors of the maps of each norm without entries;
    `divisions` are the tensors that are divided into equal parts, each part as its colors. `counted` says what depends
    on how many maps there are, or on tensors of the network's; `laid_out` has colors that are laid out along an axis,
    with those that its size counts; `computed` has tensors that are computed from lists of the network's own entry by
    entry, `held` those that are used as a whole, by name, or by name and dimension where that size is used. `at` names
    the operation that is being carried out, `node` is its node in the graph.
    """

    node: fx.Node

    def __init__(self, model: nn.Module):
        self.model = model
        self.colors = Colors()
        self.axes: dict[tuple[str, int], Axis] = {}
        self.divisions: list[list[list[int]]] = []
        self.positions: dict[str, int] = {}
        self.widths: dict[str, tuple[int, ...]] = {}
        self.counted = Counted()
        self.laid_out: list[tuple[list[int], set[int], str]] = []
        self.computed: dict[int, tuple[Tensor, list[Tensor]]] = {}
        self.held: set[str | tuple[str, int]] = set()
        self.names = {id(t): name for name, t in (*model.named_parameters(), *model.named_buffers())}
        self.at = "it"

    def inputs(self, tensors: Sequence[Tensor]) -> list[Paint]:
        """Paint in place of the network's inputs, which stay as they are."""
        return [Paint(torch.tensor(self.pinned("it is the network's input")).expand(x.shape)) for x in tensors]

    def several_nodes(self) -> bool:
        """Whether the current operation gets anything computed beside the tensor that it works on."""
        return len(self.node.all_input_nodes) > 1

    def freeze_counted(self, name: str, values: Mapping[fx.Node, Any]) -> None:
        """An operation computes with the `values` of nodes, which are no sizes to it or places."""
        for node, value in values.items():
            self.colors.freeze(self.counted.colors(node), f"{name} computes with the number of its maps")
            if not (isinstance(value, Tensor) and self.own(value)):
                self.held |= self.counted.names(node)

    def like(self, shapes: Any, name: str) -> Any:
        """Frozen paint in the shapes of an operation's result."""
        if isinstance(shapes, Tensor):
            return Paint(torch.tensor(self.pinned(f"it comes from {name}")).expand(shapes.shape))
        if isinstance(shapes, Sequence) and not isinstance(shapes, str):
            return tuple(self.like(s, name) for s in shapes)
        return shapes

    def freeze(self, paint: Paint, reason: str) -> None:
        self.colors.freeze(squeezed(paint.colors).unique().tolist(), reason)

    def pinned(self, reason: str) -> int:
        """A new color, frozen from the start."""
        (color,) = self.colors.fresh(1)
        self.colors.freeze([color], reason)
        return color

    def united(self, paint: Paint) -> Tensor:
        """The colors of `paint`, one for all that became one so far, and one copy where they repeat (`squeezed`)."""
        colors, places = squeezed(paint.colors).unique(return_inverse=True)
        return torch.tensor([*map(self.colors.find, colors.tolist())])[places]

    def per_channel(self, paint: Paint, dim: int = 1) -> list[int]:
        """One color for each index along `dim`; where an index has several, they are united."""
        rows = squeezed(paint.colors, but=dim).movedim(dim, 0).unsqueeze(-1).flatten(1)
        firsts = rows.amax(1).tolist()
        for row in (rows != rows[:, :1]).any(1).nonzero()[:, 0].tolist():
            for color in rows[row].unique().tolist():
                self.colors.unite(firsts[row], color)
        return firsts

    def tie(self, colors: list[int], parts: int, dim: int = 1) -> list[int]:
        """Of `colors` in so many equal parts: unite those at one place of each, or along 0 each part; what is left."""
        if parts == 1 and dim == 1:  # most layers
            return colors
        return self.per_channel(Paint(torch.tensor(colors).view(parts, -1)), dim)

    def remember(self, tensor: Tensor | None, dim: int, role: str, colors: list[int]) -> None:
        """Index i of `tensor` along `dim` has color i of `colors`; a tensor that is used again unites old and new."""
        if tensor is None:
            return
        name = self.names[id(tensor)]
        if tensor.shape[dim] != len(colors):
            raise TraceError(
                f"{self.at} has {tensor.shape[dim]} entries in {name!r}, and {len(colors)} maps arrive. Is the example "
                "an input of this network?"
            )
        if (name, dim) in self.axes:
            if role == "reads":  # a linear layer's weights, which the forward has looked at before
                self.axes[name, dim] = replace(self.axes[name, dim], role=role)
            for old, new in zip(self.axes[name, dim].colors, colors, strict=True):
                self.colors.unite(old, new)
        else:
            self.axes[name, dim] = Axis(name, dim, role, tuple(colors))

    def owner(self, tensor: Tensor) -> nn.Module:
        """The module that has `tensor`, a parameter or buffer."""
        return self.model.get_submodule(self.names[id(tensor)].rpartition(".")[0])

    def compute(self, value: Any, inputs: Mapping[fx.Node, Any]) -> None:
        """`value` is computed from `inputs` entry by entry. Where those are lists of entries of the network's own, as a
        running variance is, it is one for which they stand; but not as in s / s.sum()."""
        if any(self.counted.names(n) and not (isinstance(x, Tensor) and self.own(x)) for n, x in inputs.items()):
            return
        tensors = [x for x in (value, *inputs.values()) if isinstance(x, Tensor) and x.numel() > 1]
        own = [self.own(x) for x in tensors[1:]]
        if all(own) and all(x.numel() == max(x.shape) == tensors[0].numel() for x in tensors):
            self.computed[id(value)] = (value, [*chain(*own)])  # kept, or another could get its id

    def own(self, tensor: Tensor) -> list[Tensor]:
        """The network's own tensors that have an entry for each of `tensor`: itself, or what it is computed from."""
        if id(tensor) in self.names:
            return [tensor]
        if id(tensor) in self.computed:
            return self.computed[id(tensor)][1]
        base = tensor._base
        if base is None or not tensor.numel() == base.numel() == max(tensor.shape) == max(base.shape):
            return []
        steps = {x.stride(x.shape.index(x.numel())) for x in (tensor, base)}
        return self.own(base) if len(steps) == 1 and tensor.storage_offset() == base.storage_offset() else []

    def use(self, weight: Tensor, positions: int) -> None:
        """Each entry of `weight` is used at that many places of one input's maps; again at each call."""
        name = self.names[id(weight)]
        self.positions[name] = self.positions.get(name, 0) + positions

    def owned(self, module: nn.Module) -> bool:
        """Whether the module's tensors are plain parameters and buffers, which can be cut."""
        tensors = (getattr(module, n, None) for n in ("weight", "bias", "running_mean", "running_var"))
        return all(id(t) in self.names for t in tensors if t is not None)

    def settle(self) -> None:
        """Draw the last consequences: parts of one size stay so, and what would leave nothing cannot go."""
        for key, axis in self.axes.items():
            for one, what in ((axis.tensor, "all entries of {!r} at once"), (key, "the size of {!r}")):
                if one in self.held:
                    self.colors.freeze(axis.colors, f"the forward computes with {what.format(axis.tensor)}")
        for colors, counted, name in self.laid_out:
            if counted and {*map(self.colors.find, colors)}.isdisjoint(map(self.colors.find, counted)):
                self.colors.freeze(colors, f"{name} takes their number from other maps")
        balance.settle(self.colors, self.divisions, "what it is divided into has to stay of one size")
        for axis in self.axes.values():
            if axis.role != "gives":
                continue
            everything = set(map(self.colors.find, axis.colors))
            if len(everything) == 1:
                self.colors.freeze(everything, "all filters of this layer go together, and nothing would be left")

    def resolved(self) -> dict[tuple[str, int], Axis]:
        """All axes in the order of the forward pass, with final colors."""
        final = [self.colors.find(color) for color in range(len(self.colors.parent))]
        return {
            key: Axis(axis.tensor, axis.dim, axis.role, tuple(map(final.__getitem__, axis.colors)))
            for key, axis in self.axes.items()
        }
