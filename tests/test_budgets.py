"""Plans from a target: what they cost is known before the cut, none larger fits, none loses less."""

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from odd_nets import ALL, DRAWN, made
from safetensors import safe_open
from torch import nn
from torch.nn.utils.prune import l1_unstructured

import prunekit as pk
from prunekit import costs
from prunekit.allocation import added_loss, beside, plan_by_sensitivity
from prunekit.budgets import allowed, plan_for
from prunekit.errors import PlanError, PrunekitError
from prunekit.knapsack import Cost, choose
from prunekit.paper.configurations import CONFIGURATIONS
from prunekit.plans import highest, kept_count, plan, scores
from prunekit.tracing import Graph

SWEPT = Path(__file__).parents[1] / "results/cifar10-short/sensitivity-vgg16.csv"


def traced(name: str, seed: int = 0) -> Graph:
    model, inputs = made(name, seed)
    return pk.trace(model, *(x[:1] for x in inputs))


def after(graph: Graph, chosen: pk.Plan) -> costs.Total:
    """What the pruned network costs, counted on it."""
    return costs.total(pk.prune(graph.model, chosen), graph.inputs)


# What a plan costs, before it is carried out


@pytest.mark.parametrize("name", [*ALL, *DRAWN])
def test_the_cost_of_any_plan_is_known_before(name: str):
    graph, draw = traced(name), np.random.default_rng(0)
    assert costs.summed(costs.parts(graph), set()) == costs.total(graph.model, graph.inputs)
    decided = [layer for layer in graph.free() if len(allowed(graph, layer, 1)) > 1]
    if not decided:
        pytest.skip("nothing in it can lose a filter alone")
    for _ in range(4):
        some = [layer for layer in decided if draw.random() < 0.7] or decided[:1]
        try:
            chosen = plan(graph, keep={layer: int(draw.choice(allowed(graph, layer, 1))) for layer in some})
        except PlanError as error:
            assert "go in groups" in str(error)
            continue
        small = pk.prune(graph.model, chosen)
        assert costs.total_of(graph, chosen) == costs.total(small, graph.inputs)
        pd.testing.assert_frame_equal(pk.cost_of(graph, chosen), pk.cost(small, graph.inputs))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_bytes_are_those_of_the_tensors_in_the_file(tmp_path: Path, dtype: torch.dtype):
    model = pk.nets.vgg16(1 / 8).to(dtype)
    graph = pk.trace(model, torch.randn(1, 3, 32, 32, dtype=dtype))
    chosen = plan_for(graph, bytes=100_000)
    pk.save(pk.prune(model, chosen), chosen, tmp_path / "small.safetensors")
    with safe_open(tmp_path / "small.safetensors", "pt") as file:
        tensors = [file.get_tensor(name) for name in file.keys()]  # noqa: SIM118 - it is no dict
    held = sum(t.numel() * t.element_size() for t in tensors)
    assert costs.total_of(graph, chosen).bytes == held <= 100_000
    assert held > 98_000  # and little of the budget is left unused


def test_weights_that_are_computed_from_others_have_their_cost():
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 3))
    l1_unstructured(model[2], "weight", amount=0.5)
    graph = pk.trace(model, torch.randn(1, 3, 9, 9))
    assert costs.summed(costs.parts(graph), set()) == costs.total(model, graph.inputs)


def test_only_shapes_of_the_example_count():
    model, x = pk.nets.vgg16(1 / 16).double(), torch.randn(1, 3, 32, 32)
    graph = pk.trace(model, x)
    chosen = plan_for(graph, macs=0.5)
    assert costs.total_of(graph, chosen) == costs.total(pk.prune(model, chosen), x.double())
    assert len(pk.cost_of(graph, chosen)) == 15


# One rate


def naive_rate(graph: Graph, limit: int, quantity: str, multiple: int) -> tuple[dict[str, int], dict[str, int]] | None:
    """Widths by the smallest rate that is within the limit, and those one step before; every rate is tried."""
    widths = {layer: allowed(graph, layer, multiple) for layer in graph.free()}

    def at(rate: Fraction) -> dict[str, int]:
        return {layer: max([k for k in w if k <= w[-1] * (1 - rate)] or w[:1]) for layer, w in widths.items()}

    rates = sorted({1 - Fraction(k, w[-1]) for w in widths.values() for k in w})
    before = at(rates[0])
    for rate in rates:
        if getattr(after(graph, plan(graph, keep=at(rate))), quantity) <= limit:
            return at(rate), before
        before = at(rate)
    return None


@pytest.mark.parametrize("name", ["viewed", "concatenated", "depthwise", "pre-activation", "volume", "drawn 14"])
@pytest.mark.parametrize("quantity", ["macs", "weights", "bytes"])
@pytest.mark.parametrize("share, multiple", [(0.7, 1), (0.5, 2)])
def test_no_larger_network_of_one_rate_is_within_the_budget(name: str, quantity: str, share: float, multiple: int):
    graph = traced(name)
    before = getattr(costs.total(graph.model, graph.inputs), quantity)
    limit = math.floor(Fraction(str(share)) * before)
    found = naive_rate(graph, limit, quantity, multiple)
    if found is None:
        with pytest.raises(PlanError, match="cannot be reached"):
            plan_for(graph, **{quantity: share}, multiple=multiple)
        return
    narrow, wide = found
    chosen = plan_for(graph, **{quantity: share}, multiple=multiple)
    keep = {layer: len(kept) for layer, kept in chosen.kept.items()}
    assert getattr(after(graph, chosen), quantity) <= limit
    assert all(keep[layer] in (narrow[layer], wide[layer]) for layer in graph.free())
    for layer in graph.free():  # the room that is left is too little for any further step
        if keep[layer] != wide[layer]:
            wider = plan(graph, keep=keep | {layer: wide[layer]})
            assert getattr(after(graph, wider), quantity) > limit


def test_thirty_percent_fewer_multiply_adds_of_vgg16():
    graph = pk.trace(pk.nets.vgg16(), torch.randn(1, 3, 32, 32))
    chosen = plan_for(graph, macs=0.7)
    assert 0.698 * 313_463_808 < costs.total_of(graph, chosen).macs <= 0.7 * 313_463_808
    rates = [1 - len(kept) / chosen.filters[layer] for layer, kept in chosen.kept.items()]
    assert max(rates) - min(rates) < 1 / 64  # one step of the narrowest layer
    assert chosen.kept == plan_for(graph, macs=math.floor(0.7 * 313_463_808)).kept


def test_all_budgets_are_kept():
    graph = traced("vgg16")
    before = costs.total(graph.model, graph.inputs)
    few_macs, few_weights = plan_for(graph, macs=0.3, weights=0.9), plan_for(graph, macs=0.9, weights=0.3)
    assert few_macs == plan_for(graph, macs=0.3) and few_weights == plan_for(graph, weights=0.3)
    assert costs.total_of(graph, few_weights).weights <= 0.3 * before.weights
    assert few_macs != few_weights


@pytest.mark.parametrize("multiple", [8, 16])
def test_widths_are_multiples_and_never_below_one(multiple: int):
    graph = pk.trace(pk.nets.resnet56(width=1.5), torch.randn(1, 3, 32, 32))  # 24, 48 and 96 filters
    for share in (0.9, 0.6, 0.4):
        chosen = plan_for(graph, macs=share, multiple=multiple)
        for layer, kept in chosen.kept.items():
            assert len(kept) % multiple == 0 or len(kept) == chosen.filters[layer]
            assert len(kept) >= multiple
        assert after(graph, chosen).macs <= share * costs.total(graph.model, graph.inputs).macs


def test_layers_narrower_than_one_multiple_are_left_alone():
    graph = pk.trace(pk.nets.vgg16(1 / 16), torch.randn(1, 3, 32, 32))  # 4 to 32 filters
    chosen = plan_for(graph, weights=0.5, multiple=8)
    assert {layer: len(kept) for layer, kept in chosen.kept.items() if chosen.filters[layer] <= 8} == {
        layer: n for layer, n in chosen.filters.items() if n <= 8
    }


def test_a_share_of_one_removes_nothing():
    graph = traced("vgg16")
    chosen = plan_for(graph, macs=1.0)
    assert {layer: len(kept) for layer, kept in chosen.kept.items()} == dict(chosen.filters)


def test_layers_that_are_tied_count_once_and_the_first_decides():
    graph = traced("resnet20 projection")
    chosen = plan_for(graph, macs=0.5, layers="*")
    assert set(graph.tied("layer2.0.conv2")) >= {"layer2.0.downsample.0", "layer2.1.conv2", "layer2.2.conv2"}
    assert [layer for layer in chosen.kept if layer not in graph.free()] == [
        "conv1",
        "layer2.0.conv2",
        "layer3.0.conv2",
    ]
    assert after(graph, chosen).macs <= 0.5 * costs.total(graph.model, graph.inputs).macs
    small = pk.prune(graph.model, chosen)
    assert len({len(small.get_parameter(f"layer2.{b}.conv2.weight")) for b in range(3)}) == 1


def test_a_projection_decides_if_it_is_the_one_named():
    graph = traced("resnet20 projection")
    chosen = plan_for(graph, weights=0.9, layers=["layer3.0.downsample.0"])
    assert list(chosen.kept) == ["layer3.0.downsample.0"]
    assert chosen == plan(graph, keep={layer: len(kept) for layer, kept in chosen.kept.items()})


def test_filters_that_go_in_groups():
    graph = traced("doubled")  # filters i and i + 4 of b are tied
    sizes = {len(plan_for(graph, macs=share, layers="b").kept["b"]) for share in np.arange(0.3, 1, 0.05)}
    assert sizes == {2, 4, 6}


def test_frozen_filters_stay():
    class Net(nn.Module):
        """The last two maps of a meet a constant and cannot go."""

        def __init__(self):
            super().__init__()
            self.a, self.b, self.fc = nn.Conv2d(3, 6, 1), nn.Conv2d(3, 4, 1), nn.Linear(6, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc((self.a(x) + torch.cat([self.b(x), x[:, :2]], 1)).mean((2, 3)))

    graph = pk.trace(Net(), torch.randn(1, 3, 4, 4))
    least = after(graph, plan(graph, keep={"a": 3})).macs  # with two, nothing of b would be left
    assert plan_for(graph, macs=least, layers="a").kept["a"][-2:] == (4, 5)
    with pytest.raises(PlanError, match="cannot be reached"):
        plan_for(graph, macs=0.2, layers="a")


@pytest.mark.parametrize("strategy", ["independent", "greedy"])
@pytest.mark.parametrize("criterion", ["l2", "random"])
def test_the_filters_are_those_that_plan_chooses(criterion: str, strategy: str):
    graph = traced("vgg16")
    chosen = plan_for(graph, weights=0.4, criterion=criterion, strategy=strategy, seed=3)
    keep = {layer: len(kept) for layer, kept in chosen.kept.items()}
    assert chosen == plan(graph, keep=keep, criterion=criterion, strategy=strategy, seed=3)


def test_images_are_looked_at_once():
    graph, images = traced("vgg16"), torch.randn(6, 3, 32, 32, dtype=torch.float64)
    chosen = plan_for(graph, macs=0.4, criterion="mean-l1", data=iter(images.split(2)))
    keep = {layer: len(kept) for layer, kept in chosen.kept.items()}
    assert chosen == plan(graph, keep=keep, criterion="mean-l1", data=images.split(3))


# Rates by sensitivity


def swept(graph: Graph, layers: Sequence[str], rates: Sequence[float], seed: int) -> pd.DataFrame:
    """A table as `sweep` makes it, of losses drawn at random: larger for larger cuts, but for some noise."""
    draw = np.random.default_rng(seed)
    values = scores(graph, layers, ["l1"])["l1"]
    rows = []
    for layer in layers:
        n, steepness = len(graph.layers[layer]), draw.uniform(10, 300)
        for rate in rates:
            correct = 900 - int(steepness * rate**2 + draw.normal(0, 3))
            rows.append({"layer": layer, "criterion": "l1", "rate": rate, "filters": n,
                         "kept": len(highest(graph, layer, values[layer], kept_count(layer, n, rate))),
                         "correct": correct})  # fmt: skip
    return pd.DataFrame(rows).assign(total=1000, baseline_correct=900)


CHAINS = {
    "viewed": ["a"],
    "concatenated": ["a", "b", "c"],  # c reads both others
    "depthwise": ["a", "b", "c"],
    "pre-activation": ["stem", "a", "side"],
    "tied": ["a", "b", "c"],
    "attended": ["a", "squeeze", "b"],
    "shared": ["a", "b"],  # a decides about both sides of one weight
    "doubled": ["b", "c"],
    "permuted": ["a", "fc1"],
    "resnet20 pad": ["layer1.0.conv1", "layer2.0.conv1", "layer3.1.conv1"],
    "resnet20 projection": ["conv1", "layer1.0.conv1", "layer2.0.downsample.0"],
    "vgg16": ["features.30", "features.34", "features.37", "features.40"],
}


@pytest.mark.parametrize("name", CHAINS)
def test_no_combination_of_rates_loses_less(name: str):
    graph = traced(name)
    layers = [layer for layer in CHAINS[name] if layer in graph.layers]
    table = swept(graph, layers, (0.1, 0.5, 0.65) if name == "doubled" else (0.25, 0.5, 0.65), seed=len(name))
    table = table.drop(table.index[table["layer"] == layers[0]][0])  # not the same rates everywhere
    lost = {(row["layer"], row["rate"]): 900 - row["correct"] for row in table.to_dict("records")}
    every = {}
    cut = table[table["kept"] < table["filters"]]  # filters of "doubled" go in pairs, for which 0.1 is not enough
    for rates in itertools.product(*([0, *cut.loc[cut["layer"] == layer, "rate"]] for layer in layers)):
        chosen = plan(graph, dict(zip(layers, rates, strict=True)))
        loss = sum(lost.get(pair, 0) for pair in zip(layers, rates, strict=True))
        every[rates] = (loss, after(graph, chosen))
    for quantity in ("macs", "weights", "bytes"):
        sizes = sorted(getattr(cost, quantity) for _, cost in every.values())
        for limit in {sizes[0], sizes[len(sizes) // 3], sizes[2 * len(sizes) // 3], sizes[-1] + 1}:
            fits = [(loss, getattr(c, quantity)) for loss, c in every.values() if getattr(c, quantity) <= limit]
            found = plan_by_sensitivity(graph, table, **{quantity: limit})
            cost = getattr(after(graph, found), quantity)
            assert (added_loss(table, found.rates), cost) == min(fits)
            assert getattr(costs.total_of(graph, found), quantity) == cost


def test_two_budgets_at_once():
    graph = traced("vgg16")
    layers = CHAINS["vgg16"][1:]
    table = swept(graph, layers, (0.25, 0.5, 0.7), seed=1)
    before = costs.total(graph.model, graph.inputs)
    found = plan_by_sensitivity(graph, table, macs=0.97, weights=0.7)
    fits = []
    for rates in itertools.product((0, 0.25, 0.5, 0.7), repeat=3):
        cost = after(graph, plan(graph, dict(zip(layers, rates, strict=True))))
        if cost.macs <= 0.97 * before.macs and cost.weights <= 0.7 * before.weights:
            fits.append(added_loss(table, {k: v for k, v in zip(layers, rates, strict=True) if v}))
    assert added_loss(table, found.rates) == min(fits)


def test_it_takes_what_sweep_returns():
    graph = traced("vgg16")
    images = torch.randn(20, 3, 32, 32, dtype=torch.float64)
    compute = pk.train.Compute(dtype=torch.float64)
    table = pk.sweep(graph.model, [(images, torch.arange(20) % 10)], images[:1], (0.3, 0.6), ["l1", "l2"],
                     layers="features.*", compute=compute, progress=False)  # fmt: skip
    found = plan_by_sensitivity(graph, table, macs=0.5, criterion="l2")
    assert found.criterion == "l2" and after(graph, found).macs <= 0.5 * costs.total(graph.model, graph.inputs).macs
    assert set(found.rates.values()) <= {0, 0.3, 0.6}
    assert found == plan(graph, found.rates, criterion="l2")


def test_better_than_the_papers_rates_at_their_cost():
    """VGG-16-A keeps 206,279,680 multiply-adds; by our own sweep, other rates do that and lose far less."""
    graph = pk.trace(pk.nets.vgg16(), torch.randn(1, 3, 32, 32))
    table = pd.read_csv(SWEPT)
    by_hand = plan(graph, CONFIGURATIONS["vgg16-a"].rates(graph.model))
    spent = costs.total_of(graph, by_hand)
    assert spent.macs == 206_279_680
    for budget in ({"macs": spent.macs}, {"weights": spent.weights}, {"macs": spent.macs, "weights": spent.weights}):
        found = plan_by_sensitivity(graph, table, **budget)
        cost = costs.total_of(graph, found)
        assert all(getattr(cost, name) <= limit for name, limit in budget.items())
        assert added_loss(table, found.rates) < added_loss(table, by_hand.rates)


def test_beside_the_papers_rates():
    graph = pk.trace(pk.nets.vgg16(), torch.randn(1, 3, 32, 32))
    swept, rates = pd.read_csv(SWEPT), CONFIGURATIONS["vgg16-a"].rates(graph.model)
    table = beside(graph, swept, rates).set_index("layer")
    assert dict(table["rate"][table["rate"] > 0]) == rates
    assert list(table.index) == graph.free() and list(table["filters"]) == [len(graph.layers[n]) for n in graph.free()]
    assert table["lost"].sum() == added_loss(swept, rates)
    assert dict(table["best_rate"]) == plan_by_sensitivity(graph, swept, macs=206_279_680).rates
    assert table["best_lost"].sum() == added_loss(swept, dict(table["best_rate"])) < table["lost"].sum()
    correct = swept.set_index(["layer", "rate"])["correct"]
    assert table.loc["features.40", "lost"] == 9165 - correct["features.40", 0.5]
    by_weights = beside(graph, swept, rates, "weights")
    found = plan(graph, dict(zip(by_weights["layer"], by_weights["best_rate"], strict=True)))
    assert costs.total_of(graph, found).weights <= 5_390_176


def test_added_loss_is_the_sum():
    graph = traced("vgg16")
    table = swept(graph, ["features.0", "features.3"], (0.25, 0.5), seed=0)
    correct = table.set_index(["layer", "rate"])["correct"]
    expected = 1800 - correct["features.0", 0.5] - correct["features.3", 0.25]
    assert added_loss(table, {"features.0": 0.5, "features.3": 0.25}) == expected
    assert added_loss(table, {"features.0": 0, "features.3": 0}) == 0


# The knapsack by itself


@pytest.mark.parametrize("seed", range(20))
def test_the_knapsack_against_every_choice(seed: int):
    draw = np.random.default_rng(seed)
    sizes = draw.integers(1, 5, draw.integers(1, 5))
    losses = [draw.integers(-3, 20, size) for size in sizes]

    def drawn() -> Cost:
        pairs = [p for p in itertools.combinations(range(len(sizes)), 2) if draw.random() < 0.6]
        tables = {(i, j): draw.integers(-5, 50, (sizes[i], sizes[j])) for i, j in pairs}
        return Cost(int(draw.integers(100)), [draw.integers(0, 100, size) for size in sizes], tables)

    costs = [drawn() for _ in range(draw.integers(1, 3))]
    every = list(itertools.product(*map(range, sizes)))
    limits = [int(np.quantile([cost.of(choice) for choice in every], draw.random())) for cost in costs]
    fits = [c for c in every if all(cost.of(c) <= limit for cost, limit in zip(costs, limits, strict=True))]

    def value(choice: Sequence[int]) -> tuple[int, int]:
        return sum(int(values[r]) for values, r in zip(losses, choice, strict=True)), costs[0].of(choice)

    found = choose(losses, costs, limits)
    if not fits:
        assert found is None
    else:
        assert found is not None and value(found) == min(map(value, fits))


def test_a_budget_is_kept_to_the_last_multiply_add():
    """Two options that differ by one in a billion, which is less than the solver's tolerance."""
    big = 10**9
    costs = [Cost(0, [np.array([big + 1, big, 0])], {})]
    assert choose([np.array([0, 1, 5])], costs, [big]) == [1]
    assert choose([np.array([0, 1, 5])], costs, [big + 1]) == [0]
    assert choose([np.array([0, 1, 5])], costs, [big - 1]) == [2]


# Refused


@pytest.mark.parametrize("value", [0, 0.0, -0.5, 1.5, float("nan"), float("inf"), True, "0.7", torch.tensor([0.5])])
def test_no_budget(value):
    with pytest.raises(PlanError, match=r"Budget macs=.*a share from above 0 up to 1, or a whole number of multiply"):
        plan_for(traced("vgg16"), macs=value)


def test_a_budget_is_needed():
    with pytest.raises(PlanError, match=r"no budget: give at least one of macs, weights and bytes"):
        plan_for(traced("vgg16"))
    with pytest.raises(PlanError, match=r"no budget"):
        plan_by_sensitivity(traced("vgg16"), pd.DataFrame())


def test_a_budget_that_cannot_be_reached_says_what_can():
    graph = traced("vgg16")
    least = after(graph, plan(graph, keep=dict.fromkeys(graph.free(), 1)))
    with pytest.raises(PlanError, match=rf"5 bytes cannot be reached: .* {least.bytes:,} of .* remain.*layers='\*'"):
        plan_for(graph, bytes=5)
    assert after(graph, plan_for(graph, bytes=least.bytes)) == least  # and it can
    with pytest.raises(PlanError, match=r"bytes cannot be reached"):
        plan_for(graph, bytes=least.bytes - 1)
    table = swept(graph, CHAINS["vgg16"], (0.5, 0.75), seed=0)
    least = after(graph, plan(graph, dict.fromkeys(CHAINS["vgg16"], 0.75)))
    with pytest.raises(PlanError, match=rf"weights cannot be reached: .* {least.weights:,} of .* remain.*larger rates"):
        plan_by_sensitivity(graph, table, weights=least.weights - 1)
    assert after(graph, plan_by_sensitivity(graph, table, weights=least.weights)) == least


def test_a_budget_that_a_smaller_multiple_can_reach():
    model, (x,) = made("resnet20 pad")
    graph = pk.trace(model, x)
    with pytest.raises(PlanError, match=r"Allow more, or take a smaller multiple, or take more layers"):
        plan_for(graph, macs=0.8, multiple=8)
    plan_for(graph, macs=0.8)
    with pytest.raises(PlanError, match=r"Allow more, or take more layers"):
        plan_for(graph, macs=2)


def test_a_multiple_that_leaves_nothing_to_remove():
    with pytest.raises(PlanError, match=r"Multiples of 64 leave nothing to remove: the widest .* has 32 filters"):
        plan_for(traced("vgg16"), macs=0.7, multiple=64)


@pytest.mark.parametrize("multiple", [0, -8, 1.5, "8", True, None])
def test_no_multiple(multiple):
    with pytest.raises(PlanError, match=r"multiple=.* is not a number of filters"):
        plan_for(traced("vgg16"), macs=0.7, multiple=multiple)


def test_layers_that_can_lose_nothing():
    with pytest.raises(PlanError, match=r"'classifier.3' can lose no filter: it reaches the network's output"):
        plan_for(traced("vgg16"), macs=0.7, layers="classifier.3")
    with pytest.raises(PlanError, match=r"no layer 'features.1x'"):
        plan_for(traced("vgg16"), macs=0.7, layers="features.1x")
    with pytest.raises(PlanError, match=r"No layer here can lose filters"):
        plan_for(traced("normalized"), macs=0.7)
    with pytest.raises(PlanError, match=r"needs what pk.trace\(model, example\) returns, not a VGG16"):
        plan_for(pk.nets.vgg16(1 / 16), macs=0.7)


def test_tables_of_another_network():
    graph, other = traced("vgg16"), pk.trace(pk.nets.vgg16(1 / 8), torch.randn(1, 3, 32, 32))
    with pytest.raises(PlanError, match=r"another network: layer 'features.0' has 4 filters here.* left .* of 8"):
        plan_by_sensitivity(graph, swept(other, other.free(), (0.5,), seed=0), macs=0.9)
    residual = traced("resnet20 pad")
    with pytest.raises(PlanError, match=r"another network: The network has no layer 'layer1.0.conv1'"):
        plan_by_sensitivity(graph, swept(residual, residual.free(), (0.5,), seed=0), macs=0.9)


def test_tables_that_are_no_sweep_of_one_network():
    graph = traced("vgg16")
    table = swept(graph, ["features.0", "features.3"], (0.25, 0.5), seed=0)
    with pytest.raises(PlanError, match=r"several rows for rate 0.25 of layer 'features.0'"):
        plan_by_sensitivity(graph, pd.concat([table, table]), macs=0.9)
    with pytest.raises(PlanError, match=r"no rows of criterion 'l2'; it has 'l1'"):
        plan_by_sensitivity(graph, table, macs=0.9, criterion="l2")
    with pytest.raises(PlanError, match=r"no column 'baseline_correct'"):
        plan_by_sensitivity(graph, table.drop(columns="baseline_correct"), macs=0.9)
    table.loc[0, "total"] = 500
    with pytest.raises(PlanError, match=r"counts on different images"):
        plan_by_sensitivity(graph, table, macs=0.9)


def test_tied_layers_in_a_table():
    graph = traced("resnet20 projection")
    table = swept(graph, ["layer2.0.conv2", "layer2.0.downsample.0"], (0.5,), seed=0)
    for share in (0.9, 0.001):  # before it is asked whether the budget can be reached
        with pytest.raises(PlanError, match=r"are tied.*Name only the one"):
            plan_by_sensitivity(graph, table, macs=share)


@pytest.mark.parametrize(
    "rates, reason",
    [({"features.9": 0.5}, r"no layer 'features.9'"), ({"features.0": 0.3}, r"no rate 0.3 .* only 0, 0.25, 0.5")],
)
def test_losses_that_were_not_measured(rates: dict, reason: str):
    table = swept(traced("vgg16"), ["features.0"], (0.25, 0.5), seed=0)
    with pytest.raises(PrunekitError, match=reason):
        added_loss(table, rates)
    with pytest.raises(PrunekitError, match=reason):
        beside(traced("vgg16"), table, rates)
    with pytest.raises(PlanError, match=r"quantity 'mac' is unknown; take macs, weights, bytes"):
        beside(traced("vgg16"), table, {"features.0": 0.5}, "mac")


def test_who_took_all_layers_is_not_told_to_take_more():
    graph = pk.trace(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 2, 3)), torch.randn(1, 3, 8, 8))
    with pytest.raises(PlanError, match=r"remain \(.*\)\. Allow more\.$"):
        pk.plan_for(graph, macs=0.01, layers="*")
    with pytest.raises(PlanError, match="`layers` are names or patterns, and here is 3"):
        pk.plan_for(graph, macs=0.5, layers=3)  # type: ignore[arg-type]
