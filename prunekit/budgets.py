"""Plans from a target: as much of a network as multiply-adds, weights or bytes allow.

What a plan costs is known exactly before it is carried out (`costs.parts`), so nothing is cut while one is looked for.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from numbers import Integral, Real

from torch import Tensor

from .costs import Part, Total, parts, summed
from .criteria import Criterion, Scores, name_of
from .errors import PlanError
from .plans import Plan, colors_gone, expand, highest, plan, scores
from .tracing import Graph

QUANTITIES = {"macs": "multiply-adds", "weights": "weights", "bytes": "bytes"}  # the fields of a Total


def plan_for(
    graph: Graph,
    *,
    macs: float | None = None,
    weights: float | None = None,
    bytes: float | None = None,
    multiple: int = 1,
    layers: str | Sequence[str] | None = None,
    criterion: Criterion = "l1",
    strategy: str = "independent",
    data: Iterable | None = None,
    seed: int = 0,
) -> Plan:
    """The plan that leaves the largest network within a budget, by one rate for all layers.

    `macs`, `weights` and `bytes` say what may remain, as `cost` and `costs.total` count it: a number up to 1 is a share
    of what there is, so 30% fewer multiply-adds are `macs=0.7`; a larger one is a count, so 2 MB are `bytes=2e6`.
    Multiply-adds are those of the traced example: trace with one image. Bytes are those of all parameters and buffers
    in their number formats; a file that `save` writes has a header besides. Of several budgets all are kept.

    The rate is the smallest that is enough; what room it leaves goes to the first layers, a step of width each. Each
    layer keeps a multiple of `multiple` filters, at least one multiple, or all that it has. `layers` are names or
    patterns, by default every conv layer that is tied to no other; "*" takes all that can lose filters. Of layers that
    are tied to each other the first decides. `criterion`, `strategy`, `data` and `seed` are those of `plan`.

    Raises `PlanError` for a budget that is no number above 0 or cannot be reached (it says what can), and for a
    `multiple` that leaves nothing to remove.
    """
    whole = parts_of(graph)
    limits = checked_limits(summed(whole, set()), {"macs": macs, "weights": weights, "bytes": bytes})
    names = deciding(graph, layers)
    widths = {layer: allowed(graph, layer, multiple) for layer in names}
    if all(len(choices) == 1 for choices in widths.values()):
        most = max(len(graph.layers[layer]) for layer in names)
        raise PlanError(
            f"Multiples of {multiple} leave nothing to remove: the widest of these layers has {most} filters. Take a "
            "smaller multiple."
        )
    values = scores(graph, names, [criterion], data, seed)[name_of(criterion)]
    known = criterion if strategy == "greedy" else Scores(values, name_of(criterion))

    def made(keep: dict[str, int]) -> Plan:
        return plan(graph, keep=keep, criterion=known, strategy=strategy, seed=seed)

    def left(keep: dict[str, int]) -> Total:
        return summed(whole, colors_gone(graph, made(keep)))

    def at(rate: Fraction) -> dict[str, int]:
        return {layer: width_at(graph, layer, widths[layer], rate, values[layer]) for layer in names}

    # Widths change at these rates only, and the larger the rate, the smaller the cost.
    rates = sorted({1 - Fraction(k, widths[layer][-1]) for layer in names for k in widths[layer]})
    best = bisect_left(rates, True, key=lambda rate: within(left(at(rate)), limits))
    if best == len(rates):
        hints = ["take a smaller multiple"] * (multiple > 1)
        if set(names) < set(deciding(graph, "*")):
            hints.append("take more layers: layers='*' are all that can lose filters, also those that are tied")
        hint = ", or ".join(hints)
        raise unreachable(limits, left(at(rates[-1])), summed(whole, set()), hint)
    keep = at(rates[best])
    for layer, wider in at(rates[best - 1]).items() if best else ():
        if within(left(keep | {layer: wider}), limits):
            keep[layer] = wider
    return made(keep)


# Budgets


def parts_of(graph: Graph) -> list[Part]:
    """`costs.parts`, of a graph only."""
    if not isinstance(graph, Graph):
        raise PlanError(f"A budget needs what pk.trace(model, example) returns, not a {type(graph).__name__}.")
    return parts(graph)


def checked_limits(before: Total, wanted: Mapping[str, float | None]) -> dict[str, int]:
    """The budgets given, as counts."""
    limits = {}
    for name, value in wanted.items():
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, Real) or not (0 < value <= 1 or value == value // 1 > 1):
            raise PlanError(
                f"Budget {name}={value!r}: say what may remain, a share from above 0 up to 1, or a whole number of "
                f"{QUANTITIES[name]}."
            )
        share = Fraction(float(value)).limit_denominator(10**6)  # what a person means by 0.7
        limits[name] = math.floor(share * getattr(before, name)) if value <= 1 else int(value)
    if not limits:
        raise PlanError("There is no budget: give at least one of macs, weights and bytes.")
    return limits


def within(left: Total, limits: Mapping[str, int]) -> bool:
    """Whether no budget is exceeded."""
    return all(getattr(left, name) <= limit for name, limit in limits.items())


def unreachable(limits: Mapping[str, int], least: Total, before: Total, hint: str) -> PlanError:
    """The refusal of budgets below what is `least`."""
    missed = [
        f"{limit:,} {QUANTITIES[name]} cannot be reached: with the largest cut of each layer {getattr(least, name):,} "
        f"of {getattr(before, name):,} remain ({getattr(least, name) / getattr(before, name):.4f})."
        for name, limit in limits.items()
        if getattr(least, name) > limit
    ]
    return PlanError(f"Budget: {' '.join(missed)} Allow more{hint and f', or {hint}'}.")


# One rate


def deciding(graph: Graph, layers: str | Sequence[str] | None) -> list[str]:
    """The layers to choose filters of, in forward order: the first of those that share some."""
    if layers is None:
        names = graph.free()
    else:
        if not isinstance(layers, str | Iterable):
            raise PlanError(f"`layers` are names or patterns, and here is {layers!r}.")
        wanted = [layers] if isinstance(layers, str) else list(layers)
        for name in wanted:
            if name in graph.layers and not removable(graph, name):
                raise PlanError(f"Layer {name!r} can lose no filter: {graph.reasons[graph.layers[name][0]]}.")
        found = expand(graph, dict.fromkeys(wanted))
        names = [layer for layer in graph.layers if layer in found and removable(graph, layer)]
    decided: set[int] = set()
    chosen = []
    for layer in names:
        colors = set(removable(graph, layer))
        if decided.isdisjoint(colors):
            chosen.append(layer)
        decided |= colors
    if not chosen:
        raise PlanError("No layer here can lose filters: name some that can. graph.report() lists them.")
    return chosen


def removable(graph: Graph, layer: str) -> list[int]:
    """The colors of the filters of `layer` that are not frozen."""
    return [color for color in graph.colors(layer) if color not in graph.reasons]


def allowed(graph: Graph, layer: str, multiple: int) -> list[int]:
    """How many filters `layer` may keep, ascending: multiples of `multiple`, or all."""
    if isinstance(multiple, bool) or not isinstance(multiple, Integral) or multiple < 1:
        raise PlanError(f"multiple={multiple!r} is not a number of filters; take 1, 8, 16 or the like.")
    n = len(graph.layers[layer])
    return [*range(int(multiple), n, int(multiple)), n]


def width_at(graph: Graph, layer: str, widths: Sequence[int], rate: Fraction, values: Tensor) -> int:
    """The largest of `widths` up to what `rate` leaves, the smallest if there is none.

    Not all widths can be had: filters may be frozen, go in groups, or take all maps of another layer along.
    """
    below = bisect_right(widths, math.floor(widths[-1] * (1 - rate)))
    for k in (*reversed(widths[:below]), *widths[below:-1]):
        try:
            gone = cut(graph, layer, values, k)
        except PlanError:
            continue
        if not any(gone.issuperset(axis.colors) for axis in graph.axes.values()):
            return k
    return widths[-1]


def cut(graph: Graph, layer: str, values: Tensor, keep: int) -> set[int]:
    """The colors that go when `layer` keeps the `keep` filters that score the highest of `values`."""
    colors = graph.layers[layer]
    stays = highest(graph, layer, values, keep)
    if len(stays) > keep:
        raise PlanError(f"Layer {layer!r}: its filters go in groups, which cannot add up to {keep}.")
    return set(colors) - {colors[i] for i in stays}
