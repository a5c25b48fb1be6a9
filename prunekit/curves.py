"""Accuracy by epoch and by budget, and time beside multiply-adds: a table in, Axes out."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from .figures import DASHES, GONE, KEPT, MARKS, PALETTE, axes_for


def by_epoch(table: pd.DataFrame, lowest: float = 0.0, ax: Axes | None = None) -> Axes:
    """Test accuracy after each epoch, a line per `series`, in the order in which they come.

    `table` has the columns series, epoch, correct and total, and may have baseline_correct: then a thin line of the
    same color is the unpruned network. What lies below `lowest` is not shown.
    """
    ax, levels = axes_for(ax), table["correct"] / table["total"]
    for place, (series, rows) in enumerate(table.sort_values("epoch", kind="stable").groupby("series", sort=False)):
        color = PALETTE[place % len(PALETTE)]
        look = {"linestyle": DASHES[place % len(DASHES)], "marker": MARKS[place % len(MARKS)], "markersize": 5}
        ax.plot(rows["epoch"], rows["correct"] / rows["total"], color=color, label=str(series), **look)
        if "baseline_correct" in rows:
            levels = pd.concat([levels, rows["baseline_correct"] / rows["total"]])
            ax.axhline(levels.iloc[-1], color=color, linewidth=1, zorder=0)
    highest = levels.max() + 0.05 * (levels.max() - lowest)
    ax.set(xlabel="epoch", ylabel="test accuracy", ylim=(lowest, highest))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.yaxis.set_major_formatter(PercentFormatter(1))
    ax.legend(fontsize="small", loc="lower right")
    return ax


def by_budget(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Accuracy against the share of multiply-adds left: a line per `series`, a mark alone where it has a single row.

    `table` has the columns series, left (the share), correct, total and baseline_correct. The name of a series stands
    at its smallest network. The grey line is the unpruned network.
    """
    ax = axes_for(ax)
    for place, (series, rows) in enumerate(table.groupby("series", sort=False)):
        rows = rows.sort_values("left")
        color, accuracy = PALETTE[place % len(PALETTE)], rows["correct"] / rows["total"]
        look = {"linestyle": DASHES[place % len(DASHES)], "marker": MARKS[place % len(MARKS)], "markersize": 7}
        ax.plot(rows["left"], accuracy, color=color, label=str(series), **look)
        spot = {"xytext": (9, -4), "textcoords": "offset points", "ha": "left", "va": "top"}
        smallest = (rows["left"].iloc[0], accuracy.iloc[0])
        ground = {"facecolor": "white", "edgecolor": "none", "pad": 1}  # no grid line through the letters
        ax.annotate(str(series), smallest, color=color, fontsize="small", bbox=ground, **spot)
    ax.axhline((table["baseline_correct"] / table["total"]).iloc[0], color="0.5", linewidth=1, zorder=0)
    ax.set(xlabel="multiply-adds left", ylabel="accuracy", ylim=(0, 1.02))
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
    return ax


def regained(table: pd.DataFrame, after: str = "after retraining") -> Axes:
    """Figure 2(c): each layer cut alone, accuracy right after the cut and after what `after` says, a panel per rate.

    `table` has the columns number, rate, before, after, baseline_correct (counts) and total. The grey line is the
    unpruned network. Returns the first panel.
    """
    rates = sorted(table["rate"].unique())
    _, panels = plt.subplots(1, len(rates), sharey=True, squeeze=False)
    for ax, rate in zip(panels[0], rates, strict=True):
        rows = table[table["rate"] == rate]
        low, high = (rows[column] / rows["total"] for column in ("before", "after"))
        ax.vlines(rows["number"], low, high, color="0.7", zorder=1)
        ax.plot(rows["number"], low, MARKS[1], color=GONE, fillstyle="none", label="after the cut")
        ax.plot(rows["number"], high, MARKS[0], color=KEPT, label=after)
        ax.axhline((rows["baseline_correct"] / rows["total"]).iloc[0], color="0.5", linewidth=1, zorder=0)
        ax.set_title(f"{rate:.0%} of the filters removed", fontsize="medium")
        ax.set(xlabel="conv layer", ylim=(0, 1.02), xticks=sorted(rows["number"])[::2])
    first = panels[0][0]
    first.set(ylabel="test accuracy")
    first.yaxis.set_major_formatter(PercentFormatter(1))
    entries = first.get_legend_handles_labels()
    first.figure.legend(*entries, fontsize="small", loc="outside lower center", ncols=2, frameon=False)
    return first


def savings(table: pd.DataFrame) -> Axes:
    """Table 3 as a picture: the share of time saved against the share of multiply-adds.

    `table` has the columns group (a color each), pair (a mark each), macs_saved, time_saved, and low and high, the
    range of the latter, NaN where it is not known. On the grey line time follows multiply-adds.
    """
    ax = axes_for(None)
    marks = dict(zip(table["pair"].unique(), MARKS, strict=False))
    colors = dict(zip(table["group"].unique(), PALETTE, strict=False))
    for row in table.to_dict("records"):
        look = {"fmt": marks[row["pair"]], "color": colors[row["group"]], "capsize": 4, "markersize": 8}
        spread = [[row["time_saved"] - row["low"]], [row["high"] - row["time_saved"]]]
        ax.errorbar(row["macs_saved"], row["time_saved"], yerr=spread, **look)
    for group, color in colors.items():
        ax.plot([], [], "_", color=color, markersize=14, markeredgewidth=5, label=group)
    for pair, mark in marks.items():
        ax.plot([], [], mark, color="0.4", label=pair)
    end = 1.2 * table["macs_saved"].max()
    ax.plot([0, end], [0, end], color="0.5", linewidth=1, zorder=0)
    ax.axhline(0, color="0.8", linewidth=1, zorder=0)
    ax.set(xlabel="multiply-adds saved", ylabel="time saved", xlim=(0, end))
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.19), ncols=2, frameon=False)
    return ax


def widths(table: pd.DataFrame) -> Axes:
    """How long one layer takes with so many filters: columns filters and fastest (seconds), of many runs.

    The grey line is time in proportion to filters, through the widest layer.
    """
    ax = axes_for(None)
    filters, fastest = table["filters"], 1e3 * table["fastest"]
    widest = filters.to_numpy().argmax()
    ax.plot([0, filters.iloc[widest]], [0, fastest.iloc[widest]], color="0.5", linewidth=1, zorder=0)
    ax.plot(filters, fastest, marker=MARKS[0], color=KEPT)
    ax.set(xlabel="filters of the layer", ylabel="milliseconds, the fastest run", xlim=(0, None), ylim=(0, None))
    return ax
