"""The directive `networks`: what was measured on the networks of a collection, read when the site is built."""

import os

import pandas as pd
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from prunekit.errors import PrunekitError
from prunekit.ledger import Ledger
from results import LOGGER, html_table

SETTING = "networks"


def rows(table: pd.DataFrame) -> pd.DataFrame:
    """The table's rows in a reader's words; networks that are refused come last."""
    table = table.sort_values("network").sort_values("error", kind="stable", na_position="last", key=pd.isna)
    traced = table["error"].notna()
    return pd.DataFrame(
        {
            "network": table["network"],
            "image": table["image"],
            "convs": table["convs"],
            "filters": table["filters"].where(traced).map("{:,.0f}".format, na_action="ignore"),
            "can go": percent(table["removable"], table["filters"]),
            "removed": percent(table["removed"], table["filters"]),
            "error": table["error"].map("{:.1e}".format, na_action="ignore"),
            "trace (s)": table["trace"].map("{:.2f}".format, na_action="ignore"),
            "prune (s)": table["prune"].map("{:.2f}".format, na_action="ignore"),
            "why the rest stays": table["reason"],
        }
    ).fillna("")


def percent(part: pd.Series, whole: pd.Series) -> pd.Series:
    """Shares as text, rounded down to a tenth: what is not all is not 100%."""
    return (part * 1000 // whole.where(whole > 0) / 10).map("{:.1f}%".format, na_action="ignore")


class Networks(SphinxDirective):
    required_arguments = 1  # the collection, which is the name of the table

    def run(self) -> list[nodes.Node]:
        (name,) = self.arguments
        ledger = Ledger(os.environ.get("PRUNEKIT_RESULTS"), SETTING)
        if name not in ledger.experiments():
            return [nodes.paragraph("", "These have not been measured in this copy of the project.")]
        try:
            table = ledger.table(name)
        except PrunekitError as error:
            LOGGER.warning("ledger: %s", error, location=self.get_location(), type="ledger")
            return []
        return [nodes.raw("", html_table(rows(table), f"networks of {name}", "networks"), format="html")]


def setup(app: Sphinx) -> dict:
    app.add_directive("networks", Networks)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
