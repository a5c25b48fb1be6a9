"""The directive `experiments`: what each experiment took where it was run, from the ledger when the site is built."""

import os
from collections.abc import Iterable

import pandas as pd
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from prunekit.errors import PrunekitError
from prunekit.ledger import Ledger
from prunekit.paper.estimates import spoken
from prunekit.paper.experiments import EXPERIMENTS
from prunekit.paper.settings import SETTINGS
from prunekit.paper.spent import spent
from results import LOGGER, html_table

NOT_RUN = "No experiment has been run in this copy of the project."
UNTIMED = "*"  # behind a time that leaves training out
ALL = "all of these"


def costs(ledgers: Iterable[Ledger]) -> pd.DataFrame:
    """The time that each experiment took for one seed, as text: a row each, a column per setting and machine.

    Where a machine has no time that is whole, its column is left out.
    """
    columns = {}
    for ledger in ledgers:
        took = spent(ledger)
        took = took[took["experiment"].isin(EXPERIMENTS)]
        for (device, threads), rows in took.groupby(["device", "threads"], sort=False):
            if rows["untimed"].all():
                continue
            rows = rows.set_index("experiment")
            one = (rows["seconds"] / rows["seeds"]).clip(lower=1)
            shown = one.map(spoken) + rows["untimed"].map({True: UNTIMED, False: ""})
            shown[ALL] = spoken(one.sum())
            columns[f"{ledger.setting}: {device}, {threads} CPU thread{'s' * (threads != 1)}"] = shown
    table = pd.DataFrame(columns).fillna("")
    run = [each for each in EXPERIMENTS.values() if each.name in table.index]
    what = pd.Series({each.name: f"{each.title}. {each.figure}." for each in run}, dtype=str)
    table = table.loc[[each.name for each in run] + [ALL] * bool(run)]
    return table.assign(what=what).fillna("").rename_axis("experiment").reset_index()


class Experiments(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        root = os.environ.get("PRUNEKIT_RESULTS")
        try:
            table = costs(Ledger(root, setting) for setting in SETTINGS)
        except PrunekitError as error:
            LOGGER.warning("ledger: %s", error, location=self.get_location(), type="ledger")
            return []
        if table.empty:
            return [nodes.paragraph("", NOT_RUN)]
        return [nodes.raw("", html_table(table, "what each experiment costs", "costs"), format="html")]


def setup(app: Sphinx) -> dict:
    app.add_directive("experiments", Experiments)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
