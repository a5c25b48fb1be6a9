"""Tables 1 and 2: the costs that the paper prints for its networks, decided by arithmetic alone."""

import pandas as pd

from ..ledger import Ledger
from .arithmetic import table1, table2
from .configurations import CONFIGURATIONS, Configuration
from .judging import Claim, Part, Verdict, verdict_of

ARITHMETIC = "arithmetic"  # in place of a setting: nothing is trained, no images are seen


def costs_of_pair(chosen: Configuration) -> Verdict:
    """Every printed cost of one pruned network and of the one it comes from."""
    rows = table1()
    rows = rows[rows["name"].isin([chosen.network, chosen.name])]
    parts = [Part.NOT_MET if steps else Part.MET for steps in rows["steps"]]
    sentences = [
        f"{row.quantity} of {row.model} {row.ours}, printed {row.printed}" for row in rows.itertuples() if row.steps
    ]
    agree = f"{parts.count(Part.MET)} of {len(parts)} printed costs come out to the digit"
    return Verdict(verdict_of(parts), "; ".join([agree, *sentences]), ARITHMETIC)


def every_cell_of_table2(ledger: Ledger) -> Verdict:
    table = table2()
    parts, wrong = [], []
    for row in table.to_dict("records"):
        for column in [c for c in table.columns if c.startswith("printed_") and not pd.isna(row[c])]:
            ours = row[column.replace("printed_", "ours_")]
            parts.append(Part.MET if row[column] == ours else Part.NOT_MET)
            if row[column] != ours:
                wrong.append(f"{row['layer']} {column.removeprefix('printed_')} {ours}, printed {row[column]}")
    agree = f"{parts.count(Part.MET)} of {len(parts)} printed cells come out to the digit"
    return Verdict(verdict_of(parts), "; ".join([agree, *wrong]), ARITHMETIC)


def _claim(chosen: Configuration) -> Claim:
    return Claim(
        id=f"1.{chosen.name}",
        meaning=f"Removing {chosen.rule} leaves {chosen.title} with the FLOP and parameters of Table 1.",
        place="Table 1",
        predicate=(
            "Each printed cost of this network and of the one it comes from equals our exact count, rounded to as many "
            "digits. No tolerance: it is arithmetic. One FLOP is a multiply-add of a conv or fully-connected layer, "
            "parameters are their weights, floor(n (1 - rate)) filters stay, projections are left out."
        ),
        changes="Another convention, if one reproduced more of the printed digits.",
        judge=lambda ledger: costs_of_pair(chosen),
    )


CLAIMS = (
    *(_claim(chosen) for chosen in CONFIGURATIONS.values()),
    Claim(
        id="2",
        meaning="Layer by layer, VGG-16 and VGG-16-A have the maps, FLOP and parameters of Table 2.",
        place="Table 2",
        predicate="Each printed cell equals our exact count, rounded to as many digits. No tolerance: arithmetic.",
        changes="Nothing but an error in our counting.",
        judge=every_cell_of_table2,
    ),
)
