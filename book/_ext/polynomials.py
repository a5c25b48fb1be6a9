"""What a network costs as a polynomial in how many filters stay, exact and in integers, for a script to compute.

A weight has kept filters times kept inputs entries, so each cost is a constant, plus a number for each filter that
stays, plus one for each pair of a filter and a map that stay. What can be chosen is a *unit*: a layer, with all layers
that are tied to it.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from prunekit.errors import PrunekitError
from prunekit.tracing import Graph

Axis = tuple[int, dict[int, int]]  # indices that always stay, and for each unit how many go with one of its filters


@dataclass(frozen=True)
class Polynomial:
    """`constant`, plus `single[i]` for each kept filter of unit i, plus `pairs[i, j]` for each pair of kept filters."""

    constant: int
    single: Sequence[int]
    pairs: Mapping[tuple[int, int], int]

    def of(self, kept: Sequence[int]) -> int:
        """The value when `kept[i]` filters of unit i stay."""
        alone = sum(price * k for price, k in zip(self.single, kept, strict=True))
        return self.constant + alone + sum(price * kept[i] * kept[j] for (i, j), price in self.pairs.items())

    def data(self) -> dict:
        """The same for JSON."""
        pairs = [[i, j, price] for (i, j), price in self.pairs.items() if price]
        return {"constant": self.constant, "single": list(self.single), "pairs": pairs}


def units(graph: Graph) -> list[list[str]]:
    """The layers that can be chosen in forward order, each followed by those that are tied to it.

    Only layers that lose the same filters, one for one, and share them with no other layer: then a count says what a
    cut costs, whichever filters go. With zero-padded shortcuts that leaves the first convs of the blocks.
    """
    groups: dict[tuple[int, ...], list[str]] = {}
    for layer, colors in graph.layers.items():
        groups.setdefault(colors, []).append(layer)
    uses = Counter(color for colors in groups for color in set(colors))
    return [
        layers
        for colors, layers in groups.items()
        if len(set(colors)) == len(colors) and all(uses[c] == 1 and c not in graph.reasons for c in colors)
    ]


def polynomial(graph: Graph, layers: Sequence[str], full: Iterable[tuple[int, Iterable[Sequence[int]]]]) -> Polynomial:
    """The sum of costs, each given by what it is in full and the colors along the axes that it is proportional to.

    `layers` names one layer of each unit. Raises PrunekitError where a count of filters does not decide a cost.
    """
    owner = {color: i for i, layer in enumerate(layers) for color in graph.layers[layer]}
    constant, single, pairs = 0, [0] * len(layers), Counter[tuple[int, int]]()
    for whole, axes in full:
        axes = list(axes)
        price, rest = divmod(whole, math.prod(map(len, axes)))
        if rest or len(axes) > 2:
            raise PrunekitError(f"A cost of {whole} is not one price for each entry of {len(axes)} axes.")
        (fixed, some), (other_fixed, others) = (*(counted(axis, owner) for axis in axes), *[(1, {})] * (2 - len(axes)))
        constant += price * fixed * other_fixed
        for i, many in some.items():
            single[i] += price * many * other_fixed
        for j, many in others.items():
            single[j] += price * many * fixed
        for i, a in some.items():
            for j, b in others.items():
                pairs[min(i, j), max(i, j)] += price * a * b
    return Polynomial(constant, single, dict(pairs))


def counted(axis: Sequence[int], owner: Mapping[int, int]) -> Axis:
    """How many indices of an axis belong to no unit, and how many to each filter of a unit."""
    uses = Counter(axis)
    found: dict[int, int] = {}
    size = Counter(owner.values())
    for color, many in uses.items():
        if color in owner and found.setdefault(owner[color], many) != many:
            raise PrunekitError("A layer's filters are read unequally often: their number does not say what they cost.")
    for unit in found:
        if sum(owner.get(color) == unit for color in uses) != size[unit]:
            raise PrunekitError("Only some filters of a layer are read here: their number does not say what they cost.")
    return sum(many for color, many in uses.items() if color not in owner), found
