"""What experiments took where they were run, from the records of the ledger."""

import re

import pandas as pd

from ..ledger import Ledger

COMMAND = re.compile(r"prunekit reproduce (\S+)")
TRAINED = {"recipe", "epochs", "seconds", "run"}  # columns of a table that says how long a network was trained
COLUMNS = ["experiment", "device", "threads", "seeds", "seconds", "untimed"]


def spent(ledger: Ledger) -> pd.DataFrame:
    """A row per experiment, device and number of threads: `seconds` of all its `seeds` together, in the order of runs.

    Counted are the runs that wrote the experiment's rows, and the training that came before them, which a run's record
    leaves out, where a table says how long it took. Where no table does, `untimed` is true, and `seconds` are those of
    counting alone. Of parts that ran side by side on one GPU each counts its own time, waiting included.
    """
    runs, training, epochs = ledger.runs(), {}, set()
    for name in ledger.experiments():
        table = ledger.table(name)
        if set(table) >= TRAINED:
            training |= table.groupby("run")["seconds"].max().to_dict()  # one network, on several splits
        if "epoch" in table:
            epochs |= set(table["run"])
    rows = []
    for id, run in runs.items():
        if found := COMMAND.search(run.command):
            about = {"experiment": found[1], "device": run.device, "threads": run.threads, "seed": run.seed}
            seconds = run.seconds + training.get(id, 0.0)
            rows.append(about | {"seconds": seconds, "untimed": id in epochs and id not in training})
    if not rows:
        return pd.DataFrame(columns=COLUMNS)
    groups = pd.DataFrame(rows).groupby(["experiment", "device", "threads"], sort=False)
    table = groups.agg(seeds=("seed", "nunique"), seconds=("seconds", "sum"), untimed=("untimed", "any"))
    return table.reset_index()[COLUMNS]
