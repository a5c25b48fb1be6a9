"""Figures 6 and 7 as tables for panels: which convs of a ResNet were cut, stage by stage; the first seed, on test."""

import pandas as pd

from ..ledger import Ledger
from .reading import on_test
from .residual_claims import NAMED
from .shortcut_experiments import FIRST


def stage(table: pd.DataFrame) -> pd.Series:
    """ "stage 2" for a row whose `layer` is in it; the stem, which has no stage, chooses for the first."""
    return "stage " + table["layer"].str.extract(r"layer(\d)", expand=False).fillna("1")


def first_convs(ledger: Ledger) -> pd.DataFrame:
    """Each first conv cut alone, of those of the two ResNets that are there. Layers that the paper names are marked."""
    there = [f"sensitivity-{network}" for network in NAMED if f"sensitivity-{network}" in ledger.experiments()]
    rows = pd.concat([first_seed(ledger, name) for name in there], ignore_index=True)
    marked = [n in NAMED.get(network, ()) for network, n in zip(rows["network"], rows["number"], strict=True)]
    return titled(rows, ledger).assign(line="layer " + rows["number"].astype(str), marked=marked)


def by_kind(ledger: Ledger) -> pd.DataFrame:
    """All first convs of a stage cut at one rate, and its shortcut with all its second convs."""
    rows = first_seed(ledger, "projections-resnet56")
    rows = rows[rows["part"] != FIRST].sort_values(["part", "layer", "rate"])
    return titled(rows, ledger).assign(line=rows["part"], marked=True)


def first_seed(ledger: Ledger, name: str) -> pd.DataFrame:
    """The test rows of a table's first seed."""
    rows = on_test(ledger.table(name))
    return rows[rows["seed"] == rows["seed"].min()]


def titled(rows: pd.DataFrame, ledger: Ledger) -> pd.DataFrame:
    """The rows with a panel for each network and stage, its setting in the title."""
    return rows.assign(panel=ledger.setting + ", " + rows["network"] + "\n" + stage(rows))
