"""What every experiment of the paper needs: where its rows and files go, and how it counts."""

from collections.abc import Iterable
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

    def checkpoint(self, start: nn.Module) -> Path:
        """A file for training that begins with the weights of `start`: with others it is another file."""
        return self.file("checkpoints", f"{self.experiment}-{digest(stored(start))[:8]}").with_suffix(".pt")

    def mark(self, network: str, **more) -> dict:
        """What a row is about: the network as it is called in this setting, the seed, and `more`."""
        return {"network": self.setting.called(network), "seed": self.seed} | more

    def missing(self, table: str, marks: Iterable[Row]) -> list[Row]:
        """Those of `marks` for which `table` has no row yet."""
        return self.ledger.missing(table, marks)

    def keep(self, model: nn.Module, plans: Plan | list[Plan], network: str) -> None:
        """Write the weights of `model`, which are in half precision, to the file of `network`."""
        self.weights(network).parent.mkdir(parents=True, exist_ok=True)
        save(model.half(), plans, self.weights(network))
        model.float()

    def recording(self, model: nn.Module):
        """A run of the ledger about `model`, to be entered with `with`."""
        command = f"prunekit reproduce {self.experiment} --setting {self.setting.name} --seed {self.seed}"
        return self.ledger.run(command, self.seed, model, device=fastest().device)


def add(job: Job, table: pd.DataFrame, key: list[str], run: Run) -> None:
    """Write a table's rows, what they are about in front."""
    front = [name for name in ("network", "seed", "split") if name in table]
    job.ledger.add(job.experiment, table[[*front, *table.columns.difference(front, sort=False)]], key, run)


def counted(model: nn.Module, split: Split, compute: Compute) -> dict[str, int | float]:
    """Columns of a row: correct, total and loss of `model` on the images of `split`."""
    return evaluate(model, Batches(split), compute)._asdict()


def exact() -> Compute:
    """float32 on the fastest device: for counts that another machine can check image by image."""
    return replace(fastest(), dtype=torch.float32)


def rounded(model: nn.Module) -> nn.Module:
    """The network that is left when weights are stored in half precision, in float32 again."""
    return model.half().float()
