"""Plans count exactly, choose the lowest scores, refuse what cannot be, and travel as text."""

import json
import math
import pickle
from collections.abc import Mapping
from decimal import Decimal

import numpy as np
import pytest
import torch
from odd_nets import made
from torch import Tensor, nn

import prunekit as pk
from prunekit.criteria import Activation
from prunekit.errors import PlanError, PrunekitError
from prunekit.plans import kept_count, plan_by_hand
from prunekit.tracing import Graph


def traced(name: str, seed: int = 0) -> Graph:
    model, inputs = made(name, seed)
    return pk.trace(model, *(x[:1] for x in inputs))


# How many stay


def test_kept_is_floor_of_n_times_one_minus_p():
    """In integers: p = k/100, so n (100 - k) // 100."""
    for n in range(1, 513):
        for k in range(100):
            wanted = n * (100 - k) // 100
            if wanted:
                assert kept_count("a", n, k / 100) == wanted, (n, k)
            else:
                with pytest.raises(PlanError, match=r"would leave none"):
                    kept_count("a", n, k / 100)


def test_rounding_errors_of_a_rate_do_not_count():
    for k in range(1, 100):
        assert kept_count("a", 100, 1 - (100 - k) / 100) == kept_count("a", 100, sum([0.01] * k)) == 100 - k


@pytest.mark.parametrize(
    "filters, rate, kept",
    [
        (10, 0.9, 1),
        (64, 0.8, 12),  # section 3.2 of the paper: 64 filters, 80% off, 12 left
        (10, 3 * 0.1, 7),
        (10, 0.1 + 0.1 + 0.1, 7),
        (10, 1 - 0.9, 9),
        (10, 3 * 0.1 - 0.3, 10),  # nothing, but for a rounding error of 6e-17
        (6, 2 / 3, 2),
        (6, 1 - 1 / 3, 2),
        (7, 1 - 3 / 7, 3),
        (10, 0.0, 10),
        (512, np.float32(0.3), 358),
        (10, np.float64(0.3), 7),
        (1000, 0.9999, 0),
    ],
)
def test_rates_that_float_arithmetic_misses(filters: int, rate: float, kept: int):
    if kept:
        assert kept_count("a", filters, rate) == kept
    else:
        with pytest.raises(PlanError, match=rf"'a': rate {rate} of {filters} filters would leave none"):
            kept_count("a", filters, rate)


@pytest.mark.parametrize(
    "rate", [1.0, 1, 1.5, -0.1, float("nan"), float("inf"), True, "0.5", None, 0.5j, torch.tensor([0.1, 0.2])]
)
def test_no_rate(rate):
    with pytest.raises(PlanError, match=r"Layer 'features.0': rate .* is not a share to remove; take one from 0"):
        pk.plan(traced("vgg16"), {"features.0": rate})


def test_one_rate_for_all_free_layers():
    graph = traced("resnet20 pad")
    plan = pk.plan(graph, 0.5)
    assert list(plan.kept) == graph.free()
    assert {layer: len(kept) for layer, kept in plan.kept.items()} == {
        f"layer{s}.{b}.conv1": n // 2 for s, n in ((1, 4), (2, 8), (3, 16)) for b in range(3)
    }


def test_patterns_name_a_stage_and_exact_names_come_first():
    plan = pk.plan(traced("resnet20 pad"), {"layer2.*.conv1": 0.5, "layer2.1.conv1": 0.25, "layer3.?.conv1": 0.75})
    assert {layer: len(kept) for layer, kept in plan.kept.items()} == {
        "layer2.0.conv1": 4,
        "layer2.1.conv1": 6,
        "layer2.2.conv1": 4,
        **{f"layer3.{b}.conv1": 4 for b in range(3)},
    }


def test_patterns_that_contradict_each_other():
    with pytest.raises(PlanError, match=r"Two patterns give layer 'layer2.0.conv1' different values"):
        pk.plan(traced("resnet20 pad"), {"layer2.*.conv1": 0.5, "*.0.conv1": 0.25})


@pytest.mark.parametrize("count", [1, 3, 4, np.int64(3)])
def test_counts_instead_of_rates(count: int):
    plan = pk.plan(traced("vgg16"), keep={"features.0": count})
    assert len(plan.kept["features.0"]) == count
    assert pk.Plan.from_json(plan.to_json()) == plan


def test_a_count_decides_beside_one_rate_for_all():
    plan = pk.plan(traced("vgg16"), 0.5, keep={"features.0": 3})
    assert len(plan.kept["features.0"]) == 3
    assert len(plan.kept["features.3"]) == 2
    assert "features.0" not in plan.rates and plan.rates["features.3"] == 0.5


@pytest.mark.parametrize("count", [0, -1, 5, 2.0, True, "2", None])
def test_no_count(count):
    with pytest.raises(PlanError, match=r"'features.0' has 4 filters: it cannot keep .*Take a number from 1 to 4"):
        pk.plan(traced("vgg16"), keep={"features.0": count})


# Which stay


def naive(model: nn.Module, rates: Mapping[str, float], greedy: bool) -> dict[str, tuple[int, ...]]:
    """Section 3.3 of the paper in loops, for a network that is one chain of convs."""
    kept: dict[str, tuple[int, ...]] = {}
    removed_before: set[int] = set()
    for name, module in model.named_modules():
        if not isinstance(module, nn.Conv2d):
            continue
        sums = []
        for kernels in module.weight.detach().numpy():
            s = 0.0
            for j, kernel in enumerate(kernels):
                if not (greedy and j in removed_before):
                    s += np.abs(kernel).sum()
            sums.append(s)
        m = len(sums) - math.floor(len(sums) * (1 - Decimal(str(rates.get(name, 0)))))
        order = sorted(range(len(sums)), key=lambda i, sums=sums: sums[i])
        removed_before = set(order[:m])
        if name in rates:
            kept[name] = tuple(i for i in range(len(sums)) if i not in removed_before)
    return kept


PAPERS = {f"features.{i}": 0.5 for i in (0, 24, 27, 30, 34, 37, 40)}  # VGG-16-A


@pytest.mark.parametrize("rates", [PAPERS, dict.fromkeys(PAPERS, 0.8) | {"features.0": 0.25}, {"features.27": 0.3}])
@pytest.mark.parametrize("strategy", ["independent", "greedy"])
@pytest.mark.parametrize("seed", range(3))
def test_strategies_equal_the_papers_loops(rates: dict[str, float], strategy: str, seed: int):
    graph = traced("vgg16", seed)
    assert pk.plan(graph, rates, strategy=strategy).kept == naive(graph.model, rates, strategy == "greedy")


def test_strategies_differ_only_where_inputs_were_removed():
    different = set()
    for seed in range(5):
        graph = traced("vgg16", seed)
        independent, greedy = (pk.plan(graph, PAPERS, strategy=s).kept for s in ("independent", "greedy"))
        different |= {layer for layer in independent if independent[layer] != greedy[layer]}
    assert different and different <= {f"features.{i}" for i in (27, 30, 34, 37, 40)}


def test_greedy_looks_through_a_depthwise_conv():
    graph = traced("depthwise")
    weight = graph.model.get_parameter("b.weight").data
    weight[0, 0], weight[0, 1:] = 100, 0.01  # filter 0 of b is large only by the map that goes
    graph.model.get_parameter("a.weight").data[0] = 0
    assert 0 in pk.plan(graph, {"a": 0.25, "b": 0.2}).kept["b"]
    assert 0 not in pk.plan(graph, {"a": 0.25, "b": 0.2}, strategy="greedy").kept["b"]


def test_a_projection_decides_for_its_stage():
    """Section 3.3: the projection's filters are scored, and the second convs lose the same ones."""
    graph = traced("resnet20 projection")
    plan = pk.plan(graph, {"layer2.0.downsample.0": 0.5})
    sums = graph.model.get_parameter("layer2.0.downsample.0.weight").abs().sum((1, 2, 3))
    assert plan.kept == {"layer2.0.downsample.0": tuple(sums.topk(4).indices.sort().values.tolist())}
    small = pk.prune(graph.model, plan)
    assert [len(small.get_parameter(f"layer2.{b}.conv2.weight")) for b in range(3)] == [4, 4, 4]
    assert small.get_parameter("layer3.0.conv1.weight").shape[1] == 4


def test_filters_of_one_unit_are_scored_together():
    graph = traced("doubled")  # filters i and i + 4 of b are tied
    weight = graph.model.get_parameter("b.weight").data
    weight[:] = torch.tensor([9, 1, 6, 6, 1, 2, 6, 6.0]).view(-1, 1, 1, 1)  # sums of pairs: 10, 3, 12, 12
    assert pk.plan(graph, {"b": 0.25}).kept["b"] == (0, 2, 3, 4, 6, 7)
    assert pk.plan(graph, {"b": 0.5}).kept["b"] == (2, 3, 6, 7)  # though filter 0 is the largest of all
    with pytest.raises(PlanError, match=r"'b': its filters go in groups, which cannot add up to 3 of 8"):
        pk.plan(graph, keep={"b": 5})


def test_equal_scores_go_in_order():
    graph = traced("vgg16")
    graph.model.get_parameter("features.24.weight").data.fill_(1)
    assert pk.plan(graph, {"features.24": 0.25}).kept["features.24"] == tuple(range(8, 32))


def test_frozen_filters_stay_and_others_go_in_their_place():
    class Net(nn.Module):
        """The maps that meet a constant cannot go."""

        def __init__(self):
            super().__init__()
            self.a, self.b, self.fc = nn.Conv2d(3, 6, 1), nn.Conv2d(3, 4, 1), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc((self.a(x) + torch.cat([self.b(x), x[:, :2]], 1)).mean((2, 3)))

    model = Net()
    model.a.weight.data[:] = torch.tensor([3, 4, 5, 6, 1, 2.0]).view(-1, 1, 1, 1)  # the last two meet the input
    graph = pk.trace(model, torch.randn(1, 3, 4, 4))
    assert pk.plan(graph, keep={"a": 4}).kept["a"] == (2, 3, 4, 5)
    with pytest.raises(
        PlanError, match=r"'a' cannot lose 5 of its 6 filters: only 4 can go: it is the network's input"
    ):
        pk.plan(graph, keep={"a": 1})


def test_a_seed_repeats_random_and_a_layer_alone_is_the_layer_among_others():
    graph = traced("vgg16")
    all_layers = pk.plan(graph, 0.5, criterion="random", seed=1)
    assert all_layers == pk.plan(graph, 0.5, criterion="random", seed=1)
    assert all_layers.kept != pk.plan(graph, 0.5, criterion="random", seed=2).kept
    assert (
        pk.plan(graph, {"features.24": 0.5}, criterion="random", seed=1).kept["features.24"]
        == (all_layers.kept["features.24"])
    )
    assert len({all_layers.kept[f"features.{i}"] for i in (24, 27, 30, 34, 37, 40)}) == 6


def test_plans_leave_the_global_random_numbers_alone():
    graph, before = traced("vgg16"), torch.get_rng_state()
    pk.plan(graph, 0.5, criterion="random", seed=3)
    assert torch.get_rng_state().equal(before)


# Refused


def test_unknown_layer_names_the_nearest():
    with pytest.raises(PlanError, match=r"has no layer 'layer1.0.conv3'.* Did you mean 'layer1.0.conv"):
        pk.plan(traced("resnet20 pad"), {"layer1.0.conv3": 0.5})


@pytest.mark.parametrize("name", ["layer4.*", "*bn1", ""])
def test_a_pattern_that_matches_no_layer(name: str):
    with pytest.raises(PlanError, match=r"no layer|is a ResNet"):
        pk.plan(traced("resnet20 pad"), {name: 0.5})


def test_tied_layers_named_twice():
    with pytest.raises(PlanError, match=r"'layer1.0.conv2' and 'layer1.1.conv2' are tied.*Name only the one"):
        pk.plan(traced("resnet20 pad"), {"layer1.*.conv2": 0.5})


def test_frozen_layer():
    with pytest.raises(
        PlanError, match=r"'fc' cannot lose 5 of its 10 filters: none can go: it reaches the network's o"
    ):
        pk.plan(traced("resnet20 pad"), {"fc": 0.5})


@pytest.mark.parametrize("rates", [None, {}])
def test_nothing_to_do(rates):
    with pytest.raises(PlanError, match=r"Nothing to do: give `rates` or `keep`"):
        pk.plan(traced("vgg16"), rates)


def test_nothing_that_one_rate_could_mean():
    with pytest.raises(PlanError, match=r"One rate for all goes to the convs .* here is none. Name layers"):
        pk.plan(traced("normalized"), 0.5)


def test_a_cut_that_would_empty_a_tied_layer():
    """Stage 1's four maps are the first four of stage 2's eight."""
    graph = traced("resnet20 pad")
    with pytest.raises(PlanError, match=r"would leave nothing of"):
        plan_by_hand(graph, {"layer2.0.conv2": [0, 1, 2, 3]})


@pytest.mark.parametrize("removed", [[4], [-1], [0, 99]])
def test_by_hand_filters_that_are_not_there(removed: list[int]):
    with pytest.raises(PlanError, match=r"'features.0' has filters 0 to 3; \[.*\] are not among them"):
        plan_by_hand(traced("vgg16"), {"features.0": removed})


def test_by_hand_half_of_a_unit():
    with pytest.raises(PlanError, match=r"keeps filter 4 of layer 'b', but removes one that is tied to it"):
        plan_by_hand(traced("doubled"), {"b": [0]})


def test_by_hand_all_of_a_layer():
    with pytest.raises(PlanError, match=r"'features.0' of 4 filters cannot keep \[\]"):
        plan_by_hand(traced("vgg16"), {"features.0": range(4)})


@pytest.mark.parametrize("strategy", ["Greedy", "", None])
def test_unknown_strategy(strategy):
    with pytest.raises(PlanError, match=r"take 'independent' or 'greedy'"):
        pk.plan(traced("vgg16"), 0.5, strategy=strategy)


def test_greedy_is_about_kernels():
    with pytest.raises(PlanError, match=r"with an activation criterion take 'independent'"):
        pk.plan(traced("vgg16"), 0.5, criterion="mean-l1", strategy="greedy", data=[torch.randn(1, 3, 32, 32)])


def test_activation_criteria_need_images():
    with pytest.raises(PlanError, match=r"'mean-l1' looks at feature maps: pass images as `data`"):
        pk.plan(traced("vgg16"), 0.5, criterion="mean-l1")


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_scores_that_are_not_finite(bad: float):
    graph = traced("vgg16")
    graph.model.get_parameter("features.3.weight").data[0, 0, 0, 0] = bad
    with pytest.raises(PlanError, match=r"'features.3': the scores are not finite"):
        pk.plan(graph, 0.5)


def test_scores_of_another_shape():
    with pytest.raises(PlanError, match=r"'features.0': the criterion gave scores of shape \(4, 3\), not \(4,\)"):
        pk.plan(traced("vgg16"), 0.5, criterion=lambda weight: weight.sum((2, 3)))


def test_a_plan_needs_a_graph():
    with pytest.raises(PlanError, match=r"takes what pk.trace\(model, example\) returns, not a VGG16"):
        pk.plan(pk.nets.vgg16(1 / 16), 0.5)  # type: ignore[arg-type]


# Plans as text


def some_plan() -> pk.Plan:
    return pk.plan(traced("vgg16"), {"features.0": 0.5, "features.3": 0.25}, strategy="greedy", seed=3)


def test_json_and_back():
    plan = some_plan()
    again = pk.Plan.from_json(plan.to_json())
    assert again == plan
    assert again.to_json() == plan.to_json()
    assert json.loads(plan.to_json())["kept"]["features.0"] == list(plan.kept["features.0"])
    model = traced("vgg16").model
    pairs = zip(pk.prune(model, again).parameters(), pk.prune(model, plan).parameters(), strict=True)
    assert all(a.equal(b) for a, b in pairs)


def test_a_plan_prints_what_it_does():
    text = str(some_plan())
    assert "l1, greedy" in text and "features.0: 4 -> 2" in text and "features.3: 4 -> 3" in text


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "7", '"plan"', "{}", '{"format": "prunekit plan 1"}'])
def test_text_that_is_no_plan(text: str):
    with pytest.raises(PlanError, match=r"not a plan that prunekit wrote"):
        pk.Plan.from_json(text)


@pytest.mark.parametrize(
    "change",
    [
        {"format": "prunekit plan 2"},
        {"kept": {"features.0": []}},
        {"kept": {"features.0": [0, 0]}},
        {"kept": {"features.0": [1, 0]}},
        {"kept": {"features.0": [0, 4]}},
        {"kept": {"features.0": [-1]}},
        {"kept": {"features.0": [0.5]}},
        {"kept": {"features.0": ["0"]}},
        {"kept": {"features.0": 1}},
        {"kept": {"features.9": [0]}},
        {"kept": [0, 1]},
        {"filters": {}},
        {"filters": {"features.0": "4", "features.3": 4}},
        {"inputs": [[1, 3, -32, 32]]},
        {"inputs": [[1, 3, 0, 32]]},
        {"inputs": [["1"]]},
        {"inputs": 1},
        {"graph": {"model": None}},
        {"shape": 1},
    ],
    ids=str,
)
def test_tampered_plans(change: dict):
    with pytest.raises(PlanError):
        pk.Plan.from_json(json.dumps(json.loads(some_plan().to_json()) | change))


@pytest.mark.parametrize("inputs", [[], [[1, 3, 32, 32], [1, 3, 32, 32]], [[1, 3]], [[1, 5, 32, 32]]], ids=str)
def test_a_plan_with_other_inputs_is_refused_in_time(inputs: list):
    plan = pk.Plan.from_json(json.dumps(json.loads(some_plan().to_json()) | {"inputs": inputs}))
    with pytest.raises(pk.PrunekitError):
        pk.prune(traced("vgg16").model, plan)


# Criteria of one's own


def test_a_function_of_the_weights():
    def by_first_weight(weight: Tensor) -> Tensor:
        return weight[:, 0, 0, 0]

    graph = traced("vgg16")
    plan = pk.plan(graph, {"features.24": 0.75}, criterion=by_first_weight)
    first = graph.model.get_parameter("features.24.weight")[:, 0, 0, 0]
    assert plan.kept["features.24"] == tuple(first.topk(8).indices.sort().values.tolist())
    assert plan.criterion == "by_first_weight"


def test_an_activation_of_ones_own():
    def top_left(maps: Tensor) -> Tensor:
        return maps[:, :, 0, 0]

    graph = traced("vgg16")
    images = torch.randn(6, 3, 32, 32, dtype=torch.float64)
    plan = pk.plan(graph, {"features.0": 0.5}, criterion=Activation(top_left), data=images.split(4))
    corner = nn.functional.conv2d(images, graph.model.get_parameter("features.0.weight"), padding=1)[:, :, 0, 0].mean(0)
    assert plan.kept["features.0"] == tuple(corner.topk(2).indices.sort().values.tolist())


def two() -> Graph:
    return pk.trace(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 2, 3)), torch.randn(1, 3, 8, 8))


def test_filters_by_hand_are_numbers_in_a_list_an_array_or_a_tensor():
    wanted = pk.plan_by_hand(two(), {"0": [2, 5]}).kept
    for given in (np.array([2, 5]), torch.tensor([5, 2]), [np.int64(2), torch.tensor(5)]):
        assert pk.plan_by_hand(two(), {"0": given}).kept == wanted


@pytest.mark.parametrize("given", [[False, True], np.array([0, 1] * 4, bool), torch.ones(8) > 0, [2.0], 3, None])
def test_a_mask_of_filters_and_what_is_no_number_are_refused(given):
    with pytest.raises(PlanError, match=r"Layer '0': filters are given by number.*mask.nonzero"):
        pk.plan_by_hand(two(), {"0": given})


def test_a_criterion_that_works_in_place_does_not_touch_the_weights():
    graph = two()
    before = graph.model[0].weight.clone()
    made = pk.plan(graph, {"0": 0.5}, criterion=lambda weight: weight.abs_().sum((1, 2, 3)))
    assert made.kept == pk.plan(graph, {"0": 0.5}).kept
    assert torch.equal(graph.model[0].weight, before)


@pytest.mark.parametrize(
    ("criterion", "message"),
    [(lambda weight: [1.0] * 8, "gave a list, not a tensor"), (3, "not a int"), ({"0": torch.rand(8)}, "not a dict")],
)
def test_what_is_no_criterion_is_refused(criterion, message):
    with pytest.raises(PrunekitError, match=message):
        pk.plan(two(), {"0": 0.5}, criterion=criterion)


@pytest.mark.parametrize("how", [{"rates": {0: 0.5}}, {"rates": {nn.ReLU: 0.5}}, {"keep": 4}])
def test_layers_go_by_their_names(how):
    with pytest.raises(PlanError, match=r"A layer goes by its name, as '0', not by|`keep` gives numbers by layer"):
        pk.plan(two(), **how)


def test_a_plan_is_saved_and_copied_without_the_network():
    made = pk.plan(two(), {"0": 0.5})
    again = pickle.loads(pickle.dumps(made))
    assert again == made and again.graph is None
    assert len(pickle.dumps(made)) < 1000


def test_a_weight_that_a_transposed_conv_reads_too_has_its_own_reason_and_the_report_its_columns():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.e = nn.Conv2d(3, 8, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.conv_transpose2d(self.e(x).relu(), self.e.weight, padding=1)

    graph = pk.trace(Tied(), torch.randn(1, 3, 8, 8))
    assert {"layer", "removable", "reason"} <= set(graph.report().columns)
    with pytest.raises(PlanError, match="'e' shares its weight with a transposed conv"):
        pk.plan(graph, {"e": 0.5})
