"""Which numbers inside a network do not depend on its input: the maps of zero filters, and what becomes of them.

The network is run once, in float64 and eval mode, and beside each tensor runs a second one that says which elements may
vary with the input. An element is called constant only where that follows from weights that are exactly zero, never
because it happened to be the same on some inputs: a ReLU that was never active is no proof.
"""

import copy
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.utils._pytree import tree_flatten, tree_map

from . import layers, moves, rules
from .layers import READERS
from .rules import rule_of


@dataclass
class Value:
    """A tensor in the network, and of the same shape where it `varies` with the network's input (bool)."""

    numbers: Tensor
    varies: Tensor


@dataclass(frozen=True)
class Arrival:
    """What a conv or linear layer reads in one call: which input channels are constant (C,), and the maps (C, ...).

    The maps of channels that are not constant are zero here.
    """

    node: fx.Node
    constant: Tensor
    maps: Tensor


def arrivals(model: nn.Module, nodes: fx.Graph, inputs: list[Tensor]) -> dict[str, list[Arrival]]:
    """What arrives at each conv and linear layer of `model` that is called as a module, by its name, call by call."""
    runner = Runner(copy.deepcopy(model).double().eval(), nodes)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        runner.run(*(Value(x.double(), torch.ones_like(x, dtype=torch.bool)) for x in inputs))
    return runner.found


def bare(module: nn.Module, weight: Tensor) -> nn.Module:
    """A conv or linear layer like `module` with another weight, without bias and hooks. Call its `forward`."""
    twin = copy.copy(module)
    twin._parameters = {"weight": weight, "bias": None}  # type: ignore[assignment]
    twin._forward_hooks, twin._forward_pre_hooks = OrderedDict(), OrderedDict()
    return twin


class Runner(fx.Interpreter):
    """Runs a graph on `Value`; whatever does not depend on the input flows beside it as it is."""

    def __init__(self, model: nn.Module, nodes: fx.Graph):
        super().__init__(model, graph=nodes)
        self.extra_traceback = False
        self.found: dict[str, list[Arrival]] = {}
        self.node: fx.Node

    def run_node(self, n: fx.Node) -> Any:
        self.node = n
        return super().run_node(n)

    def call_module(self, target, args: tuple, kwargs: dict) -> Any:
        module = self.fetch_attr(str(target))
        x = args[0] if args else kwargs.get("input")
        if isinstance(x, Value) and isinstance(module, READERS):
            self.found.setdefault(str(target), []).append(arrival(self.node, module, x))
        return apply(type(module), module, args, kwargs)

    def call_function(self, target: Any, args: tuple, kwargs: dict) -> Any:
        return apply(target, target, args, kwargs)

    def call_method(self, target, args: tuple, kwargs: dict) -> Any:
        def method(x: Any, *rest: Any, **options: Any) -> Any:
            # What varies need not lie in memory as the numbers do, so it may have no view.
            name = "reshape" if target == "view" and isinstance(x, Tensor) and x.dtype == torch.bool else str(target)
            return getattr(x, name)(*rest, **options)

        method.__name__ = str(target)
        return apply(str(target), method, args, kwargs)


def arrival(node: fx.Node, module: nn.Module, x: Value) -> Arrival:
    """Channel by channel: constant, and the same for each image of the batch."""
    dim = x.numbers.dim() - 1 if isinstance(module, nn.Linear) else 1
    numbers, varies = (t.movedim(dim, 0) for t in (x.numbers, x.varies))  # (C, N, ...)
    loose = varies | (numbers != numbers[:, :1])
    constant = ~loose.flatten(1).any(1)
    maps = torch.where(constant.view(-1, *[1] * (numbers.dim() - 2)), numbers[:, 0], 0.0)
    return Arrival(node, constant.cpu(), maps.cpu())


def values(tree: Any) -> list[Value]:
    """All `Value` in nested arguments."""
    return [leaf for leaf in tree_flatten(tree, is_leaf=is_value)[0] if is_value(leaf)]


def is_value(x: Any) -> bool:
    return isinstance(x, Value)


def only_numbers(tree: Any) -> Any:
    return tree_map(lambda v: v.numbers if is_value(v) else v, tree, is_leaf=is_value)


def apply(kind: Any, operation: Callable, args: tuple, kwargs: dict) -> Any:
    """Carry out one operation on numbers, and work out what of its result varies."""
    here = values((args, kwargs))
    if not here:
        return operation(*args, **kwargs)
    for first in ("input", "tensors"):
        if first in kwargs:
            args, kwargs = (kwargs[first], *args), {k: v for k, v in kwargs.items() if k != first}
    rule = SPREADS.get(rule_of(kind, getattr(kind, "__name__", "")))
    if rule is not None and args:
        return rule(operation, *args, **kwargs)
    for value in here:  # it may even have been changed in place
        value.varies.fill_(True)
    result = operation(*only_numbers(args), **only_numbers(kwargs))
    return tree_map(lambda t: Value(t, torch.ones_like(t, dtype=torch.bool)) if isinstance(t, Tensor) else t, result)


def written(out: Tensor, varies: Tensor, *over: Any) -> Value:
    """The result of an operation. One that was carried out in place has also changed the value `over` which it went."""
    for value in filter(is_value, over):
        if value.numbers.untyped_storage().data_ptr() == out.untyped_storage().data_ptr():
            return Value(out, value.varies.copy_(varies) if value.varies.shape == varies.shape else varies)
    return Value(out, varies.clone())


def layer(module: Any, x: Value) -> Value:
    """An output varies if a weight that is not zero reads an input that does."""
    readers = bare(module, (module.weight != 0).double()).forward(x.varies.double())  # counted, so whole numbers
    return Value(module(x.numbers), readers > 0.5)


def function(operation: Callable, x: Any, weight: Any, bias: Any = None, *args, **kwargs) -> Value:
    """A conv or linear layer that is called as a function. Where its weight is computed, all of it may vary."""
    out = operation(*only_numbers((x, weight, bias, *args)), **kwargs)
    if is_value(weight) or is_value(bias) or not is_value(x):
        return Value(out, torch.ones_like(out, dtype=torch.bool))
    readers = operation(x.varies.double(), (weight != 0).double(), None, *args, **kwargs)
    return Value(out, readers > 0.5)


def batch_norm(module: Any, x: Value) -> Value:
    """Each map by itself, by the running statistics; by those of the batch one pixel is enough to move them all."""
    varies = x.varies
    if module.running_mean is None:
        varies = along_maps(varies, varies.shape)
    if module.weight is not None:
        varies = varies & (module.weight != 0).view(-1, *[1] * (varies.dim() - 2))
    return Value(module(x.numbers), varies.clone())


def along_maps(varies: Tensor, shape: torch.Size) -> Tensor:
    """Where one pixel of a map varies, in any image, all do; laid out in another shape (N, C, ...)."""
    maps = varies.transpose(0, 1).flatten(1).any(1)
    return maps.view(-1, *[1] * (len(shape) - 2)).expand(shape).clone()


def pool(operation: Callable, x: Value, *args, **kwargs) -> Value:
    out = operation(x.numbers, *args, **kwargs)
    return Value(out, along_maps(x.varies, out.shape))


def through(operation: Callable, x: Any, *args, **kwargs) -> Any:
    if not is_value(x):  # a constant that is made like a map
        return operation(x, *only_numbers(args), **kwargs)
    return written(operation(x.numbers, *only_numbers(args), **kwargs), x.varies, x)


def move(operation: Callable, x: Any, *args, **kwargs) -> Any:
    """What moves data moves what varies along."""
    if not is_value(x):  # an item of several results
        return operation(x, *args, **kwargs)
    numbers, varies = (operation(half, *only_numbers(args), **kwargs) for half in (x.numbers, x.varies))
    if isinstance(numbers, Tensor):
        return Value(numbers, varies)
    return type(numbers)(Value(n, v) for n, v in zip(numbers, varies, strict=True))


def cat(operation: Callable, xs: Any, *args, **kwargs) -> Value:
    varies = [x.varies if is_value(x) else torch.zeros_like(x, dtype=torch.bool) for x in xs]
    return Value(operation(only_numbers(xs), *args, **kwargs), operation(varies, *args, **kwargs))


def pad(operation: Callable, x: Value, pad: Any, mode: str = "constant", value: Any = None) -> Value:
    return Value(operation(x.numbers, pad, mode, value), F.pad(x.varies.double(), pad, mode) > 0)


def combine(operation: Callable, a: Any, b: Any, *args, **kwargs) -> Value:
    """Of two, either may vary. Nothing varies where a constant zero is multiplied."""
    either = silent = torch.zeros((), dtype=torch.bool)
    for factor in (a, b):
        number, varies = (factor.numbers, factor.varies) if is_value(factor) else (torch.as_tensor(factor), False)
        either = either | varies
        if "mul" in getattr(operation, "__name__", ""):
            silent = silent | ((number == 0) & ~torch.as_tensor(varies))
    out = operation(only_numbers(a), only_numbers(b), *args, **kwargs)
    return written(out, (either & ~silent).expand(out.shape), a)


def reduce(operation: Callable, x: Value, *args, **kwargs) -> Value:
    least = "amin" in getattr(operation, "__name__", "")
    varies = (torch.amax if least else operation)(x.varies.double(), *args, **kwargs) > 0
    return Value(operation(x.numbers, *args, **kwargs), varies)


def sizes(operation: Callable, x: Any, *args, **kwargs) -> Any:
    return operation(x.numbers if is_value(x) else x, *args, **kwargs)  # a result among several goes by its name


SPREADS: dict[Any, Callable] = {  # by what the operation does to paint
    layers.reader: layer,
    layers.functional: function,
    layers.prelu: through,
    layers.batch_norm: batch_norm,
    rules.pool: pool,
    rules.through: through,
    moves.reshape: move,
    moves.move: move,
    rules.spread: move,
    moves.pixel_shuffle: move,
    moves.pixel_unshuffle: move,
    moves.channel_shuffle: move,
    moves.cat: cat,
    moves.divide: move,
    moves.index: move,
    moves.pad: pad,
    rules.combine: combine,
    rules.reduce: reduce,
    rules.sizes: sizes,
    rules.attribute: sizes,
}
