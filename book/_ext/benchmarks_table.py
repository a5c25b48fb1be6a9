"""The directive `benchmark`: one comparison of the setting `benchmarks` as a table, read when the site is built.

    ```{benchmark} pruning
    ```

It stands beside the prose that says what was compared. A row of the ledger is a row of the page.
"""

import os
import re
from collections.abc import Callable

import pandas as pd
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from prunekit.errors import PrunekitError, nearest
from prunekit.ledger import Ledger
from results import LOGGER, html_table

SETTING = "benchmarks"
Columns = dict[str, Callable[[pd.DataFrame], pd.Series]]


def called(case: str) -> str:
    """A network in a reader's words: `torchvision-densenet121` is torchvision DenseNet-121."""
    case = case.replace("torchvision-", "torchvision ")
    for name, title in (("vgg", "VGG-"), ("resnet", "ResNet-"), ("densenet", "DenseNet-")):
        case = re.sub(rf"\b{name}(\d+)", rf"{title}\1", case)
    return re.sub(r"-([a-c])$", lambda part: part[0].upper(), case)


def text(column: str) -> Callable[[pd.DataFrame], pd.Series]:
    return lambda table: table[column].str.replace("_", " ")


def number(value: str, form: str) -> Callable[[pd.DataFrame], pd.Series]:
    """What `value` says, in the columns of the ledger, printed by `form`; nothing where it is not known."""
    return lambda table: table.eval(value).map(f"{{:{form}}}".format, na_action="ignore")  # type: ignore[union-attr]


def wished(column: str, form: str = "") -> Callable[[pd.DataFrame], pd.Series]:
    """A column that says something only where a value was wanted beforehand, which is 0 where none was."""

    def shown(table: pd.DataFrame) -> pd.Series:
        return table[column].map(f"{{:{form}}}".format).where(table["wanted"] > 0)

    return shown


NETWORK: Columns = {"network": lambda table: table["case"].map(called)}
RATIO: Columns = {
    "times faster": number("ratio", ".2f"),
    "wanted": wished("wanted", "g"),
    "reached": wished("reached"),
}
TABLES: dict[str, Columns] = {
    "pruning": NETWORK
    | {"against": text("against"), "ours (ms)": number("ours * 1000", ".0f")}
    | {"theirs (ms)": number("theirs * 1000", ".0f"), "floor (ms)": number("floor * 1000", ".0f")}
    | {"at most": number("at_most", ".2f")}
    | RATIO,
    "sweep": NETWORK
    | {"layers": number("layers", "d"), "sweep computes in": text("way")}
    | {"sweep (s)": number("ours", ".1f"), "loop (s)": number("theirs", ".1f"), "shared": number("shared", ".2f")}
    | RATIO
    | {"cuts": number("cuts", "d"), "different": number("different", "d")}
    | {"beyond noise": number("outside_noise", "d")},
    "memory": NETWORK
    | {"sweep (MB)": number("ours / 1e6", ".0f"), "loop (MB)": number("theirs / 1e6", ".0f")}
    | {"sweep / loop": number("ratio", ".2f"), "at most": wished("wanted", "g"), "reached": wished("reached")},
    "training": NETWORK
    | {"we compute in": text("form"), "steps": number("steps", "d")}
    | {"ours (s)": number("ours", ".1f"), "theirs (s)": number("theirs", ".1f")}
    | RATIO
    | {"steps of an epoch": number("epoch_steps", "d")},
    "forward": NETWORK
    | {"widths kept to multiples of": number("multiple", "d"), "multiply-adds saved": number("macs_saved", ".1%")}
    | {"time saved": number("time_saved", ".1%"), "time / multiply-adds": number("share / (macs_saved > 0)", ".2f")}
    | {"wanted": wished("wanted", "g"), "reached": wished("reached")},
    "tracing": {
        "layers": number("depth", "d"),
        "seconds": number("seconds", ".3f"),
        "milliseconds per layer": number("per_layer * 1000", ".2f"),
    },
    "sweep-growth": NETWORK
    | {"width": number("width", "g"), "multiply-adds (billions)": number("macs / 1e9", ".1f")}
    | {"seconds": number("seconds", ".1f"), "billions per second": number("per_second / 1e9", ".1f")},
}


def rows(name: str, table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the benchmark `name` as a reader sees them, all text."""
    try:
        return pd.DataFrame({heading: shown(table) for heading, shown in TABLES[name].items()}).fillna("")
    except (KeyError, NameError) as error:  # how pandas says that a column is not there
        raise PrunekitError(f"the table {name} is older than this page: {error}. Measure it again.") from error


class Benchmark(SphinxDirective):
    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        (name,) = self.arguments
        ledger = Ledger(os.environ.get("PRUNEKIT_RESULTS"), SETTING)
        try:
            if name not in TABLES:
                raise PrunekitError(f"there is no benchmark {name!r}.{nearest(name, TABLES)}")
            if name not in ledger.experiments():
                return [nodes.paragraph("", "This has not been measured in this copy of the project.")]
            shown = rows(name, ledger.table(name))
        except PrunekitError as error:
            LOGGER.warning("ledger: %s", error, location=self.get_location(), type="ledger")
            return []
        return [nodes.raw("", html_table(shown, f"benchmark: {name}", "benchmark"), format="html")]


def setup(app: Sphinx) -> dict:
    app.add_directive("benchmark", Benchmark)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
