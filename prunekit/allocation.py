"""Rates by sensitivity: which layers to cut how much, so that a network within a budget loses the least.

Each layer picks one of the rates that a sweep has measured. That is a knapsack with a choice for each layer, in which
the cost of two layers that follow each other is a product of both choices.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from .budgets import QUANTITIES, checked_limits, cut, parts_of, unreachable, within
from .costs import Part, summed, total_of
from .criteria import Criterion, Scores, name_of
from .errors import PlanError, nearest
from .knapsack import Cost, choose
from .plans import Plan, kept_count, plan, refuse_tied, scores
from .tracing import Graph


def plan_by_sensitivity(
    graph: Graph,
    table: pd.DataFrame,
    *,
    macs: float | None = None,
    weights: float | None = None,
    bytes: float | None = None,
    criterion: Criterion = "l1",
    data: Iterable | None = None,
    seed: int = 0,
) -> Plan:
    """The plan within a budget that loses the fewest images if losses add up, from what `sweep` measured.

    `table` has a row per layer, criterion and rate, as `sweep` returns it; rows of other criteria than `criterion` are
    left out. Each layer gets one of its rates there, or 0. What a rate loses is what it lost alone: the least sum is
    found exactly, but that losses add up is an assumption: evaluate the plan. Costs do not add up, as a layer
    is also cheaper for each map that it no longer reads; they are the exact ones of the whole plan. Of plans that lose
    the same, it is one of those that cost the least.

    For widths in multiples of 8 pass the rows with such `kept`: `table[table["kept"] % 8 == 0]`.
    Budgets, `criterion`, `data` and `seed` are those of `plan_for`. `plan(graph, found.rates, strategy="greedy")` takes
    the same rates with another strategy.

    Raises `PlanError` for a table of another network or with two rows for one cut, and for a budget that is no number
    above 0 or cannot be reached; it says what can.
    """
    whole = parts_of(graph)
    limits = checked_limits(summed(whole, set()), {"macs": macs, "weights": weights, "bytes": bytes})
    measured = options(table, criterion)
    for layer, each in measured.items():
        check_layer(graph, layer, each)
    names = [layer for layer in graph.layers if layer in measured]  # in forward order
    refuse_tied(graph, names)
    values = scores(graph, names, [criterion], data, seed)[name_of(criterion)]
    # Where filters go in groups, a rate may be too small for one group: that is no cut.
    choices = [
        {rate: option for rate, option in measured[layer].items() if rate == 0 or option.kept < option.filters}
        for layer in names
    ]
    gone = [
        [cut(graph, layer, values[layer], option.kept) for option in each.values()]
        for layer, each in zip(names, choices, strict=True)
    ]
    most = {color for each in gone for color in max(each, key=len)}
    if not within(summed(whole, most), limits):
        raise unreachable(limits, summed(whole, most), summed(whole, set()), "sweep more layers or larger rates")
    costs = [priced(whole, quantity, gone) for quantity in limits]
    losses = [np.array([option.lost for option in each.values()]) for each in choices]
    found = choose(losses, costs, list(limits.values()))
    assert found is not None  # the largest cuts are within the limits
    rates = {layer: list(each)[at] for layer, each, at in zip(names, choices, found, strict=True)}
    return plan(graph, rates, criterion=Scores(values, name_of(criterion)), seed=seed)


def added_loss(table: pd.DataFrame, rates: Mapping[str, float], criterion: Criterion = "l1") -> int:
    """How many images fewer are right in `sweep`'s `table` if each layer's loss at its rate in `rates` is added up.

    Raises `PlanError` where the table does not have a rate of `rates`.
    """
    measured, total = options(table, criterion), 0
    for layer, rate in rates.items():
        if layer not in measured:
            raise PlanError(f"The table has no layer {layer!r}.{nearest(layer, measured)}")
        if rate not in measured[layer]:
            known = ", ".join(f"{rate:g}" for rate in measured[layer])
            raise PlanError(f"The table has no rate {rate} for layer {layer!r}, only {known}.")
        total += measured[layer][rate].lost
    return total


def beside(
    graph: Graph,
    table: pd.DataFrame,
    rates: Mapping[str, float],
    quantity: str = "macs",
    criterion: Criterion = "l1",
    data: Iterable | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Rates that somebody chose, beside those of `plan_by_sensitivity` that cost no more of `quantity`.

    A row per layer of the table: layer, filters, rate (as chosen, 0 where `rates` has none) and lost (images, of the
    layer alone), best_rate and best_lost. The sums of both are what the two choices lose if losses add up. `quantity`
    is "macs", "weights" or "bytes".

    Raises `PlanError` where the table does not have a rate of `rates`.
    """
    if quantity not in QUANTITIES:
        hint = nearest(quantity, QUANTITIES)
        raise PlanError(f"quantity {quantity!r} is unknown; take {', '.join(QUANTITIES)}.{hint}")
    added_loss(table, rates, criterion)  # raises if the table does not have them all
    data = None if data is None else list(data)  # it is looked at twice
    by_hand = plan(graph, rates, criterion=criterion, data=data, seed=seed)
    budget = {quantity: getattr(total_of(graph, by_hand), quantity)}
    best = plan_by_sensitivity(graph, table, **budget, criterion=criterion, data=data, seed=seed).rates
    return pd.DataFrame(
        {
            "layer": layer,
            "filters": len(graph.layers[layer]),
            "rate": by_hand.rates.get(layer, 0.0),
            "lost": added_loss(table, {layer: by_hand.rates.get(layer, 0.0)}, criterion),
            "best_rate": best[layer],
            "best_lost": added_loss(table, {layer: best[layer]}, criterion),
        }
        for layer in best
    )


class Option(NamedTuple):
    """One cut of a layer: how many of its filters stay, and how many images fewer it alone gets right."""

    filters: int
    kept: int
    lost: int


def options(table: pd.DataFrame, criterion: Criterion) -> dict[str, dict[float, Option]]:
    """For each layer of a sweep its cuts by rate; 0 is among them."""
    columns = ("layer", "criterion", "rate", "filters", "kept", "correct", "total", "baseline_correct")
    if missing := [column for column in columns if column not in table]:
        raise PlanError(f"The table has no column {missing[0]!r}: pass what pk.sweep returns.")
    rows = table[table["criterion"] == name_of(criterion)]
    if table.empty:
        raise PlanError("The table has no rows: pass all that pk.sweep returns, or what you chose of it.")
    if rows.empty:
        known = ", ".join(map(repr, table["criterion"].unique()))
        raise PlanError(f"The table has no rows of criterion {name_of(criterion)!r}; it has {known}.")
    twice = rows[rows.duplicated(["layer", "rate"])]
    if len(twice):
        layer, rate = twice.iloc[0][["layer", "rate"]]
        raise PlanError(f"The table has several rows for rate {rate} of layer {layer!r}: pass those of one network.")
    if len(rows[["total", "baseline_correct"]].drop_duplicates()) > 1:
        raise PlanError("The table's rows are counts on different images: pass those of one sweep.")
    found: dict[str, dict[float, Option]] = {}
    for row in rows.to_dict("records"):
        n, kept, lost = int(row["filters"]), int(row["kept"]), int(row["baseline_correct"] - row["correct"])
        found.setdefault(row["layer"], {0.0: Option(n, n, 0)})[float(row["rate"])] = Option(n, kept, lost)
    return found


def check_layer(graph: Graph, layer: str, measured: Mapping[float, Option]) -> None:
    """Refuse what was measured on a layer of another network."""
    if layer not in graph.layers:
        raise PlanError(f"The table is of another network: {graph.why_not(layer)}")
    n = len(graph.layers[layer])
    for rate, option in measured.items():
        if option.filters != n or not kept_count(layer, n, rate) <= option.kept <= n:
            raise PlanError(
                f"The table is of another network: layer {layer!r} has {n} filters here, and there rate {rate} left "
                f"{option.kept} of {option.filters}."
            )


def priced(whole: Sequence[Part], quantity: str, gone: Sequence[Sequence[set[int]]]) -> Cost:
    """A quantity of the network as a function of the option that each layer takes: the colors that are `gone` with it.

    (n - a)(m - b) = nm - ma - nb + ab: what the options take off the two axes of a weight, a and b, are sums over the
    layers, so there is a part for each option and one for each pair of options.
    """
    chooser = {color: layer for layer, options in enumerate(gone) for color in set().union(*options)}
    takes = {color: np.array([color in option for option in gone[layer]]) for color, layer in chooser.items()}

    def off(axis: Sequence[int]) -> dict[int, np.ndarray]:
        """How many indices of `axis` go with each option, for each layer that decides about some."""
        found: dict[int, np.ndarray] = {}
        for color in axis:
            if color in chooser:
                found[chooser[color]] = found.get(chooser[color], 0) + takes[color].astype(np.int64)
        return found

    constant, single = 0, [np.zeros(len(options), dtype=np.int64) for options in gone]
    pairs: dict[tuple[int, int], np.ndarray] = {}
    for part in whole:
        assert len(part.axes) <= 2  # a weight's filters and inputs
        price = getattr(part.full, quantity)
        unit = price // math.prod(map(len, part.axes))
        constant += price
        for axis in part.axes if unit else ():
            for i, a in off(axis).items():
                single[i] -= price // len(axis) * a
        if unit and len(part.axes) == 2:
            for i, a in off(part.axes[0]).items():
                for j, b in off(part.axes[1]).items():
                    if i == j:
                        single[i] += unit * a * b
                    else:
                        key, both = ((i, j), np.outer(a, b)) if i < j else ((j, i), np.outer(b, a))
                        pairs[key] = pairs.get(key, 0) + unit * both
    return Cost(constant, single, pairs)
