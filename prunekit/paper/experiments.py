"""The paper's experiments: each writes rows to the ledger, draws nothing, and goes on where it was stopped."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import torch
from torch import nn

from .. import nets
from ..criteria import l1
from ..data import Batches
from ..errors import PrunekitError, nearest
from ..files import load, save
from ..ledger import Ledger
from ..origin import Run
from ..sensitivity import sweep
from ..train import Compute, evaluate, fastest, fit
from .settings import Setting, setting

SPLITS = ("test", "validation")


@dataclass(frozen=True)
class Job:
    """One experiment in one setting with one seed: what its code needs to know, and where its files go."""

    experiment: str
    ledger: Ledger
    setting: Setting
    seed: int
    progress: bool | None = None

    def file(self, folder: str, name: str) -> Path:
        """A file of this setting beside the ledger's folder, in `weights` or in `checkpoints`."""
        return self.ledger.root.parent / folder / self.setting.name / f"{name}-seed{self.seed}"

    def weights(self, network: str) -> Path:
        """The file of a trained network's weights."""
        return self.file("weights", network).with_suffix(".safetensors")

    def trained(self, network: str) -> nn.Module:
        """The trained network, from its file; it is trained first if there is none."""
        if not self.weights(network).exists():
            replace(self, experiment=f"baseline-{network}").run()
        return load(self.weights(network), lambda: self.setting.build(network)).float()

    def recording(self, model: nn.Module):
        """A run of the ledger about `model`, to be entered with `with`."""
        command = f"prunekit reproduce {self.experiment} --setting {self.setting.name} --seed {self.seed}"
        return self.ledger.run(command, self.seed, model, device=fastest().device)

    def run(self) -> None:
        """Run the experiment."""
        experiment(self.experiment).code(self)


@dataclass(frozen=True)
class Experiment:
    """An experiment's name, what it is, the figure or table that it reproduces, and its code."""

    name: str
    title: str
    figure: str
    code: Callable[[Job], None]

    def run(self, ledger: Ledger, setting_name: str, seed: int = 0, progress: bool | None = None) -> None:
        """Run it in a setting; rows that are in the ledger already are not made again."""
        self.code(Job(self.name, ledger, setting(setting_name), seed, progress))


def baseline(network: str) -> Callable[[Job], None]:
    """Train a network from scratch; keep its weights in half precision, and the accuracy of what is kept.

    Tables: `training-<network>`, a row per epoch; `baseline-<network>`, a row per split.
    """

    def code(job: Job) -> None:
        wanted = [{"network": network, "seed": job.seed, "split": split} for split in SPLITS]
        missing = job.ledger.missing(job.experiment, wanted)
        if not missing and job.weights(network).exists():
            return
        data, recipe = job.setting.load(), job.setting.training
        model = job.setting.build(network, job.seed)
        checkpoint = job.file("checkpoints", network).with_suffix(".pt")
        history = fit(model, data, recipe, job.seed, fastest(), checkpoint, ("validation",), job.progress)
        model = rounded(model.cpu())
        with job.recording(model) as run:
            rows = history.drop(columns="seconds").assign(network=network, seed=job.seed)
            job.ledger.add(f"training-{network}", rows, ["network", "seed", "epoch"], run)
            for row in missing:
                score = evaluate(model, Batches(getattr(data, row["split"])), exact())
                measured = {"correct": score.correct, "total": score.total, "loss": score.loss}
                facts = {"recipe": recipe.name, "epochs": recipe.epochs, "seconds": history["seconds"].sum()}
                job.ledger.add(job.experiment, [{**row, **measured, **facts}], ["network", "seed", "split"], run)
        job.weights(network).parent.mkdir(parents=True, exist_ok=True)
        save(model.half(), [], job.weights(network))

    return code


def ranking(network: str) -> Callable[[Job], None]:
    """The l1 norm of every filter, and the first layer's weights themselves. Figures 2(a) and 5.

    Tables: `ranking-<network>`, a row per filter; `first-filters-<network>`, a row per weight of layer 1.
    """

    def code(job: Job) -> None:
        if not job.ledger.missing(job.experiment, [{"network": network, "seed": job.seed}]):
            return
        model = job.trained(network)
        rows = [
            {"network": network, "seed": job.seed, "layer": layer, "number": number, "filter": index, "l1": norm}
            for number, layer in nets.numbered(model).items()
            for index, norm in enumerate(l1(model.get_parameter(f"{layer}.weight").detach().double()).tolist())
        ]
        first = model.get_parameter(f"{nets.numbered(model)[1]}.weight").detach()
        places = ("filter", "channel", "row", "column")
        weights = [
            {
                "network": network,
                "seed": job.seed,
                **dict(zip(places, place, strict=True)),
                "weight": float(first[place]),
            }
            for place in itertools.product(*map(range, first.shape))
        ]
        with job.recording(model) as run:
            job.ledger.add(f"first-filters-{network}", weights, ["network", "seed", *places], run)
            job.ledger.add(job.experiment, rows, ["network", "seed", "layer", "filter"], run)

    return code


def sensitivity(network: str) -> Callable[[Job], None]:
    """Each layer pruned alone, smallest filters first, at nine rates, without retraining. Figures 2(b) and 6."""

    def code(job: Job) -> None:
        for split in SPLITS:
            mark = {"network": network, "seed": job.seed, "split": split}
            if not job.ledger.missing(job.experiment, [mark]):
                continue
            model = job.trained(network)
            numbers = {layer: number for number, layer in nets.numbered(model).items()}
            batches = Batches(getattr(job.setting.load(), split))
            file = job.file("checkpoints", f"{job.experiment}-{split}").with_suffix(".json")
            with job.recording(model) as run:
                table = sweep(
                    model, batches, job.setting.example(), compute=exact(), checkpoint=file, progress=job.progress
                )
                table.insert(1, "number", table["layer"].map(numbers))
                add(job, table.assign(**mark), ["network", "seed", "layer", "criterion", "rate", "split"], run)
            file.unlink(missing_ok=True)

    return code


def add(job: Job, table: pd.DataFrame, key: list[str], run: Run) -> None:
    """Write a table's rows, what they are about in front."""
    front = [name for name in ("network", "seed", "split") if name in table]
    job.ledger.add(job.experiment, table[[*front, *table.columns.difference(front, sort=False)]], key, run)


def exact() -> Compute:
    """float32 on the fastest device: for counts that another machine can check image by image."""
    return replace(fastest(), dtype=torch.float32)


def rounded(model: nn.Module) -> nn.Module:
    """The network that is left when weights are stored in half precision, in float32 again."""
    return model.half().float()


EXPERIMENTS: dict[str, Experiment] = {
    e.name: e
    for e in (
        Experiment("baseline-vgg16", "VGG-16 trained from scratch", "Table 1", baseline("vgg16")),
        Experiment("ranking-vgg16", "Filters of VGG-16 ranked by l1 norm", "Figures 2a, 5", ranking("vgg16")),
        Experiment("sensitivity-vgg16", "VGG-16: each layer pruned alone", "Figure 2b", sensitivity("vgg16")),
    )
}


def experiment(name: str) -> Experiment:
    """The experiment called `name`."""
    if name not in EXPERIMENTS:
        known = ", ".join(EXPERIMENTS)
        raise PrunekitError(f"Unknown experiment {name!r}; the known ones are {known}.{nearest(name, EXPERIMENTS)}")
    return EXPERIMENTS[name]


def selected(name: str) -> Iterator[Experiment]:
    """The experiment called `name`, or all of them for "all", in the order in which they build on each other."""
    yield from EXPERIMENTS.values() if name == "all" else [experiment(name)]
