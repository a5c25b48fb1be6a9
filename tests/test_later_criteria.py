"""Two criteria that came after the paper, as a user would write them: the geometric median, and Taylor expansions."""

import math
from collections.abc import Iterable, Sequence

import pytest
import torch
from odd_nets import made
from torch import Tensor, nn
from torch.nn import functional as F

import prunekit as pk
from prunekit.errors import PlanError, PrunekitError

Batches = Iterable[tuple[Tensor, Tensor]]


def geometric_median(weight: Tensor) -> Tensor:
    """Sum of the distances to the layer's other filters: what lies in their midst can be replaced by them.

    Source: He et al., "Filter Pruning via Geometric Median for Deep Neural Networks Acceleration" (CVPR 2019).
    """
    filters = weight.flatten(1)
    return torch.cdist(filters, filters).sum(1)


def taylor(model: nn.Module, layers: Sequence[str], batches: Batches) -> pk.Scores:
    """How much the loss changes when a map becomes zero, to first order: |mean of map x gradient|, over the images.

    Source: Molchanov et al., "Pruning Convolutional Neural Networks for Resource Efficient Inference" (ICLR 2017),
    equation 8, without the scaling between layers.
    """
    maps: dict[str, Tensor] = {}
    sums: dict[str, Tensor] = dict.fromkeys(layers, torch.zeros(()))
    hooks = [
        model.get_submodule(layer).register_forward_hook(lambda *call, layer=layer: maps.update({layer: call[-1]}))
        for layer in layers
    ]
    for x, y in batches:
        loss = F.cross_entropy(model(x), y, reduction="sum")
        for layer, gradient in zip(layers, torch.autograd.grad(loss, [maps[layer] for layer in layers]), strict=True):
            sums[layer] = sums[layer] + (maps[layer] * gradient).flatten(2).mean(2).abs().sum(0)
    for hook in hooks:
        hook.remove()
    return pk.Scores(sums, "taylor")


def taylor_of_weights(model: nn.Module, layers: Sequence[str], batches: Batches) -> pk.Scores:
    """The same by weights: the square of the sum of weight x gradient over each filter.

    Source: Molchanov et al., "Importance Estimation for Neural Network Pruning" (CVPR 2019), equation 8.
    """
    weights = [model.get_parameter(f"{layer}.weight") for layer in layers]
    loss = torch.stack([F.cross_entropy(model(x), y, reduction="sum") for x, y in batches]).sum()
    gradients = torch.autograd.grad(loss, weights)
    sums = [(w * g).flatten(1).sum(1).square() for w, g in zip(weights, gradients, strict=True)]
    return pk.Scores(dict(zip(layers, sums, strict=True)), "taylor of weights")


def batches(images: int = 6) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(images, 3, 32, 32, generator=generator, dtype=torch.float64)
    return list(zip(x.split(2), (torch.arange(images) % 10).split(2), strict=True))


# Against something straightforward


def test_the_geometric_median_equals_loops_over_pairs():
    weight = torch.randn(7, 3, 3, 3, dtype=torch.float64)
    rows = weight.flatten(1).tolist()
    wanted = [sum(math.dist(a, b) for b in rows) for a in rows]
    torch.testing.assert_close(geometric_median(weight), torch.tensor(wanted, dtype=torch.float64))


def test_a_filter_that_has_a_double_scores_lower():
    weight = torch.randn(32, 8, 3, 3, dtype=torch.float64)
    doubled = weight.clone()
    doubled[20] = weight[5]
    before, after = geometric_median(weight), geometric_median(doubled)
    distance = (weight[5] - weight[20]).norm()
    torch.testing.assert_close(after[5], before[5] - distance)
    torch.testing.assert_close(after[20], after[5])


def test_norms_do_not_matter_to_the_geometric_median():
    """The filters' own mean, however large, is what the others replace best; l1 would keep it."""
    weight = torch.randn(9, 4, 3, 3, dtype=torch.float64) + 5
    weight[0] = weight[1:].mean(0)
    weight[1] = 0
    assert geometric_median(weight).argmin() == 0
    assert pk.criteria.l1(weight).argmin() == 1


@pytest.mark.parametrize("name, layer", [("vgg16", "features.3"), ("resnet20 pad", "layer1.0.conv1")])
def test_taylor_is_the_slope_of_the_loss_as_a_map_is_scaled(name: str, layer: str):
    """Sum of map x gradient = d loss / d factor; here by differences, one image and one filter at a time."""
    model, _ = made(name)
    module = model.get_submodule(layer)
    sizes: list[int] = []

    def loss(x: Tensor, y: Tensor, index: int, factor: float) -> float:
        def scale(module: nn.Module, inputs: tuple, maps: Tensor) -> Tensor:
            sizes.append(maps[0, 0].numel())
            factors = torch.ones(maps.shape[1], 1, 1, dtype=maps.dtype)
            factors[index] = factor
            return maps * factors

        hook = module.register_forward_hook(scale)
        with torch.no_grad():
            value = float(F.cross_entropy(model(x), y))
        hook.remove()
        return value

    step = 1e-6
    wanted = []
    for index in range(len(module.weight)):
        slopes = [
            (loss(x[None], y[None], index, 1 + step) - loss(x[None], y[None], index, 1 - step)) / (2 * step)
            for xs, ys in batches()
            for x, y in zip(xs, ys, strict=True)
        ]
        wanted.append(sum(abs(slope) / sizes[0] for slope in slopes))
    found = taylor(model, [layer], batches()).of(layer)
    torch.testing.assert_close(found, torch.tensor(wanted, dtype=torch.float64), rtol=1e-4, atol=1e-9)


def test_by_weights_it_is_the_square_of_the_sum_by_maps():
    """A map is linear in its filter, so weight x gradient and map x gradient have one sum, where there is no bias."""
    model, _ = made("vgg16")
    layers = ["features.0", "features.24"]
    found = taylor_of_weights(model, layers, batches())
    maps: dict[str, Tensor] = {}
    for layer in layers:
        model.get_submodule(layer).register_forward_hook(lambda *call, layer=layer: maps.update({layer: call[-1]}))
    x, y = torch.cat([x for x, _ in batches()]), torch.cat([y for _, y in batches()])
    loss = F.cross_entropy(model(x), y, reduction="sum")
    gradients = torch.autograd.grad(loss, [maps[layer] for layer in layers])
    for layer, gradient in zip(layers, gradients, strict=True):
        wanted = (maps[layer] * gradient).transpose(0, 1).flatten(1).sum(1).square()
        torch.testing.assert_close(found.of(layer), wanted.detach(), rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("score", [taylor, taylor_of_weights])
def test_a_map_that_nobody_looks_at_scores_zero_and_goes_first(score):
    model, _ = made("vgg16")
    model.get_parameter("features.3.weight").data[:, 2] = 0
    model.get_parameter("features.0.weight").data[2] *= 100  # however large its filter is
    scores = score(model, ["features.0"], batches())
    values = scores.of("features.0")
    assert values[2] == 0 and (values[[0, 1, 3]] > 0).all()
    graph = pk.trace(model, torch.randn(1, 3, 32, 32))
    assert pk.plan(graph, {"features.0": 0.25}, criterion=scores).kept["features.0"] == (0, 1, 3)
    assert 2 in pk.plan(graph, {"features.0": 0.75}, criterion="l1").kept["features.0"]
    x = batches()[0][0]
    small = pk.prune(model, pk.plan(graph, {"features.0": 0.25}, criterion=scores))
    torch.testing.assert_close(small(x), model(x))  # and nothing is lost with it


# Where criteria go


def test_in_plans_by_layer_and_on_paper():
    model, _ = made("resnet20 projection")
    graph = pk.trace(model, torch.randn(1, 3, 32, 32))
    layers = graph.free()
    scores = taylor(model, [*layers, "layer2.0.downsample.0"], batches())
    distances = {layer: geometric_median(model.get_parameter(f"{layer}.weight")) for layer in layers}
    for criterion, values in ((geometric_median, distances), (scores, scores.by_layer)):
        chosen = pk.plan(graph, 0.5, criterion=criterion)
        assert list(chosen.kept) == layers
        for layer, kept in chosen.kept.items():
            lost = [i for i in range(chosen.filters[layer]) if i not in kept]
            assert values[layer][list(kept)].min() >= values[layer][lost].max()
        assert pk.Plan.from_json(chosen.to_json()) == chosen
        pk.prune(model, chosen)
        pk.prune(model, pk.plan(graph, {"layer2.0.downsample.0": 0.5, "layer3.*.conv1": 0.25}, criterion=criterion))
    assert pk.plan(graph, 0.5, criterion=geometric_median).criterion == "geometric_median"
    assert pk.plan_for(graph, macs=0.5, criterion=scores).criterion == "taylor"


def test_the_geometric_median_may_be_greedy():
    model, _ = made("vgg16")
    graph = pk.trace(model, torch.randn(1, 3, 32, 32))
    chosen = pk.plan(graph, {"features.37": 0.5, "features.40": 0.5}, criterion=geometric_median, strategy="greedy")
    weight = model.get_parameter("features.40.weight")[:, list(chosen.kept["features.37"])]
    assert chosen.kept["features.40"] == tuple(geometric_median(weight).topk(16).indices.sort().values.tolist())


def test_in_a_sweep_beside_the_papers():
    model, _ = made("vgg16")
    graph = pk.trace(model, torch.randn(1, 3, 32, 32))
    layers = ["features.0", "features.24"]
    scores = taylor(model, layers, batches())
    compute = pk.train.Compute(dtype=torch.float64)
    table = pk.sweep(model, batches(20), batches()[0][0][:1], (0.5,), ["l1", geometric_median, scores], layers,
                     compute=compute, progress=False)  # fmt: skip
    assert list(table["criterion"].unique()) == ["l1", "geometric_median", "taylor"]
    for row in table.to_dict("records"):
        criterion = {"l1": "l1", "geometric_median": geometric_median, "taylor": scores}[row["criterion"]]
        small = pk.prune(model, pk.plan(graph, {row["layer"]: 0.5}, criterion=criterion))
        with torch.no_grad():
            correct = sum(int((small(x).argmax(1) == y).sum()) for x, y in batches(20))
        assert row["correct"] == correct
    found = pk.plan_by_sensitivity(graph, table, macs=0.9, criterion=scores)
    assert found.criterion == "taylor" and found == pk.plan(graph, found.rates, criterion=scores)


# Refused


def test_scores_that_are_not_there():
    graph = pk.trace(pk.nets.vgg16(1 / 16), torch.randn(1, 3, 32, 32))
    scores = pk.Scores({"features.0": torch.rand(4)}, "mine")
    with pytest.raises(PrunekitError, match=r"'mine' has no scores for layer 'features.3'. Did you mean 'features.0'"):
        pk.plan(graph, {"features.3": 0.5}, criterion=scores)
    with pytest.raises(PlanError, match=r"'features.0': the criterion gave scores of shape \(5,\), not \(4,\)"):
        pk.plan(graph, {"features.0": 0.5}, criterion=pk.Scores({"features.0": torch.rand(5)}))
    with pytest.raises(PlanError, match=r"'features.0': the scores are not finite"):
        pk.plan(graph, {"features.0": 0.5}, criterion=pk.Scores({"features.0": torch.tensor([0, 1, 2, math.nan])}))
    with pytest.raises(PlanError, match=r"with known scores take 'independent'"):
        pk.plan(graph, {"features.0": 0.5}, criterion=scores, strategy="greedy")


def test_two_sets_of_scores_need_two_names():
    graph = pk.trace(pk.nets.vgg16(1 / 16), torch.randn(1, 3, 32, 32))
    both = [pk.Scores({"features.0": torch.rand(4)}), pk.Scores({"features.0": torch.rand(4)})]
    with pytest.raises(PlanError, match=r"Two criteria are called 'scores'"):
        pk.sweep(graph.model, [(torch.randn(2, 3, 32, 32), torch.tensor([0, 1]))], torch.randn(1, 3, 32, 32), (0.5,),
                 both, "features.0", progress=False)  # fmt: skip
