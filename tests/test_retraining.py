"""One-shot and iterative retraining, on a small network and a slice of the digits."""

from dataclasses import replace

import pytest
import torch

import prunekit as pk
from prunekit.recipes import Recipe
from prunekit.retraining import iterative, one_shot

RECIPE = Recipe("two epochs", epochs=2, learning_rate=0.01, batch_size=32)
EXAMPLE = torch.zeros(1, 3, 32, 32)
RATES = {"layer1.*.conv1": 0.5, "layer2.0.conv1": 0.25}


@pytest.fixture(scope="module")
def data():
    whole = pk.data.load("digits")
    small = slice(0, 64)
    return replace(
        whole, train=whole.train.take(small), validation=whole.validation.take(small), test=whole.test.take(small)
    )


@pytest.fixture
def model():
    torch.manual_seed(0)
    return pk.nets.resnet(8, width=0.5)


def test_one_shot_prunes_then_trains(model, data):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    plan = pk.plan(pk.trace(model, EXAMPLE), RATES)
    done = one_shot(model, plan, data, RECIPE, progress=False)
    assert done.plans == [plan] and len(done.history) == 2
    pruned = pk.prune(model, plan)
    assert {n: p.shape for n, p in done.model.named_parameters()} == {n: p.shape for n, p in pruned.named_parameters()}
    assert not torch.equal(done.model.conv1.weight, pruned.conv1.weight)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_iterative_takes_the_layers_one_by_one_in_forward_order(model, data):
    done = iterative(model, EXAMPLE, RATES, data, RECIPE, progress=False)
    layers = ["layer1.0.conv1", "layer2.0.conv1"]
    assert [list(plan.kept) for plan in done.plans] == [[layer] for layer in layers]
    assert done.history["layer"].tolist() == [layers[0]] * 2 + [layers[1]] * 2
    assert done.history["step"].tolist() == [1, 1, 2, 2]
    assert done.model.layer1[0].conv1.out_channels == 4 and done.model.layer2[0].conv1.out_channels == 12


def test_iterative_scores_the_network_as_retrained_so_far(model, data):
    done = iterative(model, EXAMPLE, RATES, data, RECIPE, progress=False)
    first = one_shot(model, pk.plan(pk.trace(model, EXAMPLE), {"layer1.0.conv1": 0.5}), data, RECIPE, seed=1)
    second = pk.plan(pk.trace(first.model, EXAMPLE), {"layer2.0.conv1": 0.25})
    assert done.plans[1] == second


def test_iterative_goes_on_from_its_checkpoints(model, data, tmp_path):
    whole = iterative(model, EXAMPLE, RATES, data, RECIPE, checkpoint=tmp_path, progress=False)
    again = iterative(model, EXAMPLE, RATES, data, RECIPE, checkpoint=tmp_path, progress=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step1.pt", "step2.pt"]
    assert whole.history["seconds"].tolist() == again.history["seconds"].tolist()  # read, not made again
    assert all(torch.equal(a, b) for a, b in zip(whole.model.parameters(), again.model.parameters(), strict=True))


def test_a_network_pruned_in_steps_can_be_saved_and_loaded(model, data, tmp_path):
    done = iterative(model, EXAMPLE, RATES, data, RECIPE, progress=False)
    pk.save(done.model, done.plans, tmp_path / "net.safetensors")
    again = pk.load(tmp_path / "net.safetensors", lambda: pk.nets.resnet(8, width=0.5))
    assert all(torch.equal(a, b) for a, b in zip(done.model.parameters(), again.parameters(), strict=True))
