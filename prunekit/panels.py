"""Accuracy against what was cut, in panels side by side: a table in, Axes out."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from .figures import DASHES, MARKS, PALETTE

ACROSS = 3  # panels in a row


def panels(table: pd.DataFrame, others: str = "other layers") -> Axes:
    """Figures 3, 6 and 7: accuracy against the share of filters removed, a panel for each value of `panel`.

    `table` has the columns panel, line, marked, rate, correct and total, and may have baseline_correct, from which the
    lines then start. Lines that are `marked` have a color and a name; those that are not are thin and grey, and called
    `others`. Panels of one row share their vertical axis, which shows the range of the data. What is called the same in
    all panels is explained once, below them. Returns the first panel.
    """
    names = list(dict.fromkeys(table["panel"]))
    rows, across = -(-len(names) // ACROSS), min(ACROSS, len(names))
    figure, grid = plt.subplots(rows, across, figsize=(8, 3.4 * rows), sharex=True, sharey="row", squeeze=False)
    for ax, name in zip(grid.flat, names, strict=False):
        panel(ax, table[table["panel"] == name], others)
        ax.set_title(name, fontsize="small")
        ax.tick_params(labelsize="small")
    for ax in grid.flat[len(names) :]:
        ax.axis("off")
    legends = [ax.get_legend_handles_labels() for ax in grid.flat[: len(names)]]
    if all(labels == legends[0][1] for _, labels in legends):
        figure.legend(*legends[0], fontsize="small", loc="outside lower center", ncols=4, frameon=False)
    else:
        for ax, entries in zip(grid.flat, legends, strict=False):
            ax.legend(*entries, fontsize="small", loc="lower left", frameon=True, edgecolor="none")
    for ax in grid[:, 0]:
        ax.set_ylabel("test accuracy")
    named = [grid[-1, across // 2]] if across % 2 else grid[-1]  # the panel in the middle, or all if none is
    for ax in named:
        ax.set_xlabel("filters removed")
    return grid[0, 0]


def panel(ax: Axes, rows: pd.DataFrame, others: str) -> None:
    """The lines of one panel."""
    place = 0
    for line, points in rows.sort_values("rate", kind="stable").groupby("line", sort=False):
        rates, accuracy = points["rate"].to_numpy(), (points["correct"] / points["total"]).to_numpy()
        if "baseline_correct" in points:
            whole = points["baseline_correct"].iloc[0] / points["total"].iloc[0]
            rates, accuracy = np.array([0, *rates]), np.array([whole, *accuracy])
            ax.axhline(whole, color="0.5", linewidth=1, zorder=0)
        if points["marked"].all():
            look = {"color": PALETTE[place], "linestyle": DASHES[place % len(DASHES)], "marker": MARKS[place]}
            ax.plot(rates, accuracy, **look, markersize=5, label=str(line), zorder=3)
            place += 1
        else:
            ax.plot(rates, accuracy, color="0.7", linewidth=1, label=f"_{line}")
    if not rows["marked"].all():
        ax.plot([], [], color="0.7", linewidth=1, label=others)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
