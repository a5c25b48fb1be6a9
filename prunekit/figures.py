"""One style, and one function per kind of picture: a table in, Axes out. Nothing is computed here but positions.

Colors are color-blind safe, every line has a mark and a dash pattern as well, and sizes suit a lecture room.
"""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, PercentFormatter
from torch import Tensor

PALETTE = sns.color_palette("colorblind")
KEPT, GONE, FOLLOWS = PALETTE[0], PALETTE[3], PALETTE[1]
MARKS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--", ":", "-.")


def use_style() -> None:
    """Set the book's look for all figures from here on: white ground, large type, lines that survive a grey print."""
    sns.set_theme(context="notebook", style="whitegrid", palette=PALETTE, font_scale=1.05)
    plt.rcParams.update(
        {
            "figure.figsize": (8, 4.5),
            "figure.dpi": 110,
            "figure.facecolor": "white",
            "savefig.facecolor": "white",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "figure.constrained_layout.use": True,
            "lines.linewidth": 2,
            "svg.hashsalt": "prunekit",
        }
    )


def axes_for(ax: Axes | None, **options) -> Axes:
    """The given axes, or those of a new figure."""
    return plt.subplots(**options)[1] if ax is None else ax


def stages(numbers: Sequence[int], ends: Sequence[int]) -> dict[int, tuple[int, int]]:
    """For each layer number its stage and its place within it, given each stage's last layer number."""
    placed: dict[int, tuple[int, int]] = {}
    for number in sorted(set(numbers)):
        stage = int(np.searchsorted(ends, number))
        placed[number] = (stage, sum(1 for s, _ in placed.values() if s == stage))
    return placed


VGG16_STAGE_ENDS = (2, 4, 7, 10, 13)


def ranking(table: pd.DataFrame, ax: Axes | None = None, ends: Sequence[int] = VGG16_STAGE_ENDS) -> Axes:
    """Figure 2(a): the filters of each layer, sorted by norm; x is rank over count, y norm over largest.

    `table` has the columns number (of the layer) and l1, a row per filter. A stage has a color, a layer a dash.
    """
    ax = axes_for(ax)
    for number, (stage, place) in stages(list(table["number"]), ends).items():
        norms = np.sort(table.loc[table["number"] == number, "l1"].to_numpy())[::-1]
        ax.plot(
            np.arange(len(norms)) / len(norms),
            norms / norms[0],
            color=PALETTE[stage],
            linestyle=DASHES[place % len(DASHES)],
            label=f"conv {number}",
        )
    ax.set(xlabel="rank of the filter / number of filters", ylabel="l1 norm / largest of the layer", ylim=(0, 1.02))
    ax.xaxis.set_major_formatter(PercentFormatter(1))
    ax.legend(ncols=2, fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return ax


def sensitivity(table: pd.DataFrame, ax: Axes | None = None, ends: Sequence[int] = VGG16_STAGE_ENDS) -> Axes:
    """Figure 2(b): accuracy against the share of filters removed, a line per layer, each layer pruned alone.

    `table` has the columns number, rate, correct, total and baseline_correct. The grey line is the unpruned network.
    """
    ax = axes_for(ax)
    for number, (stage, place) in stages(list(table["number"]), ends).items():
        rows = table[table["number"] == number].sort_values("rate")
        baseline = rows["baseline_correct"].iloc[0] / rows["total"].iloc[0]
        ax.plot(
            [0, *rows["rate"]],
            [baseline, *(rows["correct"] / rows["total"])],
            color=PALETTE[stage],
            linestyle=DASHES[place % len(DASHES)],
            marker=MARKS[place % len(MARKS)],
            markersize=6,
            label=f"conv {number}, {rows['filters'].iloc[0]} filters",
        )
    ax.axhline(baseline, color="0.5", linewidth=1, zorder=0)
    ax.set(
        xlabel="filters removed from the layer",
        ylabel="test accuracy",
        ylim=(0, 1),
        xticks=(0, 0.1, 0.3, 0.5, 0.7, 0.9),
    )
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(PercentFormatter(1))
    ax.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return ax


def filters(weight: Tensor, norms: Tensor, columns: int = 16) -> Axes:
    """Figure 5: the filters of a first layer (filters, 3, k, k) as color images, from the largest norm to the smallest.

    All share one scale: zero is grey, so a filter that is grey all over does little.
    """
    order = norms.argsort(descending=True)
    images = (weight[order] / weight.abs().max() / 2 + 0.5).permute(0, 2, 3, 1).numpy()
    rows = -(-len(images) // columns)
    k = images.shape[1]
    sheet = np.ones((rows * (k + 1) - 1, columns * (k + 1) - 1, 3))
    for i, image in enumerate(images):
        y, x = divmod(i, columns)
        sheet[y * (k + 1) : y * (k + 1) + k, x * (k + 1) : x * (k + 1) + k] = image
    ax = axes_for(None, figsize=(8, 8 * sheet.shape[0] / sheet.shape[1] + 0.4))
    ax.imshow(sheet, interpolation="nearest")
    ax.set(xticks=[], yticks=[])
    ax.grid(False)
    ax.set_title(f"largest first, {len(images)} filters", fontsize="medium", loc="left")
    for spine in ax.spines.values():
        spine.set_visible(False)
    return ax


def images(x: Tensor, labels: Sequence[str], columns: int = 10) -> Axes:
    """Images (n, 3, H, W) in [0, 255] in rows of `columns`, each with its label above."""
    rows = -(-len(x) // columns)
    _, grid = plt.subplots(rows, columns, figsize=(8, 1.0 * rows + 0.2), squeeze=False)
    for ax in grid.flat:
        ax.axis("off")
    for ax, image, label in zip(grid.flat, x, labels, strict=False):
        ax.imshow(image.permute(1, 2, 0).to("cpu").numpy())
        ax.set_title(label, fontsize="small")
    return grid[0, 0]


def history(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Accuracy after each epoch: a line for training and one for each part of the data that was watched."""
    ax = axes_for(ax)
    ax.plot(table["epoch"], table["train_accuracy"], marker=MARKS[0], label="training (augmented)")
    for place, part in enumerate(("validation", "test"), start=1):
        if f"{part}_correct" in table:
            accuracy = table[f"{part}_correct"] / table[f"{part}_total"]
            ax.plot(table["epoch"], accuracy, marker=MARKS[place], linestyle=DASHES[place], label=part)
    ax.set(xlabel="epoch", ylabel="accuracy", ylim=(0, 1.02))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.yaxis.set_major_formatter(PercentFormatter(1))
    ax.legend(frameon=False)
    return ax


def kernel_matrix(inputs: int, filters: int, following: int, removed: Sequence[int]) -> Axes:
    """Figure 1: two layers as matrices of kernels, and what goes when filters of the first are removed.

    The first layer has `filters` columns (one filter each) over `inputs` rows, the second `following` columns over
    `filters` rows: removing a filter takes its column there, its map, and the row of kernels that reads that map.
    """
    ax = axes_for(None, figsize=(8, 3.6))
    gap = 3.2
    for index in range(filters):
        dead = index in removed
        for row in range(inputs):
            kernel(ax, index, -row, GONE if dead else KEPT, dead)
        for column in range(following):
            kernel(ax, filters + gap + column, -index, FOLLOWS if dead else KEPT, dead)
        frame = {"edgecolor": GONE if dead else KEPT, "linestyle": ":" if dead else "-", "linewidth": 2}
        ax.add_patch(Rectangle((filters + gap / 2 - 0.9, -index - 0.4), 0.8, 0.8, facecolor="white", **frame))
    center = (filters - 1) / 2
    ax.text(center, 0.9, f"layer i: {filters} filters", ha="center")
    ax.text(filters + gap / 2 - 0.5, 0.9, "maps", ha="center")
    ax.text(filters + gap + (following - 1) / 2, 0.9, f"layer i + 1: {following} filters", ha="center")
    ax.set(xlim=(-1, filters + gap + following), ylim=(-max(inputs, filters), 1.8), aspect="equal")
    ax.axis("off")
    return ax


def kernel(ax: Axes, x: float, y: float, color: tuple[float, float, float], removed: bool) -> None:
    """One kernel as a square, hatched if it is removed."""
    hatch = "///" if removed else None
    ax.add_patch(Rectangle((x - 0.42, y - 0.42), 0.84, 0.84, facecolor=color, edgecolor="white", hatch=hatch))
