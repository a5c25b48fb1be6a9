"""Every claim of the paper that is checked, and what the ledger says to each."""

import fnmatch
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from ..errors import PrunekitError, nearest
from ..ledger import Ledger
from . import cost_claims, criterion_claims, residual_claims, retraining_claims, sensitivity_claims
from .estimates import lacking, on_two_cores, seconds, spoken
from .experiments import EXPERIMENTS
from .judging import NOT_TESTED, Claim, Verdict
from .settings import SETTINGS

FULL_SIZE = ("cifar10", "cifar10-short")  # the settings with the paper's networks and data, the largest first
Ledgers = Ledger | Sequence[Ledger]  # one setting, or several of which the first with rows counts


def with_hours(claim: Claim) -> Claim:
    """The claim, saying where it is not tested how long what it lacks takes on two cores."""

    def judge(ledger: Ledger) -> Verdict:
        found = claim.judge(ledger)
        if found.verdict != NOT_TESTED or ledger.setting not in FULL_SIZE:
            return found
        here = SETTINGS[ledger.setting]
        lacks = {name: lacking(EXPERIMENTS[name], ledger, here) for name in with_baselines(claim.experiments, ledger)}
        takes = spoken(seconds((part.work(here) for parts in lacks.values() for part in parts), on_two_cores))
        names = ", ".join(name for name, parts in lacks.items() if parts)
        return replace(found, numbers=f"needs {names}: about {takes} on two cores, as {ledger.setting}")

    return replace(claim, judge=judge)


def with_baselines(experiments: Sequence[str], ledger: Ledger) -> list[str]:
    """The experiments, each after the training of the networks that its missing parts start from."""
    names: list[str] = []
    for name in experiments:
        parts = lacking(EXPERIMENTS[name], ledger, SETTINGS[ledger.setting])
        names += [f"baseline-{part.network}" for part in parts if part.network] + [name]
    return list(dict.fromkeys(names))


CLAIMS: dict[str, Claim] = {
    claim.id: with_hours(claim)
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
    never what they say: a claim that is undecided in a large setting stays so. Where no ledger has any rows, the last
    one says what it lacks.
    """
    ledgers = [ledgers] if isinstance(ledgers, Ledger) else ledgers
    found = [claim.judge(ledger) for ledger in ledgers]
    return next((verdict for verdict in found if verdict.verdict != NOT_TESTED), found[-1])


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
