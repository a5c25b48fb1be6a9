"""One criterion beside another, after a sweep: a table in, Axes out."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from .figures import DASHES, MARKS, PALETTE, axes_for

COLORS = [*PALETTE[:3], PALETTE[4], PALETTE[9], (0.0, 0.0, 0.0)]  # no two of one hue: lines here cross and touch


def by_layer(table: pd.DataFrame, names: Mapping[str, str], columns: int = 4) -> Axes:
    """Figures 8 to 10: accuracy against the share of filters removed, a panel per layer, a line per criterion.

    `table` has the columns number, criterion, rate, correct, total and baseline_correct, and may have draw, where a
    criterion was tried several times: its line is then the mean, in grey, and a band reaches from the lowest draw to
    the highest. `names` says which criteria are shown, in which order and under which name. Returns the first panel.
    """
    numbers = sorted(set(table["number"]))
    columns = min(columns, len(numbers))
    rows = -(-len(numbers) // columns)
    figure, grid = plt.subplots(
        rows, columns, figsize=(8, 6.8 / columns * rows + 1.0), sharex=True, sharey=True, squeeze=False
    )
    for ax, number in zip(grid.flat, numbers, strict=False):
        lines(ax, table[table["number"] == number], names, size=3)
        ax.set_title(f"conv {number}", fontsize="small")
    for ax in grid.flat[len(numbers) :]:
        ax.axis("off")
    for ax in grid.flat[max(0, len(numbers) - columns) :]:
        ax.tick_params(labelbottom=True)  # also where the panel below is empty
    figure.supxlabel("filters removed from the layer", fontsize="medium")
    figure.supylabel("test accuracy", fontsize="medium")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=min(4, len(labels)), frameon=False)
    return grid[0, 0]


def averaged(table: pd.DataFrame, names: Mapping[str, str], ax: Axes | None = None) -> Axes:
    """The same in one panel: the mean accuracy over all layers of `table`, each pruned alone."""
    ax = axes_for(ax)
    lines(ax, table, names, size=6)
    ax.set(xlabel="filters removed from one layer", ylabel="test accuracy, mean of all layers")
    ax.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return ax


def lines(ax: Axes, table: pd.DataFrame, names: Mapping[str, str], size: float) -> None:
    """A line for each criterion, over all layers of `table` together; the grey line is the unpruned network."""
    baseline = table["baseline_correct"].iloc[0] / table["total"].iloc[0]
    ax.axhline(baseline, color="0.5", linewidth=1, zorder=0)
    for place, (criterion, name) in enumerate(names.items()):
        rows = table[table["criterion"] == criterion]
        draws = rows["draw"].fillna(0) if "draw" in rows else pd.Series(0, rows.index, name="draw")
        sums = rows.groupby(["rate", draws])[["correct", "total"]].sum()
        accuracy = (sums["correct"] / sums["total"]).unstack("draw")  # rates by draws
        rates = [0, *accuracy.index]
        several = accuracy.shape[1] > 1
        color = "0.45" if several else COLORS[place % len(COLORS)]
        ax.plot(
            rates,
            [baseline, *accuracy.mean(axis=1)],
            color=color,
            linestyle=DASHES[place % len(DASHES)],
            marker=MARKS[place % len(MARKS)],
            markersize=size,
            linewidth=1.5,
            label=name,
        )
        if several:
            low, high = accuracy.min(axis=1), accuracy.max(axis=1)
            ax.fill_between(rates, [baseline, *low], [baseline, *high], color=color, alpha=0.3, linewidth=0)
    ax.set(ylim=(0, 1), xticks=(0, 0.3, 0.6, 0.9))
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
