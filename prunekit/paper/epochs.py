"""Which epoch is reported: the last, the best on the test images as in the paper's Table 1, or the best on validation.

The second choice looks at the answer. What that is worth follows from the tables of every training here.
"""

import pandas as pd

from ..ledger import Ledger
from .jobs import SPLITS

CUTS = ("strategy", "rate", "number")  # what else tells the networks of one table apart
OTHERS = ("selected", "last")
BY_EPOCH = {"network", "seed", "split", "epoch", "correct", "total"}


def choices(table: pd.DataFrame) -> pd.DataFrame:
    """Three epochs to report for each network in a table with a row per split and epoch.

    Columns: network, seed, and those of `CUTS` that the table has; `epochs` to choose from; the test images that are
    right after the `last`, after the `best` on test, and after the one `selected` on validation; total, best_epoch,
    selected_epoch. Of several best epochs it is the first. Epoch 0, before any training, cannot be chosen; nor, layer
    by layer, an epoch in which not all layers were cut.
    """
    table = table[table["epoch"] > 0]
    if "step" in table:
        table = table[table["step"] == table["step"].max()]
    key = ["network", "seed", *(column for column in CUTS if column in table)]
    rows = []
    for values, some in table.sort_values("epoch").groupby(key, sort=False):
        on_test, on_validation = (some[some["split"] == split] for split in SPLITS)
        test, epochs = on_test["correct"].to_numpy(), on_test["epoch"].to_numpy()
        best, selected = test.argmax(), on_validation["correct"].to_numpy().argmax()
        counts = {"epochs": len(test), "last": test[-1], "best": test[best], "selected": test[selected]}
        which = {"best_epoch": epochs[best], "selected_epoch": epochs[selected]}
        rows.append(dict(zip(key, values, strict=True)) | counts | {"total": on_test["total"].iloc[0]} | which)
    return pd.DataFrame(rows)


def bias(ledger: Ledger) -> pd.DataFrame:
    """By how much the best epoch on test flatters: a row for each network of each table that was counted by epoch.

    Columns: table, network, seed, epochs to choose from, and in points of test accuracy how far the best on test lies
    above the epoch selected on validation (`above_selected`) and above the last (`above_last`). Neither is ever
    negative, so their size matters, not their sign.
    """
    parts = []
    for name in ledger.experiments():
        table = ledger.table(name)
        if set(table.columns) >= BY_EPOCH:
            found = choices(table)
            above = {f"above_{other}": 100 * (found["best"] - found[other]) / found["total"] for other in OTHERS}
            parts.append(found[["network", "seed", "epochs"]].assign(table=name, **above))
    return pd.concat(parts, ignore_index=True)
