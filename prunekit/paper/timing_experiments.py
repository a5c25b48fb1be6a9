"""Wall-clock: how long the whole test set takes, pruned and unpruned. Table 3's question."""

import time

import torch
from torch import nn

from .. import costs
from ..data import Batches
from ..modes import evaluating
from ..train import Compute
from .configurations import configuration
from .jobs import Job, Part, Parts, Work, exact
from .settings import Setting

BATCH, REPEATS, WARM_UP = 128, 5, 4


def wall_clock(*names: str) -> Parts:
    """Each configuration and the network that it comes from, `REPEATS` times through the test images, taking turns.

    Taking turns, so that what else the machine does falls on both alike. Batches of `BATCH`, made beforehand; `WARM_UP`
    batches first. float32. Weights are drawn fresh, since time does not depend on them. The table has a row per
    network and repeat: seconds, images, batch, threads, device, and the multiply-adds of an image; `pair` is the
    configuration.
    """

    def part(job: Job, name: str) -> Part:
        mark = job.mark(name, pair=job.setting.called(name))
        return Part(job.experiment, mark, lambda job: timed(job, name), lambda s: work(s, name))

    return lambda job: [part(job, name) for name in names]


def timed(job: Job, name: str) -> None:
    """The rows of one configuration."""
    compute, data = exact(), job.setting.load()
    models = {n: compute.place(job.setting.build(n, job.seed)) for n in (configuration(name).network, name)}
    batches = [compute.batch(x) for x, _ in Batches(data.test.to(compute.device), BATCH)]
    rows = []
    with job.recording(models[name]) as run:
        for model in models.values():
            seconds(model, batches[:WARM_UP], compute)
        for repeat in range(1, REPEATS + 1):
            for network, model in models.items():
                rows.append(
                    job.mark(network, pair=job.setting.called(name), repeat=repeat)
                    | {"seconds": seconds(model, batches, compute), "images": len(data.test), "batch": BATCH}
                    | {"threads": torch.get_num_threads(), "device": costs.device_name(compute.device)}
                    | {"macs": costs.total(model, compute.batch(job.setting.example())).macs}
                )
        job.ledger.add(job.experiment, rows, ["network", "seed", "pair", "repeat"], run)


def seconds(model: nn.Module, batches: list[torch.Tensor], compute: Compute) -> float:
    """How long a forward pass over `batches` takes, to the last result."""
    with evaluating(model), torch.inference_mode(), compute.autocast():
        synchronize(compute)
        started = time.perf_counter()
        for x in batches:
            model(x)
        synchronize(compute)
    return time.perf_counter() - started


def synchronize(compute: Compute) -> None:
    """Wait for what a GPU still has to do."""
    if compute.device.startswith("cuda"):
        torch.cuda.synchronize()


def work(setting: Setting, name: str) -> Work:
    """Both networks as often as they are timed."""
    return Work(configuration(name).network, counted=2 * REPEATS * setting.images["test"])
