"""Figures 2(a) and 2(b): what VGG-16's filter norms look like, and how much each layer can lose without retraining."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pandas as pd

from ..intervals import difference
from ..ledger import Ledger
from .judging import Claim, Part, Verdict, above, below
from .reading import Count, Counts, Judged, baseline, better, by_seed, of_criterion, points

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


def of_sweep(judge: Callable[[Count, Counts], Judged]) -> Callable[[Ledger], Verdict]:
    """Turns what judges one network's count before any cut, and its counts by conv and rate, into what judges a ledger.

    The cuts are those of l1.
    """

    def of_seed(rows: pd.DataFrame) -> Judged:
        return judge(baseline(rows), of_criterion(rows, "l1"))

    return lambda ledger: by_seed(ledger, (SENSITIVITY,), of_seed)


def unharmed(before: Count, after: Count) -> Part:
    """Whether what a cut costs lies below the margin."""
    return below(difference(before, after), MARGIN)


@of_sweep
def widest_unharmed(before: Count, after: Counts) -> Judged:
    lost = ", ".join(f"conv {n} {points(before, after[n, 0.6]):.2f}" for n in WIDEST)
    return [unharmed(before, after[n, 0.6]) for n in WIDEST], f"points lost {lost}"


@of_sweep
def first_robust(before: Count, after: Counts) -> Judged:
    rates = (0.5, 0.8)
    lost = ", ".join(f"{points(before, after[1, rate]):.2f} at {rate:.0%}" for rate in rates)
    return [unharmed(before, after[1, rate]) for rate in rates], f"points lost by conv 1: {lost}"


def second_hurt(ledger: Ledger) -> Verdict:
    def judge(rows: pd.DataFrame) -> Judged:
        before, after = baseline(rows), of_criterion(rows, "l1")[2, 0.8]
        cut = rows[(rows["number"] == 2) & np.isclose(rows["rate"], 0.8)].iloc[0]
        sentence = f"conv 2 cut from {cut['filters']} to {cut['kept']} loses {points(before, after):.2f} points"
        return [above(difference(before, after), MARGIN)], sentence

    return by_seed(ledger, (SENSITIVITY,), judge)


@of_sweep
def second_worse_than_first(before: Count, after: Counts) -> Judged:
    first, second = after[1, 0.8], after[2, 0.8]
    sentence = f"points lost at 80%: conv 1 {points(before, first):.2f}, conv 2 {points(before, second):.2f}"
    return [better(first, second)], sentence


@of_sweep
def layers_differ(before: Count, after: Counts) -> Judged:
    pairs = len(LAYERS) * (len(LAYERS) - 1) // 2
    ranked = sorted(LAYERS, key=lambda n: points(before, after[n, 0.6]))
    robust, sensitive = ranked[0], ranked[-1]
    interval = difference(after[robust, 0.6], after[sensitive, 0.6], 1 - 0.05 / pairs)
    ends = " to ".join(f"{points(before, after[n, 0.6]):.2f} (conv {n})" for n in (robust, sensitive))
    return [above(interval, MARGIN)], f"points lost at 60%: from {ends}"


def flatness(norms: pd.DataFrame) -> pd.Series:
    """By number of the conv, the mean of its filters' l1 norms divided by the largest: near 1 is a flat curve."""
    by_layer = norms.groupby("number")["l1"]
    return (by_layer.mean() / by_layer.max()).loc[list(LAYERS)]


def shapes_differ(ledger: Ledger) -> Verdict:
    def judge(norms: pd.DataFrame) -> Judged:
        deep = flatness(norms).drop(1)
        low, high = deep.min(), deep.max()
        sentence = f"from {low:.2f} (conv {deep.idxmin()}) to {high:.2f} (conv {deep.idxmax()}), without conv 1"
        part = Part.MET if high - low >= SPREAD else Part.NOT_MET
        return [part], f"mean of norm / largest norm {sentence}"

    return by_seed(ledger, (RANKING,), judge)


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
    def judge(rows: pd.DataFrame, norms: pd.DataFrame) -> Judged:
        after = of_criterion(rows, "l1")
        lost = [-sum(after[n, rate][0] for rate in RATES) for n in LAYERS]
        correlation, chance = rank_correlation(flatness(norms).tolist(), lost)
        sentence = f"rank correlation {correlation:+.2f}, by chance as large in {chance:.1%} of orders"
        if correlation <= 0:
            return [Part.NOT_MET], sentence
        return [Part.MET if chance < 0.05 else Part.UNCLEAR], sentence

    return by_seed(ledger, (SENSITIVITY, RANKING), judge)


_claim = partial(Claim, experiments=(SENSITIVITY,))

CLAIMS = (
    Claim(
        id="2a.1",
        meaning="Sorted by norm, the filters of some layers fall steeply and those of others hardly at all.",
        place="Figure 2(a), section 3.1",
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
            'conv 1) and at 80% (where conv 2 is said to be hurt). The paper adds "compared to the next few layers"; '
            f"for conv 2 claim 2b.4 asks that. {MARGIN_REASON}"
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
