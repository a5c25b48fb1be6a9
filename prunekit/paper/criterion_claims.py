"""Figures 8, 9 and 10: smallest against random and largest filters, feature maps against weights, l1 against l2."""

from collections.abc import Callable, Iterable

import pandas as pd

from ..intervals import difference, wilson
from ..ledger import Ledger
from .judging import Claim, Part, Verdict, above
from .reading import Count, Counts, Judged, better, by_seed, counts, mean, of_criterion, points, same_network, within
from .sensitivity_claims import LAYERS, MARGIN, MARGIN_REASON, MORE_IMAGES, RATES

L1, CRITERIA, ACTIVATIONS = "sensitivity-vgg16", "criteria-vgg16", "activations-vgg16"
CELLS = [(n, rate) for n in LAYERS for rate in RATES]
OTHERS = ("mean-mean", "mean-l1", "mean-l2", "var-l2")
DECIDED = (
    "A cell is one layer at one rate. It is decided where the 95% interval of the difference in accuracy excludes 0. "
    "More than half of the decided cells: the 95% interval of that share (Wilson) lies above one half: met; below: "
    "not met; otherwise, or with nothing decided, unclear. Where hardly anything is lost nothing is decided, and such "
    "cells say nothing for either side."
)


def draws(rows: pd.DataFrame) -> list[Counts]:
    """The counts of each draw of random filters, two draws at least."""
    random = rows[rows["criterion"] == "random"]
    found = [counts(part, "number", "rate") for _, part in random.groupby("draw")]
    if len(found) < 2:
        raise LookupError("fewer than two draws")
    return found


def against_draws(smallest: Count, random: Iterable[Count]) -> Part:
    """Met if above every draw, not met if below more than half of them, each beyond its interval; else unclear."""
    parts = [better(smallest, one) for one in random]
    if all(part == Part.MET for part in parts):
        return Part.MET
    return Part.NOT_MET if 2 * parts.count(Part.NOT_MET) > len(parts) else Part.UNCLEAR


def most(parts: list[Part]) -> Part:
    """Whether more than half of what is decided is met: see `DECIDED`."""
    won, decided = parts.count(Part.MET), len(parts) - parts.count(Part.UNCLEAR)
    return above(wilson(won, decided), 0.5) if decided else Part.UNCLEAR


def tally(parts: list[Part]) -> str:
    return f"better in {parts.count(Part.MET)}, worse in {parts.count(Part.NOT_MET)} of {len(parts)} cells"


def beside_l1(table: str) -> Callable[[Callable[[Counts, pd.DataFrame], Judged]], Callable[[Ledger], Verdict]]:
    """Turns what judges the counts of l1 and the rows of `table`, of one network, into what judges a ledger."""

    def of_ledger(judge: Callable[[Counts, pd.DataFrame], Judged]) -> Callable[[Ledger], Verdict]:
        def of_seed(l1: pd.DataFrame, others: pd.DataFrame) -> Judged:
            same_network(l1, others)
            return judge(of_criterion(l1, "l1"), others)

        return lambda ledger: by_seed(ledger, (L1, table), of_seed)

    return of_ledger


@beside_l1(CRITERIA)
def smallest_beats_random(smallest: Counts, others: pd.DataFrame) -> Judged:
    random = draws(others)
    parts = [against_draws(smallest[c], [draw[c] for draw in random]) for c in CELLS]
    return [most(parts)], tally(parts)


@beside_l1(CRITERIA)
def smallest_beats_random_at_90(smallest: Counts, others: pd.DataFrame) -> Judged:
    random = draws(others)
    parts = [against_draws(smallest[n, 0.9], [draw[n, 0.9] for draw in random]) for n in LAYERS]
    ahead = ", ".join(f"conv {n} {min(points(smallest[n, 0.9], draw[n, 0.9]) for draw in random):+.1f}" for n in LAYERS)
    return parts, f"points ahead of the best of {len(random)} draws: {ahead}"


@beside_l1(CRITERIA)
def largest_falls(smallest: Counts, others: pd.DataFrame) -> Judged:
    largest = of_criterion(others, "largest")
    parts = [better(smallest[n, 0.5], largest[n, 0.5]) for n in LAYERS]
    behind = ", ".join(f"conv {n} {points(smallest[n, 0.5], largest[n, 0.5]):.1f}" for n in LAYERS)
    return parts, f"points that the largest cost more at 50%: {behind}"


@beside_l1(ACTIVATIONS)
def l1_beats_the_four(smallest: Counts, others: pd.DataFrame) -> Judged:
    parts, sentences = [], []
    for name in OTHERS:
        other = of_criterion(others, name)
        cells = [better(smallest[c], other[c]) for c in CELLS]
        parts.append(most(cells))
        sentences.append(f"than {name} {tally(cells)}")
    return parts, ", ".join(sentences)


@beside_l1(ACTIVATIONS)
def mean_std_up_to_60(smallest: Counts, others: pd.DataFrame) -> Judged:
    rates = [rate for rate in RATES if rate <= 0.6]
    theirs = of_criterion(others, "mean-std")
    pairs = [(mean([theirs[n, r] for n in LAYERS]), mean([smallest[n, r] for n in LAYERS])) for r in rates]
    ahead = ", ".join(f"{points(*pair):+.2f} at {r:.0%}" for pair, r in zip(pairs, rates, strict=True))
    return [above(difference(*pair), -MARGIN) for pair in pairs], f"points ahead of l1, mean of layers: {ahead}"


@beside_l1(ACTIVATIONS)
def mean_std_collapses(smallest: Counts, others: pd.DataFrame) -> Judged:
    theirs = of_criterion(others, "mean-std")
    behind = ", ".join(f"conv {n} {points(smallest[n, 0.9], theirs[n, 0.9]):+.1f}" for n in LAYERS)
    parts = [better(smallest[n, 0.9], theirs[n, 0.9]) for n in (1, 2, 3)]
    return parts, f"points behind l1 at 90%: {behind}"


@beside_l1(CRITERIA)
def l1_like_l2(smallest: Counts, others: pd.DataFrame) -> Judged:
    two = of_criterion(others, "l2")
    pairs = [(mean([smallest[n, r] for r in RATES]), mean([two[n, r] for r in RATES])) for n in LAYERS]
    ahead = ", ".join(f"conv {n} {points(*pair):+.2f}" for pair, n in zip(pairs, LAYERS, strict=True))
    return [within(difference(*pair), MARGIN) for pair in pairs], f"points of l1 above l2, mean of rates: {ahead}"


CLAIMS = (
    Claim(
        id="8.1",
        meaning="Removing the smallest filters is better than removing random ones, for most layers and rates.",
        place="Figure 8, section 4.4",
        experiments=(L1, CRITERIA),
        predicate=(
            "The smallest beat random in a cell if they beat each of the draws, and lose if they lose to more than "
            f"half of them. They are better in more than half of the cells decided. {DECIDED}"
        ),
        changes="More draws and other seeds; a network trained longer, whose norms differ more.",
        judge=smallest_beats_random,
    ),
    Claim(
        id="8.2",
        meaning="When 90% of a layer go, removing the smallest beats removing random ones in every layer.",
        place="Figure 8, section 4.4",
        experiments=(L1, CRITERIA),
        predicate=(
            "For each of the 13 layers at 90%, the accuracy is above that of every draw, each beyond the 95% interval "
            "of the difference: met; below more than half of the draws, each beyond its interval: not met. A "
            "comparison needs no margin."
        ),
        changes="More draws; other seeds of training.",
        judge=smallest_beats_random_at_90,
    ),
    Claim(
        id="8.3",
        meaning="Accuracy falls fast when the largest filters go first.",
        place="Figure 8, section 4.4",
        experiments=(L1, CRITERIA),
        predicate=(
            "For each of the 13 layers at 50%, removing the largest leaves less accuracy than removing the smallest, "
            "beyond the 95% interval of the difference. At 50% the two sets of filters have none in common. How fast "
            "the accuracy falls is not judged, only that it falls further."
        ),
        changes=MORE_IMAGES,
        judge=largest_falls,
    ),
    Claim(
        id="9.1",
        meaning="The l1 norm of weights is better than mean-mean, mean-l1, mean-l2 and var-l2 of feature maps.",
        place="Figure 9, section 4.5",
        experiments=(L1, ACTIVATIONS),
        predicate=f"Against each of the four, l1 is better in more than half of the cells decided. {DECIDED}",
        changes="Other seeds of training; the maps after BN or ReLU instead of before them.",
        judge=l1_beats_the_four,
    ),
    Claim(
        id="9.2",
        meaning="The mean-std of feature maps is as good as l1, or better, up to 60%.",
        place="Figure 9, section 4.5",
        experiments=(L1, ACTIVATIONS),
        predicate=(
            "At each rate from 10 to 60%, accuracy averaged over the 13 layers is not below that of l1 by more than "
            "the margin: the 95% interval of the difference, taken for one test set of images, lies above minus 2 "
            f"points: met; below: not met. {MARGIN_REASON}"
        ),
        changes=MORE_IMAGES,
        judge=mean_std_up_to_60,
    ),
    Claim(
        id="9.3",
        meaning="Beyond 60% mean-std falls behind l1, most of all in convs 1 to 3.",
        place="Figure 9, section 4.5",
        experiments=(L1, ACTIVATIONS),
        predicate=(
            "At 90%, accuracy in each of convs 1, 2 and 3 is below that of l1, beyond the 95% interval of the "
            "difference. The other layers are shown beside them, not judged, nor are 70 and 80%."
        ),
        changes=MORE_IMAGES,
        judge=mean_std_collapses,
    ),
    Claim(
        id="10.1",
        meaning="It makes no difference that matters whether filters are ranked by l1 or by l2.",
        place="Figure 10, section 3.1 and appendix",
        experiments=(L1, CRITERIA),
        predicate=(
            "For each of the 13 layers, the accuracies averaged over the nine rates differ by less than the margin: "
            "the whole 95% interval of the difference lies within 2 points of 0: met; wholly outside: not met. "
            f"{MARGIN_REASON}"
        ),
        changes=MORE_IMAGES,
        judge=l1_like_l2,
    ),
)
