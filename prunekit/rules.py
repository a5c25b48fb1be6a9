"""What each operation does to paint, one small function each. `RULES` says which function an operation follows.

A rule takes the painter, the operation, its name, and the operation's own arguments, in which tensors are `Paint`.
"""

import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .errors import TraceError
from .paint import ZERO, Paint, along, shapes_of, squeezed, varies

if TYPE_CHECKING:
    from .tracing import Painter

CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
POOLS = (
    nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d,
    nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d,
    nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d, nn.Upsample,
    F.max_pool1d, F.max_pool2d, F.max_pool3d, F.avg_pool1d, F.avg_pool2d, F.avg_pool3d,
    F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d, F.interpolate,
)  # fmt: skip
KEEPS_ZERO = (  # elementwise, f(0) = 0
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish, nn.Tanh,
    nn.Softsign, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.Identity,
    F.relu, F.relu6, F.leaky_relu, F.elu, F.selu, F.gelu, F.silu, F.mish, F.hardswish, F.dropout, F.dropout2d,
    torch.relu, torch.relu_, torch.tanh, torch.abs, torch.neg, operator.neg,
    "relu", "relu_", "tanh", "abs", "neg", "contiguous", "clone", "detach", "float", "half", "double", "to", "type_as",
)  # fmt: skip
LOSES_ZERO = (  # elementwise, f(0) is another number
    nn.Sigmoid, nn.Hardsigmoid, nn.Softplus, nn.LogSigmoid, F.sigmoid, F.hardsigmoid, F.softplus, F.logsigmoid,
    torch.sigmoid, torch.exp, torch.cos, "sigmoid", "sigmoid_", "exp", "cos",
)  # fmt: skip
SUMS = (operator.add, operator.iadd, operator.sub, operator.isub, torch.add, torch.sub, "add", "add_", "sub", "sub_")
PRODUCTS = (
    operator.mul, operator.imul, operator.truediv, operator.itruediv, torch.mul, torch.div,
    "mul", "mul_", "div", "div_",
)  # fmt: skip
SIZES = ("size", "dim", "numel", "nelement", "ndimension")


def layer(p: "Painter", module: Any, name: str, x: Paint) -> Paint:
    """Conv and linear layers: weight is (filters, inputs, ...)."""
    dim = x.colors.dim() - 1 if isinstance(module, nn.Linear) else 1
    weight, bias = module.weight, module.bias
    out = shapes_of(module, (x,), {})
    if dim == 1 and x.colors.dim() != weight.dim():
        raise TraceError(f"{name} reads {x.colors.dim()} axes; pass an example with a batch axis in front.")
    groups = getattr(module, "groups", 1)
    if not p.owned(module):
        p.freeze(x, f"{name} computes its weight (torch.nn.utils.prune or a parametrization): make that final first")
        return p.like(out, name)
    inputs = p.per_channel(x, dim)
    if groups == 1:
        p.remember(weight, 1, "reads", inputs)
    elif groups == len(inputs):  # depthwise: a filter works on one map, and belongs to it
        colors = [color for color in inputs for _ in range(len(weight) // groups)]
        if ZERO in colors:
            p.colors.freeze(colors, f"{name} is depthwise over padded maps")
        p.remember(weight, 0, "carries", colors)
        p.remember(bias, 0, "carries", colors)
        return Paint(along(colors, 1, out.shape))
    else:
        p.colors.freeze(inputs, f"{name} is a grouped convolution")
    key = (p.names[id(weight)], 0)
    colors = list(p.axes[key].colors) if key in p.axes else p.colors.fresh(len(weight))
    p.remember(weight, 0, "gives", colors)
    p.remember(bias, 0, "carries", colors)
    if groups > 1:
        p.colors.freeze(colors, f"{name} is a grouped convolution")
    return Paint(along(colors, dim, out.shape))


def batch_norm(p: "Painter", module: Any, name: str, x: Paint) -> Paint:
    """BN's entries go with their map. A padded map is zero no longer, so it can not go."""
    if not p.owned(module):
        p.freeze(x, f"{name} computes its weight")
        return p.like(shapes_of(module, (x,), {}), name)
    colors = [c or p.pinned(f"{name} turns a padded map into another constant") for c in p.per_channel(x)]
    for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
        p.remember(tensor, 0, "carries", colors)
    return Paint(along(colors, 1, x.colors.shape))


def pool(p: "Painter", operation: Callable, name: str, x: Paint, *args, **kwargs) -> Paint:
    """Whatever works on each map alone: the size changes, the color does not."""
    out = shapes_of(operation, (x, *args), kwargs)
    if not isinstance(out, Tensor):
        raise TraceError(f"{name} returns {type(out).__name__}; only pooling that returns one tensor can be followed.")
    return Paint(along(p.per_channel(x), 1, out.shape))


def through(p: "Painter", operation: Callable, name: str, x: Paint, *args, **kwargs) -> Paint:
    """Elementwise, zero stays zero."""
    return x


def through_without_zero(p: "Painter", operation: Callable, name: str, x: Paint, *args, **kwargs) -> Paint:
    """Elementwise, but zero becomes another constant, which cannot be cut away."""
    if not (squeezed(x.colors) == ZERO).any():
        return x
    return Paint(torch.where(x.colors == ZERO, p.pinned(f"{name} turns padded maps into other constants"), x.colors))


def flatten(p: "Painter", operation: Callable, name: str, x: Paint, *args, **kwargs) -> Paint:
    """Reshapes that only merge axes keep every color in place; one that splits colored axes freezes them."""
    colors = operation(x.colors, *args, **kwargs)
    ends = [torch.Size(s.shape) for s in (x.colors, colors)]
    before, after = ({shape[i:].numel() for i in range(len(shape) + 1)} for shape in ends)
    if not after <= before:
        p.freeze(x, f"{name} splits the axis of its map")
    return Paint(colors)


def move(p: "Painter", operation: Callable, name: str, x: Paint, *args, **kwargs) -> Paint:
    """Permutations of axes, and axes of size one."""
    return Paint(operation(x.colors, *args, **kwargs))


def cat(p: "Painter", operation: Callable, name: str, xs: Sequence, *args, **kwargs) -> Paint:
    """Painted side by side; constants among the parts are pinned."""
    pinned = [x if isinstance(x, Paint) else p.like(x, "a constant") for x in xs]
    return Paint(operation([x.colors for x in pinned], *args, **kwargs))


def index(p: "Painter", operation: Callable, name: str, x: Any, *args, **kwargs) -> Any:
    """Parts of a map keep its color. Parts of the maps would have to be chosen anew after a cut, so they freeze."""
    if not isinstance(x, Paint):  # a tuple of paints
        return operation(x, *args, **kwargs)
    colors = operation(x.colors, *args, **kwargs)
    parts = colors if isinstance(colors, tuple | list) else [colors]
    present = set(squeezed(x.colors).unique().tolist())
    if any(present != set(squeezed(part).unique().tolist()) for part in parts):
        p.freeze(x, f"{name} takes a fixed part of the maps")
    return type(colors)(Paint(part) for part in colors) if isinstance(colors, tuple | list) else Paint(colors)


def pad(p: "Painter", operation: Callable, name: str, x: Paint, pad: Sequence[int], *args, **kwargs) -> Paint:
    """Appended maps are zero; pixels around a map have its color."""
    mode = args[0] if args else kwargs.get("mode", "constant")
    value = args[1] if len(args) > 1 else kwargs.get("value")
    if mode != "constant" or value:
        p.freeze(x, f"{name} pads with something other than zeros")
    out = shapes_of(operation, (x, pad), {})
    spatial = max(0, x.colors.dim() - 2) * 2
    if any(pad[:spatial]):  # pixels around a map
        x = Paint(along(p.per_channel(x), 1, (*x.colors.shape[:2], *out.shape[2:])))
    whole = [x.colors.dim() - 1 - i // 2 for i, size in enumerate(pad) if size and i >= spatial]
    narrow = squeezed(x.colors, only=[d for d in range(x.colors.dim()) if d not in whole])
    padded = F.pad(narrow, (*[0] * spatial, *pad[spatial:]))  # whole maps: color zero
    return Paint(padded.expand(out.shape))


def add(p: "Painter", operation: Callable, name: str, a: Any, b: Any, *args, **kwargs) -> Paint:
    """Maps that are added become one; a padded map adds nothing and ties nothing."""
    if not (isinstance(a, Paint) and isinstance(b, Paint)):
        return with_constant(p, name, a, b, keeps_zero=False)
    a_colors, b_colors, shape = meet(p, name, a, b)
    return Paint(torch.where(a_colors == ZERO, b_colors, a_colors).expand(shape))


def multiply(p: "Painter", operation: Callable, name: str, a: Any, b: Any, *args, **kwargs) -> Paint:
    """Maps that are multiplied become one; where one is padded, the product goes with the other."""
    if not (isinstance(a, Paint) and isinstance(b, Paint)):
        return with_constant(p, name, a, b, keeps_zero=True)
    return add(p, operation, name, a, b)


def with_constant(p: "Painter", name: str, a: Any, b: Any, keeps_zero: bool) -> Paint:
    """A number treats all elements alike; a constant tensor would have to be cut too, so it freezes what it meets."""
    paint, constant = (a, b) if isinstance(a, Paint) else (b, a)
    if isinstance(constant, Tensor) and constant.numel() > 1:
        p.freeze(paint, f"{name} combines it with a tensor of the network's own")
        return p.like(torch.empty(torch.broadcast_shapes(paint.colors.shape, constant.shape), device="meta"), name)
    return paint if keeps_zero else through_without_zero(p, operator.add, name, paint)


def meet(p: "Painter", name: str, a: Paint, b: Paint) -> tuple[Tensor, Tensor, torch.Size]:
    """Unite the colors of `a` and `b` element by element; both, and the shape to which they expand.

    One map that is spread over many would make all of them one; it freezes instead.
    """
    shape = torch.broadcast_shapes(a.colors.shape, b.colors.shape)
    wide = [x.colors.expand(shape) for x in (a, b)]
    for x, other in ((a, wide[1]), (b, wide[0])):
        lacking = [d for d in range(1, len(shape) + 1) if x.colors.dim() < d or x.colors.shape[-d] < shape[-d]]
        if any(varies(other, len(shape) - d) for d in lacking):
            p.freeze(x, f"{name} spreads it over several maps")
            return other, other, shape
    shared = [d for d in range(len(shape)) if all(w.stride(d) == 0 for w in wide)]
    a_colors, b_colors = (squeezed(w, only=shared) for w in wide)
    for pair in set(zip(a_colors.flatten().tolist(), b_colors.flatten().tolist(), strict=True)):
        p.colors.unite(*pair)
    return a_colors, b_colors, shape


def sizes(p: "Painter", operation: Callable, name: str, x: Paint, *args, **kwargs) -> Any:
    """Sizes are what they are."""
    return operation(x.colors, *args, **kwargs)


def attribute(p: "Painter", operation: Callable, name: str, x: Paint, which: str, *default) -> Any:
    """`x.shape` and the like."""
    return getattr(torch.empty(x.colors.shape, device="meta"), which, *default)


def mean(p: "Painter", operation: Callable, name: str, x: Paint, *args, **kwargs) -> Any:
    """Means over the pixels of each map are pooling; over maps, they freeze."""
    out = operation(x.colors.float(), *args, **kwargs)
    dims = kwargs.get("dim", args[0] if args else tuple(range(x.colors.dim())))
    dims = [d % x.colors.dim() for d in ([dims] if isinstance(dims, int) else dims)]
    if any(varies(x.colors, d) for d in dims):
        p.freeze(x, f"{name} mixes maps")
        return p.like(out, name)
    narrow = x.colors
    for d in dims:
        narrow = narrow.narrow(d, 0, 1)
    return Paint(narrow.reshape(out.shape))


RULES: dict[Any, Callable] = {
    **dict.fromkeys((*CONVS, nn.Linear), layer),
    **dict.fromkeys(BATCH_NORMS, batch_norm),
    **dict.fromkeys(POOLS, pool),
    **dict.fromkeys(KEEPS_ZERO, through),
    **dict.fromkeys(LOSES_ZERO, through_without_zero),
    **dict.fromkeys((torch.flatten, torch.reshape, nn.Flatten, "flatten", "view", "reshape"), flatten),
    **dict.fromkeys((torch.permute, torch.transpose, torch.unsqueeze, torch.squeeze), move),
    **dict.fromkeys(("permute", "transpose", "unsqueeze", "squeeze", "t"), move),
    **dict.fromkeys((torch.cat, torch.concat), cat),
    **dict.fromkeys((operator.getitem, torch.chunk, torch.split, "chunk", "split", "narrow"), index),
    **dict.fromkeys((F.pad,), pad),
    **dict.fromkeys(SUMS, add),
    **dict.fromkeys(PRODUCTS, multiply),
    **dict.fromkeys((torch.mean, "mean"), mean),
    **dict.fromkeys(SIZES, sizes),
    getattr: attribute,
}
