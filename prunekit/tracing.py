"""Follow every filter through a network, as one follows a river with dye: what must go with it, and what pins it.

torch.fx gives the graph of operations. We run that graph on colors in place of numbers. Each filter has a color of its
own, an integer; its feature map is painted with it, and the paint flows on through the network:

* an operation that only moves data (flatten, cat, pad) is carried out on the paint itself;
* one that works on each element or each map (ReLU, BN, pooling) lets the paint through; BN's entries take the color;
* where two paints meet (a residual sum), they become one: from then on those filters stay or go together;
* a conv or linear layer drinks the paint, remembers which color arrived at which of its inputs, and gives off new ones;
* an output, or an operation that is not known here, freezes the colors that reach it, and the reason is kept.

What is left is a set of colors, each with the slices of tensors that have to be cut out along with it.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd
import torch
from torch import Tensor, fx, nn

from . import balance
from .errors import PlanError, TraceError, line_of, nearest
from .layers import READERS
from .modes import in_mode
from .paint import Colors, Paint, paints, shapes_of, squeezed
from .rules import RULES, combine


@dataclass(frozen=True)
class Axis:
    """One dimension of a parameter or buffer, and the color of each of its indices.

    `role` is "gives" (a layer's filters), "carries" (entries that belong to a map, such as BN's) or "reads" (a layer's
    weights on its inputs).
    """

    tensor: str
    dim: int
    role: str
    colors: tuple[int, ...]


class Graph:
    """What `trace` found: which filters of a network can go, and what goes with each.

    `layers` maps the name of each conv or linear layer, in forward order, to the colors of its filters. Filters of one
    color, in whatever layers, stay or go together: they are a *unit*. `weights` has the tensor of each layer: a layer
    is called by its module's name, or, if its weight is used by a function, by the weight's. `reasons` has, for each
    color that cannot go, why. `positions` says, for each weight, at how many places of one input's maps it is used;
    `widths` has the colors of the maps of each norm without entries. `nodes` is the network's torch.fx graph in eval
    mode, `training` the one in train mode where that has other operations, `inputs` the example that was traced.
    """

    def __init__(self, painter: "Painter", inputs: tuple[Tensor, ...], training: fx.Graph | None):
        self.model, self.nodes, self.training, self.inputs = painter.module, painter.operations, training, inputs
        self.axes, self.reasons = painter.resolved(), painter.colors.frozen()
        self.positions = painter.positions
        self.widths = {name: tuple(map(painter.colors.find, colors)) for name, colors in painter.widths.items()}
        gives = {layer_of(self.model, axis.tensor): axis for axis in self.axes.values() if axis.role == "gives"}
        self.layers = {layer: axis.colors for layer, axis in gives.items()}
        self.weights = {layer: axis.tensor for layer, axis in gives.items()}
        self.shapes = shapes(self.model)
        self.givers: dict[int, list[tuple[str, int]]] = {}
        for layer, colors in self.layers.items():
            for index, color in enumerate(colors):
                self.givers.setdefault(color, []).append((layer, index))

    def colors(self, layer: str) -> tuple[int, ...]:
        """The color of each filter of `layer`. Raises `PlanError` with the nearest names for a layer not here."""
        if layer not in self.layers:
            raise PlanError(self.why_not(layer))
        return self.layers[layer]

    def why_not(self, layer: str) -> str:
        """Why `layer` is not in `layers`."""
        modules = dict(self.model.named_modules(remove_duplicate=False))
        if layer not in modules:
            return f"The network has no layer {layer!r}.{nearest(layer, self.layers)}"
        module = modules[layer]
        if not isinstance(module, READERS):
            return f"Layer {layer!r} is a {type(module).__name__}: only conv and linear layers have filters to remove."
        for first, tensor in self.weights.items():
            if self.model.get_parameter(tensor) is module.weight:
                return f"Layer {layer!r} shares its weight with {first!r}: name that one."
        if (f"{layer}.weight", 0) in self.axes:
            return (
                f"Layer {layer!r} is depthwise: its filters go with the maps it reads. Name the layer that makes those."
            )
        return f"Layer {layer!r} cannot be followed: its weight is computed elsewhere, or the forward does not call it."

    def tied(self, layer: str) -> list[str]:
        """The other layers that lose a filter when `layer` loses one."""
        found = {other: None for color in self.colors(layer) for other, _ in self.givers[color]}
        return [other for other in found if other != layer]

    def convs(self) -> list[str]:
        """The conv layers, in forward order."""
        return [layer for layer, tensor in self.weights.items() if self.model.get_parameter(tensor).dim() > 2]

    def free(self) -> list[str]:
        """The conv layers of which every filter can go without any other layer's, in forward order."""
        return [
            layer
            for layer in self.convs()
            if not self.tied(layer) and not any(color in self.reasons for color in self.layers[layer])
        ]

    def report(self) -> pd.DataFrame:
        """A DataFrame, a row per layer, in forward order.

        Columns: layer, kind (torch's class), filters, removable (how many of them), tied (the layers that lose filters
        with it), reason (why the others cannot go), macs and weights (multiply-adds for one input, and weights, that go
        with one removable filter, on average).
        """
        return pd.DataFrame([self.described(layer) for layer in self.layers])

    def described(self, layer: str) -> dict[str, Any]:
        """The row of `layer` in the report."""
        colors = self.layers[layer]
        reasons = [self.reasons[color] for color in colors if color in self.reasons]
        units = {color for color in colors if color not in self.reasons}
        macs, weights = self.cost_of_units(units) if units else (math.nan, math.nan)
        return {
            "layer": layer,
            "kind": kind_of(self.model, layer),
            "filters": len(colors),
            "removable": len(colors) - len(reasons),
            "tied": ", ".join(self.tied(layer)),
            "reason": reasons[0] if reasons else "",
            "macs": macs,
            "weights": weights,
        }

    def cost_of_units(self, units: set[int]) -> tuple[float, float]:
        """Multiply-adds for one input, and weights, that go when one of `units` goes alone, on average over them."""
        macs = weights = 0.0
        for tensor, positions in self.positions.items():
            shape = self.shapes[tensor]
            axes = [self.axes[tensor, dim].colors if (tensor, dim) in self.axes else () for dim in (0, 1)]
            counts = [Counter(color for color in colors if color in units) for colors in axes]
            for color in counts[0].keys() | counts[1].keys():
                lost = shape.numel() * (1 - math.prod(1 - counts[d][color] / shape[d] for d in (0, 1)))
                macs, weights = macs + lost * positions, weights + lost
        return macs / len(units), weights / len(units)

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


def trace(model: nn.Module, *example: Tensor) -> Graph:
    """Find which filters of `model` can be removed and what goes with each, without computing a single number.

    `example` is the model's input, or inputs, e.g. `torch.randn(1, 3, 32, 32)`; only shapes matter. The model is not
    changed. Sizes that `forward` computes from its tensors follow a cut; those written into it as numbers do not, and
    `prune` refuses where that matters.

    Raises `TraceError` where the forward cannot be followed, with its line.
    """
    compiled = hasattr(model, "_orig_mod")  # asking for torch's class would import the compiler, which takes seconds
    if compiled or isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
        inner = "_orig_mod" if compiled else "module"
        raise TraceError(f"The model is wrapped in {type(model).__name__}: pass what is inside, `model.{inner}`.")
    if not example or not all(isinstance(x, Tensor) for x in example):
        raise TraceError("trace needs an example input, such as torch.randn(1, 3, 32, 32).")
    try:
        with in_mode(model, training=False):
            nodes = operations(model)
        with in_mode(model, training=True):
            training = operations(model)
    except Exception as error:  # anything that a forward may raise
        raise TraceError(
            f"The network cannot be followed: {error} {line_of(error)} Control flow must not depend on values of "
            "tensors (move such a part into a module of its own and trace the parts), nor a new tensor on sizes of "
            "others unless they make it, as in x.new_zeros(...)."
        ) from error
    if same_operations(nodes, training):
        training = None
    taken = [str(node.target) for node in nodes.nodes if node.op == "placeholder"]
    if len(example) > len(taken) and not any(name.startswith("*") for name in taken):
        raise TraceError(f"The forward takes {len(taken)} inputs ({', '.join(taken)}), and {len(example)} were given.")
    painter = Painter(model, nodes)
    # One image would hide a batch axis that is mixed with others (size 1 fits everything), so there are two.
    pairs = [x.expand(2, *x.shape[1:]) if x.dim() > 1 and x.shape[0] == 1 else x for x in example]
    inputs = [Paint(torch.tensor(painter.pinned("it is the network's input")).expand(x.shape)) for x in pairs]
    for one in (painter, Painter(model, training, painter)) if training is not None else (painter,):
        try:
            with untouched(model), in_mode(model, training=one is not painter):
                one.run(*inputs)
        except TraceError:
            raise
        except Exception as error:
            quoted = ", ".join(str(tuple(x.shape)) for x in example)
            mode = "" if one is painter else " in train mode"
            raise TraceError(
                f"The network does not run on an input of shape {quoted}{mode}: {one.at} says: {error}"
            ) from error
    painter.settle()
    return Graph(painter, tuple(x.detach() for x in example), training)


def layer_of(model: nn.Module, tensor: str) -> str:
    """The name of the layer whose weight is `tensor`: its module's, or the tensor's own where a function uses it."""
    module, _, name = tensor.rpartition(".")
    return module if name == "weight" and isinstance(model.get_submodule(module), READERS) else tensor


def kind_of(model: nn.Module, layer: str) -> str:
    """The class of a layer, or "function"."""
    module = dict(model.named_modules()).get(layer)
    return "function" if module is None else type(module).__name__


def operations(model: nn.Module) -> fx.Graph:
    """The torch.fx graph of `model`. Tensors that the forward makes are kept in it; fx would put them in the model."""
    with untouched(model):
        nodes = fx.Tracer().trace(model)
        for node in nodes.nodes:
            if node.op == "get_attr" and str(node.target).startswith("_tensor_constant"):
                node.op, node.target = "call_function", partial(torch.clone, getattr(model, node.target))
    return nodes


def same_operations(a: fx.Graph, b: fx.Graph) -> bool:
    """Whether two graphs of a network differ at most in numbers, such as a probability of dropout."""
    lists = [[(n.op, n.target if n.op != "call_function" else str(n.target), n.name) for n in g.nodes] for g in (a, b)]
    return lists[0] == lists[1]


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Whatever a forward sets or draws in this context, the model's attributes and the random numbers are as before."""
    attributes = [(module.__dict__, dict(module.__dict__)) for module in model.modules()]
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        for now, before in attributes:
            now.clear()
            now.update(before)


class Painter(fx.Interpreter):
    """Runs a graph on `Paint`; numbers, sizes and constant tensors flow beside it as they are."""

    def __init__(self, model: nn.Module, nodes: fx.Graph, first: "Painter | None" = None):
        super().__init__(model, graph=nodes)
        self.operations = nodes
        self.extra_traceback = False
        self.colors = Colors() if first is None else first.colors
        self.axes: dict[tuple[str, int], Axis] = {} if first is None else first.axes
        self.divisions: list[list[list[int]]] = [] if first is None else first.divisions
        self.positions: dict[str, int] = {} if first is None else first.positions
        self.widths: dict[str, tuple[int, ...]] = {} if first is None else first.widths
        self.names = {id(t): name for name, t in (*model.named_parameters(), *model.named_buffers())}
        self.at = "it"  # the operation that is being carried out
        self.node = next(iter(nodes.nodes))

    def run_node(self, n: fx.Node) -> Any:
        self.node = n
        return super().run_node(n)

    def several_nodes(self) -> bool:
        """Whether the current operation gets anything computed beside the tensor that it works on."""
        return len(self.node.all_input_nodes) > 1

    # Each operation

    def call_module(self, target, args: tuple, kwargs: dict) -> Any:
        module = self.fetch_attr(str(target))
        return self.paint(type(module), module, str(target), args, kwargs)

    def call_function(self, target: Any, args: tuple, kwargs: dict) -> Any:
        return self.paint(target, target, getattr(target, "__name__", str(target)), args, kwargs)

    def call_method(self, target, args: tuple, kwargs: dict) -> Any:
        method = "reshape" if target == "view" else str(target)  # paint that is repeated without memory has no view
        return self.paint(str(target), lambda x, *a, **k: getattr(x, method)(*a, **k), str(target), args, kwargs)

    def output(self, target, args: tuple, kwargs: dict) -> Any:
        for paint in paints(args):
            self.freeze(paint, "it reaches the network's output")
        return args[0]

    def paint(self, kind: Any, operation: Callable, name: str, args: tuple, kwargs: dict) -> Any:
        """Carry out one operation, known by its `kind`: a module's class, a function, or a method's name."""
        self.at = name
        here = paints((args, kwargs))
        if not here:
            return operation(*args, **kwargs)
        for first in ("input", "tensors"):  # what torch calls the thing that an operation works on
            if first in kwargs:
                args, kwargs = (kwargs[first], *args), {k: v for k, v in kwargs.items() if k != first}
        if isinstance(kind, type) and issubclass(kind, tuple):  # a named tuple, as some networks return
            return operation(*args, **kwargs)
        rule = RULES.get(kind) or RULES.get(f"{getattr(kind, '__module__', '')}.{name}")
        if rule is not None and args and (isinstance(args[0], Paint | list | tuple) or rule is combine):
            return rule(self, operation, name, *args, **kwargs)
        for paint in here:
            self.freeze(paint, f"it passes through {name}, which prunekit does not know")
        return self.like(shapes_of(operation, args, kwargs), name)

    def like(self, shapes: Any, name: str) -> Any:
        """Frozen paint in the shapes of an operation's result."""
        if isinstance(shapes, Tensor):
            return Paint(torch.tensor(self.pinned(f"it comes from {name}")).expand(shapes.shape))
        if isinstance(shapes, Sequence) and not isinstance(shapes, str):
            return tuple(self.like(s, name) for s in shapes)
        return shapes

    # What happens to paint

    def freeze(self, paint: Paint, reason: str) -> None:
        self.colors.freeze(squeezed(paint.colors).unique().tolist(), reason)

    def pinned(self, reason: str) -> int:
        """A new color, frozen from the start."""
        (color,) = self.colors.fresh(1)
        self.colors.freeze([color], reason)
        return color

    def per_channel(self, paint: Paint, dim: int = 1) -> list[int]:
        """One color for each index along `dim`; where an index has several, they are united."""
        rows = squeezed(paint.colors, but=dim).movedim(dim, 0).flatten(1)
        firsts = rows.amax(1).tolist()
        for row in (rows != rows[:, :1]).any(1).nonzero()[:, 0].tolist():
            for color in rows[row].unique().tolist():
                self.colors.unite(firsts[row], color)
        return firsts

    def remember(self, tensor: Tensor | None, dim: int, role: str, colors: list[int]) -> None:
        """Index i of `tensor` along `dim` has color i of `colors`; a tensor that is used again unites old and new."""
        if tensor is None:
            return
        name = self.names[id(tensor)]
        if (name, dim) in self.axes:
            for old, new in zip(self.axes[name, dim].colors, colors, strict=True):
                self.colors.unite(old, new)
        else:
            self.axes[name, dim] = Axis(name, dim, role, tuple(colors))

    def apply(self, weight: Tensor, positions: int) -> None:
        """Each entry of `weight` is used at that many places of one input's maps; again at each call."""
        name = self.names[id(weight)]
        self.positions[name] = self.positions.get(name, 0) + positions

    def owned(self, module: nn.Module) -> bool:
        """Whether the module's tensors are plain parameters and buffers, which can be cut."""
        tensors = (getattr(module, n, None) for n in ("weight", "bias", "running_mean", "running_var"))
        return all(id(t) in self.names for t in tensors if t is not None)

    def settle(self) -> None:
        """Draw the last consequences: parts of one size stay so, and what would leave nothing cannot go."""
        balance.settle(self.colors, self.divisions, "what it is divided into has to stay of one size")
        find = self.colors.find
        for axis in self.axes.values():
            everything = {find(color) for color in axis.colors}
            if len(everything) == 1 and axis.role == "gives":
                self.colors.freeze(everything, "all filters of this layer go together, and nothing would be left")

    def resolved(self) -> dict[tuple[str, int], Axis]:
        """All axes in the order of the forward pass, with final colors."""
        find = self.colors.find
        return {
            key: Axis(axis.tensor, axis.dim, axis.role, tuple(find(c) for c in axis.colors))
            for key, axis in self.axes.items()
        }
