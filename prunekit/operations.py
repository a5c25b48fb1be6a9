"""Write down the operations of a forward, as a torch.fx graph."""

import copy
import operator
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch import Tensor, fx, nn
from torch.fx import proxy
from torch.fx.node import map_arg
from torch.utils._pytree import tree_leaves

from .arguments import numbers
from .layers import BATCH_NORMS, READERS
from .paint import shapes_of, without_content
from .rules import AUGMENTED

FACTORIES = ("zeros", "ones", "full", "empty", "rand", "randn")  # of torch, which fx does not see
COUNTS = ("in_channels", "out_channels", "in_features", "out_features", "num_features", "num_channels", "groups",
          "num_groups", "num_parameters")  # fmt: skip

OF_ANY_MODULE = frozenset(vars(nn.Module()))
ONE_AT_A_TIME = threading.RLock()  # what is patched while a forward is written down is so for all threads


class Written(NamedTuple):
    """A forward as it is written down: its operations, whether it `asked` in which mode it is, and what it turned into
    numbers of Python's, or went one way or another by: the names of nodes (`decided`), and whether it asked a layer how
    many maps that has (`counts`)."""

    nodes: fx.Graph
    asked: bool
    decided: frozenset[str]
    counts: bool


class Followed(fx.Proxy):
    """What stands for a value while a forward is written down.

    fx takes `a += b` for `a = a + b`, which leaves everything else that looks at the memory of `a` as it was, and knows
    no `a[i] = b`. Here both are written down as what they are: operations that change `a`.
    """

    tracer: "Tracer"

    def __getattr__(self, name: str) -> "Attribute":
        return Attribute(self, name)  # type: ignore[arg-type]

    def __setitem__(self, where: Any, value: Any) -> None:
        self.tracer.create_proxy("call_function", operator.setitem, (self, where, value), {})

    def __index__(self) -> int:
        value = self.tracer.measured(self)
        self.tracer.decided.add(self.node.name)
        if not isinstance(value, int):
            raise TypeError("A number that comes from the values of tensors decides how the forward goes on.")
        return value

    def __int__(self) -> int:
        value = self.tracer.measured(self)
        self.tracer.decided.add(self.node.name)
        return int(value) if isinstance(value, float) else self.__index__()

    def __float__(self) -> float:
        value = self.tracer.measured(self)
        return value if isinstance(value, float) else float(self.__index__())

    def __round__(self, digits: int | None = None) -> Any:
        return round(float(self), digits)

    def __len__(self) -> int:
        value = self.tracer.measured(self)
        return len(value) if isinstance(value, tuple | list) else super().__len__()  # of a tensor, images may follow


class Attribute(proxy.Attribute, Followed):
    """`x.shape`, or the method of `x.view(...)`, until it is known which of the two it is."""


def in_place(operation: Callable) -> Callable[[Followed, Any], fx.Proxy]:
    """The method behind an operator like `+=`."""
    return lambda a, b: a.tracer.create_proxy("call_function", operation, (a, b), {})


for _operation in AUGMENTED:
    setattr(Followed, f"__{_operation.__name__}__", in_place(_operation))


class Tracer(fx.Tracer):
    """Follows a forward as torch.fx does, but knows the sizes of one example, and notices what depends on the mode.

    A forward may branch on sizes (`if x.shape[-1] % 2`): it is followed as it runs for an input of these sizes. For
    `asked`, `decided` and `counts` see `Written`: only if it asked, the other mode can be another network.
    """

    def __init__(self, inputs: Sequence[Tensor]):
        super().__init__()
        self.inputs, self.asked, self.counts = inputs, False, False
        self.decided: set[str] = set()
        self.known: dict[fx.Node, Any] = {}
        self.measuring = False  # while it is, calls are carried out, not written down

    def proxy(self, node: fx.Node) -> Followed:
        return Followed(node, self)

    def create_args_for_root(self, *args: Any, **kwargs: Any) -> tuple[Any, list[Any]]:
        """Inputs that are not in the example have their defaults, so that `if mask is not None` is decided."""
        forward, taken = super().create_args_for_root(*args, **kwargs)
        for place, value in enumerate(taken):
            if place > len(self.inputs) and value.node.args:  # the first is the network itself
                (taken[place],) = value.node.args
                self.graph.erase_node(value.node)
        return forward, taken

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        self.asked |= attr == "training"
        if self.measuring:
            return attr_val
        self.counts |= attr in COUNTS
        self.proxy_buffer_attributes = isinstance(attr_val, Tensor) and attr_val.is_floating_point()
        if isinstance(attr_val, Tensor) and not attr_val.is_floating_point():
            return attr_val.clone()  # a counter, say, that the forward may count on, or an index to look things up by
        return super().getattr(attr, attr_val, parameter_proxy_cache)

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: tuple, kwargs: dict[str, Any]) -> Any:
        return forward(*args, **kwargs) if self.measuring else super().call_module(m, forward, args, kwargs)

    def made(self, factory: Callable, *args: Any, **kwargs: Any) -> Any:
        """A new tensor, written down if its size comes from what is followed."""
        if any(isinstance(leaf, fx.Proxy) for leaf in tree_leaves((args, kwargs))):
            return self.create_proxy("call_function", factory, args, kwargs)
        return factory(*args, **kwargs)

    def parameters(self, method: Callable) -> Callable:
        """`method`, noticed: whoever counts entries of parameters may count maps."""

        def noticed(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            self.counts = True
            return method(module, *args, **kwargs)

        return noticed

    def to_bool(self, obj: fx.Proxy) -> bool:
        value = self.measured(obj)
        self.decided.add(obj.node.name)
        known = isinstance(value, bool | int | float) or (isinstance(value, Tensor) and not value.is_meta)
        return bool(value) if known else super().to_bool(obj)

    def iter(self, obj: fx.Proxy) -> Iterator[Any]:
        value = self.measured(obj)
        if not isinstance(value, tuple | list):
            return super().iter(obj)
        return iter([operator.getitem(obj, i) for i in range(len(value))])  # type: ignore[arg-type, call-overload]

    def measured(self, obj: fx.Proxy) -> Any:
        """What a proxy stands for if that follows from sizes, else None."""
        try:
            self.measuring = True
            return self.value(obj.node)
        except Exception:  # an operation that needs numbers
            return None
        finally:
            self.measuring = False

    def value(self, wanted: fx.Node) -> Any:
        """What an operation gives for the example: a number, or a tensor, which has content if no input has a part."""
        for node in self.graph.nodes:
            if node not in self.known:
                self.known[node] = self.carried_out(node)
            if node is wanted:
                break
        return self.known[wanted]

    def carried_out(self, node: fx.Node) -> Any:
        args, kwargs = map_arg((node.args, node.kwargs), self.known.__getitem__)
        match node.op:
            case "placeholder":
                place = [n for n in self.graph.nodes if n.op == "placeholder"].index(node)
                return self.inputs[place].to("meta") if place < len(self.inputs) else None
            case "get_attr":
                tensor = operator.attrgetter(str(node.target))(self.root)
                return without_content(tensor) if isinstance(tensor, nn.Parameter) else tensor.clone()
            case "call_module":
                return shapes_of(self.root.get_submodule(str(node.target)), args, kwargs)
            case "call_method":
                operation: Any = operator.methodcaller(str(node.target), *args[1:], **kwargs)
                args, kwargs = args[:1], {}
            case _:
                operation = node.target
        real = not any(isinstance(leaf, Tensor) and leaf.is_meta for leaf in tree_leaves((args, kwargs)))
        return operation(*args, **kwargs) if real else shapes_of(operation, args, kwargs)


def operations(model: nn.Module, inputs: Sequence[Tensor], training: bool) -> Written:
    """The forward of `model` in train or eval mode, written down.

    Of `inputs` only the sizes count. Tensors that the forward makes are kept in the graph; fx would put them in the
    model.
    """
    tracer = Tracer(inputs)
    factories: dict[str, Any] = {name: partial(tracer.made, getattr(torch, name)) for name in FACTORIES}
    parameters = mock.patch.object(nn.Module, "parameters", tracer.parameters(nn.Module.parameters))
    with ONE_AT_A_TIME, untouched(model), mock.patch.multiple(torch, **factories), parameters:
        torch.manual_seed(0)
        for module in model.modules():  # torch looks for attributes among the buffers last, and fx watches it there
            watched: Any = {"training": training}
            del module.training
            if isinstance(module, (*READERS, *BATCH_NORMS, nn.GroupNorm, nn.PReLU)):
                watched |= {name: module.__dict__.pop(name) for name in COUNTS if name in module.__dict__}
            module._buffers.update(watched)
        nodes = tracer.trace(model)
        for module in model.modules():
            for name in ("training", *COUNTS):
                module._buffers.pop(name, None)
        for node in nodes.nodes:
            if node.op == "get_attr" and str(node.target).startswith("_tensor_constant"):
                node.op, node.target = "call_function", partial(torch.clone, getattr(model, node.target))
    return Written(nodes, tracer.asked, frozenset(tracer.decided), tracer.counts)


def same_operations(a: fx.Graph, b: fx.Graph) -> bool:
    """Whether two graphs of a network differ at most in numbers, such as a probability of dropout."""
    lists = [[(n.op, n.target if n.op != "call_function" else str(n.target), n.name) for n in g.nodes] for g in (a, b)]
    return lists[0] == lists[1]


def same_numbers(a: fx.Graph, b: fx.Graph) -> bool:
    """Whether the operations of two graphs, the same ones, get the same numbers and each other's results alike."""
    return all(numbers(one) == numbers(other) for one, other in zip(a.nodes, b.nodes, strict=True))


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Whatever a forward sets or draws in this context, the model's attributes and the random numbers are as before;
    so is what stands in lists and dictionaries among the attributes, such as a cache."""
    kept = [(one, copy.copy(one)) for module in model.modules() for one in changeable(module)]
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        for now, before in kept:
            now.clear()
            (now.update if isinstance(now, dict) else now.extend)(before)


def changeable(module: nn.Module) -> list[Any]:
    """The dictionaries that hold a module's attributes and buffers, and all lists and dictionaries in its own ones."""
    found: list[Any] = [module._buffers, module.__dict__]
    new = [value for name, value in module.__dict__.items() if name not in OF_ANY_MODULE]
    while new:
        one = new.pop()
        if isinstance(one, dict | list) and all(one is not other for other in found):
            found.append(one)
            new.extend(one.values() if isinstance(one, dict) else one)
    return found
