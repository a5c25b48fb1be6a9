"""Write down the operations of a forward, as a torch.fx graph."""

import copy
import operator
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest import mock

import torch
from torch import Tensor, fx, nn
from torch.fx import proxy
from torch.fx.node import map_arg
from torch.utils._pytree import tree_leaves

from .arguments import numbers
from .paint import shapes_of, without_content
from .rules import AUGMENTED

FACTORIES = ("zeros", "ones", "full", "empty", "rand", "randn")  # of torch, which fx does not see
OF_ANY_MODULE = frozenset(vars(nn.Module()))
ONE_AT_A_TIME = threading.RLock()  # what is patched while a forward is written down is so for all threads


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

    def number(self, *kinds: type) -> Any:
        """The number of Python's that this is, of one of these `kinds`: it decides how the forward goes on."""
        value = self.tracer.measured(self)
        if not isinstance(value, kinds):
            raise TypeError("A number that comes from the values of tensors decides how the forward goes on.")
        return value

    def __index__(self) -> int:
        return self.number(int)

    def __int__(self) -> int:
        return int(self.number(int, float))

    def __float__(self) -> float:
        return float(self.number(int, float))

    def __round__(self, digits: int | None = None) -> Any:
        return round(self.number(int, float), digits)

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

    A forward may branch on sizes (`if x.shape[-1] % 2`): it is followed as it runs for an input of these sizes. Only
    if it `asked` for its mode, the other mode can be another network.
    """

    def __init__(self, inputs: Sequence[Tensor]):
        super().__init__()
        self.inputs, self.asked = inputs, False
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

    def to_bool(self, obj: fx.Proxy) -> bool:
        value = self.measured(obj)
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


def operations(model: nn.Module, inputs: Sequence[Tensor], training: bool) -> tuple[fx.Graph, bool]:
    """The forward of `model` in train or eval mode, written down, and whether it asked in which mode it is.

    Of `inputs` only the sizes count. Tensors that the forward makes are kept in the graph; fx would put them in the
    model.
    """
    tracer = Tracer(inputs)
    factories: dict[str, Any] = {name: partial(tracer.made, getattr(torch, name)) for name in FACTORIES}
    with ONE_AT_A_TIME, untouched(model), mock.patch.multiple(torch, **factories):
        for module in model.modules():  # torch looks for attributes among the buffers last, and fx watches it there
            del module.training
            module._buffers["training"] = training  # type: ignore[assignment]
        nodes = tracer.trace(model)
        for module in model.modules():
            del module._buffers["training"]
        for node in nodes.nodes:
            if node.op == "get_attr" and str(node.target).startswith("_tensor_constant"):
                node.op, node.target = "call_function", partial(torch.clone, getattr(model, node.target))
    return nodes, tracer.asked


def same_operations(a: fx.Graph, b: fx.Graph) -> bool:
    """Whether two graphs of a network differ at most in numbers, such as a probability of dropout."""
    lists = [[(n.op, n.target if n.op != "call_function" else str(n.target), n.name) for n in g.nodes] for g in (a, b)]
    return lists[0] == lists[1]


def same_numbers(a: fx.Graph, b: fx.Graph) -> bool:
    """Whether the operations of two graphs, the same ones, get the same numbers and each other's results alike."""
    return all(numbers(one) == numbers(other) for one, other in zip(a.nodes, b.nodes, strict=True))


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Whatever a forward sets in this context, the model's attributes and buffers are as before; so is what stands in
    lists and dictionaries among the attributes, such as a cache. What it draws is always the same."""
    kept = [(one, copy.copy(one)) for module in model.modules() for one in changeable(module)]
    filled = [(one, one._version, one.clone()) for one in model.buffers() if not one.is_inference()]
    try:
        with drawing_alike():
            yield
    finally:
        for now, before in kept:
            now.clear()
            (now.update if isinstance(now, dict) else now.extend)(before)
        with torch.no_grad():
            for now, version, before in filled:
                if now._version != version:
                    now.copy_(before)


@contextmanager
def drawing_alike() -> Iterator[None]:
    """Random numbers of torch and Python are the same ones in every such context, and behind it as before."""
    state = random.getstate()
    try:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            random.seed(0)
            yield
    finally:
        random.setstate(state)


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
