"""The paper's experiments end to end, on a setting so small that it takes seconds."""

import shutil
from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from prunekit import costs, nets, train
from prunekit.criteria import ACTIVATION_CRITERIA, l1
from prunekit.data import Batches, Data, cifar10_root
from prunekit.data import load as load_data
from prunekit.errors import FileError, PrunekitError, TrainingError
from prunekit.files import load, plans_of
from prunekit.ledger import Ledger
from prunekit.paper import claims, estimates, experiments, training_experiments
from prunekit.paper.configurations import configuration
from prunekit.paper.cutting_experiments import free_convs
from prunekit.paper.experiments import perform
from prunekit.paper.jobs import SPLITS, Job, Work, exact
from prunekit.paper.noting_experiments import with_statistics
from prunekit.paper.retraining_claims import CONTROLLED
from prunekit.paper.retraining_experiments import epochs_of_a_layer
from prunekit.paper.settings import IMAGES, SETTINGS, Setting, largest, setting
from prunekit.paper.shortcut_experiments import FIRST, FIRSTS, SECOND
from prunekit.paper.training_experiments import epochs_of_same_compute, trained, training_work
from prunekit.plans import plan
from prunekit.surgery import prune
from prunekit.tracing import trace
from prunekit.train import evaluate, fastest, fit

DIGITS = SETTINGS["digits"]


class Tiny(Setting):
    """A slice of the digits, one epoch, and networks that are as small as the paper's rates allow."""

    def load(self) -> Data:
        whole = super().load()
        return replace(whole, **{part: getattr(whole, part).take(slice(n)) for part, n in self.images.items()})

    @property
    def images(self) -> dict[str, int]:
        return {"train": 64, "validation": 20, "test": 40}


TINY = Tiny(
    "tiny", "for tests", data="digits", training=DIGITS.training.lasting(1), retraining=DIGITS.retraining.lasting(2),
    width={"vgg16": 0.16, "resnet56": 0.625, "resnet110": 0.625}, depth={"resnet56": 14, "resnet110": 20},
)  # fmt: skip


@pytest.fixture(scope="module")
def job(tmp_path_factory) -> Job:
    """All experiments, run once."""
    ledger = Ledger(tmp_path_factory.mktemp("run") / "results", "tiny")
    for name in experiments.EXPERIMENTS:
        perform(Job(name, ledger, TINY, seed=0, progress=False))
    return Job("sensitivity-vgg16", ledger, TINY, seed=0, progress=False)


def files(job: Job) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in job.ledger.folder.glob("*.csv")}


def test_the_baseline_is_the_accuracy_of_the_weights_that_are_stored(job):
    model = load(job.weights("vgg16"), lambda: TINY.build("vgg16")).float()
    table = job.ledger.table("baseline-vgg16").set_index("split")
    for split in ("test", "validation"):
        score = evaluate(model, Batches(getattr(TINY.load(), split)))
        assert (score.correct, score.total) == (table.loc[split, "correct"], table.loc[split, "total"])
        assert score.loss == pytest.approx(table.loc[split, "loss"], rel=1e-6), "of the rounded weights"


def test_weights_are_stored_in_half_precision(job):
    stored = load(job.weights("vgg16"), lambda: TINY.build("vgg16"))
    assert {p.dtype for p in stored.parameters()} == {torch.float16}


def test_every_epoch_of_training_is_in_the_ledger(job):
    assert job.ledger.table("training-vgg16")["epoch"].tolist() == [1]


def test_the_ranking_has_the_norm_of_every_filter(job):
    model = trained(job, "vgg16")
    table = job.ledger.table("ranking-vgg16")
    for number, layer in nets.numbered(model).items():
        weight = model.get_parameter(f"{layer}.weight").detach().double()
        assert table.loc[table["number"] == number, "l1"].tolist() == l1(weight).tolist()


def test_the_first_filters_are_those_of_the_network(job):
    table = job.ledger.table("first-filters-vgg16")
    weight = trained(job, "vgg16").get_parameter("features.0.weight")
    assert torch.tensor(table["weight"].to_numpy()).reshape(weight.shape).equal(weight.detach().double())


def test_sensitivity_rows_agree_with_pruning_and_evaluating(job):
    model, data = trained(job, "vgg16"), TINY.load()
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
        perform(replace(job, experiment=name))
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
    perform(replace(job, ledger=half))
    found = half.table("sensitivity-vgg16")
    assert found.drop(columns="run").equals(whole.drop(columns="run"))
    assert half.origin("sensitivity-vgg16")["rows"].tolist() == [13 * 9, 13 * 9]


class Killed(BaseException):
    """What ends a run at any moment."""


@pytest.mark.parametrize("rows_written", [0, 1])
def test_a_baseline_that_was_killed_between_its_weights_and_its_rows_goes_on(job, tmp_path, monkeypatch, rows_written):
    """Whatever it has written by then, its weights are there."""
    mine = replace(job, experiment="baseline-vgg16", ledger=Ledger(tmp_path / "results", "tiny"))
    add = Ledger.add

    def killed(self, name: str, *given) -> int:
        if len(self.experiments()) == rows_written:
            raise Killed
        return add(self, name, *given)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Ledger, "add", killed)
        perform(mine)
    assert len(mine.ledger.experiments()) == rows_written and mine.weights("vgg16").exists()
    perform(mine)
    found, whole = (each.ledger.table("baseline-vgg16").drop(columns=["run", "seconds"]) for each in (mine, job))
    assert found.equals(whole) and len(mine.ledger.table("training-vgg16")) == 1
    trained(mine, "vgg16")  # its checksum is that of the rows


def test_a_network_that_there_are_results_of_is_not_trained_anew(job, tmp_path, monkeypatch):
    """Its rows have come without its weights; what can be done without them is done."""
    mine = replace(job, ledger=Ledger(tmp_path / "results", "tiny"))
    shutil.copytree(job.ledger.folder, mine.ledger.folder)
    perform(mine)  # nothing is missing
    (mine.ledger.folder / "sensitivity-vgg16.csv").unlink()
    monkeypatch.setattr(training_experiments, "fit", lambda *given: pytest.fail("it is trained"))
    for name in ("baseline-vgg16", "sensitivity-vgg16"):
        for call in (lambda n: perform(replace(mine, experiment=n)), lambda n: estimates.divided(jobs(mine.ledger, n))):
            with pytest.raises(FileError, match=r"has results of vgg16, seed 0, but the weights .* are not there"):
                call(name)
    shutil.copytree(job.weights("vgg16").parent, mine.weights("vgg16").parent)
    perform(mine)
    assert len(mine.ledger.table("sensitivity-vgg16")) == 13 * 9 * 2


@pytest.mark.parametrize("name", ["vgg16-a", "resnet56-a", "resnet56-b", "resnet110-a", "resnet110-b"])
def test_retraining_starts_from_the_pruned_baseline(job, name):
    """Epoch 0 is what the paper's configuration leaves of the stored baseline, before any training."""
    chosen = TINY.configuration(name)
    model = trained(job, configuration(name).network)
    small = fastest().place(prune(model, plan(trace(model, TINY.example()), chosen.rates(model))))
    table = job.ledger.table(f"retraining-{name}")
    assert set(table["network"]) == {chosen.name}
    for split in SPLITS:
        rows = table[table["split"] == split]
        assert rows["epoch"].tolist() == [0, 1, 2]
        score = evaluate(small, Batches(getattr(TINY.load(), split)), fastest())
        assert (score.correct, score.total) == (rows["correct"].iloc[0], rows["total"].iloc[0])


@pytest.mark.parametrize("name", ["retraining-vgg16-a", "scratch-resnet56-b", "scratch-resnet110-b-compute"])
def test_the_final_row_is_of_the_weights_that_are_stored(job, name):
    network = configuration(name.split("-", 1)[1].removesuffix("-compute")).network
    model = load(job.weights(name), lambda: TINY.build(network)).float()
    final = job.ledger.table(f"final-{name}").set_index("split")
    for split in SPLITS:
        score = evaluate(model, Batches(getattr(TINY.load(), split)), exact())
        assert (score.correct, score.total) == (final.loc[split, "correct"], final.loc[split, "total"])
        assert score.loss == pytest.approx(final.loc[split, "loss"], rel=1e-6), "of the rounded weights"


def test_the_retrained_network_has_the_widths_of_the_configuration_and_new_weights(job):
    small = load(job.weights("retraining-vgg16-a"), lambda: TINY.build("vgg16"))
    whole = trained(job, "vgg16")
    names = nets.numbered(whole)
    for number, layer in names.items():
        before, after = (len(m.get_parameter(f"{layer}.weight")) for m in (whole, small))
        assert after == (before // 2 if number in configuration("vgg16-a").numbers else before)
    second, kept = names[2], plans_of(job.weights("retraining-vgg16-a"))[0].kept[names[1]]
    before = whole.get_parameter(f"{second}.weight")[:, list(kept)]
    after = small.get_parameter(f"{second}.weight").float()
    assert 0 < (after - before).abs().max() < 0.1, "near what was there, and trained"


def test_from_scratch_means_fresh_weights_in_the_same_shape(job):
    """After one epoch the weights are still near the fresh ones that the seed draws, far from the baseline's."""
    small = load(job.weights("scratch-vgg16-a"), lambda: TINY.build("vgg16"))
    kept = load(job.weights("retraining-vgg16-a"), lambda: TINY.build("vgg16"))
    fresh = TINY.build("vgg16-a", 0)
    shapes = [{n: p.shape for n, p in m.named_parameters()} for m in (small, kept, fresh)]
    assert shapes[0] == shapes[1] == shapes[2]
    first = [m.get_parameter("features.3.weight").float().flatten() for m in (fresh, small, kept)]
    like = [torch.corrcoef(torch.stack([first[0], other]))[0, 1] for other in first[1:]]
    assert like[0] > 0.5 > abs(like[1])


def test_equal_compute_is_counted_in_multiply_adds(job):
    epochs = epochs_of_same_compute(SETTINGS["cifar10"], "resnet56-b")
    assert epochs == round(164 * 125_485_696 / 90_907_264) == 226
    assert set(job.ledger.table("final-scratch-vgg16-a-compute")["epochs"]) == {epochs_of_same_compute(TINY, "vgg16-a")}


@pytest.mark.parametrize("name", CONTROLLED)
def test_equal_compute_is_that_of_the_network_cut(name):
    """The number of epochs comes from a plan; here the multiply-adds are those of networks that exist."""
    whole, small = (
        costs.total(DIGITS.build(network), DIGITS.example()).macs for network in (configuration(name).network, name)
    )
    assert epochs_of_same_compute(DIGITS, name) == round(DIGITS.training.epochs * whole / small) > 12


@pytest.mark.parametrize("name", ["retraining-resnet56-b", "scratch-vgg16-a-compute"])
def test_training_that_was_killed_comes_to_the_same_rows(job, tmp_path, monkeypatch, name):
    """Killed in each epoch after the first, it goes on from the epoch before."""
    other = replace(job, experiment=name, ledger=Ledger(tmp_path / "results", "tiny"))
    shutil.copytree(job.weights("vgg16").parent, other.weights("vgg16").parent)
    real, trained_epochs = train.train_epoch, []

    def killed(step, data, recipe, rates, epoch, *rest):
        if epoch > 1 and epoch not in trained_epochs:
            trained_epochs.append(epoch)
            raise KeyboardInterrupt
        return real(step, data, recipe, rates, epoch, *rest)

    monkeypatch.setattr(train, "train_epoch", killed)
    for _ in range(len(job.ledger.table(f"losses-{name}")) - 1):
        with pytest.raises(KeyboardInterrupt):
            perform(other)
        assert name not in other.ledger.experiments()
    perform(other)
    for table in (name, f"losses-{name}"):
        assert other.ledger.table(table).drop(columns="run").equals(job.ledger.table(table).drop(columns="run"))
    assert not list((tmp_path / "checkpoints").rglob("*.pt")), "the checkpoint is gone when the rows are there"


SWEEPS = ("criteria-vgg16", "activations-vgg16", "projections-resnet56")


@pytest.mark.parametrize("name", SWEEPS)
def test_rows_of_other_sweeps_agree_with_pruning_and_evaluating(job, name):
    table, data = job.ledger.table(name), TINY.load()
    model = trained(job, "resnet56-projection" if name.startswith("proj") else "vgg16")
    graph = trace(model, TINY.example())
    for row in table[~table["layer"].isin(["layer1", "layer2", "layer3"])].sample(6, random_state=1).to_dict("records"):
        made = plan(
            graph, {row["layer"]: row["rate"]}, criterion=row["criterion"], data=Batches(data.train),
            seed=row.get("draw", 0),
        )  # fmt: skip
        score = evaluate(prune(model, made), Batches(getattr(data, row["split"])))
        assert (score.correct, score.total) == (row["correct"], row["total"]), row
        assert len(made.kept[row["layer"]]) == row["kept"]


def test_what_is_compared_has_been_counted(job):
    table = job.ledger.table("criteria-vgg16")
    cuts = 13 * 9
    assert table.groupby(["split", "criterion", "draw"]).size().to_dict() == {
        (split, criterion, draw): cuts
        for split in SPLITS
        for criterion, draw in [("l2", 0), ("largest", 0), *(("random", draw) for draw in range(3))]
    }
    assert set(job.ledger.table("activations-vgg16")["criterion"]) == set(ACTIVATION_CRITERIA)
    same = [job.ledger.table(name) for name in ("sensitivity-vgg16", "criteria-vgg16", "activations-vgg16")]
    assert pd.concat(same).groupby("split")["baseline_correct"].nunique().eq(1).all()
    first, second = (
        table[(table["criterion"] == "random") & (table["draw"] == d)]["correct"].to_list() for d in (0, 1)
    )
    assert first != second, "draws differ"


def test_projections_cut_single_convs_and_whole_stages(job):
    table = job.ledger.table("projections-resnet56")
    parts = {part: set(rows["layer"]) for part, rows in table[table["split"] == "test"].groupby("part")}
    assert parts[FIRST] == {f"layer{s}.{b}.conv1" for s in (1, 2, 3) for b in (0, 1)}
    assert parts[SECOND] == {"conv1", "layer2.0.downsample.0", "layer3.0.downsample.0"}
    assert parts[FIRSTS] == {"layer1", "layer2", "layer3"}
    model, data = trained(job, "resnet56-projection"), TINY.load()
    row = table[(table["layer"] == "layer2") & (table["rate"] == 0.3) & (table["split"] == "validation")].iloc[0]
    small = prune(model, plan(trace(model, TINY.example()), {"layer2.*.conv1": 0.3}))
    assert evaluate(small, Batches(data.validation)).correct == row["correct"]


def test_greedy_and_independent(job):
    table = job.ledger.table("greedy-vgg16")
    assert len(table) == 9 * 2 * 2 and table["differing"].max() > 0
    model, data = trained(job, "vgg16"), TINY.load()
    row = table[(table["strategy"] == "greedy") & (table["rate"] == 0.5) & (table["split"] == "test")].iloc[0]
    made = plan(trace(model, TINY.example()), 0.5, strategy="greedy")
    assert evaluate(prune(model, made), Batches(data.test), exact()).correct == row["correct"]
    after = job.ledger.table("retrained-greedy-vgg16")
    assert len(after) == 3 * 2 * 2 * 3 and set(after["epoch"]) == {0, 1, 2}
    shallow = set(nets.numbered(model).values())
    assert set(made.kept) == shallow, "all convs are cut"


def test_statistics_noted_again_are_those_of_the_training_images_and_the_weights_stay(job):
    together, alone = (job.ledger.table(name) for name in ("noted-vgg16", "alone-noted-vgg16"))
    assert len(together) == 10 * 2 * 2 and len(alone) == 13 * 2 * 2
    model, data = trained(job, "vgg16"), TINY.load()
    base = job.ledger.table("baseline-vgg16").set_index("split")["correct"]
    whole = together[together["rate"] == 0]
    assert (whole["correct"] == whole["split"].map(base)).all()
    swept = job.ledger.table("sensitivity-vgg16").set_index(["layer", "rate", "split"])["correct"]
    assert (alone["correct"] == [swept[row.layer, row.rate, row.split] for row in alone.itertuples()]).all()

    row = alone[(alone["number"] == 2) & (alone["rate"] == 0.5) & (alone["split"] == "test")].iloc[0]
    small = prune(model, plan(trace(model, TINY.example()), {row["layer"]: 0.5}))
    fresh = with_statistics(job, small)
    assert all(torch.equal(a, b) for a, b in zip(small.parameters(), fresh.parameters(), strict=True))
    assert evaluate(fresh, Batches(data.test), exact()).correct == row["noted"]
    ((x, _),) = Batches(data.train)  # one batch, so the first BN has noted its mean and variance
    maps = small.get_submodule("features.0")(x)
    bn = fresh.get_submodule("features.1")
    torch.testing.assert_close(bn.running_mean, maps.mean((0, 2, 3)).detach(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(bn.running_var, maps.var((0, 2, 3)).detach(), rtol=1e-4, atol=1e-5)


def test_layer_by_layer_goes_through_the_layers_of_the_configuration(job):
    for name, times in (("vgg16-a", 2), ("resnet56-b", 3)):
        table = job.ledger.table(f"iterative-{name}")
        chosen = TINY.configuration(name)
        epochs = epochs_of_a_layer(TINY, name, times)
        rows = table[table["split"] == "test"].sort_values("epoch")
        assert rows["epoch"].tolist() == list(range(1, epochs * len(chosen.numbers) + 1))
        layers = nets.numbered(TINY.build(configuration(name).network))
        assert list(rows["layer"].unique()) == [layers[number] for number in sorted(chosen.numbers)]
    assert not list(job.file("checkpoints", "x").parent.glob("iterative-*"))


def test_layer_by_layer_lasts_longer_than_one_shot_in_every_setting():
    """Seven layers of VGG-16-A for two epochs each and 21 of ResNet-56-B for one, where one-shot has seven epochs."""
    lengths = {
        name: [epochs_of_a_layer(s, "vgg16-a", 2), epochs_of_a_layer(s, "resnet56-b", 3)]
        for name, s in SETTINGS.items()
    }
    assert lengths == {"digits": [1, 3], "cifar10-short": [2, 1], "cifar10": [12, 6]}


def test_every_layer_is_cut_alone_and_retrained(job):
    table = job.ledger.table("retrained-sensitivity-vgg16")
    assert len(table) == 13 * 2 * 2 * 3
    model, data = trained(job, "vgg16"), TINY.load()
    row = table[(table["number"] == 3) & (table["rate"] == 0.9) & (table["epoch"] == 0) & (table["split"] == "test")]
    small = fastest().place(prune(model, plan(trace(model, TINY.example()), {nets.numbered(model)[3]: 0.9})))
    assert row["correct"].item() == evaluate(small, Batches(data.test), fastest()).correct


def test_wall_clock_measures_both_networks_of_a_pair_as_often(job):
    table = job.ledger.table("wall-clock")
    assert table.groupby(["pair", "network"]).size().eq(5).all() and table["pair"].nunique() == 3
    assert (table["seconds"] > 0).all() and set(table["images"]) == {40} and set(table["batch"]) == {128}
    macs = table.groupby(["pair", "network"])["macs"].first()
    assert macs["vgg16-a", "vgg16-a"] < macs["vgg16-a", "vgg16"]


def test_other_starting_weights_have_another_checkpoint(job):
    assert job.checkpoint(TINY.build("vgg16-a", 0)) != job.checkpoint(TINY.build("vgg16-a", 1))
    assert job.checkpoint(TINY.build("vgg16-a", 0)) == job.checkpoint(TINY.build("vgg16-a", 0))


def test_a_checkpoint_of_another_network_is_refused(job, tmp_path):
    other = Job("baseline-resnet56", Ledger(tmp_path / "results", "tiny"), TINY, 0, False)
    file = other.file("checkpoints", "resnet56").with_suffix(".pt")
    fit(TINY.build("vgg16"), TINY.load(), TINY.training, checkpoint=file, watch=("validation",), progress=False)
    with pytest.raises(TrainingError, match="another run's"):
        perform(other)


# What is left to do, and how long it takes.


def jobs(ledger: Ledger, *names: str) -> list:
    return [(experiments.experiment(n), Job(n, ledger, TINY, 0, False)) for n in names or experiments.EXPERIMENTS]


def test_nothing_is_left_after_all_experiments(job):
    assert all(not parts for _, _, parts in estimates.divided(jobs(job.ledger)))
    assert list(estimates.forecast(estimates.divided(jobs(job.ledger)), TINY)) == ["Nothing is left to do."]


def test_shares_do_everything_once(job, tmp_path):
    """Every part that is no training of a baseline belongs to exactly one of three machines."""
    names = ("sensitivity-vgg16", "criteria-vgg16", "retrained-sensitivity-vgg16", "scratch-resnet56-b")
    empty = Ledger(tmp_path / "results", "tiny")
    shutil.copytree(job.weights("vgg16").parent, tmp_path / "weights" / "tiny")
    found = [(p.table, str(p.mark)) for k in (1, 2, 3) for _, _, ps in estimates.divided(jobs(empty, *names), (k, 3))
             for p in ps]  # fmt: skip
    whole = [(p.table, str(p.mark)) for _, _, parts in estimates.divided(jobs(empty, *names)) for p in parts]
    assert sorted(found) == sorted(whole) and len(set(whole)) == len(whole) == 2 + 6 + 26 + 1


def test_shares_of_two_machines_make_the_rows_of_one(job, tmp_path):
    one, two = (Ledger(tmp_path / name / "results", "tiny") for name in "ab")
    for k, ledger in enumerate((one, two), start=1):
        shutil.copytree(job.weights("vgg16").parent, ledger.root.parent / "weights" / "tiny")
        for _, each, parts in estimates.divided(jobs(ledger, "sensitivity-vgg16"), (k, 2)):
            for part in parts:
                part.code(each)
    assert one.merge(two) == 13 * 9
    key = ["split", "layer", "rate"]
    rows = [ledger.table("sensitivity-vgg16").drop(columns="run").sort_values(key) for ledger in (one, job.ledger)]
    assert rows[0].reset_index(drop=True).equals(rows[1].reset_index(drop=True))


def test_machines_that_share_work_do_not_all_train_the_baseline(tmp_path):
    empty = Ledger(tmp_path / "results", "tiny")
    for name in ("sensitivity-resnet56", "baseline-resnet56"):
        with pytest.raises(PrunekitError, match=r"prunekit reproduce baseline-resnet56 --setting tiny --seed 0"):
            estimates.divided(jobs(empty, name), (2, 2))


def test_work_is_counted_in_images():
    setting, job = SETTINGS["cifar10-short"], Job("retraining-resnet56-b", Ledger("nowhere", "cifar10-short"),
                                                  SETTINGS["cifar10-short"], 0)  # fmt: skip
    (part,) = experiments.experiment("retraining-resnet56-b").parts(job)
    assert part.work(setting) == Work("resnet56", 7 * 45_000, 7 * 15_000, 15_000)
    by_name = {"resnet56": estimates.Speed(0.1, 0.01, 0.001)}
    expected = 7 * 45_000 * 0.1 + 7 * 15_000 * 0.01 + 15_000 * 0.001
    assert estimates.seconds([part.work(setting)], by_name.__getitem__) == pytest.approx(expected)


def test_a_sweep_counts_from_each_cut_on():
    """By hand: a cut of layer i runs the multiply-adds from i to the end again, at each of nine rates."""
    setting = SETTINGS["digits"]
    (part, _) = experiments.experiment("sensitivity-vgg16").parts(Job("x", Ledger("nowhere"), setting, 0))
    macs = costs.cost(setting.build("vgg16"), setting.example())["macs"].tolist()
    again = sum(sum(macs[i:]) for i in range(13)) / sum(macs)
    assert part.work(setting).counted == pytest.approx(500 * (1 + 9 * again))
    for network in ("vgg16", "resnet56", "resnet56-projection"):
        model = setting.build(network)
        assert free_convs(model) == trace(model, setting.example()).free()


@pytest.mark.parametrize("name", ["digits", "cifar10"])
def test_a_setting_knows_how_many_images_it_has(name):
    if name == "cifar10" and not (cifar10_root() / "cifar-10-batches-py").is_dir():
        pytest.skip("CIFAR-10 is not here")
    data = load_data(name)
    assert {part: len(getattr(data, part)) for part in IMAGES[name]} == IMAGES[name]


def test_the_forecast_times_this_machine(tmp_path):
    work = estimates.divided(jobs(Ledger(tmp_path / "results", "tiny"), "retraining-vgg16-a", "wall-clock"))
    lines = list(estimates.forecast(work, TINY))
    assert lines[0].startswith("Timing a few steps of resnet110, resnet56, vgg16") and len(lines) == 3
    assert lines[1].split()[:3] == ["retraining-vgg16-a", "1", "parts"] and lines[2].split()[1:3] == ["3", "parts"]
    speed = estimates.here(TINY)("vgg16")
    assert speed.trained > 0 and speed.watched > 0 and speed.counted > 0


def test_a_speed_is_seconds_by_images_without_the_warm_up(monkeypatch):
    """By a clock that goes on only where something is measured, so that how busy the machine is does not matter."""
    now, waits, steps, formats = [0.0], iter([1000.0, 7.0, 1000.0, 3.0]), [], []

    def fit(model, data, recipe, **options):
        steps.append(len(data.train) / recipe.batch_size)
        return pd.DataFrame({"seconds": [1000.0, 2.0]})

    def evaluate(model, batches, compute):
        now[0] += next(waits)
        formats.append(compute)

    monkeypatch.setattr(estimates, "fit", fit)
    monkeypatch.setattr(estimates, "evaluate", evaluate)
    monkeypatch.setattr(estimates, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    here, images = estimates.here(DIGITS), IMAGES["digits"]["test"]
    wanted = estimates.Speed(trained=2 / (4 * DIGITS.training.batch_size), watched=7 / images, counted=3 / images)
    assert here("vgg16") == here("vgg16") == wanted and steps == [4]
    assert formats == [fastest(), fastest(), exact(), exact()], "each once to warm up, and all of it once only"


@pytest.mark.parametrize("seconds, text", [(12.4, "12 s"), (240, "4 min"), (5399, "90 min"), (9000, "2.5 h")])
def test_times_are_spoken(seconds, text):
    assert estimates.spoken(seconds) == text


def test_a_claim_that_is_not_tested_says_what_it_needs(tmp_path):
    """Without the data: a reader who has no CIFAR-10 can ask, too."""
    found = claims.judge("2c.1", Ledger(tmp_path, "cifar10-short"))
    setting = SETTINGS["cifar10-short"]
    speed = estimates.TWO_CORES["vgg16"]
    cuts = 26 * 2 * (45_000 * speed.trained + 15_000 * speed.watched) + 26 * 15_000 * speed.counted
    baseline = training_work(setting, "vgg16", setting.training)
    hours = (cuts + estimates.seconds([baseline], estimates.on_two_cores)) / 3600
    needed = "baseline-vgg16, retrained-sensitivity-vgg16"
    assert found.numbers == f"needs {needed}: about {hours:.1f} h on two cores, as cifar10-short"
    assert "needs" not in claims.judge("2c.1", Ledger(tmp_path, "digits")).numbers


def test_shallower_networks_go_by_their_own_name_and_skip_what_stands_for_a_skipped_block():
    chosen = configuration("resnet56-b").shallower(20)
    assert (chosen.name, chosen.network, chosen.title) == ("resnet20-b", "resnet20", "ResNet-20-B")
    assert chosen.numbers == {2: 0.6, 4: 0.6, 10: 0.3, 16: 0.1}
    assert configuration("resnet110-a").shallower(32).numbers == {2: 0.5, 4: 0.5, 6: 0.5, 8: 0.5}
    assert configuration("resnet56-a").shallower(56).numbers == configuration("resnet56-a").numbers
    assert DIGITS.called("resnet56-projection") == "resnet20-projection" and DIGITS.called("vgg16-a") == "vgg16-a"
    assert DIGITS.called("resnet110-b") == DIGITS.configuration("resnet110-b").name == "resnet32-b"


def test_a_setting_without_its_data_says_how_to_get_it(tmp_path, monkeypatch):
    (tmp_path / "cifar-10-batches-py").mkdir()
    monkeypatch.setenv("PRUNEKIT_DATA", str(tmp_path))
    job = Job("baseline-vgg16", Ledger(tmp_path / "results", "cifar10-short"), setting("cifar10-short"), 0, False)
    with pytest.raises(FileError, match="PRUNEKIT_DATA"):
        perform(job)


@pytest.mark.parametrize("call", [lambda: experiments.experiment("baseline-vgg61"), lambda: setting("digit")])
def test_unknown_names_get_the_nearest(call):
    with pytest.raises(PrunekitError, match=r"Did you mean '(baseline-vgg16|digits)'"):
        call()


def test_all_means_all_in_order():
    assert [e.name for e in experiments.selected("all")] == list(experiments.EXPERIMENTS)


def test_what_the_book_runs_has_its_baselines_before_it(job):
    """None of them trains a network that another one would have to train again."""
    there: set[str] = set()
    for each in experiments.selected("live"):
        for part in each.parts(replace(job, experiment=each.name)):
            assert part.network is None or part.network in there
            there |= set(part.kept)


def test_settings_keep_ten_filters_in_every_layer_so_that_ninety_percent_can_go():
    for network in ("vgg16", "resnet56", "resnet110", "resnet56-projection"):
        model = DIGITS.build(network)
        assert min(model.get_submodule(layer).out_channels for layer in nets.numbered(model).values()) >= 10


def test_settings_are_reproducible():
    one, two, other = DIGITS.build("vgg16", 1), DIGITS.build("vgg16", 1), DIGITS.build("vgg16", 2)
    weights = [m.get_parameter("features.0.weight") for m in (one, two, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_every_setting_has_its_own_data_and_recipes():
    assert all(isinstance(s, Setting) and s.name == name for name, s in SETTINGS.items())
    assert pd.Series([s.training.epochs for s in SETTINGS.values()]).is_monotonic_increasing


def test_the_largest_setting_with_all_tables_is_shown(tmp_path, monkeypatch):
    monkeypatch.setenv("PRUNEKIT_RESULTS", str(tmp_path))
    for name, tables in (("digits", ("one", "two")), ("cifar10", ("one",))):
        ledger = Ledger(tmp_path, name)
        for table in tables:
            with ledger.run() as run:
                ledger.add(table, [{"seed": 0}], ["seed"], run)
    assert largest("one").setting == "cifar10"
    assert largest("one", "two").setting == largest("two").setting == "digits"
    with pytest.raises(PrunekitError, match="No setting has results of three"):
        largest("three")
