"""A cut with BN's statistics noted again, no weight trained: how much of figures 2(b) and 3 is stale statistics.

After a cut, BN still normalizes by the mean and variance that it noted in the unpruned network. Li et al. ("EagleEye",
ECCV 2020) let BN see some training images before they compare pruned networks; so do these experiments.
"""

import copy
from collections.abc import Mapping

import pandas as pd
from torch import nn
from torch.optim.swa_utils import update_bn

from .. import nets
from ..data import Batches
from ..plans import plan
from ..surgery import prune
from ..tracing import trace
from .jobs import SPLITS, Job, Part, Parts, Work, add, counted, exact
from .retraining_experiments import RATES, STRATEGIES, THIN
from .settings import Setting
from .training_experiments import trained

SEEN = 5_000  # training images, the first ones and not augmented: enough for the mean and variance of a map


def noted(network: str) -> Parts:
    """Cuts counted as they are (`correct`), and with BN's statistics noted again (`noted`). Figures 2(b) and 3.

    Tables: `<experiment>`, a row per strategy, rate and split, all convs cut at one rate, 0 (no cut) among them;
    `alone-<experiment>`, a row per layer, rate and split, each layer cut alone at the rates `THIN`.
    """

    def part(job: Job, table: str, rates: float | Mapping[str, float], **what) -> Part:
        mark, strategy = job.mark(network, **what), what.get("strategy", "independent")

        def code(job: Job) -> None:
            model = trained(job, network)
            small = prune(model, plan(trace(model, job.setting.example()), rates, strategy=strategy))
            again = with_statistics(job, small)
            rows = [counts(job, small, again, split) | {"split": split} for split in SPLITS]
            with job.recording(model) as run:
                add(job, pd.DataFrame(rows).assign(**mark), ["network", "seed", "split", *what], run, table)

        return Part(table, mark, code, lambda setting: work(setting, network), network)

    def parts(job: Job) -> list[Part]:
        together = [
            part(job, job.experiment, rate, strategy=strategy, rate=rate)
            for rate in (0.0, *RATES)
            for strategy in STRATEGIES
        ]
        alone = [
            part(job, f"alone-{job.experiment}", {layer: rate}, layer=layer, number=number, rate=rate)
            for number, layer in nets.numbered(job.setting.build(network)).items()
            for rate in THIN
        ]
        return [*together, *alone]

    return parts


def with_statistics(job: Job, model: nn.Module) -> nn.Module:
    """A copy of `model` whose BN layers have noted the mean and variance of `SEEN` training images."""
    compute = exact()
    fresh = compute.place(copy.deepcopy(model))
    seen = job.setting.load().train.take(slice(SEEN))
    update_bn((compute.batch(x) for x, _ in Batches(seen)), fresh)
    return fresh


def counts(job: Job, small: nn.Module, again: nn.Module, split: str) -> dict:
    """Images of a split that are right as cut and with the statistics noted again, of how many."""
    images = getattr(job.setting.load(), split)
    as_cut, noted = (counted(model, images, exact()) for model in (small, again))
    return {"correct": as_cut["correct"], "noted": noted["correct"], "total": as_cut["total"]}


def work(setting: Setting, network: str) -> Work:
    """Both networks counted on both splits, after `SEEN` images."""
    images = setting.images
    return Work(network, counted=2 * (images["test"] + images["validation"]) + min(SEEN, images["train"]))
