"""Figure 3 as tables: networks cut by independent and by greedy scoring, before and after retraining, on test."""

import pandas as pd

from ..intervals import difference
from ..ledger import Ledger
from .reading import counts, on_test, points
from .retraining_experiments import STRATEGIES


def cut(ledger: Ledger) -> pd.DataFrame:
    """The rows of both strategies right after the cut: a panel of `panels.panels`."""
    return shown(on_test(ledger.table("greedy-vgg16")), ledger, "right after the cut")


def retrained(ledger: Ledger) -> pd.DataFrame:
    """The rows after the last epoch of retraining, with `differing` of the cuts that they go back to.

    A rate at which only one strategy has been retrained so far is left out.
    """
    epochs = on_test(ledger.table("retrained-greedy-vgg16"))
    last = epochs["epoch"].max()
    differing = cut(ledger)[["seed", "rate", "differing"]].drop_duplicates()
    rows = epochs[epochs["epoch"] == last].merge(differing, on=["seed", "rate"])
    both = rows.groupby(["seed", "rate"])["strategy"].transform("nunique") == len(STRATEGIES)
    return shown(rows[both].sort_values("rate", kind="stable"), ledger, f"after {last} epochs of retraining")


def shown(rows: pd.DataFrame, ledger: Ledger, when: str) -> pd.DataFrame:
    return rows.assign(panel=f"{ledger.setting}, {when}", line=rows["strategy"], marked=True)


def beside(rows: pd.DataFrame) -> pd.DataFrame:
    """A row for each panel, seed and rate of `cut` or `retrained`: how far greedy is above independent, in %.

    Columns: when (the panel), seed, rate, differ (filters that only one strategy keeps), independent, greedy, points
    (their difference), low and high (its 95% interval).
    """
    found = []
    for (panel, seed, rate), pair in rows.groupby(["panel", "seed", "rate"], sort=False):
        one, other = (counts(pair, "strategy")[name,] for name in STRATEGIES)
        low, high = difference(other, one)
        found.append(
            {
                "when": panel,
                "seed": seed,
                "rate": rate,
                "differ": int(pair["differing"].iloc[0]),
                "independent": 100 * one[0] / one[1],
                "greedy": 100 * other[0] / other[1],
                "points": points(other, one),
                "low": 100 * low,
                "high": 100 * high,
            }
        )
    return pd.DataFrame(found)
