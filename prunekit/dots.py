"""Right answers by class, and accuracy beside confidence: a table in, Axes out."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from .figures import MARKS, PALETTE, axes_for

SPREAD = 0.5  # of the height of a class that its networks share
MOST_ACROSS = 3  # panels in one row; more take two


def by_class(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """A row per class, a mark per network with its interval, the class that the last network does worst at on top.

    `table` is that of `answers.by_class`: network, class, accuracy, low, high.
    """
    networks = list(dict.fromkeys(table["network"]))
    last = table[table["network"] == networks[-1]].sort_values("accuracy", kind="stable")
    places = {label: -place for place, label in enumerate(last["class"])}
    ax = axes_for(ax, figsize=(8, 0.5 * len(places) + 1.2))
    for number, name in enumerate(networks):
        rows = table[table["network"] == name]
        shift = SPREAD * (0.5 - (number + 0.5) / len(networks))
        y = [places[label] + shift for label in rows["class"]]
        color = PALETTE[number % len(PALETTE)]
        ax.hlines(y, rows["low"], rows["high"], color=color, linewidth=1.5, alpha=0.6)
        ax.plot(rows["accuracy"], y, MARKS[number % len(MARKS)], color=color, markersize=7, label=name)
    ax.set(xlabel="images of the class that are right", ylabel="class", yticks=list(places.values()))
    ax.set_yticklabels([str(label) for label in places])
    ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.grid(axis="y", visible=False)
    ax.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return ax


def reliability(tables: dict[str, pd.DataFrame]) -> Axes:
    """Reliability diagrams, a panel per network: accuracy against mean confidence, a mark per bin, larger with images.

    `tables` holds what `confidence.reliability` returns, by the network's name. On the grey line a network is as often
    right as it says; below it is too sure. Returns the first panel.
    """
    across = len(tables) if len(tables) <= MOST_ACROSS else -(-len(tables) // 2)
    down = -(-len(tables) // across)
    size, apart = (8, down * (7 / max(2, across) + 0.4)), {"wspace": 0.1}  # or 100% would run into the next 0%
    _, panels = plt.subplots(down, across, figsize=size, sharex=True, sharey=True, squeeze=False, gridspec_kw=apart)
    for ax in panels.flat[len(tables) :]:
        ax.axis("off")
    for place, (ax, (name, rows)) in enumerate(zip(panels.flat, tables.items(), strict=False)):
        area = 20 + 260 * np.sqrt(rows["total"] / rows["total"].sum())
        ax.plot([0, 1], [0, 1], color="0.5", linewidth=1, zorder=0)
        ax.vlines(rows["confidence"], rows["confidence"], rows["accuracy"], color="0.6", linewidth=1.5, zorder=1)
        color, mark = PALETTE[place % len(PALETTE)], MARKS[place % len(MARKS)]
        look = {"color": color, "marker": mark, "edgecolor": "white", "clip_on": False, "zorder": 2}
        ax.scatter(rows["confidence"], rows["accuracy"], s=area, **look)
        ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
        ax.set_title(name, fontsize="small")
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_formatter(PercentFormatter(1, decimals=0))
    for ax in panels[:, 0]:
        ax.set_ylabel("images that are right")
    for ax in panels[-1]:
        ax.set_xlabel("confidence")
    return panels[0][0]
