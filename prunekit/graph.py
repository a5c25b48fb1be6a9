"""What tracing found: the units of a network, each with the slices of tensors that go along, and a report of them."""

import math
import statistics
from collections import Counter
from functools import cached_property
from operator import attrgetter

import pandas as pd
import torch
from torch import Tensor, fx, nn

from .canvas import Canvas
from .errors import PlanError, nearest
from .layers import READERS


class Graph:
    """What `trace` found: which filters of a network can go, and what goes with each.

    `layers` maps the name of each conv or linear layer, in forward order, to the colors of its filters. Filters of one
    color, in whatever layers, stay or go together: they are a *unit*. `weights` has the tensor of each layer: a layer
    is called by its module's name, or, if its weight is used by a function, by the weight's. `reasons` has, for each
    color that cannot go, why. `positions` says, for each weight, at how many places of one input's maps it is used;
    `widths` has the colors of the maps of each norm without entries. `modes` are the network's torch.fx graphs: in eval
    mode, and in train mode if the forward asks for its mode. `nodes` is the first, `training` the second where that has
    other operations, `inputs` the example that was traced.
    """

    def __init__(
        self,
        canvas: Canvas,
        modes: tuple[fx.Graph, ...],
        training: fx.Graph | None,
        inputs: tuple[Tensor, ...],
    ):
        self.model, self.modes, self.training, self.inputs = canvas.model, modes, training, inputs
        self.nodes = modes[0]
        self.axes, self.reasons = canvas.resolved(), canvas.colors.frozen()
        self.positions = canvas.positions
        self.widths = {name: tuple(map(canvas.colors.find, colors)) for name, colors in canvas.widths.items()}
        gives = {layer_of(self.model, axis.tensor): axis for axis in self.axes.values() if axis.role == "gives"}
        self.layers = {layer: axis.colors for layer, axis in gives.items()}
        self.weights = {layer: axis.tensor for layer, axis in gives.items()}
        self.shapes = shapes(self.model)

    @cached_property
    def givers(self) -> dict[int, list[tuple[str, int]]]:
        """The filters of each color: layer and index."""
        found: dict[int, list[tuple[str, int]]] = {}
        for layer, colors in self.layers.items():
            for index, color in enumerate(colors):
                found.setdefault(color, []).append((layer, index))
        return found

    def colors(self, layer: str) -> tuple[int, ...]:
        """The color of each filter of `layer`. Raises `PlanError` with the nearest names for a layer not here."""
        if layer not in self.layers:
            raise PlanError(self.why_not(layer))
        return self.layers[layer]

    def why_not(self, layer: str) -> str:
        """Why `layer` is not in `layers`."""
        if not isinstance(layer, str):
            return f"A layer goes by its name, as {next(iter(self.layers), 'conv1')!r}, not by {layer!r}."
        modules = dict(self.model.named_modules(remove_duplicate=False))
        if layer not in modules:
            return f"The network has no layer {layer!r}.{nearest(layer, self.layers)}"
        module = modules[layer]
        if not isinstance(module, READERS):
            return f"Layer {layer!r} is a {type(module).__name__}: only conv and linear layers have filters to remove."
        for first, tensor in self.weights.items():
            if tensor_of(self.model, tensor) is module.weight:
                return f"Layer {layer!r} shares its weight with {first!r}: name that one."
        entries = self.axes.get((f"{layer}.weight", 0))
        if entries is not None and entries.role == "carries":
            return (
                f"Layer {layer!r} is depthwise: its filters go with the maps it reads. Name the layer that makes those."
            )
        if entries is not None:
            return f"Layer {layer!r} shares its weight with a transposed conv, which reads what the layer gives."
        return f"Layer {layer!r} cannot be followed: its weight is computed elsewhere, or the forward does not call it."

    def tied(self, layer: str) -> list[str]:
        """The other layers that lose a filter when `layer` loses one."""
        found = {other: None for color in self.colors(layer) for other, _ in self.givers[color]}
        return [other for other in found if other != layer]

    def convs(self) -> list[str]:
        """The conv layers, in forward order."""
        return [layer for layer, tensor in self.weights.items() if tensor_of(self.model, tensor).dim() > 2]

    def free(self) -> list[str]:
        """The conv layers of which every filter can go without any other layer's, in forward order."""
        layers_of = Counter(color for colors in self.layers.values() for color in set(colors))
        return [
            layer
            for layer in self.convs()
            if all(layers_of[color] == 1 and color not in self.reasons for color in self.layers[layer])
        ]

    def report(self) -> pd.DataFrame:
        """A DataFrame, a row per layer, in forward order.

        Columns: layer, kind (torch's class), filters, removable (how many of them), tied (the layers that lose filters
        with it), reason (why the others cannot go), macs and weights (multiply-adds for one input, and weights, that go
        with one removable filter, on average).
        """
        costs = self.cost_of_units()
        rows = []
        for layer, colors in self.layers.items():
            reasons = [self.reasons[color] for color in colors if color in self.reasons]
            units = {color for color in colors if color not in self.reasons}
            macs, weights = (statistics.fmean(costs[unit][i] for unit in units) if units else math.nan for i in (0, 1))
            rows.append(
                {
                    "layer": layer,
                    "kind": kind_of(self.model, layer),
                    "filters": len(colors),
                    "removable": len(colors) - len(reasons),
                    "tied": ", ".join(self.tied(layer)),
                    "reason": reasons[0] if reasons else "",
                    "macs": macs,
                    "weights": weights,
                }
            )
        return pd.DataFrame(
            rows, columns=["layer", "kind", "filters", "removable", "tied", "reason", "macs", "weights"]
        )

    def cost_of_units(self) -> dict[int, tuple[float, float]]:
        """Multiply-adds for one input, and weights, that go when a unit goes alone: by color."""
        costs: dict[int, tuple[float, float]] = {}
        for tensor, positions in self.positions.items():
            shape = self.shapes[tensor]
            rows, columns = (
                Counter(self.axes[tensor, dim].colors if (tensor, dim) in self.axes else ()) for dim in (0, 1)
            )
            for color in rows.keys() | columns.keys():
                lost = shape.numel() * (1 - (1 - rows[color] / shape[0]) * (1 - columns[color] / shape[1]))
                macs, weights = costs.get(color, (0.0, 0.0))
                costs[color] = macs + lost * positions, weights + lost
        return costs

    def kept(self, gone: set[int]) -> dict[tuple[str, int], list[int]]:
        """For each (tensor, dimension) that loses something with the colors `gone`: the indices that stay."""
        touched = [axis for axis in self.axes.values() if not gone.isdisjoint(axis.colors)]
        return {(a.tensor, a.dim): [i for i, color in enumerate(a.colors) if color not in gone] for a in touched}

    def fits(self, model: nn.Module) -> bool:
        """Whether `model` is the one that was traced, with tensors of the shapes that they had then."""
        return model is self.model and shapes(model) == self.shapes


def shapes(model: nn.Module) -> dict[str, torch.Size]:
    """The shape of every parameter and buffer."""
    return {name: tensor.shape for name, tensor in model.state_dict(keep_vars=True).items()}


def tensor_of(model: nn.Module, name: str) -> Tensor:
    """The parameter or buffer called `name`."""
    return attrgetter(name)(model)


def layer_of(model: nn.Module, tensor: str) -> str:
    """The name of the layer whose weight is `tensor`: its module's, or the tensor's own where a function uses it."""
    module, _, name = tensor.rpartition(".")
    return module if name == "weight" and isinstance(model.get_submodule(module), READERS) else tensor


def kind_of(model: nn.Module, layer: str) -> str:
    """The class of a layer, or "function"."""
    module = dict(model.named_modules()).get(layer)
    return "function" if module is None else type(module).__name__
