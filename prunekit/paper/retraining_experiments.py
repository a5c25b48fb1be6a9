"""What is regained by retraining, and when: figures 2(c) and 3, and one-shot against iterative."""

import itertools
import math
import shutil

import pandas as pd

from .. import nets
from ..plans import Plan, plan
from ..retraining import iterative
from ..sheets import Row
from ..surgery import prune
from ..tracing import trace
from ..train import fastest
from .configurations import configuration
from .jobs import SPLITS, Job, Part, Parts, Work, add, counted, exact
from .settings import Setting
from .training_experiments import by_epoch, seen, trained, training_work

RATES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # of figure 3, before retraining
RETRAINED = (0.5, 0.7, 0.9)  # of these, after retraining
STRATEGIES = ("independent", "greedy")
THIN = (0.5, 0.9)  # of figure 2(c)
EPOCHS_OF_A_CUT = 2  # of figure 2(c) too: there are many cuts, two per layer


def greedy(network: str) -> Parts:
    """All convs pruned at one rate, by either strategy, before retraining and at some rates after it. Figure 3.

    Tables: `<experiment>`, a row per strategy, rate and split, with `differing`, the number of filters that only this
    strategy keeps; `retrained-<experiment>`, a row per strategy, rate, split and epoch from 0.
    """

    def plans(job: Job, rate: float) -> dict[str, Plan]:
        graph = trace(trained(job, network), job.setting.example())
        return {strategy: plan(graph, rate, strategy=strategy) for strategy in STRATEGIES}

    def count(job: Job) -> None:
        model, data, rows = trained(job, network), job.setting.load(), []
        with job.recording(model) as run:
            for rate in RATES:
                made = plans(job, rate)
                one, other = (plan.kept for plan in made.values())
                differing = sum(len(set(one[layer]) - set(other[layer])) for layer in one)
                for (strategy, chosen), split in itertools.product(made.items(), SPLITS):
                    score = counted(prune(model, chosen), getattr(data, split), exact())
                    what = {"strategy": strategy, "rate": rate, "differing": differing}
                    rows.append(job.mark(network, split=split) | what | score)
            add(job, pd.DataFrame(rows), ["network", "seed", "split", "strategy", "rate"], run)

    def retrain(job: Job, rate: float, strategy: str) -> None:
        small = prune(trained(job, network), plans(job, rate)[strategy])
        key = ["network", "seed", "split", "strategy", "rate", "epoch"]
        mark = job.mark(network, strategy=strategy, rate=rate)
        retrained(job, small, job.setting.retraining.epochs, mark, key, f"retrained-{job.experiment}")

    def part(job: Job, rate: float, strategy: str) -> Part:
        mark = job.mark(network, strategy=strategy, rate=rate)
        return Part(
            f"retrained-{job.experiment}",
            mark,
            lambda job: retrain(job, rate, strategy),
            lambda s: training_work(s, network, s.retraining, 1 - rate),
            network,
        )

    def parts(job: Job) -> list[Part]:
        first = Part(job.experiment, job.mark(network), count, lambda s: counting(s, network), network)
        return [first, *(part(job, rate, strategy) for rate in RETRAINED for strategy in STRATEGIES)]

    return parts


def counting(setting: Setting, network: str) -> Work:
    """Counting every cut of figure 3 on both splits, each as slow as its share of filters."""
    images = setting.images["test"] + setting.images["validation"]
    return Work(network, counted=sum(1 - rate for rate in RATES) * len(STRATEGIES) * images)


def layer_by_layer(name: str, times: int) -> Parts:
    """Configuration `name` carried out layer by layer, each followed by retraining. Section 3.4.

    All in all for at least `times` as many epochs as one-shot is retrained, in equal parts. The table has a row per
    split and epoch spent, counted from 1 over all layers, with the `step` and its `layer`. The rows of one-shot are
    those of `retraining-<name>`.
    """
    network = configuration(name).network

    def code(job: Job) -> None:
        model = trained(job, network)
        rates = job.setting.configuration(name).rates(model)
        recipe = job.setting.retraining.lasting(epochs_of_a_layer(job.setting, name, times))
        folder = job.checkpoint(model).with_suffix("")
        done = iterative(
            model,
            job.setting.example(),
            rates,
            job.setting.load(),
            recipe,
            seed=job.seed,
            compute=fastest(),
            checkpoint=folder,
            progress=job.progress,
        )
        history = done.history.assign(epoch=range(1, len(done.history) + 1))
        rows = seen(history).merge(history[["epoch", "step", "layer"]], on="epoch")
        with job.recording(done.model.cpu()) as run:
            add(job, rows.assign(**job.mark(name)), ["network", "seed", "split", "epoch"], run)
        shutil.rmtree(folder, ignore_errors=True)

    def work(setting: Setting) -> Work:
        epochs = len(setting.configuration(name).numbers) * epochs_of_a_layer(setting, name, times)
        return training_work(setting, network, setting.retraining.lasting(epochs))

    return lambda job: [Part(job.experiment, job.mark(name), code, work, network)]


def epochs_of_a_layer(setting: Setting, name: str, times: int) -> int:
    """How long each layer's retraining lasts, so that all last at least `times` as long as that of one-shot."""
    return math.ceil(times * setting.retraining.epochs / len(setting.configuration(name).numbers))


def retrained_sensitivity(network: str) -> Parts:
    """Each layer pruned alone at the rates `THIN` and retrained for `EPOCHS_OF_A_CUT` epochs. Figure 2(c).

    A row per layer, rate, split and epoch, epoch 0 before retraining.
    """

    def part(job: Job, number: int, layer: str, rate: float) -> Part:
        mark = job.mark(network, layer=layer, number=number, rate=rate)

        def code(job: Job) -> None:
            model = trained(job, network)
            made = plan(trace(model, job.setting.example()), {layer: rate})
            key = ["network", "seed", "split", "layer", "rate", "epoch"]
            sizes = {"filters": made.filters[layer], "kept": len(made.kept[layer])}
            retrained(job, prune(model, made), EPOCHS_OF_A_CUT, {**mark, **sizes}, key, job.experiment)

        def work(setting: Setting) -> Work:
            return training_work(setting, network, setting.retraining.lasting(EPOCHS_OF_A_CUT))

        return Part(job.experiment, mark, code, work, network)

    def parts(job: Job) -> list[Part]:
        layers = nets.numbered(job.setting.build(network))
        return [part(job, number, layer, rate) for rate in reversed(THIN) for number, layer in layers.items()]

    return parts


def retrained(job: Job, small, epochs: int, mark: Row, key: list[str], table: str) -> None:
    """Retrain `small` for so many epochs and write a row per split and epoch to `table`, with `mark` in front."""
    checkpoint = job.checkpoint(small)
    rows, _ = by_epoch(job, small, job.setting.retraining.lasting(epochs))
    with job.recording(small.cpu()) as run:
        add(job, rows.assign(**mark), key, run, table)
    checkpoint.unlink(missing_ok=True)
