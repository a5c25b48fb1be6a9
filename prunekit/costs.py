"""One FLOP is one multiply-add of a conv or fully-connected layer; weights are theirs, without biases and BN.

That is the paper's convention (it prints 3.13e8 FLOP and 1.5e7 parameters for VGG-16). Some tools count a multiply-add
as two, and some add biases, BN and pooling; this file does neither. Layers are counted where they are called as
modules (nn.Conv*, nn.ConvTranspose*, nn.Linear); a matrix product written out in a forward is not seen.
"""

import copy
import math
import platform
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils import benchmark

from .errors import PrunekitError, said
from .layers import CONVS, READERS, TRANSPOSED
from .plans import Plan, colors_gone
from .surgery import refit, tensors
from .tracing import Graph

RUNS = 5  # that `latency` measures at least: fewer have no quartiles
COLUMNS = ("layer", "kind", "inputs", "filters", "kernel", "height", "width", "macs", "weights")


@dataclass(frozen=True)
class Total:
    """What a network costs: multiply-adds of a forward pass, weights of the layers counted, bytes it takes to keep."""

    macs: int
    weights: int
    bytes: int


@dataclass(frozen=True)
class Latency:
    """Seconds of a forward pass: median and interquartile range over `runs` measurements, and what ran it."""

    median: float
    iqr: float
    runs: int
    threads: int
    device: str


def cost(model: nn.Module, x: Tensor | tuple[Tensor, ...]) -> pd.DataFrame:
    """Multiply-adds and weights of every conv and linear layer that `model(x)` calls, in eval mode.

    `x` is one example batch, (N, C, H, W) for an image network; multiply-adds are for the whole batch, so give N = 1
    for the cost of an image. Several inputs go in a tuple.

    A row per layer, in the order of first calls: `layer` (its name in `named_modules`), `kind` (torch's class),
    `inputs` and `filters` (channels or features), `kernel` ("3x3"), `height` and `width` (of the output map; 1 where
    it has no such axis), `macs`, `weights`. Each weight is used once per position of the output map (of the input map
    if the conv is transposed), so macs = N * positions * weights. A layer called twice keeps one row, with the sum of
    its macs, its weights counted once, and the map of its first call; weights that two layers share count for the
    first of them. A layer that is not called has no row.

    `model` is left as it was: training flags, buffers, hooks. Raises PrunekitError if it cannot take `x`.
    Source: section 3.1 of the paper; Table 2 is this table for VGG-16.
    """
    names = {module: name for name, module in model.named_modules()}
    rows: dict[nn.Module, dict[str, Any]] = {}
    owners: dict[int, tuple[nn.Module, Tensor]] = {}  # keeps the tensors, so that an id stays one tensor's
    entered: nn.Module | None = None

    def enter(module: nn.Module, args: tuple) -> None:
        nonlocal entered
        entered = module

    def count(module: nn.Module, args: tuple, kwargs: dict[str, Any], output: Tensor) -> None:
        weight: Any = module.weight
        inputs, filters = channels(module)
        if isinstance(module, TRANSPOSED):
            positions = (args[0] if args else kwargs["input"]).numel() // inputs
        else:
            positions = output.numel() // filters
        if module not in rows:
            owner, _ = owners.setdefault(id(weight), (module, weight))
            height, width = map_size(module, output)
            rows[module] = {
                "layer": names[module],
                "kind": next(c.__name__ for c in READERS if isinstance(module, c)),
                "inputs": inputs,
                "filters": filters,
                "kernel": "x".join(str(k) for k in getattr(module, "kernel_size", (1,))),
                "height": height,
                "width": width,
                "macs": 0,
                "weights": weight.numel() if owner is module else 0,
            }
        rows[module]["macs"] += positions * weight.numel()

    handles = []
    try:
        for module in names:
            if isinstance(module, READERS):
                handles.append(module.register_forward_pre_hook(enter))
                handles.append(module.register_forward_hook(count, with_kwargs=True))
        with undisturbed(model):
            model(*(x if isinstance(x, tuple) else (x,)))
    except PrunekitError:
        raise
    except Exception as error:
        where = f"in or after layer {names[entered]!r}, {entered}" if entered is not None else "before any layer"
        shapes = ", ".join(str(tuple(t.shape)) for t in (x if isinstance(x, tuple) else (x,)))
        raise PrunekitError(
            f"The network cannot run on an input of shape {shapes}: it stopped {where}, with: {said(error)}. "
            "Give an example of the shape, type and device that the network was made for."
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    table = pd.DataFrame(list(rows.values()), columns=list(COLUMNS))
    integers = ["inputs", "filters", "height", "width", "macs", "weights"]
    return table.astype(dict.fromkeys(integers, "int64"))


def cost_of(graph: Graph, plan: Plan) -> pd.DataFrame:
    """`cost` of the network that `prune` will make of a traced one by `plan`, before it is made: the same table.

    Raises `PlanError` if the plan is not for this network.
    """
    table = cost_before(graph)
    kept = graph.kept(colors_gone(graph, plan))
    names = {id(tensor): name for name, tensor in graph.model.named_parameters()}  # a shared weight has one name here
    rows = []
    for row in table.to_dict("records"):
        tensor: Any = graph.model.get_submodule(row["layer"]).weight
        weight = names.get(id(tensor), "")
        if (weight, 0) in kept or (weight, 1) in kept:
            after = [len(kept.get((weight, dim), range(n))) for dim, n in enumerate(tensor.shape[:2])]
            inputs, filters = channels(resized(graph.model.get_submodule(row["layer"]), after))
            row |= {"inputs": inputs, "filters": filters}
            before = tensor.shape[0] * tensor.shape[1]
            row |= {n: row[n] * after[0] * after[1] // before for n in ("macs", "weights")}
        rows.append(row)
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(table.dtypes)


def resized(module: nn.Module, sizes: Sequence[int]) -> nn.Module:
    """A layer like `module` with a weight of these first two sizes, without content."""
    twin: Any = copy.copy(module)
    weight = torch.empty((*sizes, *twin.weight.shape[2:]), device="meta")
    twin._parameters = {"weight": nn.Parameter(weight, requires_grad=False), "bias": None}
    refit(twin)
    return twin


def cost_before(graph: Graph) -> pd.DataFrame:
    """`cost` of a traced network. Of the traced example only the shapes count, as in `trace`."""
    first = next((p for p in graph.model.parameters() if p.is_floating_point()), torch.empty(0))
    inputs = (x.to(first.device, first.dtype if x.is_floating_point() else x.dtype) for x in graph.inputs)
    return cost(graph.model, tuple(inputs))


@dataclass(frozen=True)
class Part:
    """What one tensor adds to a network's cost. It falls in proportion to what stays of each of the tensor's `axes`.

    `axes` are the colors along those dimensions that can lose something; so the cost of a conv in the middle of a chain
    is bilinear: kept filters times kept inputs.
    """

    tensor: str
    full: Total
    axes: tuple[tuple[int, ...], ...]

    def left(self, gone: set[int]) -> Total:
        """What it adds when the colors `gone` are cut out."""
        stays = math.prod(sum(color not in gone for color in axis) for axis in self.axes)
        size = math.prod(map(len, self.axes))
        return Total(*(whole * stays // size for whole in astuple(self.full)))


def parts(graph: Graph) -> list[Part]:
    """The cost of a traced network, tensor by tensor: the sum over the parts is its `total`, and stays so after a cut.

    Multiply-adds are for the example that was traced.
    """
    named = tensors(graph.model)
    names = {id(tensor): name for name, tensor in named.items()}
    axes: dict[str, list[tuple[int, ...]]] = {}
    for axis in graph.axes.values():
        axes.setdefault(axis.tensor, []).append(axis.colors)
    full = {name: Total(0, 0, t.numel() * t.element_size()) for name, t in named.items()}
    for row in cost_before(graph).to_dict("records"):
        weight = graph.model.get_submodule(row["layer"]).weight
        name = names.get(id(weight), f"{row['layer']}.weight")  # one that is computed from others is cut by nobody
        before = full.get(name, Total(0, 0, 0))
        full[name] = Total(before.macs + row["macs"], before.weights + row["weights"], before.bytes)
    return [Part(name, whole, tuple(axes.get(name, ()))) for name, whole in full.items()]


def total_of(graph: Graph, plan: Plan) -> Total:
    """`total` of the network that `prune` will make of a traced one by `plan`, before it is made.

    Raises `PlanError` if the plan is not for this network.
    """
    return summed(parts(graph), colors_gone(graph, plan))


def summed(parts: Iterable[Part], gone: set[int]) -> Total:
    """What the `parts` of a network cost together when the colors `gone` are cut out."""
    left = [astuple(part.left(gone)) for part in parts]
    return Total(*map(sum, zip(*left, strict=True)))


def total(model: nn.Module, x: Tensor | tuple[Tensor, ...]) -> Total:
    """`cost` summed over the layers, with the bytes of `size`."""
    table = cost(model, x)
    return Total(int(table["macs"].sum()), int(table["weights"].sum()), size(model))


def size(model: nn.Module) -> int:
    """Bytes of all parameters and buffers (biases and BN too), each tensor once however many names it has."""
    return sum(t.numel() * t.element_size() for t in tensors(model).values())


def latency(
    model: nn.Module, x: Tensor | tuple[Tensor, ...], seconds: float = 1.0, threads: int | None = None
) -> Latency:
    """Time of `model(x)` in eval mode without gradients, for about `seconds` after a warm-up, five times at least.

    `threads` is the number of CPU threads, as torch is set if not given. Where other programs run too, the median is
    still fair but the range widens: quote both. `model` is left as it was. Source: Table 3.
    """
    threads = threads or torch.get_num_threads()
    inputs = x if isinstance(x, tuple) else (x,)
    with undisturbed(model):
        timer = benchmark.Timer("model(*inputs)", globals={"model": model, "inputs": inputs}, num_threads=threads)
        timer.timeit(1)
        times = timer.blocked_autorange(min_run_time=seconds).times
        times += [timer.timeit(1).median for _ in range(len(times), RUNS)]
    low, median, high = np.quantile(times, (0.25, 0.5, 0.75)).tolist()
    return Latency(median, high - low, len(times), threads, device_name(inputs[0].device))


def device_name(device: torch.device | str = "cpu") -> str:
    """The maker's name of a GPU or CPU, "AMD EPYC 9654" say; the kind of machine where that cannot be found."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type != "cpu":
        return device.type
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        named = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        if named:
            return named[0].partition(":")[2].strip()
    if platform.system() == "Darwin":
        brand = subprocess.run(
            ["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, check=False
        )
        if brand.returncode == 0:
            return brand.stdout.strip()
    return platform.processor() or platform.machine()


def channels(module: nn.Module) -> tuple[int, int]:
    """Input and output channels of a conv, features of a linear layer."""
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    assert isinstance(module, (*CONVS, *TRANSPOSED))
    return module.in_channels, module.out_channels


def map_size(module: nn.Module, output: Tensor) -> tuple[int, int]:
    """Height and width of a layer's output: its last two axes that are neither batch nor channels, 1 if missing."""
    if isinstance(module, nn.Linear):
        spatial = output.shape[1:-1]
    else:
        spatial = output.shape[-len(module.kernel_size) :]  # type: ignore[arg-type]
    height, width = (1, 1, *spatial)[-2:]
    return height, width


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Inside, `model` is in eval mode, without gradients, on copies of its buffers; afterwards all is as before.

    Flags are set module by module: `model.eval()` may be overridden, and a network whose BN alone is frozen would not
    get that back from `model.train()`.
    """
    if any(nn.parameter.is_lazy(t) for t in (*model.parameters(), *model.buffers())):
        raise PrunekitError("The network has lazy layers whose shapes are not known yet: run it once on an example.")
    modules = list(model.modules())
    flags = [module.training for module in modules]
    buffers = [dict(module._buffers) for module in modules]
    copies = {id(t): t.clone() for held in buffers for t in held.values() if t is not None}
    try:
        for module, held in zip(modules, buffers, strict=True):
            module.training = False
            module._buffers.update({name: t if t is None else copies[id(t)] for name, t in held.items()})
        with torch.no_grad():
            yield
    finally:
        for module, training, held in zip(modules, flags, buffers, strict=True):
            module.training = training
            module._buffers.clear()
            module._buffers.update(held)


def compared(before: Total, after: Total) -> pd.DataFrame:
    """Two costs side by side: a row for multiply-adds, weights and bytes, with the share that was pruned (0 to 1)."""
    rows = []
    for name in ("macs", "weights", "bytes"):
        was, now = getattr(before, name), getattr(after, name)
        rows.append({"quantity": name, "before": was, "after": now, "pruned": 1 - now / was if was else math.nan})
    return pd.DataFrame(rows)
