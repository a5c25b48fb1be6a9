"""The paper's experiments end to end, on a setting so small that it takes seconds."""

from dataclasses import replace

import pandas as pd
import pytest
import torch

from prunekit import nets
from prunekit.criteria import l1
from prunekit.data import Batches
from prunekit.errors import FileError, PrunekitError
from prunekit.files import load
from prunekit.ledger import Ledger
from prunekit.paper import experiments
from prunekit.paper.experiments import Job
from prunekit.paper.settings import SETTINGS, Setting, setting
from prunekit.plans import plan
from prunekit.surgery import prune
from prunekit.tracing import trace
from prunekit.train import evaluate

DIGITS = SETTINGS["digits"]
TINY = replace(DIGITS, name="tiny", training=DIGITS.training.lasting(1), width={"vgg16": 0.16})


@pytest.fixture(scope="module")
def job(tmp_path_factory) -> Job:
    """All experiments, run once."""
    ledger = Ledger(tmp_path_factory.mktemp("run") / "results", "tiny")
    for name in experiments.EXPERIMENTS:
        Job(name, ledger, TINY, seed=0, progress=False).run()
    return Job("sensitivity-vgg16", ledger, TINY, seed=0, progress=False)


def files(job: Job) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in job.ledger.folder.glob("*.csv")}


def test_the_baseline_is_the_accuracy_of_the_weights_that_are_stored(job):
    model = load(job.weights("vgg16"), lambda: TINY.build("vgg16")).float()
    table = job.ledger.table("baseline-vgg16").set_index("split")
    for split in ("test", "validation"):
        score = evaluate(model, Batches(getattr(TINY.load(), split)))
        assert (score.correct, score.total) == (table.loc[split, "correct"], table.loc[split, "total"])


def test_weights_are_stored_in_half_precision(job):
    stored = load(job.weights("vgg16"), lambda: TINY.build("vgg16"))
    assert {p.dtype for p in stored.parameters()} == {torch.float16}


def test_every_epoch_of_training_is_in_the_ledger(job):
    assert job.ledger.table("training-vgg16")["epoch"].tolist() == [1]


def test_the_ranking_has_the_norm_of_every_filter(job):
    model = job.trained("vgg16")
    table = job.ledger.table("ranking-vgg16")
    for number, layer in nets.numbered(model).items():
        weight = model.get_parameter(f"{layer}.weight").detach().double()
        assert table.loc[table["number"] == number, "l1"].tolist() == l1(weight).tolist()


def test_the_first_filters_are_those_of_the_network(job):
    table = job.ledger.table("first-filters-vgg16")
    weight = job.trained("vgg16").get_parameter("features.0.weight")
    assert torch.tensor(table["weight"].to_numpy()).reshape(weight.shape).equal(weight.detach().double())


def test_sensitivity_rows_agree_with_pruning_and_evaluating(job):
    model, data = job.trained("vgg16"), TINY.load()
    table = job.ledger.table("sensitivity-vgg16")
    assert len(table) == 13 * 9 * 2
    graph = trace(model, TINY.example())
    for row in table.sample(4, random_state=0).itertuples():
        small = prune(model, plan(graph, {row.layer: row.rate}))
        score = evaluate(small, Batches(getattr(data, row.split)))
        assert (score.correct, score.total) == (row.correct, row.total)
        assert nets.numbered(model)[row.number] == row.layer


def test_running_again_changes_nothing(job):
    before = files(job)
    for name in experiments.EXPERIMENTS:
        replace(job, experiment=name).run()
    assert files(job) == before


def test_each_row_names_a_run_that_can_be_repeated(job):
    origin = job.ledger.origin("sensitivity-vgg16")
    assert set(origin["command"]) == {"prunekit reproduce sensitivity-vgg16 --setting tiny --seed 0"}
    assert origin["weights"].nunique() == 1 and origin["weights"].str.len().eq(64).all()


def test_a_sweep_that_was_stopped_between_splits_goes_on(job, tmp_path):
    """Only the second split is swept; its rows are those of an uninterrupted run."""
    whole = job.ledger.table("sensitivity-vgg16")
    half = Ledger(tmp_path / "results", "tiny")
    key = ["network", "seed", "layer", "criterion", "rate", "split"]
    with half.run("an earlier run", 0) as run:
        half.add("sensitivity-vgg16", whole[whole["split"] == "test"].drop(columns="run"), key, run)
    (tmp_path / "weights" / "tiny").mkdir(parents=True)
    (tmp_path / "weights" / "tiny" / job.weights("vgg16").name).write_bytes(job.weights("vgg16").read_bytes())
    replace(job, ledger=half).run()
    found = half.table("sensitivity-vgg16")
    assert found.drop(columns="run").equals(whole.drop(columns="run"))
    assert half.origin("sensitivity-vgg16")["rows"].tolist() == [13 * 9, 13 * 9]


def test_a_setting_without_its_data_says_how_to_get_it(tmp_path, monkeypatch):
    (tmp_path / "cifar-10-batches-py").mkdir()
    monkeypatch.setenv("PRUNEKIT_DATA", str(tmp_path))
    job = Job("baseline-vgg16", Ledger(tmp_path / "results", "cifar10-short"), setting("cifar10-short"), 0, False)
    with pytest.raises(FileError, match="PRUNEKIT_DATA"):
        job.run()


@pytest.mark.parametrize("call", [lambda: experiments.experiment("baseline-vgg61"), lambda: setting("digit")])
def test_unknown_names_get_the_nearest(call):
    with pytest.raises(PrunekitError, match=r"Did you mean '(baseline-vgg16|digits)'"):
        call()


def test_all_means_all_in_order():
    assert [e.name for e in experiments.selected("all")] == list(experiments.EXPERIMENTS)


def test_settings_keep_ten_filters_in_every_layer_so_that_ninety_percent_can_go():
    model = DIGITS.build("vgg16")
    assert min(model.get_submodule(layer).out_channels for layer in nets.numbered(model).values()) >= 10


def test_settings_are_reproducible():
    one, two, other = DIGITS.build("vgg16", 1), DIGITS.build("vgg16", 1), DIGITS.build("vgg16", 2)
    weights = [m.get_parameter("features.0.weight") for m in (one, two, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_every_setting_has_its_own_data_and_recipes():
    assert all(isinstance(s, Setting) and s.name == name for name, s in SETTINGS.items())
    assert pd.Series([s.training.epochs for s in SETTINGS.values()]).is_monotonic_increasing
