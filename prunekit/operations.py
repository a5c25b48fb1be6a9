"""Write down the operations of a forward, as a torch.fx graph."""

import operator
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.node import map_arg

from .paint import shapes_of


class Tracer(fx.Tracer):
    """Follows a forward as torch.fx does, but knows the sizes of one example, and notices what depends on the mode.

    A forward may branch on sizes (`if x.shape[-1] % 2`): it is followed as it runs for an input of these sizes. `asked`
    says whether it asked in which mode it is: only then the other mode can be another network.
    """

    def __init__(self, inputs: Sequence[Tensor]):
        super().__init__()
        self.inputs, self.asked = inputs, False
        self.known: dict[fx.Node, Any] = {}
        self.measuring = False  # while it is, calls are carried out, not written down

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        self.asked |= attr == "training"
        if self.measuring:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: tuple, kwargs: dict[str, Any]) -> Any:
        return forward(*args, **kwargs) if self.measuring else super().call_module(m, forward, args, kwargs)

    def to_bool(self, obj: fx.Proxy) -> bool:
        value = self.measured(obj)
        return bool(value) if isinstance(value, bool | int | float) else super().to_bool(obj)

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
        """What an operation gives for the example: a number, or a tensor without content."""
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
                return self.inputs[place] if place < len(self.inputs) else (args[0] if args else None)
            case "get_attr":
                return operator.attrgetter(str(node.target))(self.root)
            case "call_module":
                return shapes_of(self.root.get_submodule(str(node.target)), args, kwargs)
            case "call_method":
                return shapes_of(operator.methodcaller(str(node.target), *args[1:], **kwargs), args[:1], {})
        return shapes_of(node.target, args, kwargs)  # type: ignore[arg-type]


def operations(model: nn.Module, inputs: Sequence[Tensor], training: bool) -> tuple[fx.Graph, bool]:
    """The torch.fx graph of `model` in train or eval mode, and whether the forward asked for the mode.

    Of `inputs` only the sizes count. Tensors that the forward makes are kept in the graph; fx would put them in the
    model.
    """
    tracer = Tracer(inputs)
    with untouched(model):
        for module in model.modules():  # torch looks for attributes among the buffers last, and fx watches it there
            del module.training
            module._buffers["training"] = training  # type: ignore[assignment]
        try:
            nodes = tracer.trace(model)
        finally:
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
