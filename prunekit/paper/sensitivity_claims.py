"""Figures 2(a) and 2(b): what VGG-16's filter norms look like, and how much each layer can lose without retraining."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import numpy as np
import pandas as pd

from ..intervals import difference
from ..ledger import Ledger
from .judging import NOT_TESTED, Claim, Part, Verdict, above, below, verdict_of

SENSITIVITY, RANKING = "sensitivity-vgg16", "ranking-vgg16"
LAYERS = range(1, 14)
WIDEST = range(8, 14)  # the layers of 512 maps; in the narrow digits network, its widest
RATES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
MARGIN = 0.02
SPREAD = 0.2

MARGIN_REASON = (
    "The margin is 2 points of test accuracy: with 10,000 images and 90% accuracy, the 95% interval of a difference "
    "is 0.8 points to either side, so a margin much below 2 could not be decided, and on the axis of the figure, which "
    "runs over the whole range of accuracy, less than that can hardly be seen."
)
MORE_IMAGES = "More test images narrow the intervals; other seeds of training may move the losses themselves."


def loss(rows: pd.DataFrame, number: int, rate: float) -> tuple[tuple[int, int], tuple[int, int]]:
    """The unpruned network's (correct, total) and the pruned one's, for one layer at one rate."""
    row = rows[(rows["number"] == number) & np.isclose(rows["rate"], rate)].iloc[0]
    total = int(row["total"])
    return (int(row["baseline_correct"]), total), (int(row["correct"]), total)


def harm(rows: pd.DataFrame, number: int, rate: float, confidence: float = 0.95) -> tuple[float, float]:
    """Interval for the accuracy that one layer's cut costs."""
    before, after = loss(rows, number, rate)
    return difference(before, after, confidence)


def points(rows: pd.DataFrame, number: int, rate: float) -> float:
    """The accuracy that one layer's cut costs, in points."""
    (before, total), (after, _) = loss(rows, number, rate)
    return 100 * (before - after) / total


def complete(ledger: Ledger, cells: Iterable[tuple[int, float]]) -> dict[int, pd.DataFrame]:
    """By seed, the rows of the l1 sweep on test images; only seeds that have all the cells (layer number, rate)."""
    if SENSITIVITY not in ledger.experiments():
        return {}
    table = ledger.table(SENSITIVITY)
    table = table[(table["criterion"] == "l1") & (table["split"] == "test")]
    wanted = {(number, round(rate, 6)) for number, rate in cells}
    found = {}
    for seed in sorted(table["seed"].unique()):
        rows = table[table["seed"] == seed]
        there = set(zip(rows["number"], rows["rate"].round(6), strict=True))
        if wanted <= there:
            found[int(seed)] = rows
    return found


def per_seed(
    ledger: Ledger,
    cells: Sequence[tuple[int, float]],
    parts: Callable[[pd.DataFrame], list[Part]],
    numbers: Callable[[pd.DataFrame], str],
) -> Verdict:
    """A verdict over all parts of all seeds, with the numbers seed by seed."""
    found = complete(ledger, cells)
    if not found:
        return Verdict(NOT_TESTED, f"no complete rows in {SENSITIVITY}", ledger.setting)
    judged = [part for rows in found.values() for part in parts(rows)]
    sentences = "; ".join(f"seed {seed}: {numbers(rows)}" for seed, rows in found.items())
    return Verdict(verdict_of(judged), sentences, ledger.setting, tuple(found))


def widest_unharmed(ledger: Ledger) -> Verdict:
    def numbers(rows: pd.DataFrame) -> str:
        return "points lost " + ", ".join(f"conv {n} {points(rows, n, 0.6):.2f}" for n in WIDEST)

    cells = [(n, 0.6) for n in WIDEST]
    return per_seed(ledger, cells, lambda rows: [below(harm(rows, n, 0.6), MARGIN) for n in WIDEST], numbers)


def first_robust(ledger: Ledger) -> Verdict:
    rates = (0.5, 0.8)

    def numbers(rows: pd.DataFrame) -> str:
        return "points lost by conv 1: " + ", ".join(f"{points(rows, 1, r):.2f} at {r:.0%}" for r in rates)

    cells = [(1, r) for r in rates]
    return per_seed(ledger, cells, lambda rows: [below(harm(rows, 1, r), MARGIN) for r in rates], numbers)


def second_hurt(ledger: Ledger) -> Verdict:
    def numbers(rows: pd.DataFrame) -> str:
        row = rows[(rows["number"] == 2) & np.isclose(rows["rate"], 0.8)].iloc[0]
        return f"conv 2 cut from {row['filters']} to {row['kept']} loses {points(rows, 2, 0.8):.2f} points"

    return per_seed(ledger, [(2, 0.8)], lambda rows: [above(harm(rows, 2, 0.8), MARGIN)], numbers)


def second_worse_than_first(ledger: Ledger) -> Verdict:
    def parts(rows: pd.DataFrame) -> list[Part]:
        return [above(difference(loss(rows, 1, 0.8)[1], loss(rows, 2, 0.8)[1]), 0.0)]

    def numbers(rows: pd.DataFrame) -> str:
        return f"points lost at 80%: conv 1 {points(rows, 1, 0.8):.2f}, conv 2 {points(rows, 2, 0.8):.2f}"

    return per_seed(ledger, [(1, 0.8), (2, 0.8)], parts, numbers)


def layers_differ(ledger: Ledger) -> Verdict:
    pairs = len(LAYERS) * (len(LAYERS) - 1) // 2

    def ends(rows: pd.DataFrame) -> tuple[int, int]:
        ranked = sorted(LAYERS, key=lambda n: points(rows, n, 0.6))
        return ranked[0], ranked[-1]

    def parts(rows: pd.DataFrame) -> list[Part]:
        robust, sensitive = ends(rows)
        interval = difference(loss(rows, robust, 0.6)[1], loss(rows, sensitive, 0.6)[1], 1 - 0.05 / pairs)
        return [above(interval, MARGIN)]

    def numbers(rows: pd.DataFrame) -> str:
        return "points lost at 60%: from " + " to ".join(f"{points(rows, n, 0.6):.2f} (conv {n})" for n in ends(rows))

    return per_seed(ledger, [(n, 0.6) for n in LAYERS], parts, numbers)


def flatness(ledger: Ledger) -> dict[int, pd.Series]:
    """By seed, for each layer number the mean of its filters' l1 norms divided by the largest: near 1 is a flat curve.

    Only seeds whose table has all 13 layers.
    """
    if RANKING not in ledger.experiments():
        return {}
    table = ledger.table(RANKING)
    share = table["l1"] / table.groupby(["seed", "number"])["l1"].transform("max")
    means = share.groupby([table["seed"], table["number"]]).mean()
    by_seed = {int(seed): means.xs(seed) for seed in sorted(table["seed"].unique())}
    return {seed: series for seed, series in by_seed.items() if set(series.index) == set(LAYERS)}


def shapes_differ(ledger: Ledger) -> Verdict:
    found = flatness(ledger)
    if not found:
        return Verdict(NOT_TESTED, f"no complete rows in {RANKING}", ledger.setting)
    deep = {seed: series.drop(1) for seed, series in found.items()}
    parts = [Part.MET if s.max() - s.min() >= SPREAD else Part.NOT_MET for s in deep.values()]
    numbers = "; ".join(
        f"seed {seed}: mean of norm / largest norm from {s.min():.2f} (conv {s.idxmin()}) to {s.max():.2f} "
        f"(conv {s.idxmax()}), without conv 1"
        for seed, s in deep.items()
    )
    return Verdict(verdict_of(parts), numbers, ledger.setting, tuple(found))


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> tuple[float, float]:
    """Spearman's correlation, and how often a random order gives at least as large a one (20,000 orders, seed 0)."""
    x, y = (pd.Series(list(v)).rank().to_numpy() for v in (a, b))
    x, y = x - x.mean(), y - y.mean()
    scale = float(np.sqrt((x**2).sum() * (y**2).sum()))
    if scale == 0:
        return 0.0, 1.0
    shuffled = np.random.default_rng(0).permuted(np.tile(y, (20_000, 1)), axis=1) @ x / scale
    found = float(x @ y) / scale
    return found, float((np.sum(shuffled >= found - 1e-12) + 1) / 20_001)


def steep_is_robust(ledger: Ledger) -> Verdict:
    cells = [(n, rate) for n in LAYERS for rate in RATES]
    rows, flat = complete(ledger, cells), flatness(ledger)
    seeds = [seed for seed in rows if seed in flat]
    if not seeds:
        return Verdict(NOT_TESTED, f"no seed is complete in {SENSITIVITY} and {RANKING}", ledger.setting)
    parts, sentences = [], []
    for seed in seeds:
        losses = [float(np.mean([points(rows[seed], n, rate) for rate in RATES])) for n in LAYERS]
        found, chance = rank_correlation([float(flat[seed][n]) for n in LAYERS], losses)
        if found <= 0:
            parts.append(Part.NOT_MET)
        else:
            parts.append(Part.MET if chance < 0.05 else Part.UNCLEAR)
        sentences.append(f"seed {seed}: rank correlation {found:+.2f}, by chance as large in {chance:.1%} of orders")
    return Verdict(verdict_of(parts), "; ".join(sentences), ledger.setting, tuple(seeds))


_claim = partial(Claim, experiments=(SENSITIVITY,))

CLAIMS = (
    Claim(
        id="2a.1",
        meaning="Sorted by norm, the filters of some layers fall steeply and those of others hardly at all.",
        place="Figure 2(a), section 3.2",
        experiments=(RANKING,),
        predicate=(
            "Of convs 2 to 13, the mean of norm divided by the layer's largest norm differs by at least 0.2 between "
            "the flattest and the steepest. In an untrained network of full width these layers are within 0.05 of each "
            "other, and curves 0.2 apart on axes from 0 to 1 are plainly apart. Conv 1 is left out: its filters have "
            "27 weights, so their norms differ by chance."
        ),
        changes="Another schedule or weight decay: both shape the norms. More test images would not matter.",
        judge=shapes_differ,
    ),
    Claim(
        id="2a.2",
        meaning="Layers whose norms fall steeply can be cut with little loss; layers with flat norms are sensitive.",
        place="Section 3.2, figures 2(a) and 2(b) side by side",
        experiments=(SENSITIVITY, RANKING),
        predicate=(
            "Over the 13 layers, flatness (mean of norm divided by the largest) and mean loss over the rates 10 to 90% "
            "have a positive rank correlation that at most 5% of random orders reach. Zero or negative counts against "
            "the claim; positive but within chance is unclear."
        ),
        changes="With 13 layers only a strong relation shows: other seeds and other networks would decide more.",
        judge=steep_is_robust,
    ),
    _claim(
        id="2b.1",
        meaning="Each layer of 512 maps (convs 8 to 13) can lose 60% of its filters, alone, unharmed.",
        place="Figure 2(b), section 4.1",
        predicate=(
            "At a rate of 60%, for each of convs 8 to 13, the 95% interval of the accuracy lost lies below the margin: "
            f"met; above it: not met. {MARGIN_REASON}"
        ),
        changes=MORE_IMAGES,
        judge=widest_unharmed,
    ),
    _claim(
        id="2b.2",
        meaning="The first layer is robust.",
        place="Figure 2(b), section 4.1",
        predicate=(
            "The 95% interval of the accuracy lost lies below the margin at a rate of 50% (what VGG-16-A cuts from "
            f"conv 1) and at 80% (where conv 2 is said to be hurt). {MARGIN_REASON}"
        ),
        changes=MORE_IMAGES,
        judge=first_robust,
    ),
    _claim(
        id="2b.3",
        meaning="The second layer is hurt when it loses 80% of its filters (64 to 12).",
        place="Figure 2(b), section 4.1",
        predicate=f"The 95% interval of the accuracy lost lies above the margin. {MARGIN_REASON}",
        changes=MORE_IMAGES,
        judge=second_hurt,
    ),
    _claim(
        id="2b.4",
        meaning="At 80%, the second layer loses more than the first, though both go from 64 filters to 12.",
        place="Section 4.1",
        predicate="The 95% interval of the difference in accuracy lies above zero; a comparison needs no margin.",
        changes=MORE_IMAGES,
        judge=second_worse_than_first,
    ),
    _claim(
        id="2b.5",
        meaning="Layers differ in how much they can lose.",
        place="Figure 2(b), section 3.2",
        predicate=(
            "At a rate of 60%, the most robust and the most sensitive layer differ in accuracy by more than the "
            "margin; the interval is at 95% for all 78 pairs of layers together (Bonferroni), because the pair was "
            f"picked after looking. {MARGIN_REASON}"
        ),
        changes=MORE_IMAGES,
        judge=layers_differ,
    ),
)
