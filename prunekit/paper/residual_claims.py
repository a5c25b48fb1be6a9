"""Figures 6 and 7: which convs of a ResNet can lose filters, and whether stages behave alike."""

from collections.abc import Mapping
from functools import partial

import numpy as np
import pandas as pd

from ..intervals import difference
from ..ledger import Ledger
from .judging import Claim, Part, Verdict, below
from .reading import (
    Count,
    Counts,
    Judged,
    baseline,
    better,
    by_seed,
    counts,
    found,
    mean,
    of_criterion,
    points,
    verdict,
)
from .sensitivity_claims import MARGIN, MARGIN_REASON, MORE_IMAGES, RATES
from .shortcut_experiments import FIRST, FIRSTS, SECOND, SHORTCUTS

BLOCKS = {"resnet56": 9, "resnet110": 18}  # in each of the three stages
NAMED = {"resnet56": (20, 38, 54), "resnet110": (36, 38, 74)}
TITLES = {"resnet56": "ResNet-56", "resnet110": "ResNet-110"}
VGG_STAGES = {1: 1, 2: 1, 3: 2, 4: 2, 5: 3, 6: 3, 7: 3, 8: 4, 9: 4, 10: 4, 11: 5, 12: 5, 13: 5}  # by map size
CONFIDENCE = 0.05


def first_convs(network: str) -> dict[int, int]:
    """The stage of each first conv, by layer number."""
    return {2 * block: 1 + (block - 1) // BLOCKS[network] for block in range(1, 3 * BLOCKS[network] + 1)}


def cells_of(rows: pd.DataFrame, numbers: Mapping[int, int] | range) -> tuple[Count, Counts]:
    """The unpruned network's count, and those of each layer number at each rate; LookupError if one is missing."""
    cells = of_criterion(rows, "l1")
    return baseline(rows), {(n, rate): cells[n, rate] for n in numbers for rate in RATES}


def most_robust(network: str, ledger: Ledger) -> Verdict:
    def judge(rows: pd.DataFrame) -> Judged:
        base, cells = cells_of(rows, first_convs(network))
        parts = [below(difference(base, cells[n, 0.5]), MARGIN) for n in first_convs(network)]
        met, lost, n = parts.count(Part.MET), parts.count(Part.NOT_MET), len(parts)
        part = Part.MET if 2 * met > n else Part.NOT_MET if 2 * lost >= n else Part.UNCLEAR
        worst = max(first_convs(network), key=lambda n: points(base, cells[n, 0.5]))
        sentence = f"of {n} first convs {met} lose less than 2 points at 50%, {lost} lose more, the rest is unclear"
        return [part], f"{sentence}; most is lost by layer {worst}: {points(base, cells[worst, 0.5]):.2f} points"

    return by_seed(ledger, (f"sensitivity-{network}",), judge, network)


def named_are_sensitive(network: str, ledger: Ledger) -> Verdict:
    def judge(rows: pd.DataFrame) -> Judged:
        base, cells = cells_of(rows, first_convs(network))
        stages = first_convs(network)
        over = {n: mean([cells[n, rate] for rate in RATES]) for n in stages}
        order = sorted(over, key=lambda n: over[n])
        parts, sentences = [], []
        for number in NAMED[network]:
            others = sorted(over[n] for n in stages if stages[n] == stages[number] and n != number)
            middle, place = others[len(others) // 2], order.index(number) + 1
            parts.append(better(middle, over[number]))
            sentences.append(
                f"layer {number} loses {points(base, over[number]):.2f} points (place {place} of {len(order)}), the "
                f"middle one of its stage {points(base, middle):.2f}"
            )
        return parts, ", ".join(sentences)

    return by_seed(ledger, (f"sensitivity-{network}",), judge, network)


def some_cuts_improve(ledger: Ledger) -> Verdict:
    def judge(rows: pd.DataFrame) -> Judged:
        base, cells = cells_of(rows, first_convs("resnet110"))
        best = max(cells, key=lambda cell: cells[cell][0])
        above_base = sum(count[0] > base[0] for count in cells.values())
        interval = difference(cells[best], base, 1 - CONFIDENCE / len(cells))
        if above_base:
            part = Part.MET if interval[0] > 0 else Part.UNCLEAR
        else:
            part = Part.NOT_MET
        sentence = f"{above_base} of {len(cells)} cuts have more images right than the whole network, the best "
        return [part], f"{sentence}{points(cells[best], base):+.2f} points (layer {best[0]} at {best[1]:.0%})"

    return by_seed(ledger, ("sensitivity-resnet110",), judge, "resnet110")


def share_between(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Of the spread of `values` (..., n), as a sum of squares, the share that lies between groups (n,)."""
    center = values.mean(-1, keepdims=True)
    whole = ((values - center) ** 2).sum(-1)
    parts = [values[..., groups == g] for g in np.unique(groups)]
    between = np.sum([part.shape[-1] * (part.mean(-1) - center[..., 0]) ** 2 for part in parts], axis=0)
    return between / whole


def stages_alike(ledger: Ledger) -> Verdict:
    kinds: Mapping[str, Mapping[int, int]] = {"vgg16": VGG_STAGES} | {n: first_convs(n) for n in BLOCKS}

    def judge(network: str, rows: pd.DataFrame) -> Judged:
        stages = kinds[network]
        base, cells = cells_of(rows, stages)
        losses = np.array([np.mean([points(base, cells[n, rate]) for rate in RATES]) for n in stages])
        groups = np.array(list(stages.values()))
        if not losses.std():
            return [Part.UNCLEAR], f"{network}: nothing is lost anywhere"
        share = float(share_between(losses, groups))
        orders = np.random.default_rng(0).permuted(np.tile(losses, (20_000, 1)), axis=1)
        chance = share_between(orders, groups)
        reached = float((np.sum(chance >= share - 1e-12) + 1) / (len(chance) + 1))
        if share <= chance.mean():
            part = Part.NOT_MET
        else:
            part = Part.MET if reached < CONFIDENCE else Part.UNCLEAR
        return [
            part
        ], f"{network}: {share:.0%} of the spread lies between stages, by chance as much in {reached:.1%} of orders"

    return verdict(ledger, *(found(ledger, (f"sensitivity-{n}",), partial(judge, n), n) for n in kinds))


def second_more_than_first(ledger: Ledger) -> Verdict:
    def judge(rows: pd.DataFrame) -> Judged:
        cells, parts, sentences = counts(rows, "part", "layer", "rate"), [], []
        for stage, shortcut in SHORTCUTS.items():
            first = mean([cells[FIRSTS, f"layer{stage}", rate] for rate in RATES])
            second = mean([cells[SECOND, shortcut, rate] for rate in RATES])
            parts.append(better(first, second))
            sentences.append(f"stage {stage} {points(first, second):+.2f}")
        return parts, f"points that second convs lose more than first convs, mean of rates: {', '.join(sentences)}"

    return by_seed(ledger, ("projections-resnet56",), judge)


def ends_more_than_middle(ledger: Ledger) -> Verdict:
    def judge(rows: pd.DataFrame) -> Judged:
        cells, parts, sentences = counts(rows[rows["part"] == FIRST], "layer", "rate"), [], []
        layers = list(dict.fromkeys(layer for layer, _ in cells))
        for stage in SHORTCUTS:
            blocks = [mean([cells[n, rate] for rate in RATES]) for n in layers if n.startswith(f"layer{stage}.")]
            if len(blocks) < 3:
                raise LookupError("a stage needs a block between the first and the last")
            ends, middle = mean([blocks[0], blocks[-1]]), mean(blocks[1:-1])
            parts.append(better(middle, ends))
            sentences.append(f"stage {stage} {points(middle, ends):+.2f}")
        return parts, f"points that the first and last block lose more than the others: {', '.join(sentences)}"

    return by_seed(ledger, ("projections-resnet56",), judge)


CLAIMS = (
    *(
        Claim(
            id=f"6.1.{network}",
            meaning=f"Most first convs of {TITLES[network]} are robust.",
            place="Figure 6, section 4.2",
            experiments=(f"sensitivity-{network}",),
            predicate=(
                "At 50%, the 95% interval of the accuracy lost lies below the margin for more than half of the first "
                f"convs: met; above it for at least half: not met. {MARGIN_REASON}"
            ),
            changes=MORE_IMAGES,
            judge=partial(most_robust, network),
        )
        for network in BLOCKS
    ),
    *(
        Claim(
            id=f"6.2.{network}",
            meaning=f"Layers {', '.join(map(str, NAMED[network]))} of {TITLES[network]} are sensitive.",
            place="Figure 6, section 4.2",
            experiments=(f"sensitivity-{network}",),
            predicate=(
                "With accuracy averaged over the nine rates, each of these layers is below the middle one of the other "
                "first convs of its stage (of an even number, the more accurate of the two in the middle), beyond the "
                "95% interval of the difference: met; above it so: not met."
            ),
            changes=MORE_IMAGES,
            judge=partial(named_are_sensitive, network),
        )
        for network in BLOCKS
    ),
    Claim(
        id="6.3",
        meaning="Some single cuts improve ResNet-110.",
        place="Figure 6, section 4.2",
        experiments=("sensitivity-resnet110",),
        predicate=(
            "The best of all cuts is above the whole network, beyond an interval at 95% for all cuts together "
            "(Bonferroni), because it was picked after looking: met. No cut has more images right: not met. Some have, "
            "but within chance: unclear."
        ),
        changes="Many more test images: the cuts that help, help by little.",
        judge=some_cuts_improve,
    ),
    Claim(
        id="6.4",
        meaning="Layers of one stage, which have maps of one size, are alike in how much they can lose.",
        place="Section 3.2, figures 2(b) and 6",
        experiments=("sensitivity-vgg16", "sensitivity-resnet56", "sensitivity-resnet110"),
        predicate=(
            "For each network: of the spread of the layers' mean losses over the nine rates, a larger share lies "
            "between the stages than in 95% of 20,000 random orders of the layers: met. No larger than in the mean of "
            "them: not met; in between: unclear."
        ),
        changes="Other seeds of training; networks with more layers to a stage.",
        judge=stages_alike,
    ),
    Claim(
        id="7.1",
        meaning="Second convs, with the shortcut that they are added to, are more sensitive than first convs.",
        place="Figure 7, section 4.3",
        experiments=("projections-resnet56",),
        predicate=(
            "On ResNet-56 with projections, not on the paper's ResNet-34. For each stage, with accuracy averaged over "
            "the nine rates: cutting all its second convs with the shortcut leaves less than cutting all its first "
            "convs, beyond the 95% interval of the difference. In stage 1, which has no projection, the first conv "
            "of the network chooses the filters."
        ),
        changes="ResNet-34 on ImageNet, which was not run here; the code for it is there.",
        judge=second_more_than_first,
    ),
    Claim(
        id="7.2",
        meaning="The first and the last block of a stage are more sensitive than those between.",
        place="Figure 7, section 4.3",
        experiments=("projections-resnet56",),
        predicate=(
            "On ResNet-56 with projections, not on the paper's ResNet-34. For each stage, the accuracy averaged over "
            "the nine rates and over the first convs of its first and last block is below that of the other blocks, "
            "beyond the 95% interval of the difference."
        ),
        changes="ResNet-34 on ImageNet, which was not run here; the code for it is there.",
        judge=ends_more_than_middle,
    ),
)
