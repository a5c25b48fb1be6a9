"""The directive `claims`: every claim of the paper with its verdict, judged from the ledger when the site is built."""

import html
import os

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from prunekit.ledger import Ledger
from prunekit.paper import claims


def table(ledger: Ledger) -> str:
    """The claims as an HTML table; what decides each, and what would change the verdict, fold out below it."""
    rows = []
    for claim, found in ((c, c.judge(ledger)) for c in claims.CLAIMS.values()):
        kind = found.verdict.replace(" ", "-")
        rows.append(
            f'<tr id="claim-{html.escape(claim.id)}"><th scope="row">{html.escape(claim.id)}</th>'
            f"<td><p>{html.escape(claim.meaning)} <em>{html.escape(claim.place)}.</em></p>"
            f"<details><summary>what decides</summary><p>{html.escape(claim.predicate)}</p>"
            f"<p>What would change the verdict: {html.escape(claim.changes)}</p></details></td>"
            f'<td class="verdict {kind}"><strong>{html.escape(found.verdict)}</strong></td>'
            f"<td>{html.escape(found.numbers)}</td></tr>"
        )
    head = "".join(f'<th scope="col">{name}</th>' for name in ("name", "claim", "verdict", "measured"))
    return (
        '<div class="ledger-box" tabindex="0" role="region" aria-label="claims and verdicts">'
        f'<table class="ledger claims"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    )


class Claims(SphinxDirective):
    """`claims` takes the name of a setting."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        ledger = Ledger(os.environ.get("PRUNEKIT_RESULTS"), self.arguments[0])
        return [nodes.raw("", table(ledger), format="html")]


def setup(app: Sphinx) -> dict:
    app.add_directive("claims", Claims)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
