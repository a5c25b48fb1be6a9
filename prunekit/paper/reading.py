"""Counts out of the ledger for the claims: seed by seed, on test images, and only where all that is needed is there."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

from ..intervals import difference
from ..ledger import Ledger
from .judging import Part, Verdict, above, verdict_of

Count = tuple[int, int]  # correct, total
Counts = dict[tuple, Count]
Judged = tuple[list[Part], str]  # the parts of a claim, and the numbers behind them
Judge = Callable[..., Judged]


@dataclass(frozen=True)
class Found:
    """What some tables say: parts over all seeds, a sentence, and the seeds; without any, what is lacking."""

    parts: list[Part]
    sentence: str
    seeds: tuple[int, ...] = ()


def found(ledger: Ledger, tables: Sequence[str], judge: Judge, network: str | None = None) -> Found:
    """The parts of all seeds, with the numbers seed by seed.

    `judge` gets the test rows of each of `tables` for one seed, and returns parts and a sentence. It raises LookupError
    where a row is missing; that seed is then left out. With `network`, only rows of that network count.
    """
    there = set(ledger.experiments())
    if lacking := [table for table in tables if table not in there]:
        return Found([], f"no rows in {named(ledger, lacking)}")
    frames = [on_test(ledger.table(table), network) for table in tables]
    parts: list[Part] = []
    sentences: dict[int, str] = {}
    for seed in sorted(set.intersection(*(set(frame["seed"]) for frame in frames))):
        try:
            some, sentence = judge(*(frame[frame["seed"] == seed] for frame in frames))
        except LookupError:
            continue
        parts += some
        sentences[int(seed)] = f"seed {seed}: {sentence}"
    if not sentences:
        wanted = f" of {network}" if network else ""
        return Found([], f"no complete rows{wanted} in {named(ledger, tables)}")
    return Found(parts, "; ".join(sentences.values()), tuple(sentences))


def named(ledger: Ledger, tables: Sequence[str]) -> str:
    """Tables as text, each with its setting in front: another setting may have rows in a table of that name."""
    return ", ".join(f"{ledger.setting}/{table}" for table in tables)


def verdict(ledger: Ledger, *parts: Found) -> Verdict:
    """One verdict over all parts; what is lacking is said beside the numbers."""
    judged = [part for some in parts for part in some.parts]
    seeds = sorted({seed for some in parts for seed in some.seeds})
    return Verdict(verdict_of(judged), "; ".join(some.sentence for some in parts), ledger.setting, tuple(seeds))


def by_seed(ledger: Ledger, tables: Sequence[str], judge: Judge, network: str | None = None) -> Verdict:
    """The verdict over what `found` finds."""
    return verdict(ledger, found(ledger, tables, judge, network))


def on_test(table: pd.DataFrame, network: str | None = None) -> pd.DataFrame:
    """The rows on test images, of one network if it is named."""
    table = table[table["split"] == "test"] if "split" in table else table
    return table if network is None else table[table["network"] == network]


def counts(rows: pd.DataFrame, *columns: str) -> Counts:
    """(correct, total) by the values of `columns`; rates to six digits. A key that is not there raises LookupError."""
    keys = zip(*(rows[c].round(6) if rows[c].dtype == "float64" else rows[c] for c in columns), strict=True)
    return dict(zip(keys, zip(map(int, rows["correct"]), map(int, rows["total"]), strict=True), strict=True))


def of_criterion(rows: pd.DataFrame, criterion: str) -> Counts:
    """The counts of a sweep's cuts by one criterion, by layer number and rate."""
    return counts(rows[rows["criterion"] == criterion], "number", "rate")


def baseline(rows: pd.DataFrame) -> Count:
    """(correct, total) of the unpruned network of a sweep."""
    if not len(rows) or rows["baseline_correct"].nunique() != 1 or rows["total"].nunique() != 1:
        raise LookupError("no rows, or rows about several networks")
    return int(rows["baseline_correct"].iloc[0]), int(rows["total"].iloc[0])


def same_network(*sweeps: pd.DataFrame) -> None:
    """LookupError unless the sweeps are about one network: the same number of images right before any cut."""
    if len({baseline(rows) for rows in sweeps}) > 1:
        raise LookupError("the sweeps are about different networks")


def last(rows: pd.DataFrame) -> Count:
    """(correct, total) after the last epoch."""
    by_epoch = counts(rows, "epoch")
    if not by_epoch:
        raise LookupError("no epochs")
    return by_epoch[max(by_epoch)]


def mean(cells: Sequence[Count]) -> Count:
    """The mean accuracy of several cuts, as a count on the same images: no more images than one of them has."""
    total = cells[0][1]
    return round(sum(correct for correct, _ in cells) / len(cells)), total


def better(first: Count, second: Count) -> Part:
    """Met if the first accuracy is above the second beyond the 95% interval of their difference, not met if below."""
    return above(difference(first, second), 0.0)


def within(interval: tuple[float, float], margin: float) -> Part:
    """Met if the whole interval lies between -margin and margin, not met if it lies outside, unclear otherwise."""
    low, high = interval
    if -margin < low and high < margin:
        return Part.MET
    return Part.NOT_MET if low > margin or high < -margin else Part.UNCLEAR


def percent(count: Count) -> str:
    """An accuracy as text."""
    return f"{100 * count[0] / count[1]:.2f}%"


def points(first: Count, second: Count) -> float:
    """By how many points the first accuracy is above the second."""
    return 100 * (first[0] / first[1] - second[0] / second[1])
