"""Draw which filters of a network go together: a row per layer, a band per run of filters with one fate.

Bands of one letter hold filters that stay or go with those of the other layers on that letter's rail. Letters and
hatches say all that colors say.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Patch, Rectangle
from matplotlib.transforms import ScaledTranslation

from .errors import PlanError
from .figures import PALETTE, axes_for
from .plans import expand
from .tracing import Graph

COLORS = [PALETTE[i] for i in (0, 1, 2, 4, 5, 9, 3)]  # without grey, and what is too light for a line
HATCHES = ("////", "....", "xxxx", "----", "oooo", "++++", "||||", "\\\\\\\\")
ALONE, EDGE, FROZEN = "0.9", "0.45", "0.35"
INCHES = 5.0  # the widest layer
RAIL = 0.2  # inches between two rails
NUMBERED = 20  # filters; layers up to this width have room for the number of each unit
CELLS = 32  # filters; layers up to this width have a cell for each


def bands(graph: Graph, layers: str | Sequence[str] | None = None) -> pd.DataFrame:
    """What `draw` shows, a row per band: layer, start, stop, kind, group, units, reason.

    Filters `start` up to, not including, `stop` of `layer` have the same fate. `kind` is "alone" (each filter can go by
    itself), "tied" (each goes with others) or "frozen" (none can go, for this `reason`). Tied filters whose partners
    are in the same layers have the same `group`, a letter. `units` numbers them, filter by filter: those of one group
    with one number go together.

    Raises `PlanError` for layers that are not there.
    """
    if not isinstance(graph, Graph):
        raise PlanError(f"A picture needs what pk.trace(model, example) returns, not a {type(graph).__name__}.")
    wanted = [layers] if isinstance(layers, str) else list(graph.layers) if layers is None else layers
    found = expand(graph, dict.fromkeys(wanted))
    groups: dict[tuple[str, ...], str] = {}
    units: dict[str, dict[int, int]] = {}
    rows: list[dict] = []
    for layer in graph.layers:
        if layer not in found:
            continue
        for index, color in enumerate(graph.layers[layer]):
            group, unit = "", 0
            if color in graph.reasons:
                kind = "frozen"
            elif len(graph.givers[color]) == 1:
                kind = "alone"
            else:
                kind = "tied"
                partners = tuple(dict.fromkeys(name for name, _ in graph.givers[color]))
                group = groups.setdefault(partners, letters(len(groups)))
                numbers = units.setdefault(group, {})
                unit = numbers.setdefault(color, len(numbers) + 1)
            fate = {"layer": layer, "kind": kind, "group": group, "reason": graph.reasons.get(color, "")}
            if rows and fate.items() <= rows[-1].items():
                rows[-1]["stop"] += 1
                rows[-1]["units"] += (unit,)
            else:
                rows.append(fate | {"start": index, "stop": index + 1, "units": (unit,)})
    return pd.DataFrame(rows, columns=["layer", "start", "stop", "kind", "group", "units", "reason"])


@dataclass(frozen=True)
class Rail:
    """Where the line of a group is: its place from the left, the rows of its layers, and what is not shown of it."""

    column: int
    rows: list[int]
    before: bool
    after: bool


def rails(graph: Graph, table: pd.DataFrame) -> dict[str, Rail]:
    """The rail of each group in a table of `bands`. Rails that do not meet share a column."""
    names, order = list(dict.fromkeys(table["layer"])), list(graph.layers)
    found: dict[str, Rail] = {}
    ends: list[int] = []  # the last row that is taken in each column
    for group, members in table[table["kind"] == "tied"].groupby("group", sort=False):
        rows = sorted({names.index(layer) for layer in members["layer"]})
        layer, start = members.iloc[0][["layer", "start"]]
        everywhere = [order.index(name) for name, _ in graph.givers[graph.layers[layer][start]]]
        column = next((c for c, end in enumerate(ends) if end < rows[0] - 2), len(ends))
        ends[column : column + 1] = [rows[-1]]
        first, last = (order.index(names[row]) for row in (rows[0], rows[-1]))
        found[str(group)] = Rail(column, rows, min(everywhere) < first, max(everywhere) > last)
    return found


def draw(graph: Graph, layers: str | Sequence[str] | None = None, ax: Axes | None = None) -> Axes:
    """A picture of which filters of a traced network are tied to each other, and which cannot go at all.

    A row per layer, in forward order, as long as it has filters. Bands with a letter hold tied filters: the letter's
    rail, at the right, has a dot for each layer with such filters, and a triangle where it goes on to layers that are
    not shown. In layers of few filters each has a cell, with the number of its unit. Hatched bands cannot go; the
    legend says why. `layers` are names or patterns, such as "layer2.*" for a stage; by default all are shown.

    Raises `PlanError` for layers that are not there.
    """
    table = bands(graph, layers)
    if table.empty:
        raise PlanError("There is no layer to draw.")
    names, widest = list(dict.fromkeys(table["layer"])), int(table["stop"].max())
    lines = rails(graph, table)
    height = 0.3 if len(names) <= 16 else max(0.15, 4.8 / len(names))
    size = min(9.0, 50 * height)  # of the letters
    right = INCHES + 0.35 + RAIL * (1 + max((rail.column for rail in lines.values()), default=-1))
    ax = axes_for(ax, figsize=(right + 1.8, height * len(names) + 1.3), layout="constrained")

    # Where a network is far wider at its end than at its beginning, a square root lets both be seen.
    narrowest = table.groupby("layer")["stop"].max()[table.loc[table["kind"] != "frozen", "layer"]].min()
    power = 0.5 if widest > 12 * narrowest else 1
    places = [INCHES * (n / widest) ** power for n in range(widest + 1)]
    reasons = list(dict.fromkeys(table.loc[table["kind"] == "frozen", "reason"]))
    for band in table.to_dict("records"):
        edges = places[band["start"] : band["stop"] + 1]
        draw_band(ax, band, names.index(band["layer"]), edges, look(band, reasons), size, widest)
    for group, rail in lines.items():
        ends = [places[len(graph.layers[names[row]])] for row in rail.rows]
        draw_rail(ax, group, rail, ends, size)

    ticks = [n for n in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096) if n <= widest]
    ticks = [0, *(n for n in ticks if places[n] - places[n // 2] > 0.25)]
    ax.set_xticks([places[n] for n in ticks], [str(n) for n in ticks], fontsize="small")
    ax.set_yticks(range(len(names)), names, fontsize=size, family="monospace")
    ax.set(xlim=(-0.02, right), ylim=(len(names) - 0.4, -1.6 if lines else -0.6))
    ax.set_xlabel(
        "filters" if power == 1 else "filters, on a square-root scale", x=INCHES / right / 2, fontsize="small"
    )
    ax.tick_params(length=0)
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set_visible(False)
    legend(ax, table, reasons, widest)
    return ax


def draw_band(ax: Axes, band: dict, row: int, edges: Sequence[float], style: dict, size: float, widest: int) -> None:
    """One run of filters: a bar with its letter, or cells with numbers where there is room."""
    left, right = edges[0], edges[-1]
    ax.add_patch(Rectangle((left, row - 0.4), right - left, 0.8, linewidth=0.6, **style))
    if band["kind"] == "frozen":
        return
    if widest <= CELLS:
        ax.vlines(edges[1:-1], row - 0.4, row + 0.4, color=EDGE, linewidth=0.6)
    center: dict[str, Any] = {"ha": "center", "va": "center_baseline"}
    if band["kind"] == "tied" and widest <= NUMBERED:
        for unit, a, b in zip(band["units"], edges, edges[1:], strict=False):
            ax.text((a + b) / 2, row, f"{band['group']}{unit}", fontsize=0.75 * size, **center)
    elif band["kind"] == "tied" and right - left > 0.012 * size:
        units = len(set(band["units"]))
        more = "" if units == len(band["units"]) else f": {units} unit{'s' if units > 1 else ''}"
        text = band["group"] + more if right - left > 0.12 * size else band["group"]
        ax.text((left + right) / 2, row, text, fontsize=size, **center)


def draw_rail(ax: Axes, group: str, rail: Rail, ends: Sequence[float], size: float) -> None:
    """The line of one group, with a dot for each layer; a thin line leads there from the layer's end."""
    x, color = INCHES + 0.35 + RAIL * rail.column, color_of(group)
    top, bottom = rail.rows[0] - 0.7 * rail.before, rail.rows[-1] + 0.7 * rail.after
    ax.hlines(rail.rows, ends, x, color="0.8", linewidth=0.6, zorder=0)
    ax.plot([x, x], [top, bottom], color=color, linewidth=1.5)
    ax.plot([x] * len(rail.rows), rail.rows, "o", color=color, markersize=0.55 * size, label=group)
    for beyond, y, mark in ((rail.before, top, "^"), (rail.after, bottom, "v")):
        if beyond:
            ax.plot([x], [y], mark, color=color, markersize=0.6 * size, clip_on=False, label=f"more of {group}")
    ax.text(x, top - 0.45, group, ha="center", va="bottom", fontsize=size)


def legend(ax: Axes, table: pd.DataFrame, reasons: Sequence[str], widest: int) -> None:
    """Below the picture: what the kinds of bands mean, those that are there."""
    like = "letter and number" if widest <= NUMBERED else "letter"
    texts = {"alone": "each filter can go by itself", "tied": f"tied: goes with filters of the same {like}"}
    entries = [
        Patch(label=text, **look({"kind": kind, "group": "A"}, reasons))
        for kind, text in texts.items()
        if (table["kind"] == kind).any()
    ]
    for reason in reasons:
        entries.append(Patch(label=f"cannot go: {reason}", **look({"kind": "frozen", "reason": reason}, reasons)))
    down = ax.transAxes + ScaledTranslation(0, -0.55, ax.figure.dpi_scale_trans)
    options = {"loc": "upper left", "bbox_to_anchor": (0, 0), "bbox_transform": down, "borderaxespad": 0}
    ax.legend(handles=entries, frameon=False, fontsize="small", **options)


def look(band: dict, reasons: Sequence[str]) -> dict:
    """Color and hatch of a band."""
    if band["kind"] == "frozen":
        hatch = HATCHES[reasons.index(band["reason"]) % len(HATCHES)]
        return {"facecolor": "white", "edgecolor": FROZEN, "hatch": hatch}
    if band["kind"] == "alone":
        return {"facecolor": ALONE, "edgecolor": EDGE}
    light = tuple(0.45 * part + 0.55 for part in color_of(band["group"]))  # so that one can write on it
    return {"facecolor": light, "edgecolor": EDGE}


def letters(number: int) -> str:
    """A, B, ... Z, AA, AB, ..."""
    more, last = divmod(number, len(ascii_uppercase))
    return (letters(more - 1) if more else "") + ascii_uppercase[last]


def color_of(group: str) -> tuple[float, float, float]:
    """The color of a group's rail. There are fewer colors than letters."""
    return to_rgb(COLORS[ascii_uppercase.index(group[-1]) % len(COLORS)])
