"""The paper's experiments: each writes rows to the ledger, draws nothing, and goes on where it was stopped."""

from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import PrunekitError, nearest
from ..ledger import Ledger
from .cutting_experiments import activations, criteria, ranking, sensitivity
from .jobs import Job, Part, Parts
from .noting_experiments import noted
from .retraining_experiments import greedy, layer_by_layer, retrained_sensitivity
from .settings import setting
from .shortcut_experiments import projections
from .timing_experiments import wall_clock
from .training_experiments import baseline, retraining, scheduled, scratch


@dataclass(frozen=True)
class Experiment:
    """An experiment's name, what it is, the figure or table that it reproduces, and its parts."""

    name: str
    title: str
    figure: str
    parts: Parts

    def missing(self, job: Job) -> list[Part]:
        """The parts that are not in the job's ledger yet."""
        return [part for part in self.parts(job) if job.lacks(part)]

    def run(self, ledger: Ledger, setting_name: str, seed: int = 0, progress: bool | None = None) -> None:
        """Run it in a setting; rows that are in the ledger already are not made again."""
        perform(Job(self.name, ledger, setting(setting_name), seed, progress))


def perform(job: Job) -> None:
    """Do what is missing of the job's experiment."""
    for part in experiment(job.experiment).missing(job):
        part.code(job)


TITLES = {"resnet56-b": "ResNet-56-B", "vgg16-a": "VGG-16-A", "resnet110-b": "ResNet-110-B"}  # cheapest first

# In the order in which a reader gains most from each further hour.
EXPERIMENTS: dict[str, Experiment] = {
    e.name: e
    for e in (
        Experiment("baseline-vgg16", "VGG-16 trained from scratch", "Table 1", baseline("vgg16")),
        Experiment("ranking-vgg16", "VGG-16: filters ranked by l1 norm", "Figures 2a, 5", ranking("vgg16")),
        Experiment("sensitivity-vgg16", "VGG-16: each layer pruned alone", "Figure 2b", sensitivity("vgg16")),
        Experiment("criteria-vgg16", "VGG-16: l2, random and largest beside l1", "Figures 8, 10", criteria("vgg16")),
        Experiment("activations-vgg16", "VGG-16: five activation criteria", "Figure 9", activations("vgg16")),
        Experiment("retraining-vgg16-a", "VGG-16-A retrained", "Table 1", retraining("vgg16-a")),
        Experiment("baseline-resnet56", "ResNet-56 trained from scratch", "Table 1", baseline("resnet56")),
        Experiment(
            "sensitivity-resnet56", "ResNet-56: each first conv pruned alone", "Figure 6", sensitivity("resnet56")
        ),
        Experiment("retraining-resnet56-a", "ResNet-56-A retrained", "Table 1", retraining("resnet56-a")),
        Experiment("retraining-resnet56-b", "ResNet-56-B retrained", "Table 1", retraining("resnet56-b")),
        Experiment("scratch-resnet56-b", "ResNet-56-B trained from scratch", "Table 1", scratch("resnet56-b")),
        Experiment(
            "wall-clock", "Seconds for the test set, pruned and unpruned", "Table 3",
            wall_clock("vgg16-a", "resnet56-b", "resnet110-b"),
        ),
        Experiment("greedy-vgg16", "VGG-16: independent against greedy", "Figure 3", greedy("vgg16")),
        Experiment(
            "noted-vgg16", "VGG-16 cut, with BN's statistics noted again", "After Li et al. (2020)", noted("vgg16")
        ),
        Experiment(
            "iterative-resnet56-b", "ResNet-56-B layer by layer, beside one-shot", "Section 3.4",
            layer_by_layer("resnet56-b", times=3),
        ),
        Experiment(
            "iterative-vgg16-a", "VGG-16-A layer by layer, beside one-shot", "Section 3.4",
            layer_by_layer("vgg16-a", times=2),
        ),
        Experiment(
            "retrained-sensitivity-vgg16", "VGG-16: each layer pruned alone and retrained", "Figure 2c",
            retrained_sensitivity("vgg16"),
        ),
        Experiment("baseline-resnet110", "ResNet-110 trained from scratch", "Table 1", baseline("resnet110")),
        Experiment(
            "sensitivity-resnet110", "ResNet-110: each first conv pruned alone", "Figure 6", sensitivity("resnet110")
        ),
        Experiment("retraining-resnet110-a", "ResNet-110-A retrained", "Table 1", retraining("resnet110-a")),
        Experiment("retraining-resnet110-b", "ResNet-110-B retrained", "Table 1", retraining("resnet110-b")),
        *(
            Experiment(
                f"random-{name}", f"{title} with random filters removed, retrained", "After Mittal et al. (2018)",
                retraining(name, criterion="random"),
            )
            for name, title in TITLES.items()
        ),
        *(
            Experiment(
                f"schedule-{name}", f"{title} retrained on a schedule", "After Le & Hua (2021)",
                retraining(name, recipe=scheduled),
            )
            for name, title in TITLES.items()
        ),
        Experiment("scratch-vgg16-a", "VGG-16-A trained from scratch", "Table 1", scratch("vgg16-a")),
        Experiment("scratch-resnet110-b", "ResNet-110-B trained from scratch", "Table 1", scratch("resnet110-b")),
        Experiment(
            "baseline-resnet56-projection", "ResNet-56 with projections, trained from scratch", "Figure 7",
            baseline("resnet56-projection"),
        ),
        Experiment(
            "projections-resnet56", "ResNet-56 with projections: first convs against second", "Figure 7",
            projections("resnet56-projection"),
        ),
        *(
            Experiment(
                f"scratch-{name}-compute", f"{title} trained from scratch on the baseline's compute",
                "After Liu et al. (2019)", scratch(name, same_compute=True),
            )
            for name, title in TITLES.items()
        ),
    )
}  # fmt: skip

# What the book runs live on digits, so that `make book` stays a matter of minutes. The others run on digits, too.
LIVE = (
    "baseline-vgg16",
    "ranking-vgg16",
    "sensitivity-vgg16",
    "criteria-vgg16",
    "retraining-vgg16-a",
    "baseline-resnet56",
    "sensitivity-resnet56",
    "retraining-resnet56-b",
    "scratch-resnet56-b",
    "greedy-vgg16",
)


def experiment(name: str) -> Experiment:
    """The experiment called `name`."""
    if name not in EXPERIMENTS:
        known = ", ".join(EXPERIMENTS)
        raise PrunekitError(f"Unknown experiment {name!r}; the known ones are {known}.{nearest(name, EXPERIMENTS)}")
    return EXPERIMENTS[name]


def selected(name: str) -> Iterator[Experiment]:
    """The experiment called `name`; for "all" all of them, for "live" those of the book, in the order they build on."""
    several = {"all": EXPERIMENTS, "live": LIVE}
    yield from (experiment(each) for each in several.get(name, [name]))
