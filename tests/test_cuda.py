"""On a GPU: cuts are as exact as on a CPU, recorded steps compute what plain ones do, and jobs may share the GPU."""

import copy
from dataclasses import replace

import pandas as pd
import pytest
import torch
from torch import nn

import prunekit as pk
from prunekit import capturing, turns
from prunekit.data import Batches
from prunekit.ledger import Ledger
from prunekit.paper import together
from prunekit.paper.estimates import divided
from prunekit.paper.experiments import experiment
from prunekit.paper.jobs import Job
from prunekit.paper.settings import setting
from prunekit.recipes import Recipe
from prunekit.train import Compute, evaluate, fit

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")

EXACT = Compute("cuda", torch.float32, channels_last=True)
QUICK = Recipe("quick", epochs=4, learning_rate=0.02, schedule="one-cycle", batch_size=32)


@pytest.fixture(autouse=True)
def float32_means_float32(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def few():
    digits = pk.data.load("digits")
    return replace(digits, train=digits.train.take(slice(110)), test=digits.test.take(slice(100)))


@pytest.mark.parametrize("name", ["vgg16", "resnet20"])
def test_pruned_equals_masked(name):
    torch.manual_seed(0)
    model = pk.nets.build(name, width=0.5).double().cuda().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
    x = torch.randn(4, 3, 32, 32, dtype=torch.float64, device="cuda")
    graph = pk.trace(model, x)
    free = "layer*.conv1" if name == "resnet20" else "features.*"
    plan = pk.plan(graph, {free: 0.5}, criterion="random", seed=1)
    small = pk.prune(model, plan)
    assert {p.device.type for p in small.parameters()} == {"cuda"}
    with torch.inference_mode():
        a, b = small(x), pk.mask(model, plan)(x)
    assert (a - b).abs().max() <= 1e-10 * b.abs().max()


def test_plans_and_files_do_not_depend_on_the_device(tmp_path):
    torch.manual_seed(0)
    model, x = pk.nets.vgg16(width=0.25), torch.zeros(1, 3, 32, 32)
    here = pk.plan(pk.trace(model, x), 0.5)
    on_gpu = copy.deepcopy(model).cuda()
    there = pk.plan(pk.trace(on_gpu, x.cuda()), 0.5)
    assert here == there
    pk.save(pk.prune(on_gpu, there), there, tmp_path / "a.safetensors")
    again = pk.load(tmp_path / "a.safetensors", lambda: pk.nets.vgg16(width=0.25))
    for a, b in zip(again.state_dict().values(), pk.prune(model, here).state_dict().values(), strict=True):
        assert a.equal(b)


def test_a_sweep_counts_what_pruning_counts():
    torch.manual_seed(0)
    model, data = pk.nets.vgg16(width=0.25), few().to("cuda")
    fit(model, data, QUICK, compute=EXACT, watch=())
    x = torch.zeros(1, 3, 32, 32, device="cuda")
    table = pk.sweep(model, Batches(data.test), x, rates=(0.5,), compute=EXACT)
    for layer, correct in zip(table["layer"], table["correct"], strict=True):
        small = pk.prune(model, pk.plan(pk.trace(model, x), {layer: 0.5}))
        assert abs(evaluate(small, Batches(data.test), EXACT).correct - correct) <= 1  # a tie of logits


def test_recorded_steps_compute_what_plain_ones_do(monkeypatch):
    """Two batch sizes, since an epoch's last batch is smaller, and rates that change with each step.

    In double precision: a GPU adds in varying order, and training makes single precision's rounding grow.
    """
    torch.manual_seed(0)
    recorded, data, double = pk.nets.resnet20(width=0.5).double(), few(), replace(EXACT, dtype=torch.float64)
    plain = copy.deepcopy(recorded)
    a = fit(recorded, data, QUICK, seed=3, compute=double)
    with monkeypatch.context() as patch:
        patch.setattr(capturing, "WARM_UP", 10**9)
        b = fit(plain, data, QUICK, seed=3, compute=double)
    pd.testing.assert_frame_equal(a[["epoch", "lr"]], b[["epoch", "lr"]])
    pd.testing.assert_series_equal(a["train_loss"], b["train_loss"], rtol=1e-4)
    for p, q in zip(recorded.state_dict().values(), plain.state_dict().values(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-3, atol=1e-5)
    assert all(p.grad is None for p in recorded.parameters())


def test_dropout_draws_anew_at_each_replay():
    drawn = torch.zeros(8, 1000, device="cuda")
    step = torch.zeros((), dtype=torch.long, device="cuda")

    def draw(x):
        drawn.index_copy_(0, step.view(1), nn.functional.dropout(x, 0.5).view(1, -1))
        step.add_(1)

    captured = capturing.Captured(draw)
    for _ in range(8):
        captured(torch.ones(1000, device="cuda"))
    assert len({tuple(row.tolist()) for row in drawn}) == 8


def test_training_goes_on_from_a_checkpoint(tmp_path, monkeypatch):
    torch.manual_seed(0)
    whole, data = pk.nets.resnet20(width=0.5), few()
    resumed, again = copy.deepcopy(whole), copy.deepcopy(whole)
    a = fit(whole, data, QUICK, compute=EXACT)
    monkeypatch.setattr(pk.train, "PAUSE", 0.0)

    class Enough(Exception):
        pass

    def until_the_third(epoch, *rest):
        if len(torch.load(tmp_path / "a.pt", weights_only=True)["history"]) == 2:
            raise Enough

    with monkeypatch.context() as patch:
        write = pk.train.Run.write
        patch.setattr(pk.train.Run, "write", lambda *args: (write(*args), until_the_third(*args)))
        with pytest.raises(Enough):
            fit(resumed, data, QUICK, compute=EXACT, checkpoint=tmp_path / "a.pt")
    b = fit(again, data, QUICK, compute=EXACT, checkpoint=tmp_path / "a.pt")
    pd.testing.assert_frame_equal(a[["epoch", "lr"]], b[["epoch", "lr"]])
    pd.testing.assert_series_equal(a["train_loss"], b["train_loss"], rtol=0.02)  # grown rounding, as above
    on_cpu = pk.nets.resnet20(width=0.5)
    assert len(fit(on_cpu, data, QUICK, checkpoint=tmp_path / "a.pt")) == 4


def test_several_parts_at_once(tmp_path):
    names = ("baseline-resnet56", "retraining-resnet56-b", "scratch-resnet56-b", "sensitivity-resnet56")
    ledger, digits = Ledger(tmp_path / "results", "digits"), setting("digits")
    work = divided([(experiment(n), Job(n, ledger, digits, 0, progress=False)) for n in names])
    assert [error for _, error in together.at_once(work, 4) if error is not None] == []
    assert not any(experiment(n).missing(Job(n, ledger, digits, 0)) for n in names)
    right = ledger.table("baseline-resnet56").query("split == 'test'")
    assert (right["correct"] > 0.6 * right["total"]).all()


def test_a_model_is_left_where_it_was():
    model = pk.nets.vgg16(width=0.25).cuda().half().to(memory_format=torch.channels_last).train()
    x = torch.zeros(2, 3, 32, 32, device="cuda", dtype=torch.half)
    small = pk.prune(model, pk.plan(pk.trace(model, x), 0.5))
    weight = small.features[3].weight
    assert weight.is_cuda and weight.dtype == torch.half and small.training
    assert weight.is_contiguous(memory_format=torch.channels_last)


def test_turns_are_left_as_they_were():
    with turns.turn(), turns.aside(), turns.turn():
        pass
