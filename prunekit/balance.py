"""Equal counts: a tensor that is divided into equal parts needs as many maps in each part after a cut as in the others.

Each color that has entries in one part only would break that alone; together with others it may not. What can go
is found by making bundles, as small as they can easily be, that take the same number from every part.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from .paint import Colors

Parts = Sequence[Sequence[int]]  # the colors of each part's entries


def settle(colors: Colors, divisions: Iterable[Parts], reason: str) -> None:
    """Unite colors until each can go without making any of `divisions` uneven; freeze those that cannot.

    Divisions are taken from the last to the first: what is bundled for one is even there for good, whatever else it is
    bundled with later on.
    """
    for parts in reversed(list(divisions)):
        for other in parts[1:]:
            bundle(colors, parts[0], other, reason)


def bundle(colors: Colors, first: Sequence[int], second: Sequence[int], reason: str) -> None:
    """Unite colors so that each has as many entries in `first` as in `second`."""
    frozen = colors.frozen()
    surplus: Counter[int] = Counter()  # of entries in the first part, by color
    for sign, part in ((1, first), (-1, second)):
        for color in map(colors.find, part):
            surplus[color] += sign
    left = {color: n for color, n in surplus.items() if n and color not in frozen}
    colors.freeze([color for color, n in surplus.items() if n and color in frozen], reason)
    while left:
        color = min(left)  # the earliest, so that partners lie alike in their parts
        together, sum_ = [color], left.pop(color)
        while sum_:
            others = [c for c, n in left.items() if (n < 0) == (sum_ > 0)]
            if not others:
                colors.freeze(together, reason)
                break
            # The largest that does not overshoot, else the smallest that there is.
            fitting = [c for c in others if abs(left[c]) <= abs(sum_)]
            partner = max(fitting, key=lambda c: (abs(left[c]), -c), default=min(others, key=lambda c: abs(left[c])))
            together.append(partner)
            sum_ += left.pop(partner)
        for other in together[1:]:
            colors.unite(color, other)
