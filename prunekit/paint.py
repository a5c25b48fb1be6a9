"""Paint: what flows through a network instead of numbers when its filters are traced, and colors that become one."""

import copy
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx.node import map_aggregate


@dataclass(frozen=True)
class Paint:
    """What flows instead of a tensor: `colors`, int64, of the tensor's shape."""

    colors: Tensor


class Colors:
    """Colors that may become one (union-find), or freeze for a reason."""

    def __init__(self) -> None:
        self.parent = [0]  # colors start at 1
        self.reasons: dict[int, str] = {}

    def fresh(self, count: int) -> list[int]:
        """`count` colors that nothing has yet."""
        start = len(self.parent)
        self.parent.extend(range(start, start + count))
        return list(range(start, start + count))

    def find(self, color: int) -> int:
        """The one color that stands for all that were united with `color`."""
        root = color
        while self.parent[root] != root:
            root = self.parent[root]
        while self.parent[color] != root:
            self.parent[color], color = root, self.parent[color]
        return root

    def unite(self, a: int, b: int) -> None:
        """From now on `a` and `b` are one color."""
        a, b = self.find(a), self.find(b)
        if a != b:
            self.parent[max(a, b)] = min(a, b)

    def freeze(self, colors: Iterable[int], reason: str) -> None:
        """Nothing of these `colors`, nor of any that becomes one with them, may be cut."""
        for color in colors:
            self.reasons.setdefault(color, reason)

    def frozen(self) -> dict[int, str]:
        """The colors that may not be cut, each with the first reason given."""
        first: dict[int, str] = {}
        for color, reason in self.reasons.items():
            first.setdefault(self.find(color), reason)
        return first


def paints(tree: Any) -> list[Paint]:
    """All paint in nested arguments."""
    if isinstance(tree, Paint):
        return [tree]
    if isinstance(tree, Mapping):
        return paints(list(tree.values()))
    return [paint for part in tree for paint in paints(part)] if isinstance(tree, list | tuple) else []


def shapes_of(operation: Callable, args: Any, kwargs: Any) -> Any:
    """The result of an operation as tensors without content, on torch's meta device: shapes at no cost."""
    args, kwargs = map_aggregate(args, without_content), map_aggregate(kwargs, without_content)
    if not isinstance(operation, nn.Module):
        return operation(*args, **kwargs)
    held = (*operation.named_parameters(), *operation.named_buffers())
    state = {n: t.to("meta").float() for n, t in held if isinstance(t, Tensor)}  # Tracer keeps the mode beside them
    stand_in = copy.copy(operation)  # without hooks: those expect numbers
    stand_in._forward_hooks, stand_in._forward_pre_hooks = OrderedDict(), OrderedDict()
    for name, value in vars(operation).items():
        if isinstance(value, Tensor):  # a weight that a hook has computed
            vars(stand_in)[name] = value.to("meta").float()
    return torch.func.functional_call(stand_in, state, args, kwargs)


def without_content(value: Any) -> Any:
    """Paint and floating-point tensors as tensors of their shape on the meta device; anything else as it is."""
    if isinstance(value, Paint):
        return torch.empty(value.colors.shape, device="meta")
    floating = isinstance(value, Tensor) and value.is_floating_point()
    return torch.empty(value.shape, device="meta") if floating else value


def along(colors: list[int], dim: int, shape: Sequence[int]) -> Tensor:
    """`colors` laid along `dim` of a tensor of `shape`, repeated along the others without taking memory."""
    return torch.tensor(colors).view([-1 if d == dim else 1 for d in range(len(shape))]).expand(shape)


def squeezed(colors: Tensor, but: int | None = None, only: Sequence[int] | None = None) -> Tensor:
    """The same colors, one copy only along each axis on which `along` repeats them."""
    for d in range(colors.dim()) if only is None else only:
        if d != but and colors.shape[d] > 1 and colors.stride(d) == 0:
            colors = colors.narrow(d, 0, 1)
    return colors


def varies(colors: Tensor, dim: int) -> bool:
    """Whether the color changes along `dim`."""
    colors = squeezed(colors)
    return bool((colors != colors.narrow(dim, 0, 1)).any())
