"""The directive `trap`: tables about what is easy to get wrong, computed when the site is built.

* `off-by-one`: the printed costs of Table 1 that do not come out;
* `projections`: ResNet-34 with and without its projection shortcuts;
* `mistakes`: what common mistakes make of the costs;
* `best-epoch`: what is gained by reporting the best epoch on the test images.
"""

import math
import os
from collections.abc import Callable, Collection
from dataclasses import replace
from fractions import Fraction
from functools import cache

import pandas as pd
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from prunekit import nets
from prunekit.costs import cost_of, total
from prunekit.errors import PrunekitError
from prunekit.graph import Graph
from prunekit.paper import arithmetic
from prunekit.paper.claims import full_size
from prunekit.paper.configurations import CONFIGURATIONS, image
from prunekit.paper.epochs import BY_EPOCH, bias
from prunekit.paper.tables import TABLE1, Cell
from prunekit.plans import plan
from prunekit.tracing import trace
from results import LOGGER, html_table

PRINTED = {row.name: row for row in TABLE1 if not row.scratch}
Rounding = Callable[[Fraction], int]
ROUNDED: dict[str, Rounding] = {"up": math.ceil, "to the nearest": lambda x: math.floor(x + Fraction(1, 2))}


def off_by_one() -> pd.DataFrame:
    table = arithmetic.table1()
    return named(table.loc[table["steps"] != 0, ["model", "quantity", "printed", "ours"]])


def projections() -> pd.DataFrame:
    counts = arithmetic.exact_counts().query("projections != 'none'")
    long = counts.melt(["model", "name", "projections"], ["flop", "params"], "quantity", "count")
    long["printed"] = [getattr(PRINTED[n], q).text for n, q in zip(long["name"], long["quantity"], strict=True)]
    long["count"] = long["count"].map("{:,}".format)
    wide = long.pivot(index=["model", "quantity", "printed"], columns="projections", values="count")
    return named(wide[["without", "with"]].add_suffix(" projections").rename_axis(columns=None).reset_index())


def named(table: pd.DataFrame) -> pd.DataFrame:
    """The table with its quantities in the paper's words."""
    words = table["quantity"].str.replace("flop", "FLOP").str.replace("params", "parameters")
    return table.assign(quantity=words)


@cache
def traced(network: str) -> Graph:
    return trace(nets.build(network), image(network))


def cut(name: str, rounding: Rounding = math.floor, spared: Collection[int] = ()) -> tuple[int, int]:
    """Multiply-adds and weights of a configuration, with another rounding of how many filters stay, or some layers
    spared. Projections are left out, as in Table 1."""
    graph, chosen = traced(CONFIGURATIONS[name].network), CONFIGURATIONS[name]
    numbers = {number: rate for number, rate in chosen.numbers.items() if number not in spared}
    rates = replace(chosen, numbers=numbers).rates(graph.model)
    keep = {
        n: rounding(len(graph.model.get_parameter(f"{n}.weight")) * (1 - Fraction(str(r)))) for n, r in rates.items()
    }
    table = cost_of(graph, plan(graph, {}, keep=keep))
    table = table[~table["layer"].str.contains("downsample")]
    return int(table["macs"].sum()), int(table["weights"].sum())


def agreeing(rounding: Rounding) -> int:
    """How many of the printed costs of pruned networks come out if filters that stay are rounded so."""
    steps = []
    for name, chosen in CONFIGURATIONS.items():
        both = zip(("flop", "params"), cut(name, rounding), arithmetic.counts(chosen.network), strict=True)
        for quantity, ours, whole in both:
            steps.append(getattr(PRINTED[name], quantity).steps(ours))
            steps.append(getattr(PRINTED[name], f"{quantity}_pruned").steps(1 - ours / whole))
    return steps.count(0)


def mistakes() -> pd.DataFrame:
    """What a common mistake makes of a cost, beside what is printed and what comes out without it."""
    pruned, vgg, resnet = (PRINTED[name] for name in ("vgg16-a", "vgg16", "resnet56"))
    flop, weights = arithmetic.counts("vgg16")
    projected = total(nets.resnet56(shortcut="projection"), image("resnet56")).macs

    def row(mistake: str, quantity: str, cell: Cell | None, wrong: float, right: float) -> dict[str, str]:
        assert cell is not None
        return {"mistake": mistake, "cost": quantity} | columns(cell.text, cell.like(wrong), cell.like(right))

    def columns(printed: str, wrong: str, right: str) -> dict[str, str]:
        return {"printed": printed, "with the mistake": wrong, "without": right}

    share = [1 - cut("vgg16-a", spared=layers)[1] / weights for layers in ((13,), ())]
    all_costs = arithmetic.table1().query("name in @CONFIGURATIONS")
    without = f"{(all_costs['steps'] == 0).sum()} come out"
    rows = [
        {"mistake": f"The number of filters that stay is rounded {way}.", "cost": "pruned networks of Table 1"}
        | columns(f"{len(all_costs)} cells", f"{agreeing(rounding)} come out", without)
        for way, rounding in ROUNDED.items()
    ]
    rows += [
        row("Conv 13 is not pruned.", "parameters of VGG-16-A, pruned", pruned.params_pruned, *share),
        row("A multiply-add is counted as two.", "FLOP of VGG-16", vgg.flop, 2 * flop, flop),
        row(
            "A ResNet for CIFAR-10 gets projection shortcuts.", "FLOP of ResNet-56", resnet.flop,
            projected, arithmetic.counts("resnet56")[0],
        ),
    ]  # fmt: skip
    return pd.DataFrame(rows)


def best_epoch() -> pd.DataFrame:
    """How far the best epoch on test lies above two others, on the largest setting in which networks were retrained."""
    for ledger in full_size(os.environ.get("PRUNEKIT_RESULTS")):
        if any(set(ledger.table(name)) >= BY_EPOCH for name in ledger.experiments()):
            break
    else:
        return pd.DataFrame()
    found = bias(ledger).groupby(["table", "epochs"], sort=False)
    above = found.agg(networks=("seed", "size"), last=("above_last", "mean"), selected=("above_selected", "mean"))
    return pd.DataFrame(
        {
            f"experiment on {ledger.setting}": above.index.get_level_values("table"),
            "epochs": above.index.get_level_values("epochs"),
            "networks": above["networks"].to_numpy(),
            "above last": above["last"].map("{:.2f}".format).to_numpy(),
            "above selected": above["selected"].map("{:.2f}".format).to_numpy(),
        }
    )


TRAPS = {  # by name: what the table shows, and the table
    "off-by-one": ("printed costs that do not come out", off_by_one),
    "projections": ("ResNet-34 with and without its projections", projections),
    "mistakes": ("what mistakes make of the costs", mistakes),
    "best-epoch": ("the best epoch on the test images against others", best_epoch),
}


class Trap(SphinxDirective):
    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        if self.arguments[0] not in TRAPS:
            raise self.error(f"trap: {self.arguments[0]!r} is none of {', '.join(TRAPS)}")
        label, made = TRAPS[self.arguments[0]]
        try:
            table = made()
        except PrunekitError as error:
            LOGGER.warning("ledger: %s", error, location=self.get_location(), type="ledger")
            return []
        if table.empty:
            return [nodes.paragraph("", "No such results are in this copy of the project.")]
        return [
            nodes.raw(
                "", html_table(table, label, "words" if self.arguments[0] == "mistakes" else "runs"), format="html"
            )
        ]


def setup(app: Sphinx) -> dict:
    app.add_directive("trap", Trap)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
