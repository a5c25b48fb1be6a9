"""Criteria equal loops over filters, images and pixels; recording leaves the network as it was."""

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from odd_nets import made
from torch import Tensor, nn
from torch.nn import functional as F

import prunekit as pk
from prunekit import criteria
from prunekit.criteria import ACTIVATION_CRITERIA, CRITERIA, WEIGHT_CRITERIA, Activation, record
from prunekit.errors import PrunekitError

# By weights

WEIGHT_LOOPS: dict[str, Callable[[np.ndarray], float]] = {
    "l1": lambda w: sum(abs(x) for x in w),
    "l2": lambda w: math.sqrt(sum(x * x for x in w)),
    "largest": lambda w: -sum(abs(x) for x in w),
}


@pytest.mark.parametrize("shape", [(5, 3, 3, 3), (4, 2, 1, 1), (6, 7), (3, 2, 5), (1, 1, 1, 1)], ids=str)
@pytest.mark.parametrize("name", WEIGHT_CRITERIA)
def test_weight_criteria_equal_a_loop(name: str, shape: tuple[int, ...]):
    weight = torch.randn(shape, dtype=torch.float64)
    wanted = [WEIGHT_LOOPS[name](filter.ravel()) for filter in weight.numpy()]
    np.testing.assert_allclose(WEIGHT_CRITERIA[name](weight).numpy(), wanted, rtol=1e-12)


def test_weight_criteria_by_hand():
    weight = torch.tensor([[3.0, -4.0], [1.0, 1.0]])
    assert criteria.l1(weight).tolist() == [7, 2]
    assert criteria.l2(weight).tolist() == pytest.approx([5, math.sqrt(2)])
    assert criteria.largest(weight).tolist() == [-7, -2]


def test_random_is_seeded_and_ignores_the_weights():
    def scores(seed: int, layer: str = "a", weight: Tensor | None = None) -> list[float]:
        scorer = criteria.resolve("random", seed, layer)
        assert not isinstance(scorer, Activation)
        return scorer(torch.randn(64, 3) if weight is None else weight).tolist()

    assert scores(1) == scores(1)
    assert scores(1) != scores(2)
    assert scores(1) != scores(1, "b")
    assert len(set(scores(1))) == 64


# By activations

MAP_LOOPS: dict[str, Callable[[np.ndarray], float]] = {
    "mean-mean": lambda x: sum(x) / len(x),
    "mean-std": lambda x: math.sqrt(sum((v - sum(x) / len(x)) ** 2 for v in x) / len(x)),
    "mean-l1": lambda x: sum(abs(v) for v in x),
    "mean-l2": lambda x: math.sqrt(sum(v * v for v in x)),
    "var-l2": lambda x: math.sqrt(sum(v * v for v in x)),
}


def looped(name: str, maps: np.ndarray) -> list[float]:
    """Figure 9's criteria over maps (images, filters, ...), one number after the other."""
    scores = []
    for f in range(maps.shape[1]):
        values = [MAP_LOOPS[name](maps[n, f].ravel()) for n in range(len(maps))]
        mean = sum(values) / len(values)
        scores.append(sum((v - mean) ** 2 for v in values) / len(values) if name == "var-l2" else mean)
    return scores


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.bn, self.fc = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(F.relu(self.bn(self.conv(x))).mean((2, 3)))


@pytest.mark.parametrize("name", ACTIVATION_CRITERIA)
def test_activation_criteria_equal_loops_over_maps_before_bn(name: str):
    torch.manual_seed(0)
    model = Net().double()
    x = torch.randn(7, 3, 6, 6, dtype=torch.float64)
    found = record(model, ["conv", "fc"], x.split(3))
    with torch.no_grad():
        maps, logits = F.conv2d(x, model.conv.weight, model.conv.bias), model.eval()(x)
    np.testing.assert_allclose(found[name]["conv"], looped(name, maps.numpy()), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(found[name]["fc"], looped(name, logits.numpy()), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("sizes", [[7], [1] * 7, [3, 3, 1], [6, 1]], ids=str)
def test_batches_do_not_matter(sizes: list[int]):
    model = Net().double()
    x = torch.randn(7, 3, 6, 6, dtype=torch.float64)
    whole, parts = (record(model, ["conv"], batches) for batches in ([x], x.split(sizes)))
    for name in ACTIVATION_CRITERIA:
        torch.testing.assert_close(parts[name]["conv"], whole[name]["conv"], rtol=1e-12, atol=1e-14)


def test_variance_survives_a_large_mean():
    """A difference of two large sums would have no digit left."""
    values = torch.randn(1000, 2, dtype=torch.float64)
    moments = criteria.Moments()
    for part in (values + 1e8).split(10):
        moments.add(part)
    np.testing.assert_allclose(moments.combine("variance"), values.numpy().var(0), rtol=1e-6)


def test_pairs_and_plain_inputs_are_both_images():
    model, x = Net(), torch.randn(4, 3, 6, 6)
    pairs = record(model, ["conv"], [(x[:2], torch.zeros(2)), [x[2:], None]])  # type: ignore[list-item]
    plain = record(model, ["conv"], x.split(2))
    assert all(pairs[name]["conv"].equal(plain[name]["conv"]) for name in ACTIVATION_CRITERIA)


def test_half_precision_maps_are_summed_in_float():
    """In float16 a sum over 200 x 200 pixels of 10 is infinite."""
    model: Any = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False)).half()
    model[0].weight.data.fill_(10)
    found = record(model, ["0"], [torch.ones(1, 1, 200, 200).half()])
    assert found["mean-l1"]["0"].item() == 400_000


def test_an_activation_of_ones_own():
    def maximum(maps: Tensor) -> Tensor:
        return maps.flatten(2).amax(2)

    model, x = Net(), torch.randn(5, 3, 6, 6)
    found = record(model, ["conv"], x.split(2), {"peak": Activation(maximum, "variance")})
    with torch.no_grad():
        peaks = model.conv(x).amax((2, 3)).double()
    torch.testing.assert_close(found["peak"]["conv"], peaks.var(0, correction=0))


def test_recording_leaves_the_network_as_it_was():
    model, (x,) = made("vgg16")
    for i, module in enumerate(model.modules()):
        module.training = i % 2 == 0
    before = copy.deepcopy(model.state_dict())
    modes = [m.training for m in model.modules()]
    numbers = torch.get_rng_state()
    record(model, ["features.0", "classifier.0"], [x, x])
    assert [m.training for m in model.modules()] == modes
    assert all(a.equal(b) for a, b in zip(before.values(), model.state_dict().values(), strict=True))
    assert not any(m._forward_hooks for m in model.modules())
    assert all(p.grad is None for p in model.parameters())
    assert torch.get_rng_state().equal(numbers)


@pytest.mark.parametrize(
    "layers, batches", [(["conv"], [torch.randn(1, 9, 6, 6)]), (["conv", "convv"], [torch.randn(1, 3, 6, 6)])]
)
def test_recording_that_fails_leaves_no_hook(layers: list[str], batches: list[Tensor]):
    model = Net()
    with pytest.raises((RuntimeError, PrunekitError)):
        record(model, layers, batches)
    assert not any(m._forward_hooks for m in model.modules())
    assert all(m.training for m in model.modules())


# Refused


def test_unknown_layer_names_the_nearest():
    with pytest.raises(PrunekitError, match=r"no layer 'convv'\. Did you mean 'conv'"):
        record(Net(), ["convv"], [])


def test_unknown_criterion_names_the_nearest():
    with pytest.raises(PrunekitError, match=r"'mean-L1'; the known ones are l1, .*var-l2\. Did you mean 'mean-l1'"):
        criteria.resolve("mean-L1")


def test_not_one_image():
    with pytest.raises(PrunekitError, match=r"there is not one image to score 'conv' on"):
        record(Net(), ["conv"], [])


def test_a_layer_that_the_forward_does_not_call():
    model = Net()
    model.spare = nn.Conv2d(3, 3, 1)
    with pytest.raises(PrunekitError, match=r"not one image to score 'spare' on"):
        record(model, ["conv", "spare"], [torch.randn(1, 3, 6, 6)])


def test_maps_that_are_not_finite():
    with pytest.raises(PrunekitError, match=r"the maps of 'conv' are not finite"):
        record(Net(), ["conv"], [torch.full((1, 3, 6, 6), float("inf"))])


def test_unknown_combination():
    with pytest.raises(PrunekitError, match=r"combine 'median' is not 'mean' or 'variance'"):
        record(Net(), ["conv"], [torch.randn(2, 3, 6, 6)], {"m": Activation(criteria.map_mean, "median")})


@pytest.mark.parametrize("name", CRITERIA)
def test_every_criterion_makes_a_plan(name: str):
    model, (x,) = made("resnet20 pad")
    plan = pk.plan(pk.trace(model, x), {"layer3.*.conv1": 0.5}, criterion=name, data=[x])
    assert {len(kept) for kept in plan.kept.values()} == {8}
    assert plan.criterion == name


def test_lowest_activation_goes_first():
    model, (x,) = made("vgg16")
    plan = pk.plan(pk.trace(model, x), {"features.3": 0.5}, criterion="mean-mean", data=[(x, None)])
    with torch.no_grad():
        means = model.features[:4](x).mean((0, 2, 3))
    assert plan.kept["features.3"] == tuple(means.topk(2).indices.sort().values.tolist())
