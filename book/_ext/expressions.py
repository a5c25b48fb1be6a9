"""Numbers that pages compute with `prunekit` instead of having them typed.

The role writes one into a sentence. Its two parts are an expression and how to print it:

    {computed}`conv("vgg16", 2).macs; ,d`

An expression is Python over numbers and the functions in `FUNCTIONS`. Answers of questions are such expressions, too.
"""

import math
import os
from collections.abc import Callable
from functools import cache
from typing import Any

import pandas as pd
import torch
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxRole
from torch import nn

from prunekit import nets
from prunekit.costs import Total, cost
from prunekit.errors import PrunekitError
from prunekit.intervals import difference, wilson
from prunekit.paper.arithmetic import counts, table_of
from prunekit.paper.configurations import image
from prunekit.plans import kept_count
from prunekit.tracing import trace
from results import LOGGER, number


def conv(network: str, number: int) -> pd.Series:
    """The cost of a conv by its number in the paper's sense, of "vgg16" or "vgg16-a" say: filters, macs, weights."""
    table = table_of(network)
    return table[(table["kind"] == "Conv2d") & ~table["projection"]].iloc[number - 1]


def linear(network: str, number: int) -> pd.Series:
    """The cost of a linear layer, counted from 1."""
    return table_of(network).query("kind == 'Linear'").iloc[number - 1]


@cache
def layer(inputs: int, filters: int, kernel: int, size: int) -> pd.Series:
    """The cost of a conv of its own, whose maps are `size` pixels high and wide, as those that it reads."""
    module = nn.Conv2d(inputs, filters, kernel, padding="same", device="meta")
    return cost(module, torch.zeros(1, inputs, size, size, device="meta")).iloc[0]


def total(network: str) -> Total:
    """Multiply-adds and weights of a network of the paper."""
    macs, weights = counts(network)
    return Total(macs, weights, 0)


@cache
def tied(network: str, layer: str, index: int) -> int:
    """In how many layers a filter goes if this one does, this one included; filters are counted from 0."""
    graph = trace(nets.build(network), image(network))
    return len(graph.givers[graph.layers[layer][index]])


def kept(filters: int, rate: float) -> int:
    """How many filters stay of so many."""
    return kept_count("layer", filters, rate)


def ledger(text: str) -> float:
    """A number of the ledger, asked for as in the role of this name, without a format."""
    return float(number(f"{text};", os.environ.get("PRUNEKIT_RESULTS")))


FUNCTIONS: dict[str, Callable[..., Any]] = {
    each.__name__: each
    for each in (conv, linear, layer, total, tied, kept, ledger, wilson, difference, max, min, round, math.sqrt)
}


def value(expression: str) -> Any:
    """What an expression is. Raises ValueError, with the reason, if it cannot be computed."""
    try:
        return eval(expression, {"__builtins__": {}}, FUNCTIONS)
    except (ArithmeticError, AttributeError, LookupError, NameError, PrunekitError, SyntaxError, TypeError) as error:
        raise ValueError(f"{expression}: {error}; the functions are {', '.join(FUNCTIONS)}") from error


def printed(text: str) -> str:
    """The number that the role's `text` asks for. Raises ValueError, with the reason, if there is none."""
    expression, semicolon, form = text.rpartition(";")
    if not semicolon:
        raise ValueError("write it as expression; format")
    return format(value(expression.strip()), form.strip())


class Computed(SphinxRole):
    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        try:
            return [nodes.Text(printed(self.text))], []
        except ValueError as error:
            LOGGER.warning("computed: %s: %s", self.text, error, location=self.get_location(), type="computed")
            return [nodes.problematic(self.text, self.text)], []


def setup(app: Sphinx) -> dict:
    app.add_role("computed", Computed())
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
