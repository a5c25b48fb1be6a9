"""What is left to do, how it is divided among machines, and how long it takes.

A part puts so many images through a network; a few steps of it are timed.
"""

import copy
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache

from ..data import Batches
from ..errors import PrunekitError
from ..ledger import Ledger
from ..train import evaluate, fastest, fit
from .experiments import EXPERIMENTS, Experiment
from .jobs import Job, Part, Work, exact
from .published import trainable
from .settings import PROJECTION, SETTINGS, Setting

STEPS = 4  # timed, after as many to warm up


@dataclass(frozen=True)
class Speed:
    """Seconds for one image: forward and back in training, forward in training's number format and in float32."""

    trained: float
    watched: float
    counted: float


# Measured on two cores of an AMD EPYC with bfloat16 arithmetic: an epoch of 45,000 images, 1,000 images in training's
# format, and in float32 the sweeps of VGG-16 (1,208 s for 10,000 images) and of ResNet-56 (80 s for 500), divided by
# how often they run the network. ResNet-110's is taken as twice ResNet-56's.
TWO_CORES = {
    "vgg16": Speed(190 / 45_000, 1 / 1_000, 2.0 / 1_000),
    "resnet56": Speed(92 / 45_000, 1 / 2_000, 1.27 / 1_000),
    "resnet110": Speed(185 / 45_000, 1 / 1_000, 2.54 / 1_000),
}


def on_two_cores(network: str) -> Speed:
    """The speed of a full-size network on the machine where the short setting was measured."""
    return TWO_CORES[network.removesuffix(PROJECTION)]


def here(setting: Setting) -> Callable[[str], Speed]:
    """How fast the setting's networks are on this machine: a few steps of training and batches of counting each."""
    data = setting.load()
    recipe = replace(setting.training.lasting(2), schedule="constant")
    few = replace(data, train=data.train.take(slice(STEPS * recipe.batch_size)))
    held_out = data.test.take(slice(1_000))

    @cache
    def speed(network: str) -> Speed:
        model, counting = setting.build(network), []
        history = fit(copy.deepcopy(model), few, recipe, compute=fastest(), watch=(), progress=False)
        for compute in (fastest(), exact()):
            placed = compute.place(copy.deepcopy(model))
            evaluate(placed, Batches(held_out.take(slice(100))), compute)
            counting.append(seconds_of(lambda c=compute, m=placed: evaluate(m, Batches(held_out), c)) / len(held_out))
        return Speed(history["seconds"].iloc[-1] / len(few.train), *counting)

    return speed


def seconds_of(call: Callable[[], object]) -> float:
    """How long a call takes."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def seconds(work: Iterable[Work], speed: Callable[[str], Speed]) -> float:
    """What some work takes. Most pruned shapes count as slow as the whole network, so it is rather less."""
    total = 0.0
    for part in work:
        fast = speed(part.network)
        total += part.trained * fast.trained + part.watched * fast.watched + part.counted * fast.counted
    return total


Share = tuple[Experiment, Job, list[Part]]  # an experiment, and the parts of it that are to be done here


def divided(work: Iterable[tuple[Experiment, Job]], share: tuple[int, int] = (1, 1)) -> list[Share]:
    """What is missing of each experiment; of it the share (k, n), for n machines that work at once.

    Which share a part belongs to does not depend on what is there already. Where there are several, a trained network
    that a part needs has to be there: otherwise each machine would train it. Raises `FileError` where a network would
    have to be trained anew that there are results of: before anything else is done.
    """
    mine, shares, number, found = *share, 0, []
    for experiment, job in work:
        parts = []
        for part in experiment.parts(job):
            trains = bool(part.kept)
            number += not trains
            if not job.lacks(part) or (shares > 1 and not trains and number % shares != mine % shares):
                continue
            networks = [*part.kept] if trains else [part.network] if part.network else []
            for network in networks:
                trainable(job, network)
            if shares > 1 and (lost := [n for n in networks if not job.weights(n).exists()]):
                raise PrunekitError(
                    f"--shard: {experiment.name} needs the trained network {job.weights(lost[0])}. Run `prunekit "
                    f"reproduce baseline-{lost[0]} --setting {job.setting.name} --seed {job.seed}` once, and give "
                    "every machine the file."
                )
            parts.append(part)
        found.append((experiment, job, parts))
    return found


def forecast(work: Iterable[Share], setting: Setting) -> Iterator[str]:
    """Lines that say what is left of each experiment, and how long it takes here, by itself and up to there."""
    todo = [(each, [part.work(setting) for part in parts]) for each, _, parts in work if parts]
    if not todo:
        yield "Nothing is left to do."
        return
    networks = {part.network for _, parts in todo for part in parts}
    yield f"Timing a few steps of {', '.join(sorted(networks))}. What a checkpoint holds already is counted once more."
    speed, total = here(setting), 0.0
    for each, parts in todo:
        takes = seconds(parts, speed)
        total += takes
        yield f"  {each.name:<32}{len(parts):>3} parts {spoken(takes):>8}{spoken(total):>9} so far"


def lacking(experiment: Experiment, ledger: Ledger, setting: Setting) -> list[Part]:
    """The parts without rows in the ledger that a claim would need, with or without weights.

    Claims are judged on test images, so a part that is about validation is not among them.
    """
    parts = experiment.parts(Job(experiment.name, ledger, setting, seed=0))
    needed = [part for part in parts if len(parts) == 1 or part.mark.get("split") != "validation"]
    return [part for part in needed if ledger.missing(part.table, [part.mark])]


@dataclass(frozen=True)
class Need:
    """What some experiments lack in a setting, by name in the order in which it is done, and how long it takes."""

    setting: str
    lacks: dict[str, list[Part]]
    seconds: float

    def __str__(self) -> str:
        return f"about {spoken(self.seconds)} on two cores, as {self.setting}"


def needed(names: Iterable[str], ledger: Ledger) -> Need:
    """What the experiments called `names` lack, each after the training of the networks that it starts from.

    A network whose rows are there has to be trained all the same if its weights are not, but only if something starts
    from it.
    """
    setting, lacks = SETTINGS[ledger.setting], {}
    for name in names:
        parts = lacking(EXPERIMENTS[name], ledger, setting)
        for network in dict.fromkeys(part.network for part in parts if part.network):
            first = f"baseline-{network}"
            lacks[first] = EXPERIMENTS[first].missing(Job(first, ledger, setting, seed=0))
        lacks.setdefault(name, parts)
    lacks = {name: parts for name, parts in lacks.items() if parts}
    takes = seconds((part.work(setting) for parts in lacks.values() for part in parts), on_two_cores)
    return Need(setting.name, lacks, takes)


def cheapest(names: Sequence[str], ledgers: Sequence[Ledger]) -> Need:
    """What the experiments lack in the setting in which that takes least; in the last of those that take as long."""
    return min((needed(names, ledger) for ledger in reversed(ledgers)), key=lambda need: need.seconds)


def spoken(seconds: float) -> str:
    """A time as people say it: "40 s", "25 min", "3.2 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
