"""Pictures of how a cut goes through layers, as matrices of kernels: a column for each filter, a row for each map read.

What is removed is hatched as well as colored.
"""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from .figures import FOLLOWS, GONE, KEPT, PALETTE, axes_for

GAP = 2.8  # columns between two matrices; the maps between them stand in the middle
Mark = tuple[tuple[float, float, float], str]  # color and hatch
OWN: Mark = (GONE, "///")  # a filter that is removed
READS: Mark = (FOLLOWS, "\\\\\\")  # kernels that read its map
TIED: Mark = (PALETTE[4], "xxx")  # filters that go because of a sum


def residual_block(inputs: int, filters: int, outputs: int, free: int, tied: int) -> Axes:
    """Figure 4: a block with a projection; the first conv loses filter `free`, the projection filter `tied`.

    The second conv stands above the projection, with the maps of their sum between them: what is added up is a column.
    """
    ax = axes_for(None, figsize=(8, 5))
    left, right = -GAP / 2 - 0.5, filters + GAP
    middle = right - GAP / 2 - 0.5
    center, row = right + (outputs - 1) / 2, -filters - 0.6
    below = row - 1.6
    matrix(ax, 0, 0, inputs, filters, columns={free: OWN})
    matrix(ax, right, 0, filters, outputs, rows={free: READS}, columns={tied: TIED})
    matrix(ax, right, below, inputs, outputs, columns={tied: TIED})
    for index in range(inputs):
        feature_map(ax, left, -index)
        feature_map(ax, middle, below - index)
    for index in range(filters):
        feature_map(ax, middle, -index, OWN if index == free else None)
    for index in range(outputs):
        feature_map(ax, right + index, row, TIED if index == tied else None)
    for x, y, text in (
        (left, 0.8, "maps"),
        ((filters - 1) / 2, 0.8, "first conv"),
        (center, 0.8, "second conv"),
        (center, below - inputs - 0.1, "projection, 1×1 kernels"),
    ):
        ax.text(x, y, text, ha="center", va="center")
    ax.text(right - 0.8, row, "sum of both", ha="right", va="center")
    ax.text(middle - 0.8, below - (inputs - 1) / 2, "the block's input again", ha="right", va="center")
    bounds(ax, left - 1, right + outputs, below - inputs - 0.6, 1.3)
    return ax


def two_strategies(
    first: Sequence[Sequence[int]],
    second: Sequence[Sequence[int]],
    sums: Mapping[str, Sequence[int]],
    picks: Mapping[str, int],
) -> Axes:
    """Figure 3: two layers' kernels as the sums of their absolute weights, scored one layer after the other.

    `first` and `second` have a row for each map read and a column for each filter. `sums` are the scores of filters:
    of the first layer's, under the name "sum", then of the second's by each strategy; `picks` has the filters that go.
    """
    ax = axes_for(None, figsize=(8, 4.2))
    filters, outputs = len(second), len(second[0])
    right, removed = filters + GAP, picks["sum"]
    matrix(ax, 0, 0, len(first), filters, columns={removed: OWN}, numbers=first)
    matrix(ax, right, 0, filters, outputs, rows={removed: READS}, numbers=second)
    for index in range(filters):
        feature_map(ax, right - GAP / 2 - 0.5, -index, OWN if index == removed else None)
    ax.text((filters - 1) / 2, 0.8, "layer i", ha="center", va="center")
    ax.text(right - GAP / 2 - 0.5, 0.8, "maps", ha="center", va="center")
    ax.text(right + (outputs - 1) / 2, 0.8, "layer i + 1", ha="center", va="center")
    for place, (name, values) in enumerate(sums.items()):
        x, y = (0, -len(first)) if name == "sum" else (right, 1 - filters - place)
        ax.text(x - 0.8, y - 0.2, name, ha="right", va="center")
        for index, value in enumerate(values):
            score(ax, x + index, y - 0.2, value, index == picks[name])
    bounds(ax, -2, right + outputs, -filters - len(sums) + 0.4, 1.3)
    return ax


def matrix(
    ax: Axes,
    x: float,
    y: float,
    height: int,
    width: int,
    rows: Mapping[int, Mark] | None = None,
    columns: Mapping[int, Mark] | None = None,
    numbers: Sequence[Sequence[int]] | None = None,
) -> None:
    """Kernels from (x, y) to the right and down; those of some `rows` and `columns` marked, with a number in each."""
    for row in range(height):
        for column in range(width):
            color, hatch = (columns or {}).get(column) or (rows or {}).get(row) or (KEPT, "")
            place = (x + column - 0.42, y - row - 0.42)
            ax.add_patch(Rectangle(place, 0.84, 0.84, facecolor=light(color), edgecolor=color, hatch=hatch))
            if numbers is not None:
                box = {"facecolor": "white", "edgecolor": "none", "pad": 1.5} if hatch else None
                ax.text(x + column, y - row, str(numbers[row][column]), ha="center", va="center", bbox=box)


def feature_map(ax: Axes, x: float, y: float, mark: Mark | None = None) -> None:
    """One map as a frame, dotted if it is gone."""
    frame = {"edgecolor": mark[0] if mark else KEPT, "linestyle": ":" if mark else "-", "linewidth": 2}
    ax.add_patch(Rectangle((x - 0.4, y - 0.4), 0.8, 0.8, facecolor="white", **frame))


def score(ax: Axes, x: float, y: float, value: int, goes: bool) -> None:
    """A filter's sum under its column, in a frame if the filter goes."""
    box = {"facecolor": "white", "edgecolor": GONE, "pad": 3, "linewidth": 2} if goes else None
    ax.text(x, y, str(value), ha="center", va="center", fontweight="bold" if goes else "normal", bbox=box)


def light(color: tuple[float, float, float]) -> tuple[float, ...]:
    """The color as a ground that one can write on."""
    return tuple(0.4 * part + 0.6 for part in color)


def bounds(ax: Axes, left: float, right: float, bottom: float, top: float) -> None:
    """Nothing but the picture, its squares square."""
    ax.set(xlim=(left, right), ylim=(bottom, top), aspect="equal")
    ax.axis("off")
