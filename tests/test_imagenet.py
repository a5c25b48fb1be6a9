"""ResNet-34 on a folder of images, end to end: alone, and by two processes under torchrun."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from prunekit import nets
from prunekit.data import imagenet as images_of
from prunekit.errors import TrainingError
from prunekit.ledger import Ledger
from prunekit.paper import imagenet
from prunekit.paper.configurations import configuration
from prunekit.paper.imagenet import Crew
from prunekit.plans import plan
from prunekit.sensitivity import RATES
from prunekit.surgery import prune
from prunekit.tracing import trace
from prunekit.train import Compute, evaluate, fastest

ALONE = Crew(0, 1, Compute())
RECIPE = replace(imagenet.RETRAINING, epochs=2, batch_size=4)
SIZE = 32


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Six images for training and five for counting, of two classes, and weights that are not torchvision's."""
    root, random = tmp_path_factory.mktemp("imagenet"), np.random.default_rng(0)
    for part, many in (("train", (4, 2)), ("val", (3, 2))):
        for kind, n in zip(("cat", "dog"), many, strict=True):
            (root / part / kind).mkdir(parents=True)
            for i in range(n):
                pixels = random.integers(0, 256, (40, 40, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / part / kind / f"{i}.png")
    torch.manual_seed(0)
    torch.save(nets.resnet34(num_classes=2).state_dict(), root / "weights.pt")
    return root


def loaders(folder: Path) -> tuple[DataLoader, DataLoader]:
    train, val = images_of(folder, RECIPE.batch_size, SIZE, workers=0)
    return train, val


def command(folder: Path, results: Path, processes: int, *more: str) -> None:
    """The module as a user starts it, each process on one thread."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes), "--standalone"]
    options = ["--weights", folder / "weights.pt", "--size", SIZE, "--batch", 4, "--workers", 0, *more]
    done = subprocess.run(
        [*torchrun, "-m", "prunekit.paper.imagenet", str(folder), "--results", str(results), *map(str, options)],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_two_processes_from_the_command_to_the_ledger(folder, tmp_path):
    results = tmp_path / "results"
    command(folder, results, 2, "--variant", "resnet34-c", "--epochs", "1")
    ledger = Ledger(results, "imagenet")
    model = imagenet.network(folder / "weights.pt", 2)
    table = ledger.table("projections-resnet34")
    assert table.groupby("part").size().to_dict() == {imagenet.FIRST: 16 * len(RATES), imagenet.SECOND: 4 * len(RATES)}
    assert set(table["total"]) == {5}, "each image once, though five cannot be divided by two"
    graph = trace(model, torch.zeros(1, 3, SIZE, SIZE))
    for row in table.sample(4, random_state=0).to_dict("records"):
        small = prune(model, plan(graph, {row["layer"]: row["rate"]}))
        assert evaluate(small, loaders(folder)[1]).correct == row["correct"]
    epochs = ledger.table("retraining-resnet34-c").set_index("epoch")
    small = prune(model, plan(graph, configuration("resnet34-c").rates(model)))
    assert list(epochs.index) == [0, 1]
    assert epochs.loc[0, "correct"] == evaluate(fastest().place(small), loaders(folder)[1], fastest()).correct
    before = {path.name: path.read_bytes() for path in ledger.folder.glob("*.csv")}
    command(folder, results, 2, "--variant", "resnet34-c", "--epochs", "1")
    assert {path.name: path.read_bytes() for path in ledger.folder.glob("*.csv")} == before, "nothing is done twice"


def test_training_goes_on_from_its_checkpoint(folder, tmp_path, monkeypatch):
    train, val = loaders(folder)

    def model():
        torch.manual_seed(1)
        return nets.resnet34(num_classes=2)

    whole = model()
    rows = imagenet.retrain(whole, train, val, RECIPE, tmp_path / "whole.pt", 0, ALONE)
    real, calls = imagenet.counted, []

    def killed(*arguments):
        calls.append(arguments)
        if len(calls) == 3:  # after the second epoch, before it is written
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(imagenet, "counted", killed)
    with pytest.raises(KeyboardInterrupt):
        imagenet.retrain(model(), train, val, RECIPE, tmp_path / "half.pt", 0, ALONE)
    monkeypatch.setattr(imagenet, "counted", real)
    resumed = model()
    assert imagenet.retrain(resumed, train, val, RECIPE, tmp_path / "half.pt", 0, ALONE) == rows
    assert all(a.equal(b) for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True))
    with pytest.raises(TrainingError, match="another run's"):
        imagenet.retrain(nets.resnet34(num_classes=2), train, val, RECIPE, tmp_path / "half.pt", 0, ALONE)


def test_a_step_must_be_divisible(folder, tmp_path):
    train, val = loaders(folder)
    with pytest.raises(TrainingError, match="cannot be divided among 3"):
        imagenet.retrain(nets.resnet34(2), train, val, RECIPE, tmp_path / "a.pt", 0, replace(ALONE, size=3))
