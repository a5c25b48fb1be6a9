"""Cutting without retraining: filters ranked, and each layer pruned alone. Figures 2(a), 2(b), 5 and 6."""

import itertools

from .. import nets
from ..criteria import l1
from ..data import Batches
from ..sensitivity import sweep
from .jobs import SPLITS, Job, add, exact
from .training_experiments import Code, trained


def ranking(network: str) -> Code:
    """The l1 norm of every filter, and the first layer's weights themselves. Figures 2(a) and 5.

    Tables: `ranking-<network>`, a row per filter; `first-filters-<network>`, a row per weight of layer 1.
    """

    def code(job: Job) -> None:
        if not job.ledger.missing(job.experiment, [job.mark(network)]):
            return
        model = trained(job, network)
        rows = [
            {"network": network, "seed": job.seed, "layer": layer, "number": number, "filter": index, "l1": norm}
            for number, layer in nets.numbered(model).items()
            for index, norm in enumerate(l1(model.get_parameter(f"{layer}.weight").detach().double()).tolist())
        ]
        first = model.get_parameter(f"{nets.numbered(model)[1]}.weight").detach()
        places = ("filter", "channel", "row", "column")
        weights = [
            {
                "network": network,
                "seed": job.seed,
                **dict(zip(places, place, strict=True)),
                "weight": float(first[place]),
            }
            for place in itertools.product(*map(range, first.shape))
        ]
        with job.recording(model) as run:
            job.ledger.add(f"first-filters-{network}", weights, ["network", "seed", *places], run)
            job.ledger.add(job.experiment, rows, ["network", "seed", "layer", "filter"], run)

    return code


def sensitivity(network: str) -> Code:
    """Each layer pruned alone, smallest filters first, at nine rates, without retraining. Figures 2(b) and 6."""

    def code(job: Job) -> None:
        for split in SPLITS:
            mark = job.mark(network, split=split)
            if not job.ledger.missing(job.experiment, [mark]):
                continue
            model = trained(job, network)
            numbers = {layer: number for number, layer in nets.numbered(model).items()}
            batches = Batches(getattr(job.setting.load(), split))
            file = job.file("checkpoints", f"{job.experiment}-{split}").with_suffix(".json")
            with job.recording(model) as run:
                table = sweep(
                    model, batches, job.setting.example(), compute=exact(), checkpoint=file, progress=job.progress
                )
                table.insert(1, "number", table["layer"].map(numbers))
                add(job, table.assign(**mark), ["network", "seed", "layer", "criterion", "rate", "split"], run)
            file.unlink(missing_ok=True)

    return code
