"""The networks that come with the project are those that the results are about."""

import os
import shutil

import pytest
import torch

from prunekit import origin
from prunekit.data import Batches, cifar10
from prunekit.errors import FileError, PrunekitError
from prunekit.ledger import Ledger
from prunekit.paper.experiments import EXPERIMENTS
from prunekit.paper.jobs import Job
from prunekit.paper.published import TRAINED, checked, published, trainable
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
    assert not any(module.training for module in model.modules())


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


def test_a_missing_file_that_there_are_results_of_is_not_made_anew(tmp_path):
    """Not even where it does not come with the project, as VGG-16's of the short setting."""
    shutil.copytree(Ledger(setting="cifar10-short").folder, tmp_path / "results" / "cifar10-short")
    short = setting("cifar10-short")
    job = Job("baseline-vgg16", Ledger(tmp_path / "results", short.name), short, 0)
    both = r"Put that file there \(it does not come .*\); or .* of your own, .* from nothing: `.* --results mine`\."
    for call in (checked, trainable):
        with pytest.raises(FileError, match=both):
            call(job, "vgg16")
    trainable(job, "resnet110")
    job.keep(short.build("vgg16"), [], "vgg16")
    trainable(job, "vgg16")


def test_a_missing_file_that_another_setting_has_names_that(tmp_path):
    file = tmp_path / "weights" / "cifar10-short" / "resnet56-seed0.safetensors"
    file.parent.mkdir(parents=True)
    file.touch()
    hint = r"trains them\. There are some of the setting cifar10-short: published\('resnet56', 'cifar10-short'\)\.$"
    with pytest.raises(FileError, match=hint):
        published("resnet56", results=tmp_path / "results")
    with pytest.raises(FileError, match=r"trains them\.$"):
        published("resnet110", results=tmp_path / "results")


def test_networks_that_nothing_trains_are_unknown():
    with pytest.raises(PrunekitError, match=r"^Unknown network 'vgg19'.* Did you mean 'vgg16'\?$"):
        published("vgg19")
    assert {name.removeprefix("baseline-") for name in EXPERIMENTS if name.startswith("baseline-")} == set(TRAINED)


def test_a_folder_of_ones_own_has_its_weights_inside(tmp_path):
    """Those beside it may be the project's."""
    for name, home in (("results", tmp_path), ("mine", tmp_path / "mine")):
        job = Job("baseline-vgg16", Ledger(tmp_path / name), setting("digits"), 0)
        assert job.weights("vgg16") == home / "weights" / "digits" / "vgg16-seed0.safetensors"
