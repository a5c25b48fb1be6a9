"""What every experiment of the paper needs: its parts, where its rows and files go, and how it counts."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import torch
from torch import nn

from ..data import Batches, Split
from ..files import digest, save, stored
from ..ledger import Ledger
from ..origin import Run
from ..plans import Plan
from ..sheets import Row
from ..train import Compute, evaluate, fastest
from .settings import Setting

SPLITS = ("test", "validation")
RESULTS = "results"  # what the project calls its folder of results


@dataclass(frozen=True)
class Job:
    """One experiment in one setting with one seed: what its code needs to know, and where its files go."""

    experiment: str
    ledger: Ledger
    setting: Setting
    seed: int
    progress: bool | None = None

    def file(self, folder: str, name: str) -> Path:
        """A file of this setting, in `weights` or in `checkpoints`.

        These stand beside a folder of results that is called `results`. Under any other name they stand inside of it:
        with `--results mine` in the project's folder, nothing of the project's is read or replaced.
        """
        root = self.ledger.root
        home = root.parent if root.name == RESULTS else root
        return home / folder / self.setting.name / f"{name}-seed{self.seed}"

    def weights(self, network: str) -> Path:
        """The file of a trained network's weights."""
        return self.file("weights", network).with_suffix(".safetensors")

    def checkpoint(self, start: nn.Module) -> Path:
        """A file for training that begins with the weights of `start`: with others it is another file."""
        return self.file("checkpoints", f"{self.experiment}-{digest(stored(start))[:8]}").with_suffix(".pt")

    def mark(self, network: str, **more) -> dict:
        """What a row is about: the network as it is called in this setting, the seed, and `more`."""
        return {"network": self.setting.called(network), "seed": self.seed} | more

    def lacks(self, part: "Part") -> bool:
        """Whether there is no row of `part` in the ledger yet, or not the file that it leaves."""
        return bool(self.ledger.missing(part.table, [part.mark])) or not all(
            self.weights(n).exists() for n in part.kept
        )

    def keep(self, model: nn.Module, plans: Plan | list[Plan], network: str) -> None:
        """Write the weights of `model`, which are in half precision, to the file of `network`."""
        self.weights(network).parent.mkdir(parents=True, exist_ok=True)
        save(model.half(), plans, self.weights(network))
        model.float()

    def recording(self, model: nn.Module):
        """A run of the ledger about `model`, to be entered with `with`."""
        command = f"prunekit reproduce {self.experiment} --setting {self.setting.name} --seed {self.seed}"
        return self.ledger.run(command, self.seed, model, device=fastest().device)


@dataclass(frozen=True)
class Work:
    """What takes time: images that pass through a network or through a pruned shape of it.

    `trained` forward and back, `watched` forward in the number format of training, `counted` forward in float32. A
    part that runs half of the network on 100 images counts 50.
    """

    network: str
    trained: float = 0
    watched: float = 0
    counted: float = 0


@dataclass(frozen=True)
class Part:
    """What an experiment can do by itself: it is done when `table` has a row with `mark`.

    `code` writes the rows with `mark` last. `work` says what that takes; `network` is the trained network that must be
    there first, if any; `kept` names those whose weights must be there afterwards.
    """

    table: str
    mark: Row
    code: Callable[[Job], None]
    work: Callable[[Setting], Work]
    network: str | None = None
    kept: tuple[str, ...] = ()


Parts = Callable[[Job], list[Part]]  # an experiment, in the order in which its parts are done


def add(job: Job, table: pd.DataFrame, key: list[str], run: Run, name: str | None = None) -> None:
    """Write rows to the experiment's table, or to the one called `name`, what they are about in front."""
    front = [column for column in ("network", "seed", "split", "draw") if column in table]
    rows = table[[*front, *table.columns.difference(front, sort=False)]]
    job.ledger.add(name or job.experiment, rows, key, run)


def counted(model: nn.Module, split: Split, compute: Compute) -> dict[str, int | float]:
    """Columns of a row: correct, total and loss of `model`, which stays where it is, on the images of `split`."""
    return evaluate(compute.place(copy.deepcopy(model)), Batches(split), compute)._asdict()


def exact() -> Compute:
    """float32 on the fastest device: for counts that another machine can check image by image."""
    torch.backends.cudnn.allow_tf32 = False  # by default, a GPU's float32 convolutions round to 10 bits
    return replace(fastest(), dtype=torch.float32)


def rounded(model: nn.Module) -> nn.Module:
    """The network that is left when weights are stored in half precision, in float32 again."""
    return model.half().float()
