"""Numbers and tables of the ledger, for the pages of the book.

The role writes one number into a sentence. Its four parts are a table, which rows, which value, and how to print it:

    {ledger}`digits/sensitivity; layer == "features.0" and rate == 0.9; correct / total; .1%`

Rows and value are read by pandas' `query` and `eval`. The answer must be one number: one row, or a value such as
`rate.max()` that needs no single row. Anything else is a warning, and the strict build stops at warnings.

The directive `ledger-tables` lists every table of a setting with the runs behind it.
"""

import html
import math
import os
from pathlib import Path

import pandas as pd
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective, SphinxRole

from prunekit.errors import PrunekitError
from prunekit.ledger import Ledger

LOGGER = logging.getLogger(__name__)
SHOWN = 40  # rows of a table that the page shows; the CSV file has all
CHECKED = 12  # digits of a checksum, enough to find the file


def number(text: str, root: str | Path | None = None) -> str:
    """The one number that `text` asks for, printed. Raises ValueError with the reason if there is not just one."""
    parts = [part.strip() for part in text.split(";")]
    if len(parts) != 4:
        raise ValueError("write it as setting/experiment; rows; value; format")
    name, rows, value, form = parts
    setting, _, experiment = name.partition("/")
    table = Ledger(root, setting).table(experiment)
    try:
        chosen = table.query(rows) if rows else table
        found = chosen.eval(value)
    except (KeyError, SyntaxError, TypeError, pd.errors.UndefinedVariableError) as error:
        raise ValueError(f"{error}; the columns are {', '.join(table.columns)}") from error
    values = found.tolist() if isinstance(found, pd.Series) else [found]
    if len(values) != 1:
        raise ValueError(f"{len(values)} rows answer to {rows!r}, and one is needed")
    if isinstance(values[0], float) and math.isnan(values[0]):
        raise ValueError("the value is not a number (NaN)")
    return format(values[0], form)


class LedgerRole(SphinxRole):
    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        try:
            return [nodes.inline(self.text, number(self.text), classes=["ledger"])], []
        except ValueError as error:
            LOGGER.warning("ledger: %s: %s", self.text, error, location=self.get_location(), type="ledger")
            return [nodes.problematic(self.text, self.text)], []


def runs(ledger: Ledger, experiment: str) -> pd.DataFrame:
    """The runs behind a table, in a reader's words."""
    found = ledger.origin(experiment)
    return pd.DataFrame(
        {
            "rows": found["rows"],
            "command": found["command"],
            "seed": found["seed"],
            "code": found["version"] + found["dirty"].map({True: " with changes", False: ""}),
            "device": found["device"],
            "started (UTC)": found["started"],
            "seconds": found["seconds"].round(1),
            "weights (sha256)": found["weights"].map(lambda w: w[:CHECKED] if isinstance(w, str) else ""),
        }
    )


def html_table(frame: pd.DataFrame, label: str, kind: str = "numbers") -> str:
    """A table that scrolls in its own box, reachable by keyboard."""
    body = frame.to_html(index=False, border=0, classes=["ledger", kind], float_format=lambda x: f"{x:.6g}")
    return f'<div class="ledger-box" tabindex="0" role="region" aria-label="{html.escape(label)}">{body}</div>'


def listing(ledger: Ledger, link: str) -> str:
    """All tables of a setting as HTML; `link` leads from the page to the ledger's files."""
    parts = []
    for experiment in ledger.experiments():
        table = ledger.table(experiment)
        name = f"{ledger.setting}/{experiment}"
        shown = f"the first {SHOWN} of {len(table)} rows" if len(table) > SHOWN else f"{len(table)} rows"
        parts.append(
            f'<p class="ledger-name"><strong>{html.escape(experiment)}</strong>: {len(table)} rows '
            f'(<a href="{link}/{name}.csv" download>CSV</a>)</p>'
            + html_table(runs(ledger, experiment), f"runs behind {name}", "runs")
            + f"<details><summary>{shown}</summary>"
            + html_table(table.drop(columns="run").head(SHOWN), f"rows of {name}")
            + "</details>"
        )
    return "\n".join(parts)


class LedgerTables(SphinxDirective):
    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        ledger = Ledger(os.environ.get("PRUNEKIT_RESULTS"), self.arguments[0])
        up = "../" * self.env.docname.count("/")
        try:
            text = listing(ledger, f"{up}results")
        except PrunekitError as error:
            LOGGER.warning("ledger: %s", error, location=self.get_location(), type="ledger")
            return []
        if not text:
            return [nodes.paragraph("", "There are no results of this setting in this copy of the project.")]
        return [nodes.raw("", text, format="html")]


def setup(app: Sphinx) -> dict:
    app.add_role("ledger", LedgerRole())
    app.add_directive("ledger-tables", LedgerTables)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
