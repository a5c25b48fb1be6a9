"""Sensitivity: prune each layer alone, at several rates and by several criteria, and count what is still right.

One pass over the images does it all. For each batch the network runs once, operation by operation; where the maps of a
layer are read, the run forks and goes on from there for all rates at once (see `walking`).
"""

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn
from tqdm import tqdm

from .criteria import Criterion, images_of, name_of
from .errors import FileError, PlanError, PrunekitError, said
from .files import digest, stored
from .plans import expand, highest, kept_count, scores
from .surgery import compare, copied, muted, smaller, variant
from .surgery import example as inputs_of
from .tracing import Graph, trace
from .train import Compute, labeled
from .walking import Fork, Walker, fold
from .writing import replacing

CACHED = 128  # images in one large batch on a CPU: the maps of more outgrow its caches, which costs more than it saves
RATES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # by default, those that leave a layer at least one filter


@dataclass
class Cut:
    """One layer pruned by one criterion at one rate: the colors of its filters, the indices of those that stay."""

    layer: str
    criterion: str
    rate: float
    colors: tuple[int, ...]
    stays: tuple[int, ...]
    correct: int = 0

    @property
    def filters(self) -> int:
        return len(self.colors)

    @property
    def kept(self) -> int:
        return len(self.stays)

    @property
    def gone(self) -> set[int]:
        """The colors that the cut removes."""
        return set(self.colors) - {self.colors[i] for i in self.stays}


def sweep(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    example: Tensor,
    rates: Sequence[float] | None = None,
    criterion: Criterion | Sequence[Criterion] = "l1",
    layers: str | Sequence[str] | None = None,
    *,
    data: Iterable | None = None,
    seed: int = 0,
    compute: Compute | None = None,
    checkpoint: str | Path | None = None,
    progress: bool | None = None,
) -> pd.DataFrame:
    """Prune each layer of `model` alone and count the images of `batches` that are still classified correctly.

    `batches` yields pairs of x (n, C, H, W) and y (n,), the same ones each time it is iterated. `rates` are shares of
    filters to remove, by default 0.1 to 0.9 in tenths, in narrow layers only those that leave a filter. `layers` are
    names or patterns, by default every conv layer that is tied to no other. `data` and `seed` are for criteria that
    need images or random numbers, as in `plan`; `compute` is by default where the network is, in its number format. The
    counts are those of pruning each layer with `prune` and evaluating the result; the largest cut of each layer is
    compared with the masked network first, as `prune` does it.

    A row per layer, criterion and rate: layer, criterion, rate, filters, kept, correct, total, baseline_correct (of
    the network as it is, on the same images).

    With `checkpoint`, the counts so far are in that file after each batch, and a call that finds it goes on from there.
    `progress` None shows a bar on a terminal only. `model` is left as it was.

    Raises `PlanError` for what cannot be cut, `SurgeryError` where the forward has a size written into it, `FileError`
    for a checkpoint of another sweep, `PrunekitError` for images or labels that are not the network's.
    Source: section 3.2 and figure 2(b) of the paper.
    """
    if not isinstance(example, Tensor):
        raise PrunekitError(
            "sweep takes an example input after the batches, such as torch.randn(1, 3, 32, 32), not a "
            f"{type(example).__name__}."
        )
    compute = compute or Compute.of(model)
    model = compute.place(copied(model, {})).eval()
    graph = trace(model, compute.batch(example))
    criteria = [criterion] if isinstance(criterion, str) or not isinstance(criterion, Sequence) else criterion
    layers = [layers] if isinstance(layers, str) else layers
    names = graph.free() if layers is None else list(expand(graph, dict.fromkeys(layers)))
    if not names:
        raise PlanError("No conv layer of this network can lose filters alone: name the layers to sweep.")
    shares = {layer: possible(len(graph.colors(layer))) if rates is None else rates for layer in names}
    shares = {layer: some for layer, some in shares.items() if len(some)}
    if not shares:
        raise PlanError("There is not one rate to sweep: give shares to remove, such as (0.5, 0.9).")
    images = None if data is None else (compute.batch(images_of(batch)) for batch in data)
    cuts = all_cuts(graph, shares, criteria, images, seed)
    tally = Tally(cuts, Path(checkpoint) if checkpoint else None, identity(model, cuts, compute))

    fold(graph)
    walker = Walker(graph)
    classes = classes_of(walker)
    together = itertools.groupby(cuts, key=lambda cut: (cut.layer, cut.criterion))
    forks = [Fork(walker, [cut.gone for cut in group]) for _, group in together]
    hidden = None if progress is None else not progress
    with tqdm(desc="sweep", disable=hidden, unit="batch", total=length(batches)) as bar, torch.no_grad():
        number = 0
        for number, (x, y) in enumerate(labeled(batches, "sweep"), start=1):
            check_labels(number, x, y, classes)
            if not tally.has(number, x, y):
                try:
                    with compute.autocast():
                        found = counts(walker, compute.batch(x), y.to(compute.device), forks)
                except RuntimeError as error:
                    if x.shape[1:] == example.shape[1:]:
                        raise
                    raise PrunekitError(
                        f"sweep: batch {number}: the network does not run on images of shape {tuple(x.shape)}, and "
                        f"that of the example is {tuple(example.shape)}: {said(error)}. Give images like the example."
                    ) from error
                tally.add(found, len(y))
            bar.update()
    if not number:
        raise PrunekitError("sweep: there is not one image in `batches`.")
    if number < len(tally.seen):
        raise tally.other_images(number + 1)
    columns = ("layer", "criterion", "rate", "filters", "kept", "correct")
    rows = [{name: getattr(cut, name) for name in columns} for cut in cuts]
    return pd.DataFrame(rows).assign(total=tally.total, baseline_correct=tally.baseline)


def possible(filters: int) -> list[float]:
    """The rates of `RATES` that leave at least one of so many filters."""
    return [rate for rate in RATES if rate <= 1 - 1 / filters]


def all_cuts(
    graph: Graph,
    shares: Mapping[str, Sequence[float]],
    criteria: Sequence[Criterion],
    data: Iterable | None,
    seed: int,
) -> list[Cut]:
    """Every cut of a sweep, in the order of its rows: those of a layer by one criterion follow each other.

    `shares` are the rates of each layer.
    """
    by_criterion = scores(graph, list(shares), criteria, data, seed)
    cuts = []
    for layer, rates in shares.items():
        colors = graph.layers[layer]
        for criterion in map(name_of, criteria):
            for rate in rates:
                keep = kept_count(layer, len(colors), rate)
                cuts.append(
                    Cut(layer, criterion, rate, colors, highest(graph, layer, by_criterion[criterion][layer], keep))
                )
            largest = max(cuts[-len(rates) :], key=lambda cut: cut.rate).gone
            small = variant(graph.model, smaller(graph.model, graph, largest), share=True)
            compare(small, muted(graph.model, graph, largest), [x.shape for x in graph.inputs])
    return cuts


@torch.no_grad()
def classes_of(walker: Walker) -> int:
    """How many classes the network tells apart; an answer that is not a row of logits for each image is refused."""
    (x,) = inputs_of(walker.traced.model, [x.shape for x in walker.traced.inputs])
    values = walker.start(x)
    walker.walk(values, 0)
    answer = values[walker.order[-1]]
    if isinstance(answer, Tensor) and answer.shape[:-1] == x.shape[:1]:
        return answer.shape[-1]
    kind = type(answer).__name__.removeprefix("immutable_")  # as torch.fx calls lists and dicts
    found = f"shape {tuple(answer.shape)} for {len(x)} images" if isinstance(answer, Tensor) else f"a {kind}"
    raise PrunekitError(
        f"sweep counts right answers of networks that return logits of shape (n, classes), and this one returns "
        f"{found}. Sweep a module that returns its logits alone."
    )


def check_labels(number: int, x: Tensor, y: Tensor, classes: int) -> None:
    """Refuse labels of batch `number` that are not those of `classes` classes, a whole number for each image of `x`."""
    if y.is_floating_point() or y.shape != x.shape[:1]:
        found = f"they are {str(y.dtype).removeprefix('torch.')} of shape {tuple(y.shape)}"
    else:
        low, high = (int(label) for label in y.long().aminmax()) if len(y) else (0, 0)
        if 0 <= low <= high < classes:
            return
        found = f"they go from {low} to {high}"
    raise PrunekitError(
        f"sweep: batch {number}: labels must be whole numbers of shape ({len(x)},), from 0 to {classes - 1}, and "
        f"{found}."
    )


def counts(walker: Walker, x: Tensor, y: Tensor, forks: Sequence[Fork]) -> list[int]:
    """Correct answers on one batch: of the network as it is, then of each variant of each fork."""
    most = CACHED if x.device.type == "cpu" else len(x)
    size = max(1, min(most, len(x)) // max([len(fork.gone) for fork in forks if fork.stacked], default=1))
    parts = zip(x.split(size), y.split(size), strict=True)
    return [sum(found) for found in zip(*(part_counts(walker, *part, forks) for part in parts), strict=True)]


def part_counts(walker: Walker, x: Tensor, y: Tensor, forks: Sequence[Fork]) -> list[int]:
    """`counts` of so few images that a fork's variants of them make a batch of the size that the user chose."""
    trunk, here = walker.start(x), 0
    found: dict[Fork, list[int]] = {}
    for fork in sorted(forks, key=lambda fork: fork.start):
        walker.walk(trunk, here, fork.start)
        here = fork.start
        found[fork] = correct(fork.answers(trunk), y)
    walker.walk(trunk, here)
    return correct(trunk[walker.order[-1]], y) + [count for fork in forks for count in found[fork]]


def correct(logits: Tensor, y: Tensor) -> list[int]:
    """How many of the images with labels `y` (n,) each network classifies correctly: `logits` (..., n, classes)."""
    return (logits.float().argmax(-1) == y).sum(-1).flatten().tolist()


class Tally:
    """The counts so far, and the file that they are in after each batch."""

    def __init__(self, cuts: Sequence[Cut], path: Path | None, identity: str):
        self.cuts, self.path, self.identity = cuts, path, identity
        self.total = self.baseline = 0
        self.seen: list[str] = []  # a checksum of each batch that was counted
        if path is None or not path.exists():
            return
        try:
            state = json.loads(path.read_text())
            same = state["identity"] == identity
            if same:
                self.seen, self.total, self.baseline = list(state["seen"]), int(state["total"]), int(state["baseline"])
                for cut, correct in zip(cuts, state["correct"], strict=True):
                    cut.correct = int(correct)
        except (ValueError, KeyError, TypeError) as error:
            raise FileError(
                f"The checkpoint {path} is damaged ({error}). Remove it to start the sweep again."
            ) from error
        if not same:
            raise FileError(
                f"The checkpoint {path} is another sweep's. Remove it, or give this sweep a file of its own."
            )

    def has(self, number: int, x: Tensor, y: Tensor) -> bool:
        """Whether batch `number`, from 1, was counted before; after this call it is known."""
        checksum = digest({"x": x.cpu(), "y": y.cpu()}) if self.path else ""
        if number > len(self.seen):
            self.seen.append(checksum)
            return False
        if self.seen[number - 1] != checksum:
            raise self.other_images(number)
        return True

    def other_images(self, number: int) -> FileError:
        """The refusal of a checkpoint that has counted other images."""
        return FileError(
            f"The checkpoint {self.path} counted other images: batch {number} is not the same. Remove it, or give this "
            "sweep a file of its own; images must come in the same order each time."
        )

    def add(self, found: Sequence[int], images: int) -> None:
        """Take in one batch's counts."""
        self.total, self.baseline = self.total + images, self.baseline + found[0]
        for cut, correct in zip(self.cuts, found[1:], strict=True):
            cut.correct += correct
        if self.path is not None:
            state = {name: getattr(self, name) for name in ("identity", "seen", "total", "baseline")}
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(self.path) as partial:
                partial.write_text(json.dumps(state | {"correct": [cut.correct for cut in self.cuts]}))


def identity(model: nn.Module, cuts: Sequence[Cut], compute: Compute) -> str:
    """What must agree for a checkpoint to be gone on from: the weights, the cuts, and the number format."""
    weights = digest({name: tensor.detach().cpu() for name, tensor in stored(model).items()})
    return json.dumps([weights, str(compute.dtype), [[cut.layer, cut.criterion, cut.rate, cut.stays] for cut in cuts]])


def length(batches: Iterable) -> int | None:
    """How many batches there are, if they say."""
    try:
        return len(batches)  # type: ignore[arg-type]
    except TypeError:
        return None
