"""A stage of ShuffleNet v2: the units that are found there, beside all exact cuts, which are tried one by one."""

import itertools

import pytest
import torch
from odd_nets import conv
from torch import Tensor, nn
from torch.nn import functional as F

import prunekit as pk
from prunekit.plans import plan_by_hand
from prunekit.tracing import Graph

Filter = tuple[int, int]  # a branch and its index there


class Stage(nn.Module):
    """Two branches, dealt out by turns, then units that pass one half on and compute the other."""

    def __init__(self, half: int, units: int):
        super().__init__()
        self.branches = nn.ModuleList(conv(3 if i < 2 else half, half) for i in range(2 + units))
        self.fc = nn.Linear(2 * half, 3)

    def forward(self, x: Tensor) -> Tensor:
        first, second, *units = self.branches
        x = shuffled(torch.cat([first(x), second(x)], 1))
        for unit in units:
            left, right = x.chunk(2, dim=1)
            x = shuffled(torch.cat([left, F.relu(unit(right))], 1))
        return self.fc(x.mean((2, 3)))


def shuffled(x: Tensor) -> Tensor:
    n, c, h, w = x.size()
    return x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, c, h, w)


def read(branches: list[list[Filter]]) -> list[list[Filter]] | None:
    """What each reader gets, in order: the halves that units compute with, and the end. None if a half is not one."""
    passing, seen = branches[0], []
    for place, made in enumerate(branches[1:]):
        if place:
            passing, right = passing[: len(passing) // 2], passing[len(passing) // 2 :]
            seen.append(right)
        if len(passing) != len(made):
            return None
        passing = [f for pair in zip(passing, made, strict=True) for f in pair]
    return [*seen, passing]


def exact_cuts(half: int, units: int) -> set[frozenset[Filter]]:
    """Every set of filters without which each reader gets what it got, less those, in the same order.

    All branches lose as many: the shuffle deals out two halves.
    """
    branches, found = [[(b, i) for i in range(half)] for b in range(2 + units)], set()
    whole = read(branches)
    assert whole is not None
    for lost in range(1, half):
        for each in itertools.product(itertools.combinations(range(half), lost), repeat=2 + units):
            gone = frozenset((b, i) for b, indices in enumerate(each) for i in indices)
            if read([[f for f in b if f not in gone] for b in branches]) == [
                [f for f in part if f not in gone] for part in whole
            ]:
                found.add(gone)
    return found


def graph_and_units(half: int, units: int) -> tuple[Graph, list[set[Filter]]]:
    """A traced stage, and its units, each as a set of filters of branches; what is frozen is left out."""
    torch.manual_seed(0)
    graph = pk.trace(Stage(half, units).double(), torch.randn(1, 3, 8, 8, dtype=torch.float64))
    found: dict[int, set[Filter]] = {}
    for branch in range(2 + units):
        for i, color in enumerate(graph.layers[f"branches.{branch}"]):
            if color not in graph.reasons:
                found.setdefault(color, set()).add((branch, i))
    return graph, list(found.values())


@pytest.mark.parametrize("half, units, count", [(2, 1, 0), (3, 1, 2), (4, 1, 2), (4, 2, 0), (5, 1, 3), (6, 1, 3)])
def test_every_combination_of_units_is_an_exact_cut(half: int, units: int, count: int):
    graph, found = graph_and_units(half, units)
    assert len(found) == count
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    for chosen in itertools.product((False, True), repeat=count):
        gone = set().union(*itertools.compress(found, chosen))
        left = [[(b, i) for i in range(half) if (b, i) not in gone] for b in range(2 + units)]
        if not gone or not all(left):
            continue
        whole = read([[(b, i) for i in range(half)] for b in range(2 + units)])
        assert whole is not None
        assert read(left) == [[f for f in part if f not in gone] for part in whole]
        indices = {f"branches.{b}": [i for c, i in gone if c == b] for b, _ in gone}
        plan = plan_by_hand(graph, indices)
        with torch.no_grad():
            torch.testing.assert_close(pk.prune(graph.model, plan)(x), pk.mask(graph.model, plan)(x))


@pytest.mark.parametrize("half, units", [(2, 1), (2, 3), (3, 2), (3, 3), (4, 2)])
def test_behind_many_shuffles_no_two_exact_cuts_are_one_together(half: int, units: int):
    """So there are no units to be found: one would have to go alone, and with any other."""
    exact = exact_cuts(half, units)
    assert exact
    assert not any(one | other in exact for one, other in itertools.combinations(exact, 2) if not one & other)
