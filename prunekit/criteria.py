"""Score the filters of a layer; the lowest scores are pruned first.

A weight criterion is a function from a layer's weight (filters, ...) to scores (filters,). An activation criterion
says what to take from each image's map and how to combine the images: `Activation`. Either can be your own. What
looks at something else, at gradients say, gives its scores as they are: `Scores`.
"""

import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from .errors import PrunekitError, nearest
from .modes import evaluating

WeightCriterion = Callable[[Tensor], Tensor]


def l1(weight: Tensor) -> Tensor:
    """Sum of the absolute weights of each filter: (filters, ...) -> (filters,) in float64. Section 3.1 of the paper."""
    return torch.linalg.vector_norm(weight.flatten(1), 1, dim=1, dtype=torch.float64)


def l2(weight: Tensor) -> Tensor:
    """Euclidean norm of each filter: (filters, ...) -> (filters,) in float64. Figure 10 of the paper."""
    return torch.linalg.vector_norm(weight.flatten(1), 2, dim=1, dtype=torch.float64)


def largest(weight: Tensor) -> Tensor:
    """Minus `l1`, so that the largest filters go first: (filters, ...) -> (filters,). Figure 8, as a control."""
    return -l1(weight)


def random(weight: Tensor, generator: torch.Generator) -> Tensor:
    """Scores drawn at random, whatever the weights: (filters, ...) -> (filters,). Figure 8, as a control."""
    return torch.rand(len(weight), generator=generator, dtype=torch.float64)


@dataclass(frozen=True)
class Activation:
    """A criterion over the feature maps that a layer computes, before BN and ReLU. Figure 9 of the paper.

    `per_image` takes maps (images, filters, height, width) to one number each (images, filters); `combine` is "mean"
    or "variance" over all images.
    """

    per_image: Callable[[Tensor], Tensor]
    combine: str = "mean"


@dataclass(frozen=True)
class Scores:
    """A criterion that was worked out elsewhere: `by_layer` maps a layer's name to its scores (filters,).

    `name` is what plans and tables call it.
    """

    by_layer: Mapping[str, Tensor]
    name: str = "scores"

    def of(self, layer: str) -> Tensor:
        """The scores of `layer`. Raises `PrunekitError` with the nearest names if there are none."""
        if layer not in self.by_layer:
            raise PrunekitError(
                f"Criterion {self.name!r} has no scores for layer {layer!r}.{nearest(layer, self.by_layer)}"
            )
        return torch.as_tensor(self.by_layer[layer]).detach()


def map_mean(maps: Tensor) -> Tensor:
    """Mean of each map: (n, filters, ...) -> (n, filters). Signed."""
    return maps.flatten(2).mean(2)


def map_std(maps: Tensor) -> Tensor:
    """Standard deviation over each map's pixels: (n, filters, ...) -> (n, filters). A map of one pixel has 0."""
    return maps.flatten(2).std(2, correction=0)


def map_l1(maps: Tensor) -> Tensor:
    """Sum of absolute values of each map: (n, filters, ...) -> (n, filters)."""
    return maps.flatten(2).abs().sum(2)


def map_l2(maps: Tensor) -> Tensor:
    """Euclidean norm of each map: (n, filters, ...) -> (n, filters)."""
    return maps.flatten(2).square().sum(2).sqrt()


WEIGHT_CRITERIA: dict[str, WeightCriterion] = {"l1": l1, "l2": l2, "largest": largest}
ACTIVATION_CRITERIA: dict[str, Activation] = {
    "mean-mean": Activation(map_mean),
    "mean-std": Activation(map_std),
    "mean-l1": Activation(map_l1),
    "mean-l2": Activation(map_l2),
    "var-l2": Activation(map_l2, "variance"),
}
CRITERIA = (*WEIGHT_CRITERIA, "random", *ACTIVATION_CRITERIA)

Criterion = str | WeightCriterion | Activation | Scores


def name_of(criterion: Criterion) -> str:
    """What a criterion is called in plans and tables."""
    if isinstance(criterion, str):
        return criterion
    if isinstance(criterion, Scores):
        return criterion.name
    inner = criterion.per_image if isinstance(criterion, Activation) else criterion
    return getattr(inner, "__name__", type(inner).__name__)


def resolve(criterion: Criterion, seed: int = 0, layer: str = "") -> WeightCriterion | Activation:
    """The function or `Activation` that a name stands for, or that gives what `Scores` hold for `layer`.

    `seed` and `layer` are for "random": a layer's scores are the same ones whatever other layers are scored.
    """
    if isinstance(criterion, Scores):
        return lambda weight: criterion.of(layer)
    if isinstance(criterion, Activation):
        return criterion
    if callable(criterion):
        return lambda weight: own_scores(criterion, weight)
    if not isinstance(criterion, str):
        raise PrunekitError(
            f"A criterion is a name, a function of a weight, Scores or an Activation, not a {type(criterion).__name__}."
        )
    if criterion == "random":
        return partial(random, generator=torch.Generator().manual_seed(zlib.crc32(f"{seed} {layer}".encode())))
    found = WEIGHT_CRITERIA.get(criterion) or ACTIVATION_CRITERIA.get(criterion)
    if found is None:
        known = ", ".join(CRITERIA)
        raise PrunekitError(
            f"Unknown criterion {criterion!r}; the known ones are {known}.{nearest(criterion, CRITERIA)}"
        )
    return found


def own_scores(criterion: WeightCriterion, weight: Tensor) -> Tensor:
    """What a user's function makes of a copy of `weight`, which it may change in place."""
    scores = criterion(weight.clone())
    if not isinstance(scores, Tensor):
        raise PrunekitError(
            f"Criterion {name_of(criterion)!r} gave a {type(scores).__name__}, not a tensor of scores (filters,)."
        )
    return scores


class Moments:
    """Mean and variance over images, batch after batch, in float64 (Chan's update: no difference of large sums)."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = self.squares = torch.zeros((), dtype=torch.float64)

    def add(self, values: Tensor) -> None:
        """Take in `values` (images, filters)."""
        values = values.detach().double().cpu()
        n, mean = len(values), values.mean(0)
        squares = (values - mean).square().sum(0)
        total, gap = self.count + n, mean - self.mean
        self.squares = self.squares + squares + gap.square() * (self.count * n / total)
        self.mean = self.mean + gap * (n / total)
        self.count = total

    def combine(self, how: str) -> Tensor:
        """Scores (filters,) for `how` = "mean" or "variance"."""
        if how not in ("mean", "variance"):
            raise PrunekitError(f"Activation: combine {how!r} is not 'mean' or 'variance'.")
        return self.mean if how == "mean" else self.squares / self.count


def record(
    model: nn.Module,
    layers: Iterable[str],
    batches: Iterable[Tensor | tuple[Tensor, ...]],
    criteria: Mapping[str, Activation] = ACTIVATION_CRITERIA,
) -> dict[str, dict[str, Tensor]]:
    """Scores by criterion and layer, each (filters,), of the maps that `layers` compute on `batches`, in one pass.

    `batches` yields inputs x (n, ...), or tuples whose first part is x; they have to be where the model is. The model
    runs in eval mode and is left as it was.

    Raises `PrunekitError` where there is not one image, or a map is not finite.
    """
    layers = list(layers)
    modules = dict(model.named_modules())
    for layer in layers:
        if layer not in modules:
            raise PrunekitError(f"The network has no layer {layer!r}.{nearest(layer, modules)}")
    moments = {name: {layer: Moments() for layer in layers} for name in criteria}

    def watch(layer: str) -> Callable:
        def hook(module: nn.Module, inputs: object, maps: Tensor) -> None:
            maps = maps if maps.dim() > 2 else maps[..., None]  # a linear layer's outputs are maps of one pixel
            for name, criterion in criteria.items():
                moments[name][layer].add(criterion.per_image(maps.float() if maps.dtype != torch.float64 else maps))

        return hook

    hooks = [modules[layer].register_forward_hook(watch(layer)) for layer in layers]
    try:
        with evaluating(model), torch.no_grad():
            for batch in batches:
                model(images_of(batch))
    finally:
        for hook in hooks:
            hook.remove()
    scores = {
        name: {layer: seen.combine(criteria[name].combine) for layer, seen in by_layer.items() if seen.count}
        for name, by_layer in moments.items()
    }
    for name, by_layer in scores.items():
        for layer in layers:
            if layer not in by_layer:
                raise PrunekitError(f"Criterion {name}: there is not one image to score {layer!r} on.")
            if not torch.isfinite(by_layer[layer]).all():
                raise PrunekitError(f"Criterion {name}: the maps of {layer!r} are not finite on these images.")
    return scores


def images_of(batch: Any) -> Tensor:
    """The inputs x of a batch: itself, or the first of a tuple or list."""
    x = batch[0] if isinstance(batch, tuple | list) and batch else batch
    if not isinstance(x, Tensor):
        raise PrunekitError(
            f"Images come as tensors, or as tuples that begin with one, and here is a {type(x).__name__}."
        )
    return x
