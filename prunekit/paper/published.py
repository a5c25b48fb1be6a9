"""The trained networks that come with the project, by name, each held against the results that were measured on it."""

from pathlib import Path

from torch import nn

from .. import origin
from ..errors import FileError
from ..files import load
from ..ledger import Ledger
from .jobs import Job
from .settings import setting


def published(
    network: str, setting_name: str = "cifar10", seed: int = 0, results: str | Path | None = None
) -> nn.Module:
    """The network called "vgg16", "resnet56" and so on as trained in a setting, in float32, on the CPU.

    Raises `FileError` if its file is not there or damaged, or if the results are about other weights.
    """
    here = setting(setting_name)
    return checked(Job(f"baseline-{network}", Ledger(results, here.name), here, seed), network)


def checked(job: Job, network: str) -> nn.Module:
    """The job's trained network; what the ledger says about it must have been measured on these weights."""
    path = job.weights(network)
    if not path.exists():
        ours = (origin.repository() or Path()) / "weights" / path.relative_to(path.parents[1])
        copied = f"Copy {ours}, which comes with the project; or " if ours.exists() else ""
        raise FileError(
            f"There are no weights {path}. {copied}`prunekit reproduce baseline-{network} --setting {job.setting.name} "
            f"--seed {job.seed}` trains them."
        )
    model = load(path, lambda: job.setting.build(network)).float()
    measured = wanted(job, network)
    if measured and origin.checksum(model) not in measured:
        raise FileError(
            f"{path} is not the network that the results in {job.ledger.folder} are about: its checksum is another. "
            f"Get that file again, or delete the tables of {network} to measure this one."
        )
    return model


def wanted(job: Job, network: str) -> set[str | None]:
    """The checksums of the weights behind the baseline's rows; none if there are no rows."""
    table = f"baseline-{network}"
    if table not in job.ledger.experiments():
        return set()
    rows = job.ledger.table(table)
    mine = rows[(rows["network"] == job.setting.called(network)) & (rows["seed"] == job.seed)]
    runs = job.ledger.runs()
    return {runs[run].weights for run in mine["run"]}
