"""One option for each item, so that the losses add up to the least within budgets: a multiple-choice knapsack.

The costs need not add up. Two neighboring conv layers cost filters times inputs, a product of both choices, so a cost
here has a part for each option and one for each pair of options (a quadratic knapsack). With a variable for each pair,
tied to the two options by linear equations, it is a linear program over zeros and ones, which HiGHS solves exactly.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Cost:
    """A cost of a choice, in integers: `constant`, plus `single[i][r]` where item i takes its option r, plus
    `pairs[i, j][r, s]` where also item j takes its option s.
    """

    constant: int
    single: Sequence[np.ndarray]
    pairs: Mapping[tuple[int, int], np.ndarray]

    def of(self, choice: Sequence[int]) -> int:
        """The cost of `choice`, an option for each item."""
        alone = sum(int(values[r]) for values, r in zip(self.single, choice, strict=True))
        return self.constant + alone + sum(int(v[choice[i], choice[j]]) for (i, j), v in self.pairs.items())


def choose(losses: Sequence[np.ndarray], costs: Sequence[Cost], limits: Sequence[int]) -> list[int] | None:
    """An option for each item, with the least sum of `losses[item][option]` for which no cost exceeds its limit.

    Losses are integers. Of choices that lose the same, one with the least first cost is taken. None if no choice keeps
    to the limits.
    """
    least = solve(losses, costs, limits)
    if least is None:
        return None
    lost = sum(int(values[r]) for values, r in zip(losses, least, strict=True))
    return solve(costs[0], [*costs, Cost(0, losses, {})], [*limits, lost])


def solve(goal: Sequence[np.ndarray] | Cost, costs: Sequence[Cost], limits: Sequence[int]) -> list[int] | None:
    """The choice with the least `goal` (values for each option, or a cost) within the limits, or None."""
    # scipy takes a while to import, and few users of the library come here.
    from scipy.optimize import Bounds, milp
    from scipy.sparse import coo_array

    goal = goal if isinstance(goal, Cost) else Cost(0, goal, {})
    sizes = [len(values) for values in goal.single]
    starts = np.cumsum([0, *sizes])
    places, end = {}, int(starts[-1])  # where each pair's variables begin
    for i, j in dict.fromkeys(pair for cost in costs for pair in cost.pairs):
        places[i, j] = end
        end += sizes[i] * sizes[j]

    def row(cost: Cost) -> np.ndarray:
        values = np.zeros(end)
        values[: starts[-1]] = np.concatenate(cost.single)
        for (i, j), pair in cost.pairs.items():
            values[places[i, j] : places[i, j] + pair.size] = pair.ravel()
        return values

    entries: list[tuple[int, int, int]] = []  # row, column, value
    for i, size in enumerate(sizes):  # each item takes one option
        entries += [(i, starts[i] + r, 1) for r in range(size)]
    equations = len(sizes)
    for (i, j), place in places.items():  # summed over the options of one item, a pair is the other item's choice
        block = place + np.arange(sizes[i] * sizes[j]).reshape(sizes[i], sizes[j])
        for item, lines in ((i, block), (j, block.T)):
            for r, line in enumerate(lines):
                entries += [(equations, column, 1) for column in line] + [(equations, starts[item] + r, -1)]
                equations += 1
    at, column, value = np.array(entries).T
    sums = coo_array((value, (at, column)), shape=(equations, end)).tocsr()
    right = np.repeat([1, 0], [len(sizes), equations - len(sizes)])
    # Each row is divided by its largest value, since HiGHS reads its tolerances as absolute.
    scale = [max(1, np.abs(row(cost)).max()) for cost in costs]
    budget = [(limit - cost.constant) / s for cost, limit, s in zip(costs, limits, scale, strict=True)]
    rows = np.stack([row(cost) / s for cost, s in zip(costs, scale, strict=True)])
    rules: list[Any] = [(sums, right, right), (rows, -np.inf, budget)]
    free = np.arange(end) < starts[-1]
    while True:
        found = milp(row(goal), integrality=free, bounds=Bounds(0, 1), constraints=rules, options={"mip_rel_gap": 0})
        if found.status == 2:  # no choice is within the limits
            return None
        assert found.x is not None, found.message
        choice = [int(found.x[start:stop].argmax()) for start, stop in pairwise(starts)]
        if all(cost.of(choice) <= limit for cost, limit in zip(costs, limits, strict=True)):
            return choice
        # Over the budget by less than HiGHS's tolerance: all but this one choice.
        this = np.zeros(end)
        this[[start + r for start, r in zip(starts, choice, strict=False)]] = 1
        rules.append((this, -np.inf, len(choice) - 1))
