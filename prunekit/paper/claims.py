"""Every claim of the paper that is checked, and what the ledger says to each."""

import pandas as pd

from ..errors import PrunekitError, nearest
from ..ledger import Ledger
from . import cost_claims, criterion_claims, residual_claims, retraining_claims, sensitivity_claims
from .judging import Claim, Verdict

CLAIMS: dict[str, Claim] = {
    claim.id: claim
    for part in (cost_claims, sensitivity_claims, criterion_claims, residual_claims, retraining_claims)
    for claim in part.CLAIMS
}


def judge(id: str, ledger: Ledger) -> Verdict:
    """The verdict on one claim."""
    if id not in CLAIMS:
        raise PrunekitError(f"There is no claim {id!r}; there are: {', '.join(CLAIMS)}.{nearest(id, CLAIMS)}")
    return CLAIMS[id].judge(ledger)


def judged(ledger: Ledger) -> pd.DataFrame:
    """All claims: id, meaning, place, verdict, numbers, setting, seeds, predicate, changes. A row each."""
    rows = []
    for claim in CLAIMS.values():
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
