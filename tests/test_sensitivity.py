"""A sweep counts what pruning each layer and evaluating would count, in one pass that a kill does not hurt."""

import copy
import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from odd_nets import ODD, Viewed, full_disk, logits, made
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import prunekit as pk
from prunekit.criteria import CRITERIA, Activation
from prunekit.errors import FileError, PlanError, PrunekitError, SurgeryError
from prunekit.plans import colors_gone
from prunekit.sensitivity import possible
from prunekit.train import Compute, evaluate
from prunekit.walking import Fork, Walker, fold

DOUBLE = Compute(dtype=torch.float64)
Pairs = list[tuple[Tensor, Tensor]]


def task(name: str, images: int = 40, dtype: torch.dtype = torch.float64) -> tuple[Any, Tensor, Pairs]:
    """A network, an example, and batches of noise with labels that the network gets right, but for a few."""
    model, (example, *_) = made(name, dtype=dtype)
    x = torch.randn(images, *example.shape[1:], dtype=dtype)
    last = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    with torch.no_grad():
        last.bias -= logits(model(x)).mean(0)  # or one class would be the answer to everything
        y = logits(model(x)).argmax(1)
    y[::5] = 0
    return model, x[:1], list(zip(x.split(16), y.split(16), strict=True))


def one_by_one(
    model: nn.Module, batches: Pairs, example: Tensor, table: pd.DataFrame, compute: Compute = DOUBLE, **how: Any
) -> list[int]:
    """What each row of `table` must say: plan, prune, evaluate."""
    graph, correct = pk.trace(model, example), []
    for layer, criterion, rate in zip(table.layer, table.criterion, table.rate, strict=True):
        small = pk.prune(model, pk.plan(graph, {layer: rate}, criterion=criterion, **how))
        correct.append(evaluate(small, batches, compute).correct)
    return correct


# The counts


@pytest.mark.parametrize("name", ["vgg16", "resnet20 pad", "resnet20 projection"])
def test_counts_are_those_of_prune_and_evaluate(name: str):
    model, example, batches = task(name)
    table = pk.sweep(model, batches, example, rates=(0.25, 0.75), compute=DOUBLE)
    assert table.correct.tolist() == one_by_one(model, batches, example, table)
    assert table.correct.nunique() > 3  # or the test could not fail
    assert set(table.total) == {40}
    assert set(table.baseline_correct) == {evaluate(model, batches, DOUBLE).correct}


@pytest.mark.parametrize(
    "name, layers",
    [
        ("resnet20 pad", ["conv1", "layer1.1.conv2", "layer2.0.conv2", "layer3.2.conv2"]),
        ("resnet20 projection", ["conv1", "layer2.0.downsample.0", "layer3.1.conv2"]),
        ("vgg16", ["classifier.0"]),
    ],
)
def test_tied_layers_and_linear_layers(name: str, layers: list[str]):
    model, example, batches = task(name)
    table = pk.sweep(model, batches, example, rates=(0.25, 0.5), layers=layers, compute=DOUBLE)
    assert table.layer.unique().tolist() == layers
    assert table.correct.tolist() == one_by_one(model, batches, example, table)


ONE_INPUT = [name for name in ODD if name not in ("two inputs", "normalized")]


@pytest.mark.parametrize("name", ONE_INPUT)
def test_odd_networks(name: str):
    """Among them one with an in-place ReLU on the maps that its shortcut carries, and a weight under two names."""
    model, example, batches = task(name)
    graph = pk.trace(model, example)
    layers = [layer for layer in graph.layers if not set(graph.colors(layer)) & set(graph.reasons)]
    table = pk.sweep(
        model, batches, example, rates=(0.25,) if name == "doubled" else (0.2, 0.5), layers=layers, compute=DOUBLE
    )
    assert table.correct.tolist() == one_by_one(model, batches, example, table)


def test_all_criteria_in_one_sweep():
    model, example, batches = task("vgg16")
    layers = ["features.0", "features.24"]
    how = {"data": batches, "seed": 3}
    table = pk.sweep(model, batches, example, (0.5, 0.2, 0.75), CRITERIA, layers, compute=DOUBLE, **how)
    assert table.criterion.tolist() == [name for _ in layers for name in CRITERIA for _ in range(3)]
    assert table.correct.tolist() == one_by_one(model, batches, example, table, **how)


def test_criteria_of_ones_own():
    def first(weight: Tensor) -> Tensor:
        return weight.flatten(1)[:, 0]

    def peak(maps: Tensor) -> Tensor:
        return maps.flatten(2).amax(2)

    model, example, batches = task("vgg16")
    mine = [first, Activation(peak)]
    table = pk.sweep(model, batches, example, (0.5,), mine, ["features.3"], data=batches, compute=DOUBLE)
    assert table.criterion.tolist() == ["first", "peak"]
    plans = [
        pk.plan(pk.trace(model, example), {"features.3": 0.5}, criterion=c, data=[x for x, _ in batches]) for c in mine
    ]
    assert table.correct.tolist() == [evaluate(pk.prune(model, p), batches, DOUBLE).correct for p in plans]


@pytest.mark.parametrize("channels_last", [False, True])
def test_in_float32_only_ties_differ(channels_last: bool):
    """Every image that is counted otherwise has two logits that are equal but for rounding."""
    model, example, batches = task("vgg16", dtype=torch.float32)
    compute = Compute(channels_last=channels_last)
    table = pk.sweep(model, batches, example, rates=(0.25, 0.75), compute=compute)
    graph = pk.trace(model, example)
    for layer, rate, counted in zip(table.layer, table.rate, table.correct, strict=True):
        small = pk.prune(model, pk.plan(graph, {layer: rate}))
        ties = correct = 0
        with torch.inference_mode():
            for x, y in batches:
                out = small(compute.batch(x))
                first, second = out.topk(2).values.T
                ties += int((first - second <= 1e-5 * out.abs().max()).sum())
                correct += int((out.argmax(1) == y).sum())
        assert abs(counted - correct) <= ties < 20, layer


def test_bfloat16_is_as_near_to_float32_as_the_pruned_networks_are():
    """Rounding goes another way in a sweep, but no further."""
    model, example, batches = task("vgg16", dtype=torch.float32)
    compute, x = Compute(dtype=torch.bfloat16), torch.cat([x for x, _ in batches])
    graph = pk.trace(copy.deepcopy(model).eval(), example)
    plans = [[pk.plan(graph, {layer: rate}) for rate in (0.25, 0.75)] for layer in graph.free()]
    with torch.inference_mode():
        small = [[pk.prune(graph.model, plan) for plan in of_layer] for of_layer in plans]
        exact = torch.stack([torch.stack([net(x) for net in of_layer]) for of_layer in small])
        with compute.autocast():
            one_by_one = torch.stack([torch.stack([net(x) for net in of_layer]) for of_layer in small])
    fold(graph)
    walker = Walker(graph)
    forks = [Fork(walker, [colors_gone(graph, plan) for plan in of_layer]) for of_layer in plans]
    with torch.no_grad(), compute.autocast():
        trunk, found = walker.start(x), []
        for before, fork in zip([None, *forks], forks, strict=False):
            walker.walk(trunk, before.start if before else 0, fork.start)
            found.append(fork.answers(trunk))

    def error(logits: Tensor) -> float:
        return float((logits.float() - exact).pow(2).mean().sqrt())

    assert 0 < error(torch.stack(found)) <= 1.1 * error(one_by_one)


def test_rows_and_columns():
    model, example, batches = task("resnet20 pad")
    table = pk.sweep(
        model, batches[:1], example, rates=(0.1, 0.5), criterion=["l1", "l2"], layers="layer3.*.conv1", compute=DOUBLE
    )
    assert list(table.columns) == [
        "layer", "criterion", "rate", "filters", "kept", "correct", "total", "baseline_correct",
    ]  # fmt: skip
    layers = [f"layer3.{b}.conv1" for b in range(3)]
    rows = [(layer, c, r, 16, k) for layer in layers for c in ("l1", "l2") for r, k in ((0.1, 14), (0.5, 8))]
    assert list(table.iloc[:, :5].itertuples(index=False, name=None)) == rows


def test_the_paper_sweeps_nine_rates():
    model, example, batches = task("viewed")
    model.a, model.bn, model.fc = (nn.Conv2d(3, 10, 3, padding=1), nn.BatchNorm2d(10), nn.Linear(40, 3))
    table = pk.sweep(model.double(), batches, example, compute=DOUBLE)
    assert table.kept.tolist() == [9, 8, 7, 6, 5, 4, 3, 2, 1]


def test_by_default_a_narrow_layer_has_the_rates_that_leave_a_filter():
    model, example, batches = task("vgg16")
    table = pk.sweep(model, batches, example, layers=["features.0", "features.14"], compute=DOUBLE)
    kept = {layer: rows.kept.tolist() for layer, rows in table.groupby("layer")}
    assert kept == {"features.0": [3, 3, 2, 2, 2, 1, 1], "features.14": [14, 12, 11, 9, 8, 6, 4, 3, 1]}
    assert table.correct.tolist() == one_by_one(model, batches, example, table)
    for n in range(1, 30):
        assert possible(n) == [k / 10 for k in range(1, 10) if n * (10 - k) >= 10]


def test_images_from_a_data_loader():
    model, example, batches = task("vgg16", dtype=torch.float32)
    images = TensorDataset(*(torch.cat(part) for part in zip(*batches, strict=True)))
    loader = DataLoader(images, batch_size=16)
    table = pk.sweep(model, loader, example, (0.5,), ["mean-l1", "l1"], ["features.0"], data=loader)
    wanted = pk.sweep(model, batches, example, (0.5,), ["mean-l1", "l1"], ["features.0"], data=batches)
    pd.testing.assert_frame_equal(table, wanted)


# The model, and the images, are left alone


def test_the_model_is_left_as_it_was():
    model, example, batches = task("pre-activation")
    for i, module in enumerate(model.modules()):
        module.training = i % 2 == 0
    before = [(id(t), t._version, t.detach().clone()) for t in model.state_dict(keep_vars=True).values()]
    modes, numbers = [m.training for m in model.modules()], torch.get_rng_state()
    images = [(x.clone(), y.clone()) for x, y in batches]
    pk.sweep(model, batches, example, (0.5,), ["l1", "mean-l1", "random"], data=batches, compute=DOUBLE)
    after = [(id(t), t._version) for t in model.state_dict(keep_vars=True).values()]
    assert after == [(i, version) for i, version, _ in before]
    assert all(a.equal(b) for (_, _, a), b in zip(before, model.state_dict().values(), strict=True))
    assert [m.training for m in model.modules()] == modes
    assert not any(m._forward_hooks for m in model.modules())
    assert torch.get_rng_state().equal(numbers)
    assert all(x.equal(w) and y.equal(v) for (x, y), (w, v) in zip(batches, images, strict=True))


def test_what_comes_before_a_layer_is_computed_once():
    model, example, batches = task("vgg16")
    calls = []
    model.features[0].register_forward_hook(lambda module, args, out: calls.append(len(out)))
    pk.sweep(model, batches, example, rates=(0.25, 0.5, 0.75), layers=["features.40"], compute=DOUBLE)
    pruned_and_masked, operations_and_network, classes = 1 + 1, 3 + 2 + 3, 1  # images of noise, on which all is checked
    assert sum(calls) == 40 + pruned_and_masked + operations_and_network + classes


# Killed and gone on


class Deadly:
    """Batches that kill the process before batch n is handed out."""

    def __init__(self, batches: Pairs, death: int):
        self.batches, self.death = batches, death

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for number, batch in enumerate(self.batches):
            if number == self.death:
                os.kill(os.getpid(), signal.SIGKILL)
            yield batch


def sweep_and_die(checkpoint: str, death: int) -> None:
    torch.set_num_threads(1)
    model, example, batches = task("viewed")
    pk.sweep(model, Deadly(batches, death), example, (0.2, 0.5), compute=DOUBLE, checkpoint=checkpoint)


def test_killed_in_the_middle_it_comes_to_the_same_counts(tmp_path: Path):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["prunekit", "torch._dynamo"])
    file = tmp_path / "sweep.json"
    for death in (1, 2):
        process = context.Process(target=sweep_and_die, args=(str(file), death))
        process.start()
        process.join(300)
        assert process.exitcode == -signal.SIGKILL
        assert len(json.loads(file.read_text())["seen"]) == death
    model, example, batches = task("viewed")
    whole = pk.sweep(model, batches, example, (0.2, 0.5), compute=DOUBLE)
    resumed = pk.sweep(model, batches, example, (0.2, 0.5), compute=DOUBLE, checkpoint=file)
    pd.testing.assert_frame_equal(resumed, whole)


def interrupted(file: Path, **how: Any) -> tuple[Any, Tensor, Pairs]:
    """A checkpoint of a sweep that stopped after two of three batches, and what it swept."""
    model, example, batches = task("viewed")

    def stopping() -> Iterator[tuple[Tensor, Tensor]]:
        yield from batches[:2]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pk.sweep(model, stopping(), example, (0.5,), compute=DOUBLE, checkpoint=file, **how)
    return model, example, batches


def test_counted_batches_are_not_computed_again(tmp_path: Path):
    model, example, batches = interrupted(tmp_path / "a")
    calls = []
    model.a.register_forward_hook(lambda module, args, out: calls.append(len(out)))
    table = pk.sweep(model, batches, example, (0.5,), compute=DOUBLE, checkpoint=tmp_path / "a")
    assert [n for n in calls if n > 3] == [8]  # the third batch; the rest are checks
    calls.clear()
    again = pk.sweep(model, batches, example, (0.5,), compute=DOUBLE, checkpoint=tmp_path / "a")
    assert not [n for n in calls if n > 3]
    pd.testing.assert_frame_equal(again, table)


@pytest.mark.parametrize("change", ["weights", "rates", "criterion", "seed", "images", "order", "fewer", "format"])
def test_a_checkpoint_of_another_sweep(tmp_path: Path, change: str):
    """Whatever would mix two sweeps is refused, and the file stays for the one that it belongs to."""
    file = tmp_path / "a"
    model, example, batches = interrupted(file, criterion="random", seed=1)
    rates, how = (0.5,), {"criterion": "random", "seed": 1, "compute": DOUBLE}
    before = file.read_bytes()
    match change:
        case "weights":
            model.a.weight.data[0, 0, 0, 0] += 1
        case "rates":
            rates = (0.5, 0.2)
        case "criterion":
            how["criterion"] = "l1"
        case "seed":
            how["seed"] = 2
        case "images":
            batches[1][0][0, 0, 0, 0] += 1
        case "order":
            batches.reverse()
        case "fewer":
            batches = batches[:1]
        case "format":
            model, batches, how["compute"] = model.float(), [(x.float(), y) for x, y in batches], Compute()
    with pytest.raises(FileError, match=r"a (is another sweep's|counted other images).*Remove it, or give this sweep"):
        pk.sweep(model, batches, example.to(model.a.weight.dtype), rates, checkpoint=file, **how)
    assert file.read_bytes() == before


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "{}", '{"identity": 1}', "\0\0", "7"])
def test_a_damaged_checkpoint(tmp_path: Path, content: str):
    (tmp_path / "a").write_text(content)
    model, example, batches = task("viewed")
    with pytest.raises(FileError, match=r"a is (damaged|another sweep's).*Remove it"):
        pk.sweep(model, batches, example, (0.5,), compute=DOUBLE, checkpoint=tmp_path / "a")


@pytest.mark.parametrize("part", ["seen", "total", "baseline", "correct"])
@pytest.mark.parametrize("value", [None, "x", [1, 2, 3]], ids=str)
def test_a_checkpoint_with_a_wrong_part(tmp_path: Path, part: str, value: object):
    model, example, batches = interrupted(tmp_path / "a")
    state = json.loads((tmp_path / "a").read_text())
    (tmp_path / "a").write_text(json.dumps(state | {part: value}))
    with pytest.raises(FileError, match="Remove it"):
        pk.sweep(model, batches, example, (0.5,), compute=DOUBLE, checkpoint=tmp_path / "a")


def test_a_full_disk_keeps_the_counts_so_far(tmp_path: Path):
    model, example, batches = interrupted(tmp_path / "a")
    before = (tmp_path / "a").read_bytes()
    with full_disk(100), pytest.raises(FileError, match=r"a could not be written.*untouched"):
        pk.sweep(model, batches, example, (0.5,), compute=DOUBLE, checkpoint=tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == before
    assert os.listdir(tmp_path) == ["a"]  # noqa: PTH208 - hidden files count, too


# Refused


def test_not_one_image():
    model, example, _ = task("viewed")
    with pytest.raises(PrunekitError, match=r"not one image in `batches`"):
        pk.sweep(model, [], example, (0.5,), compute=DOUBLE)


BATCH = torch.randn(4, 3, 8, 8).double(), torch.arange(4) % 3


@pytest.mark.parametrize(
    "batch, message",
    [
        (
            (BATCH[0], torch.eye(4)[:, :3]),
            r"of shape \(4,\), from 0 to 2, and they are float32 of shape \(4, 3\)",
        ),
        ((BATCH[0], torch.eye(4)[:, :3].long()), r"they are int64 of shape \(4, 3\)"),
        ((BATCH[0], BATCH[1] + 10), r"from 0 to 2, and they go from 10 to 12"),
        ((BATCH[0], BATCH[1] - 1), r"they go from -1 to 1"),
        ((BATCH[0][:2], BATCH[1]), r"of shape \(2,\)"),
        (
            (BATCH[0][:, :2], BATCH[1]),
            r"shape \(4, 2, 8, 8\), and that of the example is \(1, 3, 8, 8\): Given",
        ),
    ],
)
def test_images_and_labels_that_are_not_the_networks(batch: tuple[Tensor, Tensor], message: str):
    model, example, _ = task("viewed")
    with pytest.raises(PrunekitError, match=rf"batch 2: .*{message}"):
        pk.sweep(model, [BATCH, batch], example, (0.5,), compute=DOUBLE)


def test_the_example_comes_after_the_batches():
    model, example, batches = task("viewed")
    with pytest.raises(PrunekitError, match=r"takes an example input after the batches, .*, not a list"):
        pk.sweep(model, example, batches)  # type: ignore[arg-type]


def test_no_rates():
    model, example, batches = task("viewed")
    with pytest.raises(PlanError, match="not one rate"):
        pk.sweep(model, batches, example, (), compute=DOUBLE)


def test_nothing_to_sweep():
    model, example, batches = task("normalized")
    with pytest.raises(PlanError, match=r"No conv layer of this network can lose filters alone: name the layers"):
        pk.sweep(model, batches, example, (0.5,), compute=DOUBLE)


@pytest.mark.parametrize(
    "how, message",
    [
        ({"layers": ["aa"]}, r"no layer 'aa'\. Did you mean 'a'"),
        ({"layers": ["fc"]}, r"'fc' cannot lose .* it reaches the network's output"),
        ({"rates": (0.5, 1.0)}, r"rate 1.0 is not a share"),
        ({"rates": (0.9,)}, r"rate 0.9 of 6 filters would leave none"),
        ({"criterion": "l3"}, r"Unknown criterion 'l3'"),
        ({"criterion": ["l1", "l1"]}, r"Two criteria are called 'l1'"),
        ({"criterion": "mean-l1"}, r"pass images as `data`"),
    ],
)
def test_refused_before_a_single_image(how: dict[str, Any], message: str):
    model, example, _ = task("viewed")

    def untouched() -> Iterator[tuple[Tensor, Tensor]]:
        raise AssertionError("an image was asked for")
        yield

    with pytest.raises(PrunekitError, match=message):
        pk.sweep(model, untouched(), example, **({"rates": (0.5,), "compute": DOUBLE} | how))


@pytest.mark.parametrize(
    "answer, found",
    [
        (lambda logits: (logits, logits), r"returns a tuple\."),
        (lambda logits: [logits], r"returns a list\."),
        (lambda logits: {"out": logits}, r"returns a dict\."),
        (lambda logits: logits[:, :, None], r"returns shape \(1, 3, 1\) for 1 images"),
    ],
)
def test_a_network_that_returns_more_than_logits(answer: Callable[[Tensor], Any], found: str):
    class Answers(Viewed):
        def forward(self, x: Tensor) -> Any:
            return answer(super().forward(x))

    with pytest.raises(PrunekitError, match=rf"logits of shape \(n, classes\), and this one {found}"):
        pk.sweep(Answers(), [BATCH], BATCH[0][:1].float(), (0.5,), layers=["a"])


class HardView(Viewed):
    def forward(self, x: Tensor) -> Tensor:
        return self.fc(nn.functional.avg_pool2d(torch.relu(self.bn(self.a(x))), 4).view(-1, 24))


def test_a_size_in_the_forward_is_not_swept():
    x = torch.randn(1, 3, 8, 8)
    with pytest.raises(SurgeryError, match=r"x.size\(1\)"):
        pk.sweep(HardView(), [(x, torch.zeros(1).long())], x, (0.5,), layers=["a"])


class CountsItsMaps(Viewed):
    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.avg_pool2d(torch.relu(self.bn(self.a(x))), 4)
        return self.fc((x / int(x.size(1))).view(x.size(0), -1))


def test_a_factor_that_depends_on_the_number_of_maps_is_not_swept():
    """It would run, and count the answers of another function."""
    x = torch.randn(1, 3, 8, 8)
    with pytest.raises(SurgeryError, match="computes something else"):
        pk.sweep(CountsItsMaps(), [(x, torch.zeros(1).long())], x, (0.5,), layers=["a"])


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_network_in_another_format_is_swept_in_it(dtype):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model.append(nn.Linear(4, 3)).to(dtype)
    batches = [(torch.randn(4, 3, 8, 8, dtype=dtype), torch.tensor([0, 1, 2, 0]))]
    table = pk.sweep(model, batches, batches[0][0][:1], (0.5,))
    assert table["baseline_correct"].iloc[0] == pk.train.evaluate(model, batches).correct
    assert all(p.dtype == dtype for p in model.parameters())


@pytest.mark.parametrize("batch", [{"image": torch.ones(1)}, torch.ones(2, 3, 8, 8), (torch.ones(1, 3, 8, 8), [1])])
def test_what_is_no_pair_of_images_and_labels_is_refused(batch):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    for count in (lambda: pk.train.evaluate(model, [batch]), lambda: pk.sweep(model, [batch], torch.ones(1, 3, 8, 8))):
        with pytest.raises(PrunekitError, match=r"batch 1 is a .*It takes pairs of images and labels"):
            count()


def test_the_table_of_no_rows_says_so():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    x = torch.ones(1, 3, 8, 8)
    table = pk.sweep(model, [(x, torch.tensor([1]))], x)
    with pytest.raises(PlanError, match="The table has no rows"):
        pk.plan_by_sensitivity(pk.trace(model, x), table[:0], macs=0.7)
