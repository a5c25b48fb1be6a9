"""Training follows its recipe, survives being killed, and stops when the loss is no number."""

import copy
import json
import multiprocessing
import os
import signal
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from odd_nets import full_disk, made
from torch import Tensor, nn
from torch.nn import functional as F

import prunekit as pk
from prunekit.data import Batches, Data, crop
from prunekit.errors import FileError, PrunekitError, TrainingError
from prunekit.recipes import Recipe
from prunekit.train import Compute, evaluate, fit, steps_of

QUICK = Recipe("quick", epochs=4, learning_rate=0.05, schedule="one-cycle", batch_size=32)


class Net(nn.Module):
    """Has BN, whose statistics must be resumed, and dropout, which draws random numbers."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 8, 5, stride=3), nn.BatchNorm2d(8)
        self.dropout, self.fc = nn.Dropout(0.3), nn.Linear(8 * 25, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.bn(self.conv(x))), 2)
        return self.fc(self.dropout(x.flatten(1)))


def net() -> Net:
    torch.manual_seed(0)
    return Net()


def few(images: int = 96) -> Data:
    digits = pk.data.load("digits")
    return replace(digits, train=digits.train.take(slice(images)), test=digits.test.take(slice(100)))


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(x.equal(y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


# Fit


def test_fit_equals_a_plain_loop():
    """SGD with momentum and weight decay, written out; every epoch's images by its own seed."""
    data, model, recipe = few(), net(), replace(QUICK, schedule="constant", epochs=2)
    history = fit(model, data, recipe, seed=5, watch=())
    plain = net()
    speed = {p: torch.zeros_like(p) for p in plain.parameters()}
    for epoch in (1, 2):
        torch.manual_seed(5000 + epoch)
        losses, correct = [], 0
        for x, y in Batches(data.train, 32, seed=5000 + epoch, augmentation=crop):
            logits = plain.train()(x)
            loss = F.cross_entropy(logits, y)
            plain.zero_grad()
            loss.backward()
            for p, v in speed.items():
                assert p.grad is not None
                v.mul_(0.9).add_(p.grad + 1e-4 * p.data)
                p.data -= 0.05 * v
            losses.append(loss.item())
            correct += int((logits.argmax(1) == y).sum())
        assert history.train_loss[epoch - 1] == pytest.approx(np.mean(losses), rel=1e-5)
        assert history.train_accuracy[epoch - 1] == correct / 96
    for a, b in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_a_seed_repeats_training_and_another_does_not():
    a, b, c = net(), net(), net()
    for model, seed in ((a, 1), (b, 1), (c, 2)):
        fit(model, few(), replace(QUICK, epochs=1), seed=seed)
    assert same(a, b) and not same(a, c)


def test_history_has_a_row_per_epoch():
    history = fit(net(), few(), QUICK)
    assert list(history.columns) == [
        "epoch", "lr", "train_loss", "train_accuracy", "validation_correct", "validation_total", "test_correct",
        "test_total", "seconds",
    ]  # fmt: skip
    assert history.epoch.tolist() == [1, 2, 3, 4]
    assert (history.validation_total == 200).all() and (history.test_total == 100).all()
    assert (history.seconds > 0).all()


def test_it_learns_digits():
    history = fit(net(), pk.data.load("digits"), Recipe("short", 5, 0.05, "one-cycle"), watch=("validation",))
    assert history.validation_correct.iloc[-1] / 200 > 0.8  # by chance it would be 0.1
    assert history.train_loss.is_monotonic_decreasing


def test_the_model_can_be_used_afterwards():
    model = net()
    fit(model, few(), replace(QUICK, epochs=1), watch=())
    assert all(p.requires_grad and torch.isfinite(p).all() for p in model.parameters())
    small = pk.prune(model, pk.plan(pk.trace(model, torch.randn(1, 3, 32, 32)), 0.5))
    fit(small, few(), replace(QUICK, epochs=1), watch=())
    assert small.eval()(torch.randn(2, 3, 32, 32)).shape == (2, 10)
    copy.deepcopy(model)


def test_frozen_parameters_stay():
    model = net()
    model.conv.requires_grad_(False)
    before = model.conv.weight.clone()
    fit(model, few(), replace(QUICK, epochs=1), watch=())
    assert model.conv.weight.equal(before)
    assert not model.conv.weight.requires_grad


def test_the_history_reports_the_rate_of_the_last_step():
    history = fit(net(), few(), replace(QUICK, schedule="steps", milestones=(1, 3)), watch=())
    np.testing.assert_allclose(history.lr, [0.05, 0.005, 0.005, 0.0005])


def test_unknown_schedule():
    with pytest.raises(PrunekitError, match=r"Recipe 'quick': schedule 'cosine' is not steps, one-cycle or constant"):
        fit(net(), few(), replace(QUICK, schedule="cosine"))


# Killed and gone on


def train_and_die(checkpoint: str, death: tuple[str, int]) -> None:
    """Train; at batch number n, or while the n-th checkpoint is half written, the process kills itself."""
    torch.set_num_threads(1)
    batches = writes = 0

    def deadly(images: Tensor, generator: torch.Generator) -> Tensor:
        nonlocal batches
        batches += 1
        if death == ("batch", batches):
            os.kill(os.getpid(), signal.SIGKILL)
        return crop(images, generator)

    def half(state: object, path: Path) -> None:
        nonlocal writes
        writes += 1
        save(state, path)
        if death == ("write", writes):
            os.truncate(path, path.stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    save, torch.save = torch.save, half
    fit(net(), replace(few(), augmentation=deadly), QUICK, seed=3, checkpoint=checkpoint)


def in_a_process(checkpoint: Path, death: tuple[str, int]) -> int | None:
    """Exit code of `train_and_die` in a process of its own."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["prunekit", "sklearn.datasets", "torch._dynamo"])  # imported once for all
    process = context.Process(target=train_and_die, args=(str(checkpoint), death))
    process.start()
    process.join(300)
    return process.exitcode


def test_killed_again_and_again_it_comes_to_the_same_end(tmp_path: Path):
    """Killed in the second epoch, while the third is written, and in the last one; an epoch has three batches."""
    file, whole, resumed = tmp_path / "a.pt", net(), net()
    done = []
    for death in (("batch", 5), ("write", 2), ("batch", 6)):
        assert in_a_process(file, death) == -signal.SIGKILL
        done.append(len(torch.load(file)["history"]))
    assert done == [1, 2, 3]
    a = fit(whole, few(), QUICK, seed=3)
    b = fit(resumed, few(), QUICK, seed=3, checkpoint=file)
    assert same(whole, resumed)
    pd.testing.assert_frame_equal(a.drop(columns="seconds"), b.drop(columns="seconds"), check_exact=True)


def test_a_finished_run_is_read_back(tmp_path: Path):
    first, second = net(), net()
    history = fit(first, few(), QUICK, checkpoint=tmp_path / "a.pt")
    again = fit(second, few(), QUICK, checkpoint=tmp_path / "a.pt")
    assert same(first, second)
    pd.testing.assert_frame_equal(history, again)


def test_the_folder_of_a_checkpoint_is_made(tmp_path: Path):
    fit(net(), few(), replace(QUICK, epochs=1), checkpoint=tmp_path / "a" / "b" / "c.pt")
    assert [p.name for p in (tmp_path / "a" / "b").iterdir()] == ["c.pt"]


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"recipe": replace(QUICK, epochs=5)}, {"recipe": replace(QUICK, weight_decay=0.1)}, {"net": 1}],
    ids=["seed", "epochs", "decay", "network"],
)
def test_a_checkpoint_of_another_run(tmp_path: Path, change: dict):
    file = tmp_path / "a.pt"
    fit(net(), few(), replace(QUICK, epochs=1), checkpoint=file)
    fit(net(), few(), replace(QUICK, epochs=1), checkpoint=file)
    before = file.read_bytes()
    model = pk.nets.resnet20(width=1 / 16) if "net" in change else net()
    with pytest.raises(
        TrainingError, match=r"a.pt is another run's.*Remove it to start again, or give this run a file"
    ):
        fit(model, few(), change.get("recipe", replace(QUICK, epochs=1)), change.get("seed", 0), checkpoint=file)
    assert file.read_bytes() == before


@pytest.mark.parametrize("other", ["bfloat16", "fewer images"])
def test_a_checkpoint_of_another_number_format_or_of_other_images(tmp_path: Path, other: str):
    file, once = tmp_path / "a.pt", replace(QUICK, epochs=1)
    fit(net(), few(), once, checkpoint=file, watch=())
    data = replace(few(), train=few().train.take(slice(0, -1))) if other == "fewer images" else few()
    compute = Compute(dtype=torch.bfloat16) if other == "bfloat16" else Compute()
    with pytest.raises(TrainingError, match=r"a.pt is another run's"):
        fit(net(), data, once, compute=compute, checkpoint=file, watch=())


def test_a_checkpoint_of_an_earlier_version_is_gone_on_from(tmp_path: Path):
    """It did not note how many images there are and the number format."""
    file, once = tmp_path / "a.pt", replace(QUICK, epochs=1)
    fit(net(), few(), once, checkpoint=file, watch=())
    state = torch.load(file, weights_only=True)
    noted = json.loads(state["identity"])
    old = {name: noted[name] for name in ("recipe", "seed", "data", "shapes")}
    torch.save(state | {"identity": json.dumps(old, sort_keys=True)}, file)
    assert len(fit(net(), few(), once, checkpoint=file, watch=())) == 1
    torch.save(state | {"identity": json.dumps(old | {"seed": 7})}, file)
    with pytest.raises(TrainingError, match=r"a.pt is another run's"):
        fit(net(), few(), once, checkpoint=file, watch=())


@pytest.mark.parametrize("images, steps", [(1, 1), (2, 1), (16, 1), (17, 1), (18, 2), (33, 2)])
def test_a_last_batch_of_one_image_is_left_out(images: int, steps: int):
    """BN over vectors refuses to train on one image."""
    data = replace(few(), train=few().train.take(slice(0, images)))
    recipe = replace(QUICK, epochs=1, batch_size=16, schedule="constant")
    assert steps_of(data, recipe) == steps
    model = pk.nets.vgg16(width=1 / 16) if images > 1 else pk.nets.resnet(8, width=1 / 4)
    fit(model, data, recipe, watch=())
    batches = model.classifier[1].num_batches_tracked if images > 1 else model.bn1.num_batches_tracked
    assert batches.item() == steps


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> bytes:
    file = tmp_path_factory.mktemp("checkpoint") / "a.pt"
    fit(net(), few(), replace(QUICK, epochs=1), checkpoint=file, watch=())
    return file.read_bytes()


@pytest.mark.parametrize("keep", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_checkpoint(tmp_path: Path, written: bytes, keep: float):
    file = tmp_path / "a.pt"
    file.write_bytes(written[: int(keep * len(written))])
    with pytest.raises(TrainingError, match=r"a.pt cannot be read .*Remove it to start again"):
        fit(net(), few(), replace(QUICK, epochs=1), checkpoint=file)


def test_a_flipped_byte_is_noticed_or_harmless(tmp_path: Path, written: bytes):
    """Never are other weights taken for the ones that were trained."""
    file, right, data, noticed = tmp_path / "a.pt", net(), few(), 0
    file.write_bytes(written)
    fit(right, data, replace(QUICK, epochs=1), checkpoint=file, watch=())
    for where in range(7, len(written), len(written) // 150):
        damaged = bytearray(written)
        damaged[where] ^= 0x10
        file.write_bytes(damaged)
        model = net()
        try:
            fit(model, data, replace(QUICK, epochs=1), checkpoint=file, watch=())
            assert same(right, model), where
        except TrainingError:
            noticed += 1
    assert noticed > 75


@pytest.mark.parametrize(
    "thing", [torch.zeros(3), [1, 2], {"model": {}}, "text"], ids=["tensor", "list", "dict", "str"]
)
def test_a_file_that_is_no_checkpoint(tmp_path: Path, thing: object):
    torch.save(thing, tmp_path / "a.pt")
    with pytest.raises(TrainingError, match=r"a.pt (is another run's|cannot be read)"):
        fit(net(), few(), QUICK, checkpoint=tmp_path / "a.pt")


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path: Path):
    file, stack = tmp_path / "a.pt", ExitStack()

    def fills_the_disk(images: Tensor, generator: torch.Generator) -> Tensor:
        if file.exists():
            stack.enter_context(full_disk(10_000))
        return crop(images, generator)

    with stack, pytest.raises(FileError, match=r"a.pt could not be written.*What it held before is untouched"):
        fit(net(), replace(few(), augmentation=fills_the_disk), QUICK, checkpoint=file)
    assert [p.name for p in tmp_path.iterdir()] == ["a.pt"]
    assert len(torch.load(file)["history"]) == 1
    resumed, whole = net(), net()
    fit(resumed, few(), QUICK, checkpoint=file)
    fit(whole, few(), QUICK)
    assert same(resumed, whole)


# A loss that is no number


def test_a_loss_that_is_not_finite():
    with pytest.raises(
        TrainingError, match=r"not finite any more: epoch 1, step 3, learning rate 1e\+20.*smaller.* 1e\+20"
    ):
        fit(net(), few(), replace(QUICK, schedule="constant", learning_rate=1e20))


def test_weights_that_the_last_step_broke():
    """One step, whose loss was still finite: what comes out of it is not to be used, nor written down."""
    recipe = replace(QUICK, schedule="constant", learning_rate=1e10, weight_decay=1e30, epochs=1)
    with pytest.raises(TrainingError, match=r"weights are not finite any more: epoch 1, step 1"):
        fit(net(), few(32), recipe)


def test_a_checkpoint_holds_the_epoch_before(tmp_path: Path):
    file, model = tmp_path / "a.pt", net()
    data = few()

    def poisoned(images: Tensor, generator: torch.Generator) -> Tensor:
        if file.exists():
            model.fc.weight.data.fill_(float("nan"))
        return images

    with pytest.raises(TrainingError, match="epoch 2"):
        fit(model, replace(data, augmentation=poisoned), QUICK, checkpoint=file)
    state = torch.load(file)
    assert len(state["history"]) == 1
    assert all(torch.isfinite(t).all() for t in state["model"].values())


# Evaluate


def test_evaluate_counts_by_hand():
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0], [0.0, 0.5]])
    labels = torch.tensor([0, 1, 1, 1])
    score = evaluate(nn.Identity(), zip(logits.split(3), labels.split(3), strict=True))
    assert (score.correct, score.total, score.accuracy) == (3, 4, 0.75)
    wanted = [-np.log(np.exp(row[y]) / np.exp(row).sum()) for row, y in zip(logits.numpy(), labels, strict=True)]
    assert score.loss == pytest.approx(np.mean(wanted), rel=1e-6)


def test_evaluate_leaves_the_model_as_it_was():
    model, (x,) = made("vgg16", dtype=torch.float32)
    for i, module in enumerate(model.modules()):
        module.training = i % 3 == 0
    modes, before = [m.training for m in model.modules()], copy.deepcopy(model)
    evaluate(model, [(x, torch.zeros(2).long())])
    assert [m.training for m in model.modules()] == modes
    assert same(model, before)
    with pytest.raises(RuntimeError):
        evaluate(model, [(x[:, :1], torch.zeros(2).long())])
    assert [m.training for m in model.modules()] == modes


def test_evaluate_looks_at_the_model_in_eval_mode():
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.999), nn.Linear(4, 2))
    batches = [(torch.randn(50, 4), torch.zeros(50).long())]
    assert evaluate(model, batches) == evaluate(model, batches)


def test_evaluate_without_images():
    with pytest.raises(PrunekitError, match="not one image"):
        evaluate(nn.Identity(), [])


# Number formats


def test_channels_last_agrees_with_the_usual_layout():
    model, _ = made("vgg16", dtype=torch.float32)
    batches = Batches(few().test, 50)
    plain = evaluate(model, batches)
    other = Compute(channels_last=True)
    assert model.features[3].weight.is_contiguous(memory_format=torch.channels_last) is False
    assert other.place(model) is model
    assert model.features[3].weight.is_contiguous(memory_format=torch.channels_last)
    assert evaluate(model, batches, other).loss == pytest.approx(plain.loss, rel=1e-5)


@pytest.mark.parametrize("dtype, bound", [(torch.bfloat16, 0.05), (torch.float16, 0.01)])
def test_half_precision_agrees_within_its_digits(dtype: torch.dtype, bound: float):
    """Eight bits of mantissa make an error of 1/256 a layer, eleven make 1/2048."""
    model, _ = made("vgg16", dtype=torch.float32)
    batches = Batches(few().test, 50)
    half = evaluate(model, batches, Compute(dtype=dtype))
    assert half.loss == pytest.approx(evaluate(model, batches).loss, rel=bound)
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_bfloat16_trains_to_nearly_the_same():
    plain, half = net(), net()
    data = few()
    a = fit(plain, data, QUICK)
    b = fit(half, data, QUICK, compute=Compute(dtype=torch.bfloat16, channels_last=True))
    assert {p.dtype for p in half.parameters()} == {torch.float32}
    np.testing.assert_allclose(a.train_loss, b.train_loss, rtol=0.05)


def test_double_precision():
    model = net().double()
    batches = Batches(few().test, 50)
    score = evaluate(model, batches, Compute(dtype=torch.float64))
    assert score.loss == pytest.approx(evaluate(model.float(), batches).loss, rel=1e-5)


def test_a_batch_is_placed():
    x = torch.randn(2, 3, 4, 4)
    assert Compute().batch(x) is x
    assert Compute().batch(x[:, :, ::2]).equal(x[:, :, ::2])  # not contiguous
    assert Compute(dtype=torch.float64).batch(x).dtype == torch.float64
    assert Compute(dtype=torch.bfloat16).batch(x).dtype == torch.float32  # autocast converts where it is safe
    assert Compute(channels_last=True).batch(x).is_contiguous(memory_format=torch.channels_last)
