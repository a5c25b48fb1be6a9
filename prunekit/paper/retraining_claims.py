"""Table 1, figures 2(c) and 3, section 3.4 and Table 3: what retraining regains, and what is saved by it."""

from functools import partial

import pandas as pd

from ..intervals import difference
from ..ledger import Ledger
from .configurations import configuration
from .judging import Claim, Verdict, above, below
from .reading import Count, Judged, better, by_seed, counts, found, last, percent, points, verdict, within
from .retraining_experiments import EPOCHS_OF_A_CUT, RETRAINED
from .sensitivity_claims import MARGIN, MARGIN_REASON, RATES, WIDEST

REGAINED = 0.01
REGAINED_REASON = (
    "The margin is 1 point of test accuracy: the paper's own differences on CIFAR-10 are 0.23 points at most, and with "
    "10,000 images at 92% the 95% interval of a difference is 0.75 points to either side, so that a margin below that "
    "could not be met even by equal accuracy."
)
VARIANTS = ("vgg16-a", "resnet56-a", "resnet56-b", "resnet110-a", "resnet110-b")
CONTROLLED = ("resnet56-b", "vgg16-a", "resnet110-b")
ITERATIVE = ("vgg16-a", "resnet56-b")
CLOSE = 0.1  # of the time, between its share that is saved and the share of multiply-adds
MORE_SEEDS = "More seeds of training: the interval knows the test images' chance, not that of training."


def only(rows: pd.DataFrame) -> Count:
    """The one count in `rows`."""
    if len(rows) != 1:
        raise LookupError("not one row")
    return int(rows["correct"].iloc[0]), int(rows["total"].iloc[0])


def regained(name: str, ledger: Ledger) -> Verdict:
    def judge(before: pd.DataFrame, after: pd.DataFrame, epochs: pd.DataFrame) -> Judged:
        base, final, by_epoch = only(before), only(after), counts(epochs, "epoch")
        best = max((count for (epoch,), count in by_epoch.items() if epoch), key=lambda count: count[0])
        sentence = (
            f"{called(after)}: unpruned {percent(base)}, pruned {percent(by_epoch[(0,)])}, retrained {percent(final)} "
            f"({points(final, base):+.2f} points); best epoch on test {percent(best)}"
        )
        return [below(difference(base, final), REGAINED)], sentence

    tables = (f"baseline-{configuration(name).network}", f"final-retraining-{name}", f"retraining-{name}")
    return by_seed(ledger, tables, judge)


def against_scratch(name: str, ledger: Ledger) -> Verdict:
    def judge(retrained: pd.DataFrame, scratch: pd.DataFrame) -> Judged:
        ours, theirs = only(retrained), only(scratch)
        sentence = f"retrained {percent(ours)}, from scratch {percent(theirs)} ({points(theirs, ours):+.2f} points)"
        return [better(ours, theirs)], f"{called(scratch)}: {sentence}"

    return by_seed(ledger, (f"final-retraining-{name}", f"final-scratch-{name}"), judge)


def control(kind: str, ledger: Ledger) -> Verdict:
    """Retrained as the paper does it against another way of coming to the same shape."""

    def judge(ours: pd.DataFrame, theirs: pd.DataFrame) -> Judged:
        one, two = only(ours), only(theirs)
        part = better(two, one) if kind == "schedule" else above(difference(two, one), -REGAINED)
        return [part], f"{called(ours)} {percent(two)} instead of {percent(one)} ({points(two, one):+.2f} points)"

    others = {n: f"final-scratch-{n}-compute" if kind == "scratch" else f"final-{kind}-{n}" for n in CONTROLLED}
    return verdict(ledger, *(found(ledger, (f"final-retraining-{n}", other), judge) for n, other in others.items()))


def called(rows: pd.DataFrame) -> str:
    """The network in `rows`, which on digits is a shallower one."""
    return str(rows["network"].iloc[0])


def widest_after_retraining(ledger: Ledger) -> Verdict:
    def judge(before: pd.DataFrame, after: pd.DataFrame) -> Judged:
        base, cells = only(before), counts(after, "number", "rate", "epoch")
        final = {n: cells[n, 0.9, max((e for m, _, e in cells if m == n), default=-1)] for n in WIDEST}
        lost = ", ".join(
            f"conv {n} {points(base, final[n]):.2f} (before {points(base, cells[n, 0.9, 0]):.2f})" for n in WIDEST
        )
        return [below(difference(base, final[n]), MARGIN) for n in WIDEST], f"points lost after retraining: {lost}"

    return by_seed(ledger, ("baseline-vgg16", "retrained-sensitivity-vgg16"), judge)


def greedy_before(ledger: Ledger) -> Verdict:
    def judge(rows: pd.DataFrame) -> Judged:
        cells = counts(rows, "rate", "strategy")
        pairs = {rate: (cells[rate, "greedy"], cells[rate, "independent"]) for rate in RATES}
        sentence = ", ".join(f"{points(*pair):+.2f} at {rate:.0%}" for rate, pair in pairs.items())
        return [better(*pair) for pair in pairs.values()], f"points of greedy above independent: {sentence}"

    return by_seed(ledger, ("greedy-vgg16",), judge)


def greedy_after(ledger: Ledger) -> Verdict:
    def judge(rows: pd.DataFrame) -> Judged:
        parts, sentences = [], []
        for rate in RETRAINED:
            some = rows[rows["rate"].round(6) == rate]
            greedy, independent = (last(some[some["strategy"] == name]) for name in ("greedy", "independent"))
            parts.append(better(greedy, independent))
            sentences.append(f"{points(greedy, independent):+.2f} at {rate:.0%} ({percent(greedy)})")
        return parts, f"points of greedy above independent after retraining: {', '.join(sentences)}"

    return by_seed(ledger, ("retrained-greedy-vgg16",), judge)


def one_shot_as_good(ledger: Ledger) -> Verdict:
    def judge(one: pd.DataFrame, many: pd.DataFrame) -> Judged:
        shot, slow = last(one), last(many)
        epochs = [int(rows["epoch"].max()) for rows in (one, many)]
        if epochs[0] >= epochs[1]:
            raise LookupError("one-shot was not retrained for fewer epochs")
        sentence = f"one-shot {percent(shot)} in {epochs[0]} epochs, layer by layer {percent(slow)} in {epochs[1]}"
        return [above(difference(shot, slow), -REGAINED)], f"{called(one)}: {sentence}"

    return verdict(ledger, *(found(ledger, (f"retraining-{n}", f"iterative-{n}"), judge) for n in ITERATIVE))


def saved(rows: pd.DataFrame) -> tuple[tuple[float, float], float, float]:
    """Of one pair: the range of the share of time saved, its value in the middle, and the share of multiply-adds."""
    times = {macs: rows.loc[rows["macs"] == macs, "seconds"] for macs in sorted(rows["macs"].unique())}
    if len(times) != 2:
        raise LookupError("not two networks")
    small, whole = times.values()
    span = (1 - small.max() / whole.min(), 1 - small.min() / whole.max())
    return span, 1 - small.median() / whole.median(), 1 - min(times) / max(times)


def time_follows_multiply_adds(ledger: Ledger) -> Verdict:
    def judge(table: pd.DataFrame) -> Judged:
        parts, sentences = [], []
        for pair, rows in table.groupby("pair"):
            span, middle, macs = saved(rows)
            parts.append(within((span[0] - macs, span[1] - macs), CLOSE))
            time = f"{middle:.1%} of the time ({span[0]:.1%} to {span[1]:.1%})"
            sentences.append(f"{pair} saves {time}, {macs:.1%} of multiply-adds")
        machine = f"on {table['device'].iloc[0]}, threads: {table['threads'].iloc[0]}"
        return parts, f"{', '.join(sentences)} {machine}"

    return by_seed(ledger, ("wall-clock",), judge)


CLAIMS = (
    *(
        Claim(
            id=f"1.{name}.accuracy",
            meaning=f"{configuration(name).title} regains the accuracy of the unpruned network by retraining.",
            place="Table 1",
            experiments=(f"baseline-{configuration(name).network}", f"retraining-{name}"),
            predicate=(
                "After the last epoch of retraining, the 95% interval of the accuracy lost against the unpruned "
                f"network lies below the margin: met; above it: not met. {REGAINED_REASON} The paper prints the best "
                "epoch on the test set instead, which is shown beside and not judged: it selects by what it reports."
            ),
            changes=MORE_SEEDS,
            judge=partial(regained, name),
        )
        for name in VARIANTS
    ),
    *(
        Claim(
            id=f"1.{name}.scratch",
            meaning=f"{configuration(name).title} trained from scratch is worse than pruned and retrained.",
            place="Table 1",
            experiments=(f"retraining-{name}", f"scratch-{name}"),
            predicate=(
                "With as many epochs as the baseline, the accuracy from scratch is below that of retraining, beyond "
                "the 95% interval of the difference: met; above it so: not met. A comparison needs no margin."
            ),
            changes=f"{MORE_SEEDS} A longer schedule may help one of the two more.",
            judge=partial(against_scratch, name),
        )
        for name in CONTROLLED
    ),
    Claim(
        id="2c.1",
        meaning="After retraining, each layer of 512 maps can lose almost 90% of its filters, alone.",
        place="Figure 2(c), section 4.1",
        experiments=("baseline-vgg16", "retrained-sensitivity-vgg16"),
        predicate=(
            "For each of convs 8 to 13 cut by 90% and retrained, the 95% interval of the accuracy lost lies below the "
            f'margin: met; above it: not met. Of 512 filters 460 go: what "almost" means is not said. {MARGIN_REASON}'
        ),
        changes=f"More epochs of retraining: here each cut gets {EPOCHS_OF_A_CUT} epochs.",
        judge=widest_after_retraining,
    ),
    Claim(
        id="3.1",
        meaning="Scored greedily, pruned networks are more accurate than scored independently, before retraining.",
        place="Figure 3, section 3.3",
        experiments=("greedy-vgg16",),
        predicate=(
            "All convs of VGG-16 are cut at one rate. At each of nine rates, accuracy by greedy is above that by "
            "independent, beyond the 95% interval of the difference: met; below it so: not met."
        ),
        changes=MORE_SEEDS,
        judge=greedy_before,
    ),
    Claim(
        id="3.2",
        meaning="When much is pruned, greedy is more accurate than independent after retraining, too.",
        place="Figure 3, section 3.3",
        experiments=("greedy-vgg16",),
        predicate=(
            "All convs of VGG-16 are cut by 50, 70 and 90%. After the last epoch, accuracy by greedy is above that by "
            "independent, beyond the 95% interval of the difference: met; below it so: not met."
        ),
        changes=MORE_SEEDS,
        judge=greedy_after,
    ),
    Claim(
        id="3.3",
        meaning=(
            "For cuts like those of Table 1, pruning all layers at once is as good as layer by layer, at a fraction of "
            "the epochs. (Our reading: the paper says that once is enough where layers are resilient.)"
        ),
        place="Section 3.4",
        experiments=tuple(f"{kind}-{name}" for name in ITERATIVE for kind in ("retraining", "iterative")),
        predicate=(
            "After the last epoch of each, one-shot with fewer epochs is not below layer by layer by more than the "
            f"margin: the 95% interval of the difference lies above minus 1 point. {REGAINED_REASON}"
        ),
        changes=f"{MORE_SEEDS} More epochs for each layer.",
        judge=one_shot_as_good,
    ),
    Claim(
        id="t3.1",
        meaning="The time that pruning saves follows the multiply-adds that it saves.",
        place="Table 3, appendix",
        experiments=("wall-clock",),
        predicate=(
            "For each pair of networks, the range of the share of time saved over the repeats lies within 10 points of "
            "the share of multiply-adds: met; wholly outside: not met. Ten points, since the paper's own four pairs "
            "are 2 to 17 points apart, three of them within seven."
        ),
        changes="Another device, batch size or library: this is a claim about those more than about the networks.",
        judge=time_follows_multiply_adds,
    ),
    Claim(
        id="later.1",
        meaning="On the same compute, the pruned shape trained from scratch is as good as pruned and retrained.",
        place="Liu et al. (2019), against Table 1",
        experiments=tuple(e for n in CONTROLLED for e in (f"retraining-{n}", f"scratch-{n}-compute")),
        predicate=(
            "The accuracy from scratch is not below that of retraining by more than the margin: the 95% interval of "
            f"the difference lies above minus 1 point. {REGAINED_REASON}"
        ),
        changes=MORE_SEEDS,
        judge=partial(control, "scratch"),
    ),
    Claim(
        id="later.2",
        meaning="With random filters removed, retraining recovers as well.",
        place="Mittal et al. (2018)",
        experiments=tuple(f"{kind}-{n}" for n in CONTROLLED for kind in ("retraining", "random")),
        predicate=(
            "The accuracy with random filters is not below that with the smallest by more than the margin: the 95% "
            f"interval of the difference lies above minus 1 point. {REGAINED_REASON}"
        ),
        changes=MORE_SEEDS,
        judge=partial(control, "random"),
    ),
    Claim(
        id="later.3",
        meaning="Retraining on a schedule, up to ten times the learning rate, recovers more than the constant 0.001.",
        place="Le & Hua (2021)",
        experiments=tuple(f"{kind}-{n}" for n in CONTROLLED for kind in ("retraining", "schedule")),
        predicate=(
            "With as many epochs, the accuracy on the schedule (one cycle, up to ten times the constant rate, which "
            "is a tenth of what training begins with) is above that at the constant rate, beyond the 95% interval of "
            "the difference: met; below it so: not met."
        ),
        changes=MORE_SEEDS,
        judge=partial(control, "schedule"),
    ),
)
