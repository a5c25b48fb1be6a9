"""Trace and prune every classification network of torchvision at its real image size, and write what came out down.

    python book/scripts/networks.py [NETWORK...]

A row per network in the ledger's table networks/torchvision; rows that are there are not measured again. For timm's
networks see timm_networks.py. Weights, BN
statistics and everything else that training would set are random, in float64: exactness does not depend on them, and
with fresh ones many mistakes compute the right thing. Seconds are those of one CPU core (process time), so that other
programs on the machine do not count.
"""

import argparse
import math
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

import prunekit as pk
from prunekit._torchvision import torchvision
from prunekit.errors import PlanError, PrunekitError
from prunekit.ledger import Ledger
from prunekit.plans import colors_gone
from prunekit.tracing import Graph

SETTING, TABLE = "networks", "torchvision"
RATE = 0.3  # of the filters, where so many can go
OUTPUT = "it reaches the network's output"
OPTIONS = {"googlenet": {"init_weights": False}, "inception_v3": {"init_weights": False}}  # else they warn


def names() -> list[str]:
    """Every classification network of torchvision, in alphabetical order."""
    return torchvision.models.list_models(module=torchvision.models)


def image_size(name: str) -> int:
    """Pixels along a side of the smallest images that torchvision's published weights of this network were made for."""
    return min(entry.transforms().crop_size[0] for entry in torchvision.models.get_model_weights(name))


def operations(name: str) -> float:
    """Billions of multiply-adds that torchvision gives for this network, of its weights the least."""
    return min(entry.meta["_ops"] for entry in torchvision.models.get_model_weights(name))


class Unset(TorchFunctionMode, AbstractContextManager):
    """Inside, torch.nn.init does nothing: the numbers are drawn afterwards, and once is enough."""

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        if getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


def build(name: str, seed: int = 0, **options: Any) -> nn.Module:
    """The network in eval mode with random numbers everywhere, in float64, for 10 classes unless `options` say else."""
    settings = {"weights": None, "num_classes": 10} | OPTIONS.get(name, {}) | options
    with Unset():
        model = torchvision.models.get_model(name, **settings)
    return randomize(model.double().eval(), seed)


def randomize(model: nn.Module, seed: int = 0) -> nn.Module:
    """Random numbers for everything that training sets, of sizes with which maps neither vanish nor grow wildly.

    With larger weights some of the deep networks are chaotic: a change of 1e-9 in the image becomes one of 1 in the
    output, and exactness could not be told from its opposite.
    """
    draw = torch.Generator().manual_seed(seed)
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if not tensor.is_floating_point():
            continue
        data, last = tensor.data, name.rpartition(".")[2]
        if last == "running_var" or (last in ("weight", "layer_scale") and data.numel() == data.shape[0]):
            data.uniform_(0.5, 1.5, generator=draw)
        elif data.dim() < 2:
            data.uniform_(-0.3, 0.3, generator=draw)
        else:
            bound = math.sqrt(3 / data[0].numel())
            data.uniform_(-bound, bound, generator=draw)
    return model


def images(size: int, count: int = 1, seed: int = 1) -> Tensor:
    """Random images (count, 3, size, size)."""
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def random_plan(graph: Graph, rate: float, seed: int = 0) -> pk.Plan:
    """A share of the filters of as many layers as can lose it, drawn at random; of tied layers the first decides."""
    chosen: dict[str, float] = {}
    covered: set[int] = set()
    for layer, colors in graph.layers.items():
        units = set(colors) - set(graph.reasons)
        if not units or not covered.isdisjoint(units):
            continue
        try:
            pk.plan(graph, {layer: rate}, criterion="random", seed=seed)
        except PlanError:
            continue
        chosen[layer] = rate
        covered |= units
    return pk.plan(graph, chosen, criterion="random", seed=seed)


def difference(a: Any, b: Any) -> float:
    """The largest difference between two outputs, relative to the largest entry of `b`; of several, the worst."""
    pairs = zip(tree_leaves(a), tree_leaves(b), strict=True)
    worst = [float((x - y).abs().max() / y.abs().max()) for x, y in pairs if isinstance(y, Tensor)]
    return math.nan if any(map(math.isnan, worst)) else max(worst)


def measure(name: str, model: nn.Module, size: int) -> dict[str, Any]:
    """The row of a network, on images of `size`: how much of it can go, how exact a random cut is, how long it takes.

    `layers` counts the conv and linear layers that have filters of their own, `filters` theirs, `removable` how many of
    these can go. The cut took a share `rate` of each layer that can lose it, `removed` filters in all. `error` is the
    largest difference between the outputs of the pruned and the masked network, relative to the largest output.
    `reason` is the most common one of the filters that cannot go, the output apart. If the network is refused, it is
    why, and what was not reached is 0 or NaN.
    """
    x = images(size)
    row: dict[str, Any] = {"network": name, "image": size, "rate": RATE, "convs": sum(map(is_conv, model.modules()))}
    row |= dict.fromkeys(("layers", "filters", "removable", "removed"), 0)
    row |= dict.fromkeys(("error", "trace", "prune"), math.nan)
    try:
        start = time.process_time()
        graph = pk.trace(model, x)
        row["trace"] = time.process_time() - start
        colors = [color for colors in graph.layers.values() for color in colors]
        reasons = Counter(graph.reasons[color] for color in colors if color in graph.reasons)
        row |= {"layers": len(graph.layers), "filters": len(colors), "removable": len(colors) - reasons.total()}
        del reasons[OUTPUT]
        row["reason"] = reasons.most_common(1)[0][0] if reasons else ""
        if not row["removable"]:
            return row
        plan = random_plan(graph, RATE)
        start = time.process_time()
        small = pk.prune(model, plan)
        row["prune"] = time.process_time() - start
        gone = colors_gone(graph, plan)
        row["removed"] = sum(color in gone for color in colors)
        with torch.inference_mode():
            other = images(size, seed=2)
            got = small(other)
            del small  # the largest networks need gigabytes
            row["error"] = difference(got, pk.mask(model, plan)(other))
    except PrunekitError as error:
        row["reason"] = str(error)
    return row


def is_conv(module: nn.Module) -> bool:
    return isinstance(module, nn.modules.conv._ConvNd)


def arguments(description: str) -> argparse.Namespace:
    """What the command line says: `networks`, if not all, and the folder of the `results`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("networks", nargs="*", help="only these")
    parser.add_argument("--results", type=Path, help="folder of the ledger")
    return parser.parse_args()


def record(
    options: argparse.Namespace, script: str, table: str, names: Iterable[str], row: Callable[[str], dict[str, Any]]
) -> None:
    """Write the rows that a table of the ledger lacks, network by network."""
    torch.set_num_threads(1)
    ledger = Ledger(options.results, SETTING)
    measure("", build("shufflenet_v2_x0_5"), 64)  # what is loaded at a first use is not the network's time
    with ledger.run(["python", f"book/scripts/{script}", *options.networks]) as run:
        for wanted in ledger.missing(table, [{"network": name} for name in names]):
            found = row(str(wanted["network"]))
            ledger.add(table, [found], ["network"], run)
            print(
                f"{found['network']}: {found['removable']} of {found['filters']} filters, error {found['error']:.1e}",
                flush=True,
            )


def main() -> int:
    options = arguments("Measure every classification network of torchvision.")
    given = sorted(options.networks or names(), key=operations)  # the cheapest first
    record(options, "networks.py", TABLE, given, lambda name: measure(name, build(name), image_size(name)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
