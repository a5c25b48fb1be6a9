"""Draw the course of one filter's paint: a row per operation, a cell per channel, streams between painted cells.

Each filter of the unit has a letter as well as a color; cells whose colors became one are striped with all of them.
"""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import FancyArrowPatch, Polygon, Rectangle

from .drawing import color_of, letters
from .figures import axes_for

INCHES = 3.3  # the widest row
ROW = 0.44  # inches from row to row
HALF = 0.27  # of a row: half of a cell's height
CELLS = 64  # channels; rows of up to this many have a frame for each
LETTERS = 0.11  # inches that a letter in a cell takes
WORD = 0.08  # inches for a character of what happens
RAIL = 0.16  # inches between two lines of paint that skips rows
EDGE, DARK = "0.6", "0.25"
FROM_NONE = to_rgb("0.5")  # paint of no filter's, such as that of maps padded on


def draw_flow(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """A picture of what `prunekit.flowing.flow` returns, from the first operation at the top to the last.

    A row has a cell for each channel; painted ones are filled, with the letter of each filter whose color they have.
    Where a layer reads paint it ends, at a thick line. Paint that skips rows goes along a line at the right, as around
    a residual block. Words say what happens.
    """
    rows = table.to_dict("records")
    widest = max(row["channels"] for row in rows)
    cell = INCHES / widest
    names = list(dict.fromkeys(name for row in rows for paints in row["paints"] for name in paints))
    letter = {name: letters(i) for i, name in enumerate(names)}
    lines = rails(rows)
    right = INCHES + 0.2 + RAIL * (1 + max(lines.values(), default=-1))
    said = [words(row, letter) for row in rows]
    wide = right + WORD * max(map(len, said))
    ax = axes_for(ax, figsize=(wide + 1.6, ROW * len(rows) + 0.3), layout="constrained")
    for i, row in enumerate(rows):
        for start, end in links(rows[i - 1], row) if i - 1 in row["sources"] else ():
            paints = rows[i - 1]["paints"][rows[i - 1]["painted"].index(start)]
            stream(ax, i, (start, start + 1), end, cell, [color_of(letter[name]) for name in paints])
        draw_row(ax, i, row, cell, letter)
        ax.text(right, i, said[i], va="center", fontsize="small")
    for (source, i), column in lines.items():
        ends = [rows[k]["channels"] * cell for k in (source, i)]
        first = next((name for paints in rows[source]["paints"] for name in paints), None)
        rail(ax, INCHES + 0.2 + RAIL * column, source, i, ends, color_of(letter[first]) if first else FROM_NONE)
    labels = [f"{row['operation']}  {'×'.join(map(str, row['shape']))}" for row in rows]
    ax.set_yticks(range(len(rows)), labels, fontsize="small", family="monospace")
    ax.set(xlim=(-0.05, wide), ylim=(len(rows) - 0.5, -0.5), xticks=[])
    ax.tick_params(length=0)
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set_visible(False)
    return ax


def draw_row(ax: Axes, y: int, row: dict, cell: float, letter: dict[str, str]) -> None:
    """The channels of one row as cells, the painted ones in stripes of their colors."""
    width = row["channels"] * cell
    ax.add_patch(Rectangle((0, y - HALF), width, 2 * HALF, facecolor="white", edgecolor=EDGE, linewidth=0.8))
    if row["channels"] <= CELLS:
        ax.vlines([k * cell for k in range(1, row["channels"])], y - HALF, y + HALF, color=EDGE, linewidth=0.6)
    for place, paints in zip(row["painted"], row["paints"], strict=True):
        if not paints:
            ax.add_patch(Rectangle((place * cell, y - HALF), cell, 2 * HALF, facecolor=FROM_NONE, linewidth=0))
        stripe = cell / max(1, len(paints))
        for k, name in enumerate(paints):
            left = place * cell + k * stripe
            ax.add_patch(Rectangle((left, y - HALF), stripe, 2 * HALF, facecolor=light(letter[name]), linewidth=0,
                                   label=name))  # fmt: skip
            if stripe >= LETTERS:
                ax.text(left + stripe / 2, y, letter[name], ha="center", va="center_baseline", fontsize="small")
        if row["happens"] == "reads":
            ax.hlines(y + HALF, place * cell, (place + 1) * cell, color=DARK, linewidth=3.5)
        if row["happens"] == "freezes":
            frame = {"facecolor": "none", "edgecolor": DARK, "hatch": "////", "linewidth": 0}
            ax.add_patch(Rectangle((place * cell, y - HALF), cell, 2 * HALF, **frame))


def rails(rows: Sequence[dict]) -> dict[tuple[int, int], int]:
    """The column of each line of paint that skips rows, by its first and last row. Lines that do not meet share one."""
    found: dict[tuple[int, int], int] = {}
    ends: list[int] = []  # the last row that is taken in each column
    for source, target in sorted((k, i) for i, row in enumerate(rows) for k in row["sources"] if k != i - 1):
        column = next((c for c, end in enumerate(ends) if end <= source), len(ends))
        ends[column : column + 1] = [target]
        found[source, target] = column
    return found


def links(source: dict, row: dict) -> list[tuple[int, tuple[int, int]]]:
    """Where each painted cell of one row flows in the next: its place, the first place there, the one behind the last.

    Paint stays in its place, but where the operation moves it: there it flows to the cells that have its colors. Where
    several cells have the same, they share what there is in order, as the pixels of a flatten do.
    """
    if row["happens"] != "moves" and row["channels"] == source["channels"]:
        return [(place, (place, place + 1)) for place in source["painted"] if place in row["painted"]]
    found = []
    for paints in dict.fromkeys(source["paints"]):
        starts = [place for place, other in zip(source["painted"], source["paints"], strict=True) if other == paints]
        ends = [p for p, other in zip(row["painted"], row["paints"], strict=True) if set(paints) <= set(other)]
        share = max(1, len(ends) // len(starts))
        for n, place in enumerate(starts):
            found += [(place, run) for run in runs(ends if len(starts) == 1 else ends[n * share : (n + 1) * share])]
    return found


def runs(places: Sequence[int]) -> list[tuple[int, int]]:
    """Neighbors together: the first place of each run and the one behind its last."""
    found: list[tuple[int, int]] = []
    for place in places:
        if found and found[-1][1] == place:
            found[-1] = (found[-1][0], place + 1)
        else:
            found.append((place, place + 1))
    return found


def stream(
    ax: Axes, y: int, start: tuple[int, int], end: tuple[int, int], cell: float, colors: Sequence[tuple[float, ...]]
) -> None:
    """Paint of these colors, side by side, that flows from a cell of the row above to cells of row `y`."""
    colors = colors or [FROM_NONE]
    top, bottom = ([cell * (a + (b - a) * k / len(colors)) for k in range(len(colors) + 1)] for a, b in (start, end))
    for k, color in enumerate(colors):
        corners = [(top[k], y - 1 + HALF), (top[k + 1], y - 1 + HALF), (bottom[k + 1], y - HALF), (bottom[k], y - HALF)]
        ax.add_patch(Polygon(corners, facecolor=color, alpha=0.45, linewidth=0, zorder=0.5))


def rail(ax: Axes, x: float, source: int, target: int, ends: Sequence[float], color: tuple[float, ...]) -> None:
    """Paint that skips rows: from the right end of row `source` down to that of row `target`."""
    low, high = source + 0.5 * HALF, target - 0.5 * HALF
    ax.plot([ends[0], x, x], [low, low, high], color=color, linewidth=1.8, label=f"{source} to {target}")
    arrow = {"arrowstyle": "-|>", "mutation_scale": 11, "color": color, "linewidth": 1.8}
    ax.add_patch(FancyArrowPatch((x, high), (ends[1], high), shrinkA=0, shrinkB=0, **arrow))


def words(row: dict, letter: dict[str, str]) -> str:
    """What happens in a row, in words."""
    match row["happens"]:
        case "gives":
            own = f"{row['operation']}["
            there = dict.fromkeys(name for paints in row["paints"] for name in paints if name.startswith(own))
            return "gives " + ", ".join(f"{letter[name]} = {name}" for name in there)
        case "joins":
            there = list(dict.fromkeys(letter[name] for paints in row["paints"] for name in paints))
            others = ", ".join(there[:-1]) if len(there) < 5 else f"{there[0]} to {there[-2]}"
            return f"{others} and {there[-1]} become one"
        case "reads":
            return "reads: " + ", ".join(row["goes"])
        case "carries":
            return f"carries {len(row['goes'])} {'entry' if len(row['goes']) == 1 else 'entries'} for it"
        case "pads":
            return "padded on, and goes along"
        case "moves":
            return "passes, to other places"
        case "divides":
            return "passes; the parts stay of one size"
        case "freezes":
            return f"freezes: {row['reason']}"
    return "passes"


def light(letter: str) -> tuple[float, ...]:
    """The color of a letter as a ground that one can write on."""
    return tuple(0.55 * part + 0.45 for part in color_of(letter))
