"""What is regained after a cut, as tables for the book: by retraining, at once or layer by layer, and without any."""

import pandas as pd

from ..intervals import difference
from ..ledger import Ledger
from .configurations import configuration
from .reading import last, on_test
from .retraining_claims import ITERATIVE, VARIANTS
from .settings import setting

CLOSE = 1.0  # points below the unpruned network that count as regained, as in the claims


def by_epoch(ledger: Ledger) -> pd.DataFrame:
    """Table 1's pruned networks while they are retrained, those that are there: test images right, mean over the seeds
    whose unpruned network is there, too.

    Columns: series (the network), epoch (0 before any training), correct, total, baseline_correct (unpruned).
    """
    parts, there = [], ledger.experiments()
    for name in VARIANTS:
        baseline = f"baseline-{configuration(name).network}"
        if {f"retraining-{name}", baseline} <= set(there):
            rows = on_test(ledger.table(f"retraining-{name}"))
            whole = on_test(ledger.table(baseline)).set_index("seed")["correct"]
            rows = rows.assign(baseline_correct=rows["seed"].map(whole)).dropna()
            mean = rows.groupby("epoch", as_index=False)[["correct", "total", "baseline_correct"]].mean()
            parts.append(mean.assign(series=setting(ledger.setting).configuration(name).title))
    return pd.concat(parts, ignore_index=True)


def speed(table: pd.DataFrame) -> pd.DataFrame:
    """A row per network of `by_epoch`, accuracies in %: network, unpruned, cut (before training), first (after one
    epoch), last, epochs in all, and `close`, the first epoch at most `CLOSE` points below the unpruned network."""
    rows = []
    for series, some in table.sort_values("epoch", kind="stable").groupby("series", sort=False):
        accuracy = (100 * some["correct"] / some["total"]).set_axis(some["epoch"])
        unpruned = 100 * some["baseline_correct"].iloc[0] / some["total"].iloc[0]
        close = [int(epoch) for epoch, value in accuracy.items() if value >= unpruned - CLOSE]
        found = {"network": series, "unpruned": unpruned, "cut": accuracy[0], "first": accuracy[1]}
        rows.append(
            found | {"last": accuracy.iloc[-1], "close": close[0] if close else None, "epochs": some["epoch"].max()}
        )
    return pd.DataFrame(rows).astype({"close": "Int64"})


def alone(ledger: Ledger) -> pd.DataFrame:
    """Figure 2(c): each layer of VGG-16 cut alone, right `before` retraining and `after` it, on test; the first seed.

    Columns: number, rate, filters, kept, before, after, baseline_correct (counts), total.
    """
    rows = on_test(ledger.table("retrained-sensitivity-vgg16"))
    rows = rows[rows["seed"] == rows["seed"].min()].sort_values("epoch")
    ends = rows.groupby(["number", "rate", "filters", "kept", "total"])["correct"].agg(before="first", after="last")
    whole = on_test(ledger.table("baseline-vgg16")).set_index("seed")["correct"]
    return ends.reset_index().assign(baseline_correct=whole[rows["seed"].min()])


def alone_noted(ledger: Ledger) -> pd.DataFrame:
    """The same without training: right `before` and `after` BN's statistics are noted again; the first seed.

    Columns: number, rate, before, after, baseline_correct (counts), total.
    """
    rows, whole = (on_test(ledger.table(name)) for name in ("alone-noted-vgg16", "noted-vgg16"))
    seed = rows["seed"].min()
    (unpruned,) = whole[(whole["seed"] == seed) & (whole["rate"] == 0)]["correct"].unique()
    rows = rows[rows["seed"] == seed].rename(columns={"correct": "before", "noted": "after"})
    return rows[["number", "rate", "before", "after", "total"]].assign(baseline_correct=unpruned).reset_index(drop=True)


def together_noted(ledger: Ledger) -> pd.DataFrame:
    """All convs cut at one rate, as cut and with BN's statistics noted again, for `panels.panels`; the first seed.

    Columns: panel (the strategy), line, marked, rate (0 is no cut), correct, total.
    """
    rows = on_test(ledger.table("noted-vgg16"))
    rows = rows[rows["seed"] == rows["seed"].min()].rename(columns={"strategy": "panel"})
    lines = {"statistics noted again": "noted", "as cut": "correct"}
    parts = [rows[["panel", "rate", "total"]].assign(line=line, correct=rows[of]) for line, of in lines.items()]
    return pd.concat(parts, ignore_index=True).assign(marked=True)


def one_shot_beside(ledger: Ledger) -> pd.DataFrame:
    """Section 3.4: a row per network and seed of one-shot and layer by layer, those that are there.

    Columns: network, seed, the epochs and the test accuracy in % after the last of them of `one_shot` and of
    `iterative`; the `difference` of one-shot from the other in points and its 95% interval, `low` to `high`.
    """
    rows, there = [], ledger.experiments()
    for name in ITERATIVE:
        if {f"retraining-{name}", f"iterative-{name}"} <= set(there):
            shot, slow = (on_test(ledger.table(f"{kind}-{name}")) for kind in ("retraining", "iterative"))
            for seed in sorted(set(shot["seed"]) & set(slow["seed"])):
                one, other = (last(some[some["seed"] == seed]) for some in (shot, slow))
                low, high = difference(one, other)
                rows.append(
                    {
                        "network": setting(ledger.setting).configuration(name).title,
                        "seed": seed,
                        "one_shot_epochs": shot["epoch"].max(),
                        "one_shot": 100 * one[0] / one[1],
                        "iterative_epochs": slow["epoch"].max(),
                        "iterative": 100 * other[0] / other[1],
                        "difference": 100 * (one[0] / one[1] - other[0] / other[1]),
                        "low": 100 * low,
                        "high": 100 * high,
                    }
                )
    return pd.DataFrame(rows)
