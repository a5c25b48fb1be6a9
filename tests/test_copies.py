"""`duplicate` copies a network as `copy.deepcopy` does: equal, nothing shared with the original, ties kept."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

from prunekit.copies import duplicate


class Odd(nn.Module):
    """One of each kind of attribute, some of them held twice."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.again = self.conv
        self.sizes, self.nested = (3, 4), (1, [2, 3])
        self.names = ["a", "b"]
        self.same_names = self.names
        self.seen = {1, 2}
        self.table = {"list": [1, [2]], "tensor": torch.arange(3.0)}
        self.held = [torch.ones(2), None]


@pytest.mark.parametrize("copied", [duplicate, copy.deepcopy], ids=["duplicate", "deepcopy"])
def test_a_copy(copied: Callable):
    odd = Odd()
    twin = copied(odd, {})
    assert twin.state_dict().keys() == odd.state_dict().keys()
    assert all(torch.equal(a, b) and a is not b for a, b in zip(twin.parameters(), odd.parameters(), strict=True))
    assert twin.again is twin.conv and twin.same_names is twin.names, "what was one object still is"
    assert (twin.sizes, twin.nested, twin.names, twin.seen) == (odd.sizes, odd.nested, odd.names, odd.seen)
    assert twin.table["list"] == odd.table["list"] and torch.equal(twin.table["tensor"], odd.table["tensor"])
    for mine, theirs in [
        (twin.nested[1], odd.nested[1]),
        (twin.names, odd.names),
        (twin.seen, odd.seen),
        (twin.table, odd.table),
        (twin.table["list"][1], odd.table["list"][1]),
        (twin.held[0], odd.held[0]),
    ]:
        assert mine is not theirs, "a change to the copy would reach the original"


def test_what_is_in_the_memo_is_taken_for_the_copy():
    odd = Odd()
    weight = nn.Parameter(torch.zeros(2, 3, 3, 3))
    twin = duplicate(odd, {id(odd.conv.weight): weight})
    assert twin.conv.weight is weight is twin.again.weight
