"""The paper's experiments: each writes rows to the ledger, draws nothing, and goes on where it was stopped."""

from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import PrunekitError, nearest
from ..ledger import Ledger
from .configurations import CONFIGURATIONS
from .cutting_experiments import ranking, sensitivity
from .jobs import Job
from .settings import setting
from .training_experiments import Code, baseline, retraining, scratch


@dataclass(frozen=True)
class Experiment:
    """An experiment's name, what it is, the figure or table that it reproduces, and its code."""

    name: str
    title: str
    figure: str
    code: Code

    def run(self, ledger: Ledger, setting_name: str, seed: int = 0, progress: bool | None = None) -> None:
        """Run it in a setting; rows that are in the ledger already are not made again."""
        self.code(Job(self.name, ledger, setting(setting_name), seed, progress))


# In the order in which a reader gains most from each further hour.
EXPERIMENTS: dict[str, Experiment] = {
    e.name: e
    for e in (
        Experiment("baseline-vgg16", "VGG-16 trained from scratch", "Table 1", baseline("vgg16")),
        Experiment("ranking-vgg16", "Filters of VGG-16 ranked by l1 norm", "Figures 2a, 5", ranking("vgg16")),
        Experiment("sensitivity-vgg16", "VGG-16: each layer pruned alone", "Figure 2b", sensitivity("vgg16")),
        Experiment("retraining-vgg16-a", "VGG-16-A retrained", "Table 1", retraining("vgg16-a")),
        Experiment("baseline-resnet56", "ResNet-56 trained from scratch", "Table 1", baseline("resnet56")),
        Experiment(
            "sensitivity-resnet56", "ResNet-56: each first conv pruned alone", "Figure 6", sensitivity("resnet56")
        ),
        Experiment("retraining-resnet56-a", "ResNet-56-A retrained", "Table 1", retraining("resnet56-a")),
        Experiment("retraining-resnet56-b", "ResNet-56-B retrained", "Table 1", retraining("resnet56-b")),
        Experiment("scratch-resnet56-b", "ResNet-56-B trained from scratch", "Table 1", scratch("resnet56-b")),
        Experiment("baseline-resnet110", "ResNet-110 trained from scratch", "Table 1", baseline("resnet110")),
        Experiment(
            "sensitivity-resnet110", "ResNet-110: each first conv pruned alone", "Figure 6", sensitivity("resnet110")
        ),
        Experiment("retraining-resnet110-a", "ResNet-110-A retrained", "Table 1", retraining("resnet110-a")),
        Experiment("retraining-resnet110-b", "ResNet-110-B retrained", "Table 1", retraining("resnet110-b")),
        Experiment("scratch-vgg16-a", "VGG-16-A trained from scratch", "Table 1", scratch("vgg16-a")),
        Experiment("scratch-resnet110-b", "ResNet-110-B trained from scratch", "Table 1", scratch("resnet110-b")),
        *(
            Experiment(
                f"scratch-{name}-compute",
                f"{CONFIGURATIONS[name].title} trained from scratch on the baseline's compute",
                "Table 1, after Liu et al. (2019)",
                scratch(name, same_compute=True),
            )
            for name in ("resnet56-b", "vgg16-a", "resnet110-b")
        ),
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
