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

import operator
from collections.abc import Callable, Sequence
from inspect import Parameter, signature
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.utils.parametrize import is_parametrized
from torch.optim.swa_utils import AveragedModel

from .arguments import computing
from .canvas import Canvas
from .errors import TraceError, said
from .graph import Graph
from .modes import in_mode
from .moves import reshape
from .operations import operations, same_operations, untouched
from .paint import Paint, paints, shapes_of
from .rules import EITHER, attribute, changes, combine, fill, rule_of, sizes, through

NUMPY = {"axis": "dim", "keepdims": "keepdim"}  # torch takes NumPy's names as well
REMEDIES = {  # by what torch.fx says
    "control flow": "Control flow must not depend on values of tensors: move such a part into a module of its own and "
    "trace the parts.",
    "not installed as a submodule": "A module that has to be followed is an attribute of the network, made in "
    "__init__.",
    "'len' is not supported": "Take x.size(0) in place of len(x).",
    "Proxy": "A new tensor can depend on sizes of others if torch.zeros, torch.full or x.new_zeros(...) makes it.",
}
REMEDIES["values of tensors"] = REMEDIES["control flow"]
REMEDIES["__cuda_array_interface__"] = REMEDIES["Proxy"]
ELSE = "Move the part that cannot be followed into a module of its own, and trace the parts."


def trace(model: nn.Module, *example: Tensor) -> Graph:
    """Find which filters of `model` can be removed and what goes with each, without computing a single number.

    `example` is the model's input, or inputs, e.g. `torch.randn(1, 3, 32, 32)`; only shapes matter. The model is not
    changed. Other arguments of `forward` keep their defaults, and layers that it does not call then are not followed.
    Sizes that `forward` computes from its tensors follow a cut; those written into it as numbers do not, and `prune`
    refuses where that matters.

    Raises `TraceError` where the forward cannot be followed, with its line.
    """
    if not isinstance(model, nn.Module):
        raise TraceError(
            f"trace takes a torch.nn.Module, not a {type(model).__name__}; pk.nets.vgg16() builds one, for example."
        )
    for name, module in model.named_modules():
        refuse(name, module)
    if not example or not all(isinstance(x, Tensor) for x in example):
        raise TraceError("trace needs an example input, such as torch.randn(1, 3, 32, 32).")
    for number, x in enumerate(example, start=1):
        if not x.is_floating_point():
            raise TraceError(
                f"Input {number} is {str(x.dtype).removeprefix('torch.')}: whole numbers and masks cannot be drawn at "
                "random for the check of a cut. Trace what comes behind them, such as an embedding, as a module."
            )
    only = [p.name for p in signature(model.forward).parameters.values() if p.kind is p.KEYWORD_ONLY]
    if needed := [name for name in only if signature(model.forward).parameters[name].default is Parameter.empty]:
        raise TraceError(f"The forward takes {needed[0]!r} by keyword only: inputs are given by their place.")
    pairs = in_pairs(example)
    try:
        nodes, asked = operations(model, pairs, training=False)
        modes = (nodes, operations(model, pairs, training=True)[0]) if asked else (nodes,)
    except Exception as error:  # anything that a forward may raise
        raise TraceError(
            f"The network cannot be followed: {said(error)}. "
            + next((remedy for part, remedy in REMEDIES.items() if part in str(error)), ELSE)
        ) from error
    training = None if same_operations(nodes, modes[-1]) else modes[-1]
    taken = [str(node.target) for node in nodes.nodes if node.op == "placeholder"]
    if len(example) > len(taken) and not any(name.startswith("*") for name in taken):
        raise TraceError(f"The forward takes {len(taken)} inputs ({', '.join(taken)}), and {len(example)} were given.")
    canvas = Canvas(model)
    inputs = canvas.inputs(pairs)
    for graph, mode in ((nodes, ""), (training, " in train mode")):
        if graph is None:
            continue
        try:
            with untouched(model), in_mode(model, training=graph is training):
                Painter(canvas, graph).run(*inputs)
        except TraceError:
            raise
        except Exception as error:
            quoted = ", ".join(str(tuple(x.shape)) for x in example)
            raise TraceError(
                f"The network does not run on an input of shape {quoted}{mode}: {canvas.at} says: {error}"
            ) from error
    canvas.settle()
    return Graph(canvas, modes, training, tuple(x.detach() for x in example))


def refuse(name: str, module: nn.Module) -> None:
    """Raise `TraceError` for a module, `name` in the network, that is a wrapper of another, or cannot be copied."""
    where = f"{name!r}" if name else "The model"
    compiled = hasattr(module, "_orig_mod")  # asking for torch's class would import the compiler, which takes seconds
    if compiled or isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel | AveragedModel):
        inner = "_orig_mod" if compiled else "module"
        averaged = " An average of a network that was cut follows it by pk.follow_average."
        raise TraceError(
            f"{where} is wrapped in {type(module).__name__}: pass what is inside, `model.{inner}`."
            + averaged * isinstance(module, AveragedModel)
        )
    if isinstance(module, torch.jit.ScriptModule):
        raise TraceError(f"{where} is a {type(module).__name__} of torch.jit: pass the network that it was made from.")
    if "forward" in vars(module):
        raise TraceError(
            f"{where} has a forward that was set on the object, not in its class: a copy would go on computing with "
            "this network's weights. Write the forward into a class."
        )
    if isinstance(module, LazyModuleMixin) and module.has_uninitialized_params():  # type: ignore[misc]
        raise TraceError(f"{where} is a {type(module).__name__} without sizes yet: call model(example) once before.")
    if is_parametrized(module):
        tensor = next(iter(module.parametrizations))  # type: ignore[arg-type]
        raise TraceError(
            f"{name!r} is parametrized: its {tensor!r} is computed from other tensors, as weight_norm does it, and "
            "those cannot be cut. Make it a plain one with torch.nn.utils.parametrize.remove_parametrizations("
            f"model.get_submodule({name!r}), {tensor!r}) first; after the cut it can be parametrized again."
        )


def in_pairs(example: Sequence[Tensor]) -> list[Tensor]:
    """Two images where there is one: one would hide a batch axis that is mixed with others (size 1 fits everything)."""
    return [x.expand(2, *x.shape[1:]) if x.dim() > 1 and x.shape[0] == 1 else x for x in example]


class Painter(fx.Interpreter):
    """Runs a graph on `Paint`, on a canvas; numbers, sizes and constant tensors flow beside it as they are."""

    def __init__(self, canvas: Canvas, nodes: fx.Graph):
        super().__init__(canvas.model, graph=nodes)
        self.extra_traceback = False
        self.canvas = canvas

    def run_node(self, n: fx.Node) -> Any:
        self.canvas.node = n
        value = super().run_node(n)
        if not paints(value):
            args, _ = self.fetch_args_kwargs_from_env(n)
            self.canvas.counted.derive(n, args, self.canvas.names.get(id(value)))
        return value

    def call_module(self, target, args: tuple, kwargs: dict) -> Any:
        module = self.fetch_attr(str(target))
        if not paints((args, kwargs)):  # a layer that is given a constant
            self.canvas.held.update(f"{target}.{name}" for name, _ in module.named_parameters())
        return self.paint(type(module), module, str(target), args, kwargs)

    def call_function(self, target: Any, args: tuple, kwargs: dict) -> Any:
        return self.paint(target, target, getattr(target, "__name__", str(target)), args, kwargs)

    def call_method(self, target, args: tuple, kwargs: dict) -> Any:
        method = "reshape" if target == "view" else str(target)  # paint that is repeated without memory has no view
        return self.paint(str(target), lambda x, *a, **k: getattr(x, method)(*a, **k), str(target), args, kwargs)

    def output(self, target, args: tuple, kwargs: dict) -> Any:
        for paint in paints(args):
            self.canvas.freeze(paint, "it reaches the network's output")
        return args[0]

    def paint(self, kind: Any, operation: Callable, name: str, args: tuple, kwargs: dict[str, Any]) -> Any:
        """Carry out one operation, known by its `kind`: a module's class, a function, or a method's name."""
        self.canvas.at = name
        here, rule = paints((args, kwargs)), rule_of(kind, name)
        inputs = {n: self.env[n] for n in self.canvas.node.all_input_nodes}
        if not here:
            if changes(kind) and isinstance(args[0], Tensor):  # the network's own, such as a running mean
                if kind is operator.setitem or id(args[0]) not in self.canvas.names:
                    self.canvas.held.update(self.canvas.names[id(one)] for one in self.canvas.own(args[0]))
                args = (args[0].clone(), *args[1:])
            if rule is fill:
                self.canvas.freeze_counted(name, inputs)
            value = operation(*args, **kwargs)
            if rule in (sizes, attribute) and id(args[0]) in self.canvas.names:
                self.canvas.counted.ask(self.canvas.node, self.canvas.names[id(args[0])], args[0], value)
            if rule in (combine, through, reshape):
                self.canvas.compute(value, inputs)
            return value
        if kwargs.get("out") is not None:
            raise TraceError(f"{name} writes into a tensor that is there, by out=: take what it returns instead.")
        for first in ("input", "tensors"):  # what torch calls the thing that an operation works on
            if first in kwargs:
                args, kwargs = (kwargs[first], *args), {k: v for k, v in kwargs.items() if k != first}
        if isinstance(kind, type) and issubclass(kind, tuple):  # a named tuple, as some networks return
            return operation(*args, **kwargs)
        if rule is not through or (args and isinstance(args[0], Paint)):  # what is made like a map is counted later
            self.canvas.freeze_counted(name, {n: inputs[n] for n in computing(rule, self.canvas.node)})
        if rule is not None and args and (isinstance(args[0], Paint | list | tuple) or rule in EITHER):
            named = {NUMPY.get(key, key): value for key, value in kwargs.items()}
            return rule(self.canvas, operation, name, *args, **named)
        for paint in here:
            self.canvas.freeze(paint, f"it passes through {name}, which prunekit does not know")
        shapes = shapes_of(operation, args, kwargs)
        if changes(kind) and isinstance(shapes, Tensor) and shapes.shape != here[0].colors.shape:
            raise TraceError(f"{name} changes a tensor's shape in place: write x = x.{name[:-1]}(...) instead.")
        return self.canvas.like(shapes, name)
