"""Every claim of the paper that is checked, and what the ledger says to each."""

import fnmatch
from dataclasses import replace

import pandas as pd

from ..errors import PrunekitError, nearest
from ..ledger import Ledger
from . import cost_claims, criterion_claims, residual_claims, retraining_claims, sensitivity_claims
from .estimates import lacking, on_two_cores, seconds, spoken
from .experiments import EXPERIMENTS
from .judging import NOT_TESTED, Claim, Verdict
from .settings import SETTINGS

FULL_SIZE = ("cifar10-short", "cifar10")  # the settings whose networks were timed


def with_hours(claim: Claim) -> Claim:
    """The claim, saying where it is not tested how long what it lacks takes on two cores."""

    def judge(ledger: Ledger) -> Verdict:
        found = claim.judge(ledger)
        if found.verdict != NOT_TESTED or ledger.setting not in FULL_SIZE:
            return found
        here = SETTINGS[ledger.setting]
        lacks = {name: lacking(EXPERIMENTS[name], ledger, here) for name in claim.experiments}
        takes = spoken(seconds((part.work(here) for parts in lacks.values() for part in parts), on_two_cores))
        names = ", ".join(name for name, parts in lacks.items() if parts)
        return replace(found, numbers=f"{found.numbers}; needs {names}: about {takes} on two cores")

    return replace(claim, judge=judge)


CLAIMS: dict[str, Claim] = {
    claim.id: with_hours(claim)
    for part in (cost_claims, sensitivity_claims, criterion_claims, residual_claims, retraining_claims)
    for claim in part.CLAIMS
}


def judge(id: str, ledger: Ledger) -> Verdict:
    """The verdict on one claim."""
    if id not in CLAIMS:
        raise PrunekitError(f"There is no claim {id!r}; there are: {', '.join(CLAIMS)}.{nearest(id, CLAIMS)}")
    return CLAIMS[id].judge(ledger)


def judged(ledger: Ledger, *ids: str) -> pd.DataFrame:
    """Claims: id, meaning, place, verdict, numbers, setting, seeds, predicate, changes. A row each.

    `ids` are ids or patterns of them, such as "2b.*"; without any it is all claims.
    """
    rows = []
    for claim in CLAIMS.values():
        if ids and not any(fnmatch.fnmatch(claim.id, pattern) for pattern in ids):
            continue
        found = claim.judge(ledger)
        rows.append(
            {
                "id": claim.id,
                "meaning": claim.meaning,
                "place": claim.place,
                "verdict": found.verdict,
                "numbers": found.numbers,
                "setting": found.setting,
                "seeds": " ".join(map(str, found.seeds)),
                "predicate": claim.predicate,
                "changes": claim.changes,
            }
        )
    return pd.DataFrame(rows)
