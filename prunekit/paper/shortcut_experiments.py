"""First convs against second convs with their shortcut: figure 7's question, on a small ResNet with projections."""

import itertools
from collections.abc import Callable

import pandas as pd
from torch import nn

from ..plans import plan
from ..sensitivity import RATES
from ..sheets import Row
from ..surgery import prune
from ..tracing import trace
from .cutting_experiments import first_convs, held_out, passes, swept
from .jobs import SPLITS, Job, Part, Parts, Work, add, counted, exact
from .settings import Setting
from .training_experiments import trained

# The layer that chooses for a stage's second convs: its projection, and in stage 1, which has none, the stem.
SHORTCUTS = {1: "conv1", 2: "layer2.0.downsample.0", 3: "layer3.0.downsample.0"}
FIRST, SECOND, FIRSTS = "first conv", "shortcut and second convs", "first convs of the stage"


def projections(network: str) -> Parts:
    """What is added up must have the same maps, so a stage's second convs go together with its shortcut. Figure 7.

    The column `part` says what a row cuts: one first conv; a stage's shortcut and second convs; or, to compare like
    with like, all first convs of a stage together.
    """
    codes: dict[str, Callable[[Job, Row], None]] = {
        FIRST: lambda job, mark: sweep_of(job, network, mark, first_convs),
        SECOND: lambda job, mark: sweep_of(job, network, mark, shortcuts),
        FIRSTS: lambda job, mark: stages(job, network, mark),
    }

    def part(job: Job, split: str, what: str) -> Part:
        mark = job.mark(network, split=split, part=what)
        return Part(
            job.experiment, mark, lambda job: codes[what](job, mark), lambda s: work(s, network, split, what), network
        )

    return lambda job: [part(job, split, what) for split in SPLITS for what in codes]


def shortcuts(model: nn.Module) -> list[str]:
    """The layers that choose for the second convs, whatever the network's depth."""
    return list(SHORTCUTS.values())


def sweep_of(job: Job, network: str, mark: Row, layers: Callable[[nn.Module], list[str]]) -> None:
    """Each of the network's `layers` cut alone."""
    model = trained(job, network)
    swept(job, model, mark, ["l1"], layers(model))


def stages(job: Job, network: str, mark: Row) -> None:
    """All first convs of a stage cut at one rate; the row's `layer` is the stage, its number 0."""
    model, images = trained(job, network), getattr(job.setting.load(), str(mark["split"]))
    graph, rows = trace(model, job.setting.example()), []
    with job.recording(model) as run:
        base = counted(model, images, exact())["correct"]
        for stage, rate in itertools.product(SHORTCUTS, RATES):
            names = first_convs(model, stage)
            made = plan(graph, dict.fromkeys(names, rate))
            after = counted(prune(model, made), images, exact())
            sizes = {"filters": made.filters[names[0]], "kept": len(made.kept[names[0]])}
            counts = {"correct": after["correct"], "total": after["total"], "baseline_correct": base}
            rows.append(
                {**mark, "layer": f"layer{stage}", "number": 0, "criterion": "l1", "rate": rate} | sizes | counts
            )
        add(job, pd.DataFrame(rows), ["network", "seed", "layer", "criterion", "rate", "split", "part"], run)


def work(setting: Setting, network: str, split: str, what: str) -> Work:
    """What a part takes: the network from each cut on, or the whole of it where a stage is cut."""
    cut = {FIRST: first_convs, SECOND: shortcuts}
    times = passes(setting, network, cut[what]) if what in cut else len(SHORTCUTS)
    return held_out(setting, network, split, 1 + len(RATES) * times)
