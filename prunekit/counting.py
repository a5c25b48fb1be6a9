"""Numbers that a forward takes from how many maps there are: a cut changes them, and what is computed with them."""

import operator
from typing import Any

from torch import fx

from .paint import Paint, squeezed, varies

NOTHING: frozenset[int] = frozenset()


class Counted:
    """For each node whose value is no paint, the colors of the maps whose number it depends on; by axis for a shape."""

    def __init__(self) -> None:
        self.by_node: dict[fx.Node, Any] = {}

    def shape(self, node: fx.Node, x: Paint) -> None:
        """`node` asks for the shape of `x`."""
        here = frozenset(squeezed(x.colors).flatten().tolist())
        self.by_node[node] = tuple(here if varies(x.colors, d) else NOTHING for d in range(x.colors.dim()))

    def size(self, node: fx.Node, x: Paint, dim: int) -> None:
        """`node` asks for the size of `x` along one axis."""
        self.shape(node, x)
        self.by_node[node] = self.by_node[node][dim]

    def derive(self, node: fx.Node) -> None:
        """The value of `node` is computed from no paint: it depends on what its inputs depend on."""
        first = self.by_node.get(node.all_input_nodes[0]) if node.all_input_nodes else None
        if node.target is operator.getitem and isinstance(first, tuple):
            self.by_node.setdefault(node, operator.getitem(first, node.args[1]))  # type: ignore[index, arg-type]
        else:
            self.by_node.setdefault(node, NOTHING.union(*map(self.colors, node.all_input_nodes)))

    def colors(self, node: fx.Node) -> frozenset[int]:
        """The colors of all maps whose number the value of `node` depends on."""
        found = self.by_node.get(node, NOTHING)
        return NOTHING.union(*found) if isinstance(found, tuple) else found
