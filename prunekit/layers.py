"""What layers do to paint: those that read it and give off new, and those with entries for each map that they pass."""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from .canvas import Canvas
from .errors import TraceError
from .paint import Paint, along, shapes_of, squeezed, varies

CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
READERS = (*CONVS, *TRANSPOSED, nn.Linear)
BATCH_NORMS = (
    nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm,
    nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d,
)  # fmt: skip
FIXED = "{} has groups, and how many is written into the forward"
COMPUTED = "{} computes its weight (torch.nn.utils.prune or a parametrization): make that final first"


def whole_groups(module: nn.Module) -> bool:
    """Whether a grouped conv loses whole groups of maps, or else the same maps of every group: whichever is finer."""
    groups, inputs = int(module.groups), int(module.in_channels)  # type: ignore[arg-type]
    return groups > 1 and (isinstance(module, TRANSPOSED) or groups >= inputs // groups)


def reader(canvas: Canvas, module: Any, name: str, x: Paint) -> Paint:
    """Conv and linear layers as modules."""
    linear = isinstance(module, nn.Linear)
    if linear and x.colors.shape[-1:] == module.weight.shape[1:]:  # the frequent cases have shortcuts
        out = torch.empty((*x.colors.shape[:-1], len(module.weight)), device="meta")
    elif type(module) in CONVS:
        out = conv_shape(type(module), tuple(x.colors.shape), tuple(module.weight.shape), module.stride,
                         module.padding, module.dilation, module.groups)  # fmt: skip
    else:
        out = shapes_of(module, (x,), {})
    if not linear and x.colors.dim() != module.weight.dim():
        raise TraceError(f"{name} reads {x.colors.dim()} axes; pass an example with a batch axis in front.")
    if not canvas.owned(module):
        canvas.freeze(x, COMPUTED.format(name))
        return canvas.like(out, name)
    filters = 1 if isinstance(module, TRANSPOSED) else 0
    groups = 1 if linear else module.groups
    if groups > 1 and whole_groups(module):
        return by_groups(canvas, x, module.weight, module.bias, groups, out.shape)
    return by_index(canvas, x, module.weight, module.bias, groups, out.shape, filters)


@lru_cache(maxsize=1024)
def conv_shape(kind: type, maps: tuple, weight: tuple, *options: Any) -> Tensor:
    """What a conv makes of maps of a shape, without content. Networks repeat their layers, so it is remembered."""
    x, w = (torch.empty(shape, device="meta") for shape in (maps, weight))
    operation = {nn.Conv1d: F.conv1d, nn.Conv2d: F.conv2d, nn.Conv3d: F.conv3d}[kind]
    return operation(x, w, None, *options)  # stride, padding, dilation, groups


def functional(
    canvas: Canvas, operation: Callable, name: str, x: Any, weight: Any, bias: Any = None, *args, **kwargs
) -> Any:
    """A reader that is called as a function. Behind the bias of all convs the number of groups comes fourth."""
    out = shapes_of(operation, (x, weight, bias, *args), kwargs)
    groups, filters = kwargs.get("groups", args[3] if len(args) > 3 else 1), int("transpose" in name)
    owned = all(isinstance(t, Tensor) and id(t) in canvas.names for t in (weight, bias) if t is not None)
    if isinstance(x, Paint) and groups == x.colors.shape[1] and follows(canvas, "groups", 6):
        if owned:  # a filter for each map, however many there are
            return by_groups(canvas, x, weight, bias, groups, out.shape)
        if bias is None and repeated(canvas, weight):  # one kernel for all, such as a blur: pooling
            colors = [color for color in canvas.per_channel(x) for _ in range(out.shape[1] // groups)]
            return Paint(along(colors, 1, out.shape))
    if not isinstance(x, Paint) or not owned or (groups > 1 and filters):
        canvas.freeze_counted(name, dict.fromkeys(canvas.node.all_input_nodes))
        for paint in (t for t in (x, weight, bias) if isinstance(t, Paint)):
            computed = f"{name} works with a weight that is computed, not a parameter"
            canvas.freeze(paint, FIXED.format(name) if owned else computed)
        return canvas.like(out, name)
    owner = canvas.owner(weight)
    if groups > 1 and isinstance(owner, CONVS) and owner.groups == groups and whole_groups(owner):
        return by_groups(canvas, x, weight, bias, groups, out.shape)  # a conv with a forward of its own
    if 1 < groups == x.colors.shape[1]:
        canvas.freeze(x, FIXED.format(name))
    # A number of groups that is written into a forward stays, so each group loses the same maps.
    return by_index(canvas, x, weight, bias, groups, out.shape, filters)


def asked(canvas: Canvas, argument: str, place: int) -> Any:
    """An argument of the current operation, as a node or as it is written."""
    args = canvas.node.args
    return canvas.node.kwargs.get(argument, args[place] if len(args) > place else None)


def follows(canvas: Canvas, argument: str, place: int) -> bool:
    """Whether an argument of the current operation is computed from how many maps there are."""
    node = asked(canvas, argument, place)
    return isinstance(node, fx.Node) and bool(canvas.counted.colors(node))


def repeated(canvas: Canvas, weight: Any) -> bool:
    """Whether the current operation's `weight` is one kernel, as often as there are maps."""
    node = asked(canvas, "weight", 1)
    while isinstance(node, fx.Node) and node.target in ("to", "type_as", "contiguous"):
        node = node.args[0]
    if not (isinstance(node, fx.Node) and canvas.counted.colors(node) and node.target in ("expand", "repeat")):
        return False
    kernel: Any = node.args[0]
    return not canvas.counted.colors(kernel) and bool((weight == weight[:1]).all())


def by_index(
    canvas: Canvas, x: Paint, weight: Tensor, bias: Tensor | None, groups: int, out: Sequence[int], filters: int
) -> Paint:
    """Read the maps and give off one color for each filter, the weight's axis `filters`.

    With groups, the weight has one column for the same map of every group: these go together, and so do the filters at
    the same place of every group, since groups stay of one size.
    """
    axis = x.colors.dim() - 1 if weight.dim() == 2 else 1  # a linear layer reads along the last
    inputs = canvas.per_channel(x, axis)
    canvas.use(weight, positions(x.colors.shape if filters else out, axis))
    canvas.remember(weight, 1 - filters, "reads", canvas.tie(inputs, groups))
    key = (canvas.names[id(weight)], filters)
    fresh = key not in canvas.axes
    colors = canvas.colors.fresh(out[axis]) if fresh else list(canvas.axes[key].colors)
    canvas.tie(colors, groups)
    canvas.remember(weight, filters, "gives", colors)
    canvas.remember(bias, 0, "carries", colors)
    return Paint(along(colors, axis, out))


def positions(shape: Sequence[int], axis: int) -> int:
    """How many places the maps of one input have: all axes but the first, the batch, and that of the maps."""
    return math.prod(size for d, size in enumerate(shape) if d not in (0, axis))


def by_groups(canvas: Canvas, x: Paint, weight: Tensor, bias: Tensor | None, groups: int, out: Sequence[int]) -> Paint:
    """A whole group goes, its maps and its filters. Depthwise convs are the case of one map in each group."""
    inputs = canvas.per_channel(x)
    size, filters = len(inputs) // groups, out[1] // groups
    canvas.use(weight, positions(x.colors.shape if weight.shape[0] != out[1] else out, 1))
    given = [color for color in canvas.tie(inputs, groups, 0) for _ in range(filters)]
    if weight.shape[0] == len(given) and size > 1:
        canvas.remember(weight, 0, "gives", given)
    else:  # depthwise or transposed: no filters that one could choose by themselves
        canvas.remember(weight, 0, "carries", given if weight.shape[0] == len(given) else inputs)
    canvas.remember(bias, 0, "carries", given)
    return Paint(along(given, 1, out))


def carry(canvas: Canvas, x: Paint, tensors: Sequence[Tensor | None], dim: int = 1) -> Paint:
    """Entries of `tensors` go with their maps."""
    colors = canvas.per_channel(x, dim)
    for tensor in tensors:
        canvas.remember(tensor, 0, "carries", colors)
    return Paint(along(colors, dim, x.colors.shape))


def batch_norm(canvas: Canvas, module: Any, name: str, x: Paint) -> Paint:
    """Batch and instance norm work on each map alone."""
    if not canvas.owned(module):
        canvas.freeze(x, COMPUTED.format(name))
        return canvas.like(shapes_of(module, (x,), {}), name)
    tensors = (module.weight, module.bias, module.running_mean, module.running_var)
    if all(tensor is None for tensor in tensors):
        canvas.widths[name] = tuple(canvas.per_channel(x))
    return carry(canvas, x, tensors)


def functional_batch_norm(
    canvas: Canvas, operation: Callable, name: str, x: Any, mean: Tensor | None = None, var: Tensor | None = None,
    weight: Tensor | None = None, bias: Tensor | None = None, *args, **kwargs,
) -> Any:  # fmt: skip
    """F.batch_norm on tensors of the network's own."""
    named = {"running_mean": mean, "running_var": var, "weight": weight, "bias": bias}
    tensors = [kwargs.get(key, value) for key, value in named.items()]
    if not all(isinstance(t, Tensor) and id(t) in canvas.names for t in tensors if t is not None):
        canvas.freeze(x, f"{name} works with entries that are computed, not parameters")
        return x
    return carry(canvas, x, tensors)


def group_norm(canvas: Canvas, module: Any, name: str, x: Paint) -> Paint:
    """The maps of a group are normalized together, so they go together; the other groups do not notice."""
    per_channel, groups = canvas.per_channel(x), module.num_groups
    size = len(per_channel) // groups
    if size > 1 and (groups == 1 or module.weight is None):
        canvas.freeze(x, f"{name} normalizes over several maps")
    canvas.tie(per_channel, groups, 0)
    if module.weight is None:
        canvas.widths[name] = tuple(per_channel)
    return carry(canvas, x, (module.weight, module.bias))


def functional_group_norm(
    canvas: Canvas, operation: Callable, name: str, x: Paint, num_groups: int, weight: Any = None, bias: Any = None,
    *args, **kwargs,
) -> Paint:  # fmt: skip
    """F.group_norm, as an nn.GroupNorm with a forward of its own calls it."""
    owner = canvas.owner(weight) if id(weight) in canvas.names else None
    written = not any(map(canvas.counted.of, canvas.node.all_input_nodes[3:]))
    if not (isinstance(owner, nn.GroupNorm) and owner.bias is bias and owner.num_groups == num_groups and written):
        canvas.freeze(x, f"{name} normalizes over several maps")
        return x
    return group_norm(canvas, owner, name, x)


def across(canvas: Canvas, name: str, x: Paint, dims: Sequence[int]) -> Paint:
    """Whatever looks at all entries along `dims` at once: maps that lie there cannot go.

    Where maps lie along another axis as well, as of two tensors that were stacked, those at one place go together.
    """
    if not any(varies(x.colors, d) for d in dims):
        return x
    if not any(varies(x.colors, d) for d in range(x.colors.dim()) if d not in dims):
        canvas.freeze(x, f"{name} mixes maps")
        return x
    colors = squeezed(x.colors)
    others = [d for d in range(colors.dim()) if d not in dims]
    for row in colors.permute(*others, *dims).flatten(0, len(others) - 1).flatten(1).tolist():
        for color in set(row):
            canvas.colors.unite(row[0], color)
    return x


def layer_norm(
    canvas: Canvas, operation: Any, name: str, x: Paint, shape: Sequence[int] | None = None, *args, **kwargs
) -> Paint:
    """nn.LayerNorm and F.layer_norm: over the last axes."""
    last = kwargs.get("normalized_shape", shape) or operation.normalized_shape
    return across(canvas, name, x, range(x.colors.dim() - len(last), x.colors.dim()))


def prelu(canvas: Canvas, operation: Any, name: str, x: Paint, weight: Tensor | None = None) -> Any:
    """nn.PReLU and F.prelu: one slope for all maps, or one for each."""
    slope = operation.weight if weight is None else weight
    if id(slope) not in canvas.names:
        canvas.freeze(x, f"{name} works with slopes that are computed, not parameters")
        return x
    return x if slope.numel() == 1 else carry(canvas, x, (slope,))


def parameter(canvas: Canvas, name: str, x: Paint, tensor: Tensor) -> Paint:
    """A sum or product with a parameter or buffer: its entries along the axis of maps go with them."""
    shape = torch.broadcast_shapes(x.colors.shape, tensor.shape)
    before, before_tensor = len(shape) - x.colors.dim(), len(shape) - tensor.dim()
    wide = [d for d in range(before_tensor, len(shape)) if tensor.shape[d - before_tensor] > 1]
    spread = any(d < before or x.colors.shape[d - before] == 1 for d in wide)
    varying = [] if spread else [d for d in wide if varies(x.colors, d - before)]
    own = canvas.own(tensor)
    if not spread and not varying:
        canvas.held.update(canvas.names[id(one)] for one in own)
        return Paint(x.colors.expand(shape))
    if spread or len(varying) > 1 or not own:
        canvas.freeze(x, f"{name} combines it with a tensor of the network's own")
        return canvas.like(torch.empty(shape, device="meta"), name)
    (d,) = varying
    colors = canvas.per_channel(x, d - before)
    for one in own:  # a list of entries may be used in another shape, such as scale.reshape(1, -1, 1, 1)
        canvas.remember(one, d - before_tensor if one is tensor else one.shape.index(one.numel()), "carries", colors)
    return Paint(along(colors, d, shape))
