"""The trained networks that come with the project, by name, each held against the results that were measured on it."""

from dataclasses import replace
from pathlib import Path

from torch import nn

from .. import origin
from ..errors import FileError, PrunekitError, nearest
from ..files import load
from ..ledger import Ledger
from .jobs import Job
from .settings import PROJECTION, SETTINGS, setting

TRAINED = ("vgg16", "resnet56", f"resnet56{PROJECTION}", "resnet110")  # the networks that `baseline-` experiments train


def published(
    network: str, setting_name: str = "cifar10", seed: int = 0, results: str | Path | None = None
) -> nn.Module:
    """The network called "vgg16", "resnet56" and so on as trained in a setting, in float32, in eval mode, on the CPU.

    Raises `FileError` if its file is not there or damaged, or if the results are about other weights.
    """
    if network not in TRAINED:
        raise PrunekitError(
            f"Unknown network {network!r}; the trained ones are {', '.join(TRAINED)}.{nearest(network, TRAINED)}"
        )
    here = setting(setting_name)
    return checked(Job(f"baseline-{network}", Ledger(results, here.name), here, seed), network).eval()


def checked(job: Job, network: str) -> nn.Module:
    """The job's trained network; what the ledger says about it must have been measured on these weights."""
    path = job.weights(network)
    if not path.exists():
        raise FileError(f"There are no weights {path}. {ways(job, network)}{elsewhere(job, network)}")
    model = load(path, lambda: job.setting.build(network)).float()
    measured = wanted(job, network)
    if measured and origin.checksum(model) not in measured:
        raise FileError(
            f"{path} is not the network that the results in {job.ledger.folder} are about: its checksum is another. "
            f"Get that file again, or delete the tables of {network} to measure this one."
        )
    return model


def trainable(job: Job, network: str) -> None:
    """Refuse to train a network anew, before any training, that the ledger has results of.

    Another machine rounds differently, and recipes change. So what came of it would be another network, whose rows the
    ledger would not take in place of those that are there.
    """
    path = job.weights(network)
    if wanted(job, network) and not path.exists():
        raise FileError(
            f"{job.ledger.folder} has results of {network}, seed {job.seed}, but the weights that they are about, "
            f"{path}, are not there; trained anew it would be another network. {ways(job, network)}"
        )


def ways(job: Job, network: str) -> str:
    """What to do where a network's weights are not there."""
    path = job.weights(network)
    ours = (origin.repository() or Path()) / "weights" / path.relative_to(path.parents[1])
    command = f"prunekit reproduce baseline-{network} --setting {job.setting.name} --seed {job.seed}"
    copied = f"Copy {ours}, which comes with the project; or " if ours.exists() else ""
    if not wanted(job, network):
        return f"{copied}`{command}` trains them."
    return (
        f"{copied or 'Put that file there (it does not come with the project); or '}work in a folder of your own, "
        f"where all rows start from nothing: `{command} --results mine`."
    )


def elsewhere(job: Job, network: str) -> str:
    """A hint at other settings that have the network's weights, or nothing."""
    others = [name for name in SETTINGS if replace(job, setting=setting(name)).weights(network).exists()]
    calls = [f"published({network!r}, {name!r})" for name in others]
    return f" There are some of the setting {' and '.join(others)}: {', '.join(calls)}." if others else ""


def wanted(job: Job, network: str) -> set[str | None]:
    """The checksums of the weights behind the baseline's rows; none if there are no rows."""
    table = f"baseline-{network}"
    if table not in job.ledger.experiments():
        return set()
    rows = job.ledger.table(table)
    mine = rows[(rows["network"] == job.setting.called(network)) & (rows["seed"] == job.seed)]
    runs = job.ledger.runs()
    return {runs[run].weights for run in mine["run"]}
