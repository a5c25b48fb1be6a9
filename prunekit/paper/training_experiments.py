"""Training: baselines, pruned networks retrained, and the pruned shapes trained from scratch. Table 1."""

from collections.abc import Callable
from dataclasses import replace

from torch import nn

from .. import costs
from ..data import Batches
from ..files import load
from ..plans import Plan, plan
from ..surgery import prune
from ..tracing import trace
from ..train import Recipe, evaluate, fastest, fit
from .configurations import configuration
from .jobs import SPLITS, Job, counted, exact, rounded
from .settings import Setting

Code = Callable[[Job], None]


def trained(job: Job, network: str) -> nn.Module:
    """The trained network, from its file; it is trained first if there is none."""
    if not job.weights(network).exists():
        baseline(network)(replace(job, experiment=f"baseline-{network}"))
    return load(job.weights(network), lambda: job.setting.build(network)).float()


def baseline(network: str) -> Code:
    """Train a network from scratch; keep its weights in half precision, and the accuracy of what is kept.

    Tables: `training-<network>`, a row per epoch; `baseline-<network>`, a row per split.
    """

    def code(job: Job) -> None:
        missing = job.missing(job.experiment, [job.mark(network, split=split) for split in SPLITS])
        if not missing and job.weights(network).exists():
            return
        data, recipe = job.setting.load(), job.setting.training
        model = job.setting.build(network, job.seed)
        checkpoint = job.file("checkpoints", network).with_suffix(".pt")
        history = fit(model, data, recipe, job.seed, fastest(), checkpoint, ("validation",), job.progress)
        model = rounded(model.cpu())
        with job.recording(model) as run:
            rows = history.drop(columns="seconds").assign(**job.mark(network))
            job.ledger.add(f"training-{network}", rows, ["network", "seed", "epoch"], run)
            for row in missing:
                measured = counted(model, getattr(data, row["split"]), exact())
                facts = {"recipe": recipe.name, "epochs": recipe.epochs, "seconds": history["seconds"].sum()}
                job.ledger.add(job.experiment, [{**row, **measured, **facts}], ["network", "seed", "split"], run)
        job.keep(model, [], network)

    return code


def retraining(name: str, criterion: str = "l1", recipe: Callable[[Setting], Recipe] | None = None) -> Code:
    """Prune the trained baseline by the paper's configuration `name`, all layers at once, and retrain it.

    By l1 and the setting's retraining recipe, unless another criterion or recipe is named. Tables: see `followed`.
    """

    def code(job: Job) -> None:
        if finished(job, name):
            return
        model = trained(job, configuration(name).network)
        rates = job.setting.configuration(name).rates(model)
        made = plan(trace(model, job.setting.example()), rates, criterion=criterion, seed=job.seed)
        followed(job, name, prune(model, made), made, recipe(job.setting) if recipe else job.setting.retraining)

    return code


def scratch(name: str, same_compute: bool = False) -> Code:
    """Train the shape of configuration `name` from fresh weights, with the baseline's recipe.

    For as many epochs as the baseline, or, with `same_compute`, for as many as cost the baseline's multiply-adds.
    Tables: see `followed`.
    """

    def code(job: Job) -> None:
        if finished(job, name):
            return
        model, recipe = job.setting.build(name, job.seed), job.setting.training
        shape = plan_of_shape(job.setting, name)
        if same_compute:
            recipe = recipe.lasting(epochs_of_same_compute(job.setting, name))
        followed(job, name, model, shape, recipe)

    return code


def plan_of_shape(setting: Setting, name: str) -> Plan:
    """A plan that gives the setting's unpruned network the shape of configuration `name`, to save it with."""
    model = setting.build(configuration(name).network)
    return plan(trace(model, setting.example()), setting.configuration(name).rates(model))


def epochs_of_same_compute(setting: Setting, name: str) -> int:
    """For how many epochs the shape of `name` trains on the multiply-adds of the baseline's training, rounded."""
    whole, small = (
        costs.total(setting.build(network), setting.example()).macs for network in (configuration(name).network, name)
    )
    return round(setting.training.epochs * whole / small)


def scheduled(setting: Setting) -> Recipe:
    """The setting's retraining with a schedule in place of a constant rate: up to ten times as large, then down to 0.

    Later work finds that the learning rate of retraining decides more than the criterion (Le & Hua 2021).
    """
    constant = setting.retraining
    return replace(
        constant, name=f"{constant.name}-one-cycle", schedule="one-cycle", learning_rate=10 * constant.learning_rate
    )


def finished(job: Job, name: str) -> bool:
    """Whether all rows that `followed` makes last are in the ledger."""
    return not job.missing(f"final-{job.experiment}", [job.mark(name, split=split) for split in SPLITS])


def followed(job: Job, name: str, model: nn.Module, shape: Plan, recipe: Recipe) -> None:
    """Train `model` in place by `recipe` and count on both splits after each epoch; keep what comes out at the end.

    Tables: `<experiment>`, a row per epoch and split, epoch 0 before any training, counted in the number format that
    trains fastest; `losses-<experiment>`, a row per epoch; `final-<experiment>`, a row per split, counted in float32
    on the weights that are stored. The best epoch on the test images (what the paper prints), the last, and the one
    that validation would select all follow from the first table.
    """
    data, splits = job.setting.load(), [job.mark(name, split=split) for split in SPLITS]
    checkpoint, compute = job.checkpoint(model), fastest()
    compute.place(model)
    before = {split: evaluate(model, Batches(getattr(data, split)), compute) for split in SPLITS}
    history = fit(model, data, recipe, job.seed, compute, checkpoint, SPLITS, job.progress)
    model = rounded(model.cpu())
    job.keep(model, shape, job.experiment)

    with job.recording(model) as run:
        epochs = []
        for mark in splits:
            first = before[mark["split"]]
            seen = history[[f"{mark['split']}_correct", f"{mark['split']}_total"]].to_numpy()
            for epoch, (correct, total) in enumerate([(first.correct, first.total), *seen.tolist()]):
                epochs.append({**mark, "epoch": epoch, "correct": correct, "total": total})
        losses = history[["epoch", "lr", "train_loss", "train_accuracy"]].assign(**job.mark(name))
        facts = {"recipe": recipe.name, "epochs": recipe.epochs, "seconds": history["seconds"].sum()}
        ends = [{**mark, **counted(model, getattr(data, mark["split"]), exact()), **facts} for mark in splits]
        job.ledger.add(job.experiment, epochs, ["network", "seed", "split", "epoch"], run)
        job.ledger.add(f"losses-{job.experiment}", losses, ["network", "seed", "epoch"], run)
        job.ledger.add(f"final-{job.experiment}", ends, ["network", "seed", "split"], run)
    checkpoint.unlink(missing_ok=True)
