"""What a forward computes beside its maps: from how many there are, or from tensors that are cut along with them."""

import operator
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.node import map_aggregate

from .paint import Paint, squeezed, varies

Atom = int | str | tuple[str, int]
NOTHING: frozenset[Atom] = frozenset()


def leaves(arguments: Any) -> list:
    """All that stands in nested arguments, slices among them."""
    found: list = []
    map_aggregate(arguments, found.append)
    return found


def nodes(arguments: Any) -> list[fx.Node]:
    """All nodes in nested arguments."""
    return [x for x in leaves(arguments) if isinstance(x, fx.Node)]


class Counted:
    """For each node whose value is no paint, what it depends on: the colors of maps that it counts, and the network's
    tensors, by name, or by name and dimension where only that size matters; for a shape, by axis."""

    def __init__(self) -> None:
        self.by_node: dict[fx.Node, Any] = {}  # sets of colors and names

    def shape(self, node: fx.Node, x: Paint, dim: int | None = None) -> None:
        """`node` asks for the shape of `x`, or for its size along one axis."""
        here = frozenset(squeezed(x.colors).flatten().tolist())
        found = tuple(here if varies(x.colors, d) else NOTHING for d in range(x.colors.dim()))
        self.by_node[node] = found if dim is None else found[dim]

    def ask(self, node: fx.Node, name: str, tensor: Tensor, value: Any) -> None:
        """`node` asks for an attribute of a `tensor` of the network's, or calls it for a size: that is its `value`."""
        sizes = tuple(frozenset([(name, d)]) for d in range(tensor.dim()))
        dim = (*node.args[1:], *node.kwargs.values(), None)[0]
        if isinstance(value, torch.Size):
            self.by_node[node] = sizes
        elif node.target == "size" and isinstance(dim, int):
            self.by_node[node] = sizes[dim]
        elif not isinstance(value, Tensor):
            self.by_node[node] = NOTHING.union(*sizes) if node.target in ("size", "numel", "nelement") else NOTHING

    def derive(self, node: fx.Node, args: tuple, name: str | None) -> None:
        """The value of `node` is computed from no paint, but from `args`: it depends on what its inputs depend on, or
        is the tensor `name`."""
        inputs = node.all_input_nodes
        if node.target is operator.getitem and isinstance(self.by_node.get(inputs[0]), tuple):
            found = self.by_node[inputs[0]][args[1]]
        else:
            found = NOTHING.union(*map(self.of, inputs), [] if name is None else [name])
        self.by_node.setdefault(node, found)

    def of(self, node: fx.Node) -> frozenset[Atom]:
        """All that the value of `node` depends on."""
        found = self.by_node.get(node, NOTHING)
        return NOTHING.union(*found) if isinstance(found, tuple) else found

    def colors(self, node: fx.Node) -> set[int]:
        """The colors of all maps whose number the value of `node` depends on."""
        return {one for one in self.of(node) if isinstance(one, int)}

    def names(self, node: fx.Node) -> set[str | tuple[str, int]]:
        """The network's tensors that the value of `node` depends on, by name, or by name and dimension."""
        return {one for one in self.of(node) if not isinstance(one, int)}
