"""The three settings in which every experiment can run: one code, three sizes."""

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn

from .. import nets
from ..data import Data, cifar10_root, load
from ..errors import PrunekitError, nearest
from ..ledger import Ledger
from ..recipes import PAPER, PAPER_RETRAINING, SHORT, Recipe
from .configurations import CONFIGURATIONS, Configuration, configuration

IMAGES = {
    "digits": {"train": 1_097, "validation": 200, "test": 500},
    "cifar10": {"train": 45_000, "validation": 5_000, "test": 10_000},
}
PROJECTION = "-projection"  # after a ResNet's name: with 1x1 convs as shortcuts instead of padding


@dataclass(frozen=True, eq=False)  # compared and hashed as the object that it is, so that functions can be cached
class Setting:
    """Data, the size of the networks, and how they are trained and retrained."""

    name: str
    about: str
    data: str
    training: Recipe
    retraining: Recipe
    width: dict[str, float] = field(default_factory=dict)  # by network, where it is not 1
    depth: dict[str, int] = field(default_factory=dict)  # by ResNet, where it is not the one that its name says

    def load(self) -> Data:
        """The setting's images, the same object each time."""
        return images(self.data, cifar10_root())

    @property
    def images(self) -> dict[str, int]:
        """How many images there are to train on, for validation and to test on, without loading them."""
        return IMAGES[self.data]

    def build(self, network: str, seed: int = 0) -> nn.Module:
        """A network of this setting with the weights that `seed` draws: "vgg16", "resnet56-projection", or a pruned
        shape such as "resnet56-b"."""
        torch.manual_seed(seed)
        if network in CONFIGURATIONS:
            whole = self.unpruned(CONFIGURATIONS[network].network)
            return self.configuration(network).fresh(whole, self.example())
        return self.unpruned(network)

    def configuration(self, name: str) -> Configuration:
        """The configuration called `name`, for the network of this setting that takes the paper's network's place."""
        chosen = configuration(name)
        return chosen.shallower(self.depth[chosen.network]) if chosen.network in self.depth else chosen

    def unpruned(self, network: str) -> nn.Module:
        """A network at the setting's width and depth, with weights from torch's generator as it stands."""
        family = network.removesuffix(PROJECTION)
        options: dict = {"width": self.width.get(family, 1.0)}
        if network.endswith(PROJECTION):
            options["shortcut"] = "projection"
        if family in self.depth:
            return nets.resnet(self.depth[family], **options)
        return nets.build(family, **options)

    def called(self, network: str) -> str:
        """What `network` is here, for tables: a shallower ResNet goes by its own depth, "resnet20-b" say."""
        family, _, rest = network.partition("-")
        here = f"resnet{self.depth[family]}" if family in self.depth else family
        return f"{here}-{rest}" if rest else here

    def example(self) -> Tensor:
        """An input to trace with: one image of noise (1, 3, 32, 32)."""
        return torch.zeros(1, 3, 32, 32)


@lru_cache(maxsize=2)
def images(name: str, root: Path) -> Data:
    """A data set, which takes seconds to read and to check."""
    return load(name, root)


# Strong weight decay, since a thousand images are few.
DIGITS = Recipe(
    "digits", epochs=12, learning_rate=0.1, schedule="one-cycle", batch_size=64, nesterov=True, weight_decay=5e-3
)

SETTINGS = {
    setting.name: setting
    for setting in (
        Setting(
            "digits",
            "scikit-learn's 1,797 digits, narrow networks: minutes on a laptop, nothing to download",
            data="digits",
            training=DIGITS,
            retraining=Recipe("digits-retraining", epochs=3, learning_rate=0.01, batch_size=64),
            width={"vgg16": 0.25, "resnet56": 0.625, "resnet110": 0.625},
            depth={"resnet56": 20, "resnet110": 32},
        ),
        Setting(
            "cifar10-short",
            "CIFAR-10 and the paper's networks on a short schedule: hours on two CPU cores",
            data="cifar10",
            training=SHORT,
            retraining=Recipe("short-retraining", epochs=7, learning_rate=0.001),
        ),
        Setting(
            "cifar10",
            "CIFAR-10, the paper's networks and the paper's schedule: made for a GPU",
            data="cifar10",
            training=PAPER,
            retraining=PAPER_RETRAINING,
        ),
    )
}


def largest(*tables: str) -> Ledger:
    """The results of the largest setting that has all of `tables`. Raises PrunekitError if none has."""
    for name in reversed(SETTINGS):
        ledger = Ledger(setting=name)
        if set(tables) <= set(ledger.experiments()):
            return ledger
    raise PrunekitError(
        f"No setting has results of {', '.join(tables)}. `prunekit reproduce {tables[0]} --setting digits` makes them."
    )


def setting(name: str) -> Setting:
    """The setting called `name`."""
    if name not in SETTINGS:
        known = ", ".join(SETTINGS)
        raise PrunekitError(f"Unknown setting {name!r}; the known ones are {known}.{nearest(name, SETTINGS)}")
    return SETTINGS[name]
