"""What a claim is, and how its verdict comes about: from parts that are each met, not met, or unclear.

Every claim was written down, with its predicate and tolerance, before the results that decide it existed; the history
of this folder shows it.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from ..errors import PrunekitError
from ..ledger import Ledger


class Part(StrEnum):
    """How one part of a claim stands: one layer of one trained network, or one printed cell, say."""

    MET = "met"
    NOT_MET = "not met"
    UNCLEAR = "unclear"


HOLDS, IN_PART, FAILS = "holds", "holds in part", "does not hold"
UNDECIDED, NOT_TESTED = "undecided", "not tested"
VERDICTS = (HOLDS, IN_PART, FAILS, UNDECIDED, NOT_TESTED)
CLAUSES = {  # of one claim, of several
    HOLDS: (HOLDS, "hold"),
    IN_PART: (IN_PART, "hold in part"),
    FAILS: (FAILS, "do not hold"),
    UNDECIDED: ("is undecided", "are undecided"),
    NOT_TESTED: ("is not tested", "are not tested"),
}


@dataclass(frozen=True)
class Verdict:
    """One of VERDICTS, the numbers behind it in a sentence, the setting, and the seeds of the networks judged."""

    verdict: str
    numbers: str
    setting: str
    seeds: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise PrunekitError(f"{self.verdict!r} is no verdict; the verdicts are: {', '.join(VERDICTS)}.")


@dataclass(frozen=True)
class Claim:
    """One statement of the paper that can turn out false.

    `meaning` is the statement in our words, `place` where the paper makes it, `experiments` the ledger tables that
    decide it (none for arithmetic), `predicate` what must be true of them with the tolerance and its reason, `changes`
    what would change the verdict. `judge` applies the predicate.
    """

    id: str
    meaning: str
    place: str
    predicate: str
    changes: str
    judge: Callable[[Ledger], Verdict]
    experiments: tuple[str, ...] = ()


def verdict_of(parts: Sequence[Part]) -> str:
    """All met: holds. None met and one not met: does not hold. Some met, some not: holds in part. Otherwise, that is
    with nothing against the claim and something unclear, undecided. Nothing at all: not tested."""
    counts = Counter(parts)
    if not parts:
        return NOT_TESTED
    if counts[Part.MET] == len(parts):
        return HOLDS
    if counts[Part.NOT_MET]:
        return IN_PART if counts[Part.MET] else FAILS
    return UNDECIDED


def spoken(number: int, verdict: str) -> str:
    """So many claims with a verdict, as a clause without the subject: "1 holds", "5 are undecided"."""
    return f"{number} {CLAUSES[verdict][number != 1]}"


def summary(verdicts: Sequence[str]) -> str:
    """How many claims have each verdict, in a sentence."""
    counts = Counter(verdicts)
    told = ", ".join(spoken(counts[verdict], verdict) for verdict in VERDICTS if counts[verdict])
    return f"Of {len(verdicts)} claims, {told}."


def below(interval: tuple[float, float], limit: float) -> Part:
    """Met if the whole interval lies below the limit, not met if it lies above, unclear if the limit is inside."""
    low, high = interval
    if high < limit:
        return Part.MET
    return Part.NOT_MET if low > limit else Part.UNCLEAR


def above(interval: tuple[float, float], limit: float) -> Part:
    """Met if the whole interval lies above the limit, not met if it lies below, unclear if the limit is inside."""
    low, high = interval
    return below((-high, -low), -limit)
