"""Table 3: the share of time saved beside the share of multiply-adds, the paper's and ours on every device measured."""

import pandas as pd

from ..ledger import Ledger
from .configurations import CONFIGURATIONS
from .retraining_claims import saved
from .settings import SETTINGS
from .tables import TABLE3


def measured(*names: str) -> pd.DataFrame:
    """A row per pair of networks in the table `wall-clock` of each setting, or of those that are named.

    Columns: setting; device, with its threads; pair, the pruned network; seconds of the unpruned one and of the pruned
    one for the test set, `whole` and `small`, medians over the repeats; time_saved with its range over the repeats,
    `low` and `high`; macs_saved. All shares from 0 to 1. Of several seeds, the first counts: weights do not matter.
    """
    rows = []
    for name in names or SETTINGS:
        ledger = Ledger(setting=name)
        if "wall-clock" not in ledger.experiments():
            continue
        table = ledger.table("wall-clock")
        for pair, some in table[table["seed"] == table["seed"].min()].groupby("pair", sort=False):
            (low, high), middle, macs = saved(some)
            small, whole = some.groupby("macs")["seconds"].median()
            device, threads = some[["device", "threads"]].iloc[0]
            device = f"{device}, {threads} thread{'' if threads == 1 else 's'}"
            shares = {"time_saved": middle, "low": low, "high": high, "macs_saved": macs}
            rows.append({"setting": name, "device": device, "pair": pair, "whole": whole, "small": small} | shares)
    return pd.DataFrame(rows)


def printed() -> pd.DataFrame:
    """The paper's Table 3, columns as in `measured`, without a range."""
    seconds = {row.name: row.seconds.value for row in TABLE3}
    about = {"setting": "paper", "device": "Titan X, Torch7"}
    return pd.DataFrame(
        {
            **about,
            "pair": row.name,
            "whole": seconds[CONFIGURATIONS[row.name].network],
            "small": row.seconds.value,
            "time_saved": row.time_saved.value,
            "macs_saved": row.flop_saved.value,
        }
        for row in TABLE3
        if row.flop_saved and row.time_saved
    )
