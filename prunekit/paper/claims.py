"""Every claim of the paper that is checked, and what the ledger says to each."""

import fnmatch
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ..errors import PrunekitError, nearest
from ..ledger import Ledger
from . import cost_claims, criterion_claims, residual_claims, retraining_claims, sensitivity_claims
from .estimates import cheapest
from .judging import NOT_TESTED, Claim, Verdict

FULL_SIZE = ("cifar10", "cifar10-short")  # the settings with the paper's networks and data, the largest first
Ledgers = Ledger | Sequence[Ledger]  # one setting, or several of which the first with rows counts


CLAIMS: dict[str, Claim] = {
    claim.id: claim
    for part in (cost_claims, sensitivity_claims, criterion_claims, residual_claims, retraining_claims)
    for claim in part.CLAIMS
}


def full_size(root: str | Path | None = None) -> tuple[Ledger, ...]:
    """What the paper's claims are judged on, the largest setting first. Digits are not the paper's data: they show how
    something works, and decide nothing."""
    return tuple(Ledger(root, setting) for setting in FULL_SIZE)


def decided(claim: Claim, ledgers: Ledgers) -> Verdict:
    """The verdict on a claim, in the first of several ledgers that has rows for it, if only for a part of it.

    A claim is not tested where no rows are complete, and only there. So this choice sees whether there are rows, and
    never what they say: a claim that is undecided in a large setting stays so. Where no ledger has any rows, the
    verdict says what is lacking, in the full-size setting in which that takes least, and how long it takes there.
    """
    ledgers = [ledgers] if isinstance(ledgers, Ledger) else ledgers
    found = [claim.judge(ledger) for ledger in ledgers]
    if tested := [verdict for verdict in found if verdict.verdict != NOT_TESTED]:
        return tested[0]
    if not (large := [ledger for ledger in ledgers if ledger.setting in FULL_SIZE]):
        return found[-1]
    need = cheapest(claim.experiments, large)
    return Verdict(NOT_TESTED, f"needs {', '.join(need.lacks)}: {need}", need.setting)


def judge(id: str, ledgers: Ledgers) -> Verdict:
    """The verdict on one claim. See `decided` for several ledgers."""
    if id not in CLAIMS:
        raise PrunekitError(f"There is no claim {id!r}; there are: {', '.join(CLAIMS)}.{nearest(id, CLAIMS)}")
    return decided(CLAIMS[id], ledgers)


def judged(ledgers: Ledgers, *ids: str) -> pd.DataFrame:
    """Claims: id, meaning, place, verdict, numbers, setting, seeds, predicate, changes. A row each.

    `ids` are ids or patterns of them, such as "2b.*"; without any it is all claims. See `decided` for several ledgers:
    `judged(full_size())` are the verdicts of the book.
    """
    rows = []
    for claim in CLAIMS.values():
        if ids and not any(fnmatch.fnmatch(claim.id, pattern) for pattern in ids):
            continue
        found = decided(claim, ledgers)
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
