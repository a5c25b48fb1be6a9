"""The three settings in which every experiment can run: one code, three sizes."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from .. import nets
from ..data import Data, load
from ..errors import PrunekitError, nearest
from ..train import PAPER, PAPER_RETRAINING, SHORT, Recipe


@dataclass(frozen=True)
class Setting:
    """Data, the size of the networks, and how they are trained and retrained."""

    name: str
    about: str
    data: str
    training: Recipe
    retraining: Recipe
    width: dict[str, float] = field(default_factory=dict)  # by network, where it is not 1

    def load(self) -> Data:
        """The setting's images."""
        return load(self.data)

    def build(self, network: str, seed: int = 0) -> nn.Module:
        """A network of this setting with the weights that `seed` draws."""
        torch.manual_seed(seed)
        return nets.build(network, width=self.width.get(network, 1.0))

    def example(self) -> Tensor:
        """An input to trace with: one image of noise (1, 3, 32, 32)."""
        return torch.zeros(1, 3, 32, 32)


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
            width={"vgg16": 0.25},
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


def setting(name: str) -> Setting:
    """The setting called `name`."""
    if name not in SETTINGS:
        known = ", ".join(SETTINGS)
        raise PrunekitError(f"Unknown setting {name!r}; the known ones are {known}.{nearest(name, SETTINGS)}")
    return SETTINGS[name]
