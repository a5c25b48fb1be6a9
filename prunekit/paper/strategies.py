"""Figure 3 as tables: networks cut by independent and by greedy scoring, before and after retraining, on test."""

import pandas as pd

from ..intervals import difference
from ..ledger import Ledger
from .reading import counts, on_test, points
from .retraining_experiments import STRATEGIES


def both(ledger: Ledger) -> pd.DataFrame:
    """The rows right after the cut, and those after the last epoch of retraining. They differ in `panel`."""
    before, epochs = (on_test(ledger.table(name)) for name in ("greedy-vgg16", "retrained-greedy-vgg16"))
    last = epochs["epoch"].max()
    parts = {"right after the cut": before, f"after {last} epochs of retraining": epochs[epochs["epoch"] == last]}
    rows = [part.assign(panel=f"{ledger.setting}, {when}") for when, part in parts.items()]
    return pd.concat(rows, ignore_index=True).assign(line=lambda rows: rows["strategy"], marked=True)


def beside(rows: pd.DataFrame) -> pd.DataFrame:
    """A row for each panel, seed and rate of `both`: accuracies in %, and how far greedy is above independent.

    Columns: when (the panel), seed, rate, differ (filters that only one strategy keeps), independent, greedy, points
    (their difference), low and high (its 95% interval).
    """
    differ = rows.groupby(["seed", "rate"])["differing"].first().to_dict()  # not among the rows after retraining
    found = []
    for (panel, seed, rate), pair in rows.groupby(["panel", "seed", "rate"], sort=False):
        one, other = (counts(pair, "strategy")[name,] for name in STRATEGIES)
        low, high = difference(other, one)
        found.append(
            {
                "when": panel,
                "seed": seed,
                "rate": rate,
                "differ": int(differ[seed, rate]),
                "independent": 100 * one[0] / one[1],
                "greedy": 100 * other[0] / other[1],
                "points": points(other, one),
                "low": 100 * low,
                "high": 100 * high,
            }
        )
    return pd.DataFrame(found)
