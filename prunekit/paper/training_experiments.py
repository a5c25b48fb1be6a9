"""Training: baselines, pruned networks retrained, and the pruned shapes trained from scratch. Table 1."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import pandas as pd
from torch import nn

from .. import costs
from ..data import Batches
from ..plans import Plan, plan
from ..recipes import Recipe
from ..surgery import prune
from ..tracing import trace
from ..train import evaluate, fastest, fit
from .configurations import configuration
from .jobs import SPLITS, Job, Part, Parts, Work, add, counted, exact, rounded
from .published import checked, trainable
from .settings import Setting


def trained(job: Job, network: str) -> nn.Module:
    """The trained network, from its file; it is trained first if there is none."""
    if not job.weights(network).exists():
        first = replace(job, experiment=f"baseline-{network}")
        for part in baseline(network)(first):
            part.code(first)
    return checked(job, network)


def baseline(network: str) -> Parts:
    """Train a network from scratch; keep its weights in half precision, and the accuracy of what is kept.

    Tables: `training-<network>`, a row per epoch; `baseline-<network>`, a row per split.
    """

    def code(job: Job) -> None:
        trainable(job, network)
        data, recipe = job.setting.load(), job.setting.training
        model = job.setting.build(network, job.seed)
        checkpoint = job.file("checkpoints", network).with_suffix(".pt")
        history = fit(model, data, recipe, job.seed, fastest(), checkpoint, ("validation",), job.progress)
        model = rounded(model.cpu())
        job.keep(model, [], network)  # before the rows: rows without their weights are refused, see `trainable`
        with job.recording(model) as run:
            rows = history.drop(columns="seconds").assign(**job.mark(network))
            ends = final_rows(job, model, network, recipe, history)
            job.ledger.add(f"training-{network}", rows, ["network", "seed", "epoch"], run)
            job.ledger.add(job.experiment, ends, ["network", "seed", "split"], run)

    def parts(job: Job) -> list[Part]:
        mark = job.mark(network, split=SPLITS[-1])
        return [Part(job.experiment, mark, code, lambda s: training_work(s, network, s.training), kept=(network,))]

    return parts


def retraining(name: str, criterion: str = "l1", recipe: Callable[[Setting], Recipe] | None = None) -> Parts:
    """Prune the trained baseline by the paper's configuration `name`, all layers at once, and retrain it.

    By l1 and the setting's retraining recipe, unless another criterion or recipe is named. Tables: see `followed`.
    """
    network = configuration(name).network

    def recipe_in(setting: Setting) -> Recipe:
        return recipe(setting) if recipe else setting.retraining

    def code(job: Job) -> None:
        model = trained(job, network)
        rates = job.setting.configuration(name).rates(model)
        made = plan(trace(model, job.setting.example()), rates, criterion=criterion, seed=job.seed)
        followed(job, name, prune(model, made), made, recipe_in(job.setting))

    return lambda job: [last_part(job, name, code, lambda s: training_work(s, network, recipe_in(s)), network)]


def scratch(name: str, same_compute: bool = False) -> Parts:
    """Train the shape of configuration `name` from fresh weights, with the baseline's recipe.

    For as many epochs as the baseline, or, with `same_compute`, for as many as cost the baseline's multiply-adds.
    Tables: see `followed`.
    """

    def recipe_in(setting: Setting) -> Recipe:
        recipe = setting.training
        return recipe.lasting(epochs_of_same_compute(setting, name)) if same_compute else recipe

    def code(job: Job) -> None:
        shape = plan_of_shape(job.setting, name)
        followed(job, name, job.setting.build(name, job.seed), shape, recipe_in(job.setting))

    def work(setting: Setting) -> Work:
        return training_work(setting, configuration(name).network, recipe_in(setting))

    return lambda job: [last_part(job, name, code, work)]


def plan_of_shape(setting: Setting, name: str) -> Plan:
    """A plan that gives the setting's unpruned network the shape of configuration `name`, to save it with."""
    model = setting.build(configuration(name).network)
    return plan(trace(model, setting.example()), setting.configuration(name).rates(model))


@cache
def epochs_of_same_compute(setting: Setting, name: str) -> int:
    """For how many epochs the shape of `name` trains on the multiply-adds of the baseline's training, rounded.

    Nothing is cut or computed for it: the plan tells the cost, and a network on the "meta" device has shapes only.
    """
    model = setting.build(configuration(name).network)
    graph = trace(model, setting.example().to("meta"))
    shape = plan(graph, setting.configuration(name).rates(model))
    model.to("meta")
    whole, small = (int(table["macs"].sum()) for table in (costs.cost_before(graph), costs.cost_of(graph, shape)))
    return round(setting.training.epochs * whole / small)


def scheduled(setting: Setting) -> Recipe:
    """The setting's retraining with a schedule in place of a constant rate: up to ten times as large, then down to 0.

    Later work finds that the learning rate of retraining decides more than the criterion (Le & Hua 2021).
    """
    constant = setting.retraining
    return replace(
        constant, name=f"{constant.name}-one-cycle", schedule="one-cycle", learning_rate=10 * constant.learning_rate
    )


def training_work(setting: Setting, network: str, recipe: Recipe, share: float = 1.0) -> Work:
    """What it takes to train by `recipe` and to look at both splits after each epoch, for a `share` of the network."""
    held_out = share * (setting.images["validation"] + setting.images["test"])
    return Work(network, share * recipe.epochs * setting.images["train"], recipe.epochs * held_out, held_out)


def last_part(
    job: Job, name: str, code: Callable[[Job], None], work: Callable[[Setting], Work], network: str | None = None
) -> Part:
    """The one part of an experiment whose rows `followed` makes."""
    return Part(f"final-{job.experiment}", job.mark(name, split=SPLITS[-1]), code, work, network)


def followed(job: Job, name: str, model: nn.Module, shape: Plan, recipe: Recipe) -> None:
    """Train `model` in place by `recipe` and count on both splits after each epoch; keep what comes out at the end.

    Tables: `<experiment>`, a row per epoch and split, epoch 0 before any training, counted in the number format that
    trains fastest; `losses-<experiment>`, a row per epoch; `final-<experiment>`, a row per split, counted in float32
    on the weights that are stored. The best epoch on the test images (what the paper prints), the last, and the one
    that validation would select all follow from the first table.
    """
    checkpoint = job.checkpoint(model)
    epochs, history = by_epoch(job, model, recipe)
    model = rounded(model.cpu())
    job.keep(model, shape, job.experiment)
    with job.recording(model) as run:
        ends = final_rows(job, model, name, recipe, history)
        losses = history[["epoch", "lr", "train_loss", "train_accuracy"]].assign(**job.mark(name))
        add(job, epochs.assign(**job.mark(name)), ["network", "seed", "split", "epoch"], run)
        add(job, losses, ["network", "seed", "epoch"], run, f"losses-{job.experiment}")
        job.ledger.add(f"final-{job.experiment}", ends, ["network", "seed", "split"], run)
    checkpoint.unlink(missing_ok=True)


def by_epoch(job: Job, model: nn.Module, recipe: Recipe) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Train `model` in place; a table of split, epoch (from 0), correct and total, and what `fit` returns."""
    data, compute, checkpoint = job.setting.load(), fastest(), job.checkpoint(model)
    compute.place(model)
    before = {split: evaluate(model, Batches(getattr(data, split)), compute) for split in SPLITS}
    history = fit(model, data, recipe, job.seed, compute, checkpoint, SPLITS, job.progress)
    rows = [{"split": s, "epoch": 0, "correct": before[s].correct, "total": before[s].total} for s in SPLITS]
    return pd.concat([pd.DataFrame(rows), seen(history)], ignore_index=True), history


def seen(history: pd.DataFrame) -> pd.DataFrame:
    """The counts of a history of `fit`, which has columns for both splits, as rows: split, epoch, correct, total."""
    counts = [
        history[["epoch", f"{split}_correct", f"{split}_total"]]
        .set_axis(["epoch", "correct", "total"], axis=1)
        .assign(split=split)
        for split in SPLITS
    ]
    return pd.concat(counts, ignore_index=True)


def final_rows(job: Job, model: nn.Module, name: str, recipe: Recipe, history: pd.DataFrame) -> list[dict]:
    """A row per split: the counts of `model` in float32, and how it was trained."""
    data = job.setting.load()
    facts = {"recipe": recipe.name, "epochs": recipe.epochs, "seconds": history["seconds"].sum()}
    return [job.mark(name, split=s) | counted(model, getattr(data, s), exact()) | facts for s in SPLITS]
