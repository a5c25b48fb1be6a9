"""The directive `calculator`: what a plan costs and may lose, computed in the reader's browser.

It writes the fields that every network has, the data of the networks as JSON (see `calculator_data`), and a table of
the paper's networks, which is all that is shown where scripts do not run. Three of them fill in the rest:
`_static/calculator-model.js` computes, `calculator-figures.js` makes text and tables of it, and `calculator.js` has the
fields.
"""

import html
import json

import pandas as pd
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from calculator_data import IMAGES, TITLES, data, network
from prunekit.errors import PrunekitError
from prunekit.paper.tables import OFF_BY_ONE
from results import LOGGER, html_table

SCRIPTS = ("calculator-model.js", "calculator-figures.js", "calculator.js")  # in the order in which they run
STYLE = "calculator.css"

PAGE = """
<div class="calculator" hidden>
<form autocomplete="off">
<div class="choices">
<fieldset class="networks"><legend>Network</legend>{networks}</fieldset>
<div><fieldset><legend>Start from</legend><div class="presets"></div>
<p class="rule"></p></fieldset>
<fieldset class="budget"><legend>Best for a budget</legend>
<label>at most <input type="number" class="allowed" min="1" max="100" step="1" value="66" inputmode="numeric">%</label>
<label>of the <select class="quantity">
<option value="macs">multiply-adds</option><option value="weights">weights</option></select></label>
<button type="button" class="find">Find the rates</button>
<p class="found" role="status"></p></fieldset></div>
</div>
<p class="unread" role="alert" hidden></p>
<div class="stages"></div>
<div class="figures"></div>
</form>
<p class="status visually-hidden" role="status"></p>
<div class="notes" tabindex="-1"></div>
<h2 class="beside">Beside the paper</h2>
<div class="paper ledger-box" tabindex="0" role="region" aria-label="the plan beside the rows of Table 1"></div>
<p class="footnote">Below our counts, in small print, stands what Table 1 prints; its errors are those after retraining.
{mark} off by one in the last digit, whatever is counted.</p>
<h2>As Python</h2>
<pre class="python" tabindex="0" role="region" aria-label="the plan as Python"><code class="code"></code></pre>
<p class="copies"><button type="button" class="copy-code">Copy the Python</button>
<button type="button" class="copy-link">Copy a link to this plan</button> <span class="copied" role="status"></span></p>
<div class="sheet"></div>
</div>
<div class="calculator-presets">
{presets}
</div>
<script type="application/json" id="calculator-data">{data}</script>
"""


def page(everything: list[dict]) -> str:
    """The HTML of the calculator for the `data` of some networks."""
    choices = "".join(
        f'<label><input type="radio" name="network" value="{name}"> {title} '
        f"<small>{IMAGES.get(name, 'CIFAR-10')}</small></label>"
        for name, title in TITLES.items()
    )
    presets = html_table(pd.concat([table(each) for each in everything]), "the paper's networks", "words")
    # "</" would end the script that the JSON is in.
    text = json.dumps(everything, separators=(",", ":")).replace("</", "<\\/")
    return PAGE.format(networks=choices, mark=html.escape(OFF_BY_ONE), presets=presets, data=text)


def table(of: dict) -> pd.DataFrame:
    """The paper's rows of a network with what they cost, as text."""
    here = network(of["name"])
    rows, whole = [], here.kept([0] * len(here.units))
    for preset in of["presets"]:
        kept, row = here.kept(preset["percents"]), {"network": preset["title"], "cut": preset["rule"]}
        for name, cost, printed in (
            ("multiply-adds", here.costs.plain_macs, preset["printed"]["macs"]),
            ("weights", here.costs.plain_weights, preset["printed"]["weights"]),
        ):
            less = 1 - cost.of(kept) / cost.of(whole)
            row[f"{name} (printed)"] = f"{cost.of(kept):,} ({printed})"
            row[f"{name} less"] = f"{less:.1%}" if less else ""
        rows.append(row | {"error, printed": f"{preset['printed']['error']}%"})
    return pd.DataFrame(rows)


class Calculator(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        try:
            text = page([data(name) for name in TITLES])
        except PrunekitError as error:
            LOGGER.warning("calculator: %s", error, location=self.get_location(), type="ledger")
            return []
        found = nodes.raw("", text, format="html")
        found["calculator"] = True
        return [found]


def add_files(app: Sphinx, page: str, template: str, context: dict, doctree: nodes.document | None) -> None:
    """Scripts and style only where there is a calculator."""
    if doctree is not None and any(raw.get("calculator") for raw in doctree.findall(nodes.raw)):
        for script in SCRIPTS:
            app.add_js_file(script, loading_method="defer")
        app.add_css_file(STYLE)


def setup(app: Sphinx) -> dict:
    app.add_directive("calculator", Calculator)
    app.connect("html-page-context", add_files)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
