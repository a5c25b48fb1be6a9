"""The networks that come with the project are those that the results are about."""

import os
import shutil

import pytest
import torch

from prunekit import origin
from prunekit.data import Batches, cifar10
from prunekit.errors import FileError
from prunekit.ledger import Ledger
from prunekit.paper.jobs import Job
from prunekit.paper.published import checked, published
from prunekit.paper.settings import setting
from prunekit.train import evaluate

KEPT = [("vgg16", "cifar10"), ("resnet56", "cifar10-short")]  # by network and setting, in weights/
MOST_TIES = 3  # of 10,000 images: where two logits agree to the last digits, another machine may see the other in front
needs_cifar10 = pytest.mark.skipif(
    not os.environ.get("PRUNEKIT_DATA"), reason="PRUNEKIT_DATA does not name a folder with CIFAR-10"
)


@pytest.mark.parametrize("name, where", KEPT)
def test_its_checksum_is_in_the_ledger(name, where):
    model = published(name, where)
    ledger = Ledger(setting=where)
    runs = ledger.runs()
    assert {runs[run].weights for run in ledger.table(f"baseline-{name}")["run"]} == {origin.checksum(model)}
    assert {p.dtype for p in model.parameters()} == {torch.float32}


@needs_cifar10
@pytest.mark.parametrize("name, where", KEPT)
def test_counted_again_it_is_as_good_as_the_ledger_says(name, where):
    """All 10,000 test images, which were counted on another machine."""
    rows = Ledger(setting=where).table(f"baseline-{name}").query("split == 'test' and seed == 0")
    score = evaluate(published(name, where), Batches(cifar10().test))
    assert score.total == rows["total"].item()
    assert abs(score.correct - rows["correct"].item()) <= MOST_TIES
    assert score.loss == pytest.approx(rows["loss"].item(), rel=1e-4)


@pytest.fixture
def job(tmp_path):
    """A setting's folder with the published network's file and rows."""
    real = Ledger(setting="cifar10")
    shutil.copytree(real.folder, tmp_path / "results" / "cifar10")
    made = Job("baseline-vgg16", Ledger(tmp_path / "results", "cifar10"), setting("cifar10"), 0)
    made.weights("vgg16").parent.mkdir(parents=True)
    return made


def test_other_weights_are_refused(job):
    job.keep(setting("cifar10").build("vgg16", seed=5), [], "vgg16")
    with pytest.raises(FileError, match=r"vgg16-seed0.safetensors is not the network that the results in .* are about"):
        checked(job, "vgg16")
    (job.ledger.folder / "baseline-vgg16.csv").unlink()
    checked(job, "vgg16")


def test_a_missing_file_says_how_to_get_it(job):
    with pytest.raises(FileError, match=r"Copy \S*weights/cifar10/vgg16-seed0\.safetensors, which comes with"):
        checked(job, "vgg16")


def test_a_missing_file_that_does_not_come_with_the_project_says_how_to_make_it(tmp_path):
    job = Job("baseline-resnet110", Ledger(tmp_path / "results", "cifar10"), setting("cifar10"), 0)
    with pytest.raises(FileError, match=r"resnet110-seed0.safetensors. `prunekit reproduce baseline-resnet110"):
        checked(job, "resnet110")
