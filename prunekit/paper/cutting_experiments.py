"""Cutting without retraining: filters ranked, and each layer pruned alone. Figures 2, 5, 6, 8 to 10."""

import itertools
from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import nn

from .. import costs, nets
from ..criteria import ACTIVATION_CRITERIA, l1
from ..data import Batches
from ..sensitivity import RATES, sweep
from ..sheets import Row
from .jobs import SPLITS, Job, Part, Parts, Work, add, exact
from .settings import Setting
from .training_experiments import trained

DRAWS = 3  # of random filters, to see how far they differ among themselves


def ranking(network: str) -> Parts:
    """The l1 norm of every filter, and the first layer's weights themselves. Figures 2(a) and 5.

    Tables: `ranking-<network>`, a row per filter; `first-filters-<network>`, a row per weight of layer 1.
    """

    def code(job: Job) -> None:
        model, mark = trained(job, network), job.mark(network)
        rows = [
            {**mark, "layer": layer, "number": number, "filter": index, "l1": norm}
            for number, layer in nets.numbered(model).items()
            for index, norm in enumerate(l1(model.get_parameter(f"{layer}.weight").detach().double()).tolist())
        ]
        first = model.get_parameter(f"{nets.numbered(model)[1]}.weight").detach()
        places = ("filter", "channel", "row", "column")
        weights = [
            {**mark, **dict(zip(places, place, strict=True)), "weight": float(first[place])}
            for place in itertools.product(*map(range, first.shape))
        ]
        with job.recording(model) as run:
            job.ledger.add(f"first-filters-{network}", weights, ["network", "seed", *places], run)
            job.ledger.add(job.experiment, rows, ["network", "seed", "layer", "filter"], run)

    return lambda job: [Part(job.experiment, job.mark(network), code, lambda s: Work(network), network)]


def sensitivity(network: str) -> Parts:
    """Each layer pruned alone, smallest filters first, at nine rates, without retraining. Figures 2(b) and 6."""

    def parts(job: Job) -> list[Part]:
        return [sweep_part(job, network, ["l1"], job.mark(network, split=split)) for split in SPLITS]

    return parts


def criteria(network: str) -> Parts:
    """The same for l2, the largest filters first, and `DRAWS` times for random filters. Figures 8 and 10.

    The rows of l1 are those of `sensitivity`, on the same images.
    """

    def parts(job: Job) -> list[Part]:
        return [
            sweep_part(job, network, names, job.mark(network, split=split, draw=draw), seed=DRAWS * job.seed + draw)
            for split in SPLITS
            for draw, names in enumerate([["l2", "largest", "random"]] + [["random"]] * (DRAWS - 1))
        ]

    return parts


def activations(network: str) -> Parts:
    """The same for the five activation criteria, recorded over the training images as they are. Figure 9."""

    def parts(job: Job) -> list[Part]:
        names = list(ACTIVATION_CRITERIA)
        return [sweep_part(job, network, names, job.mark(network, split=split), record=True) for split in SPLITS]

    return parts


def sweep_part(job: Job, network: str, names: Sequence[str], mark: Row, seed: int = 0, record: bool = False) -> Part:
    """A sweep of every layer that is free, by the criteria `names`, on the split that `mark` names."""

    def code(job: Job) -> None:
        swept(job, trained(job, network), mark, names, seed=seed, record=record)

    def work(setting: Setting) -> Work:
        forks = len(names) * len(RATES) * passes(setting, network, free_convs)
        recorded = setting.images["train"] if record else 0
        return held_out(setting, network, str(mark["split"]), 1 + forks, recorded)

    return Part(job.experiment, mark, code, work, network)


def swept(
    job: Job,
    model: nn.Module,
    mark: Row,
    names: Sequence[str],
    layers: Sequence[str] | None = None,
    seed: int = 0,
    record: bool = False,
) -> None:
    """Sweep `layers` by the criteria `names` on the split of `mark`, and write a row per cut with `mark` in front.

    `record` lets the criteria see the training images, neither shuffled nor augmented.
    """
    numbers = {layer: number for number, layer in nets.numbered(model).items()}
    data = job.setting.load()
    about = "-".join(str(value) for name, value in mark.items() if name not in ("network", "seed"))
    file = job.file("checkpoints", f"{job.experiment}-{about.replace(' ', '-')}").with_suffix(".json")
    with job.recording(model) as run:
        table = sweep(
            model,
            Batches(getattr(data, str(mark["split"]))),
            job.setting.example(),
            criterion=names,
            layers=layers,
            data=Batches(data.train) if record else None,
            seed=seed,
            compute=exact(),
            checkpoint=file,
            progress=job.progress,
        )
        table.insert(1, "number", [numbers.get(str(layer), 0) for layer in table["layer"]])  # projections have none
        extra = [name for name in mark if name not in ("network", "seed", "split")]
        key = ["network", "seed", "layer", "criterion", "rate", "split", *extra]
        add(job, table.assign(**mark), key, run)
    file.unlink(missing_ok=True)


def free_convs(model: nn.Module) -> list[str]:
    """Names of the convs that are tied to no other: all of VGG-16's, the first of each block of a ResNet."""
    names = list(nets.numbered(model).values())
    return first_convs(model) if isinstance(model, nets.ResNet) else names


def first_convs(model: nn.Module, stage: int | None = None) -> list[str]:
    """Names of the first convs of all blocks, or of those of one stage, in forward order."""
    start = "layer" if stage is None else f"layer{stage}."
    return [name for name in nets.numbered(model).values() if name.startswith(start) and name.endswith(".conv1")]


@cache
def passes(setting: Setting, network: str, layers: Callable[[nn.Module], list[str]]) -> float:
    """How often the network is run for one cut of each of `layers` alone: the multiply-adds from there on."""
    with torch.device("meta"):  # sizes only
        model = setting.build(network)
        table = costs.cost(model, setting.example()).set_index("layer")["macs"]
    after = table[::-1].cumsum()
    return float(sum(after[layer] for layer in layers(model)) / table.sum())


def held_out(setting: Setting, network: str, split: str, times: float, more: int = 0) -> Work:
    """Going `times` through the images of a split in float32, and through `more` others once."""
    return Work(network, counted=times * setting.images[split] + more)
