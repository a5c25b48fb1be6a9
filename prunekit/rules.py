"""What each operation does to paint, one small function each. `RULES` says which function an operation follows.

A rule takes the painter, the operation, its name, and the operation's own arguments, in which tensors are `Paint`.
"""

import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from . import layers
from .errors import TraceError
from .layers import BATCH_NORMS, CONVS, TRANSPOSED, across, parameter
from .paint import Paint, along, paints, shapes_of, squeezed, varies

if TYPE_CHECKING:
    from .tracing import Painter

POOLS = (
    nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d,
    nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d,
    nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d,
    nn.Upsample, nn.UpsamplingNearest2d, nn.UpsamplingBilinear2d,
    nn.ZeroPad1d, nn.ZeroPad2d, nn.ZeroPad3d, nn.ReflectionPad1d, nn.ReflectionPad2d, nn.ReflectionPad3d,
    nn.ReplicationPad1d, nn.ReplicationPad2d, nn.ReplicationPad3d, nn.CircularPad1d, nn.CircularPad2d, nn.CircularPad3d,
    nn.ConstantPad1d, nn.ConstantPad2d, nn.ConstantPad3d,
    F.max_pool1d, F.max_pool2d, F.max_pool3d, F.avg_pool1d, F.avg_pool2d, F.avg_pool3d,
    F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d,
    F.adaptive_max_pool1d, F.adaptive_max_pool2d, F.adaptive_max_pool3d, F.interpolate,
)  # fmt: skip
ELEMENTWISE = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish, nn.Tanh,
    nn.Softsign, nn.Softshrink, nn.Hardshrink, nn.Tanhshrink, nn.RReLU,
    nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.Identity,
    F.relu, F.relu6, F.leaky_relu, F.elu, F.selu, F.gelu, F.silu, F.mish, F.hardswish, F.dropout, F.dropout2d,
    F.dropout1d, F.dropout3d, F.celu, F.softsign, torch.sign, torch.sqrt, torch.square,
    "torchvision.ops.stochastic_depth.stochastic_depth",
    torch.relu, torch.relu_, "zero_", torch.tanh, torch.abs, torch.neg, operator.neg,
    "relu", "tanh", "abs", "neg", "sign", "sqrt", "square", "contiguous", "clone", "detach",
    operator.invert, torch.logical_not, "logical_not", "float", "half", "bfloat16", "double", "to", "type_as",
    nn.Sigmoid, nn.Hardsigmoid, nn.Softplus, nn.LogSigmoid, F.sigmoid, F.hardsigmoid, F.softplus, F.logsigmoid,
    nn.Hardtanh, nn.Threshold, F.hardtanh, F.threshold,
    torch.clamp, torch.sigmoid, torch.exp, torch.cos, torch.log, torch.reciprocal, torch.rsqrt,
    "clamp", "sigmoid", "exp", "cos", "log", "reciprocal", "rsqrt",
)  # fmt: skip
SUMS = (operator.add, operator.iadd, operator.sub, operator.isub, torch.add, torch.sub, "add", "sub")
PRODUCTS = (
    operator.mul, operator.imul, operator.truediv, operator.itruediv, torch.mul, torch.div,
    "mul", "div",
)  # fmt: skip
PAIRS = (
    operator.pow, operator.ipow, torch.pow, torch.maximum, torch.minimum, "pow", "maximum", "minimum",
    operator.gt, operator.lt, operator.ge, operator.le, torch.gt, torch.lt, torch.ge, torch.le, "gt", "lt", "ge", "le",
    "copy_", "fill_", operator.eq, operator.ne, torch.eq, torch.ne, "eq", "ne",
    operator.and_, operator.or_, torch.logical_and, torch.logical_or, "logical_and", "logical_or",
)  # fmt: skip
SIZES = ("size", "dim", "numel", "nelement", "ndimension")


def pool(p: "Painter", operation: Callable, name: str, x: Paint, /, *args, **kwargs) -> Paint:
    """Whatever works on each map alone: the size changes, the color does not."""
    out = shapes_of(operation, (x, *args), kwargs)
    if not isinstance(out, Tensor):
        raise TraceError(f"{name} returns {type(out).__name__}; only pooling that returns one tensor can be followed.")
    return Paint(along(p.per_channel(x), 1, out.shape))


def through(p: "Painter", operation: Callable, name: str, x: Paint, /, *args, **kwargs) -> Paint:
    """Elementwise: the paint goes through."""
    return x


def reshape(p: "Painter", operation: Any, name: str, x: Paint, /, *args, **kwargs) -> Paint:
    """Axes that merge keep every color in place. Where an axis of maps is split, as in a channel shuffle, one of its
    factors has to be computed: that one shrinks, so the maps at the same place of it go together."""
    out = Paint(operation(x.colors, *(a.colors if isinstance(a, Paint) else a for a in args), **kwargs))
    sizes = asked_sizes(p.node, operation, x.colors.dim())
    written = {d for d, size in sizes.items() if isinstance(size, int) and size != -1}
    varying = [d for d in range(out.colors.dim()) if varies(out.colors, d)]
    split = [d for d in split_axes(x.colors.shape, out.colors.shape) if d in varying]
    # Four maps in four groups of c // 4: an axis of one, which is computed, stands for the factor that would shrink.
    ones = {d for d, size in enumerate(out.colors.shape) if size == 1 and isinstance(sizes.get(d), fx.Node)}
    rigid = any(d in written and ones & {d - 1, d + 1} for d in varying)
    shrinks = [d for d in split if d not in written]
    if rigid or (split and len(shrinks) != 1):
        p.freeze(x, f"{name} splits the axis of its maps into sizes that are written into the forward")
    elif split:
        p.per_channel(out, shrinks[0])
    return out


def asked_sizes(node: fx.Node, operation: Any, axes: int) -> dict[int, Any]:
    """The size of each axis as the forward asks for it: a number that is written there, or the node that gives it."""
    if isinstance(operation, nn.Unflatten):
        return dict(enumerate(operation.unflattened_size, start=int(operation.dim) % axes))
    asked: Any = node.kwargs.get("shape", node.kwargs.get("sizes", node.args[1:]))
    if "unflatten" in str(node.target):
        return dict(enumerate(node.args[2], start=int(node.args[1]) % axes))  # type: ignore[arg-type, call-overload]
    if isinstance(asked, tuple) and len(asked) == 1:
        asked = asked[0]
    return dict(enumerate(asked)) if isinstance(asked, list | tuple) else {}


def split_axes(before: Sequence[int], after: Sequence[int]) -> list[int]:
    """The axes of `after` that an axis of `before`, or several merged, was split into."""
    found, i, j = [], 0, 0
    while i < len(before) and j < len(after):
        start, inner, outer = j, before[i], after[j]
        i, j = i + 1, j + 1
        while inner != outer:
            if inner < outer:
                inner, i = inner * before[i], i + 1
            else:
                outer, j = outer * after[j], j + 1
        found += [d for d in range(start, j) if after[d] != outer]
    return found


def pixel_shuffle(p: "Painter", operation: Any, name: str, x: Paint, factor: int | None = None, **kwargs) -> Paint:
    """Each r*r maps become one of r times the height and width: they go together."""
    out = shapes_of(operation, (x,) if factor is None else (x, factor), kwargs)
    together = len(p.per_channel(x)) // out.shape[1]
    folded = Paint(torch.tensor(p.per_channel(x)).view(out.shape[1], together))
    return Paint(along(p.per_channel(folded, 0), 1, out.shape))


def pixel_unshuffle(p: "Painter", operation: Any, name: str, x: Paint, factor: int | None = None, **kwargs) -> Paint:
    """Each map becomes r*r smaller ones, which go together."""
    out = shapes_of(operation, (x,) if factor is None else (x, factor), kwargs)
    times = out.shape[1] // x.colors.shape[1]
    return Paint(along([color for color in p.per_channel(x) for _ in range(times)], 1, out.shape))


def channel_shuffle(p: "Painter", operation: Any, name: str, x: Paint, groups: int | None = None, **kwargs) -> Paint:
    """As a module or a function, the number of groups stays: maps at the same place of each group go together."""
    groups = int(operation.groups if groups is None else groups)
    folded = Paint(torch.tensor(p.per_channel(x)).view(groups, -1))
    p.per_channel(folded)
    return Paint(along(folded.colors.t().flatten().tolist(), 1, x.colors.shape))


def glu(p: "Painter", operation: Any, name: str, x: Paint, dim: int = -1) -> Paint:
    """The first half times the sigmoid of the second: the halves go together."""
    a, b = x.colors.chunk(2, operation.dim if isinstance(operation, nn.GLU) else dim)
    return meet(p, name, Paint(a), Paint(b))


def fill(p: "Painter", operation: Callable, name: str, x: Paint, /, *args, **kwargs) -> Any:
    """A new tensor of constants, as large as it is said to be."""
    return p.like(shapes_of(operation, (x, *args), kwargs), name)


def move(p: "Painter", operation: Callable, name: str, x: Paint, /, *args, **kwargs) -> Paint:
    """Permutations, repetitions, and axes of size one."""
    return Paint(operation(x.colors, *(a.colors if isinstance(a, Paint) else a for a in args), **kwargs))


def cat(p: "Painter", operation: Callable, name: str, xs: Sequence, /, *args, **kwargs) -> Paint:
    """Painted side by side; constants among the parts are pinned."""
    pinned = [x if isinstance(x, Paint) else p.like(x, "a constant") for x in xs]
    return Paint(operation([x.colors for x in pinned], *args, **kwargs))


def chunk(p: "Painter", operation: Callable, name: str, x: Paint, /, *args, **kwargs) -> Any:
    """As many parts as are asked for, however many maps there are."""
    return divide(p, name, x, operation(x.colors, *args, **kwargs), follows=True)


def split(p: "Painter", operation: Callable, name: str, x: Paint, /, *args, **kwargs) -> Any:
    """Parts of sizes that are asked for, which follow a cut if they are computed."""
    return divide(p, name, x, operation(x.colors, *args, **kwargs), follows=p.several_nodes())


def divide(p: "Painter", name: str, x: Paint, parts: Sequence[Tensor], follows: bool) -> Any:
    """The paint of parts side by side."""
    first = parts[0]
    if first.dim() < x.colors.dim():  # unbind
        part(p, name, x, first)
    else:
        for d in range(x.colors.dim()):
            if first.shape[d] < x.colors.shape[d]:
                divided(p, name, x, d, first.shape[d], follows and len({p.shape[d] for p in parts}) == 1)
    return tuple(map(Paint, parts))


def index(p: "Painter", operation: Callable, name: str, x: Any, where: Any) -> Any:
    """A part of a map keeps its color. A part of the maps can be followed if it is one of several of one size."""
    if not isinstance(x, Paint):  # a tuple of paints
        return operation(x, where)
    if paints(where):
        raise TraceError(f"{name} picks elements by their values, and how many is not known: use torch.where instead.")
    colors = operation(x.colors, where)
    whole = where if isinstance(where, tuple) else (where,)
    slices = [s for s in whole if s is not Ellipsis]
    if any(isinstance(s, list | Tensor) for s in whole):
        aligned = all(isinstance(s, slice | int | list) or getattr(s, "ndim", 0) == 1 for s in whole)
        if not aligned or any(isinstance(s, list | Tensor) and varies(x.colors, d) for d, s in enumerate(whole)):
            p.freeze(x, f"{name} takes a fixed part of the maps")  # or all of them, in a fixed order
    same = colors.dim() == x.colors.dim() and all(isinstance(s, slice) for s in slices)
    axes = [d for d in range(x.colors.dim()) if same and colors.shape[d] < x.colors.shape[d] and varies(x.colors, d)]
    if len(axes) != 1 or not colors.numel():
        part(p, name, x, colors)
        return Paint(colors)
    (d,) = axes
    start, stop, step = slices[d - x.colors.dim() if whole[0] is Ellipsis else d].indices(x.colors.shape[d])
    regular = step == 1 and start % (stop - start) == 0
    divided(p, name, x, d, stop - start, follows=regular and p.several_nodes())
    return Paint(colors)


def part(p: "Painter", name: str, x: Paint, colors: Tensor) -> None:
    """Freeze `x` if the part `colors` lacks some of its maps: they would have to be chosen anew after a cut."""
    if set(squeezed(x.colors).unique().tolist()) != set(squeezed(colors).unique().tolist()):
        p.freeze(x, f"{name} takes a fixed part of the maps")


def divided(p: "Painter", name: str, x: Paint, dim: int, size: int, follows: bool) -> None:
    """`x` is divided into parts of `size` along `dim`; `follows` says whether that is computed from how much there is.

    Then each part has to lose as many maps as the others."""
    if not varies(x.colors, dim):
        return
    colors = p.per_channel(x, dim)
    if not follows or len(colors) % size:
        p.freeze(x, f"{name} takes a fixed part of the maps")
    else:
        p.divisions.append([colors[i : i + size] for i in range(0, len(colors), size)])


def pad(
    p: "Painter",
    operation: Callable,
    name: str,
    x: Paint,
    pad: Sequence[int],
    mode: str = "constant",
    value: Any = None,
) -> Paint:
    """Pixels around a map have its color. Each appended map has one of its own: where a sum needs as many maps as
    another tensor has, it goes with one of those, since the forward computes how many are lacking."""
    out = shapes_of(operation, (x, pad), {})
    spatial = max(0, x.colors.dim() - 2) * 2
    if any(pad[:spatial]):  # pixels around a map
        x = Paint(along(p.per_channel(x), 1, (*x.colors.shape[:2], *out.shape[2:])))
    for i in range(spatial, len(pad), 2):
        if pad[i] or pad[i + 1]:
            x = padded(p, name, x, x.colors.dim() - 1 - i // 2, (pad[i], pad[i + 1]), mode)
    return x


def padded(p: "Painter", name: str, x: Paint, dim: int, ends: tuple[int, int], mode: str) -> Paint:
    """Whole maps appended at the two ends of `dim`."""
    front, back = (p.colors.fresh(max(0, count)) for count in ends)
    if mode != "constant" or min(ends) < 0:
        p.freeze(x, f"{name} pads maps with other maps, or crops them")
    if not p.several_nodes():
        p.colors.freeze(front + back, f"{name} pads a fixed number of maps")
    elif front and back:  # as many at one end as at the other, or what is in the middle moves
        p.divisions.append([front, back])
    colors = [*front, *p.per_channel(x, dim)[max(0, -ends[0]) : x.colors.shape[dim] + min(0, ends[1])], *back]
    shape = [len(colors) if d == dim else size for d, size in enumerate(x.colors.shape)]
    return Paint(along(colors, dim, shape))


def combine(p: "Painter", operation: Callable, name: str, a: Any, b: Any, /, *args, **kwargs) -> Paint:
    """Maps that are added or multiplied become one. A number treats all elements alike; a tensor of the network's own
    may have entries for each map."""
    if isinstance(a, Paint) and isinstance(b, Paint):
        return meet(p, name, a, b)
    paint, constant = (a, b) if isinstance(a, Paint) else (b, a)
    if isinstance(constant, Tensor) and constant.numel() > 1:
        return parameter(p, name, paint, constant)
    return paint


def where(p: "Painter", operation: Callable, name: str, condition: Any, a: Any, b: Any) -> Any:
    """One or the other, element by element."""
    return combine(p, operation, name, condition, combine(p, operation, name, a, b) if paints((a, b)) else a)


def assign(p: "Painter", operation: Callable, name: str, x: Paint, where: Any, value: Any) -> None:
    """`x[where] = value`: what is written becomes one with what was there, whose colors all views of `x` share."""
    if not paints(where):
        combine(p, operation, name, index(p, operator.getitem, name, x, where), value)
    elif isinstance(where, Paint) and where.colors.shape == x.colors.shape and not isinstance(value, Paint | Tensor):
        meet(p, name, x, where)
    else:
        raise TraceError(f"{name} writes where values of tensors say: use torch.where instead.")


def meet(p: "Painter", name: str, a: Paint, b: Paint) -> Paint:
    """Unite the colors of `a` and `b` element by element.

    One map that is spread over many would make all of them one; it freezes instead.
    """
    shape = torch.broadcast_shapes(a.colors.shape, b.colors.shape)
    wide = [x.colors.expand(shape) for x in (a, b)]
    for x, other in ((a, wide[1]), (b, wide[0])):
        lacking = [d for d in range(1, len(shape) + 1) if x.colors.dim() < d or x.colors.shape[-d] < shape[-d]]
        if any(varies(other, len(shape) - d) for d in lacking):
            p.freeze(x, f"{name} spreads it over several maps")
            return Paint(other)
    shared = [d for d in range(len(shape)) if all(w.stride(d) == 0 for w in wide)]
    a_colors, b_colors = (squeezed(w, only=shared) for w in wide)
    for pair in set(zip(a_colors.flatten().tolist(), b_colors.flatten().tolist(), strict=True)):
        p.colors.unite(*pair)
    return Paint(a_colors.expand(shape))


def sizes(p: "Painter", operation: Callable, name: str, x: Paint, /, *args, **kwargs) -> Any:
    """Sizes are what they are."""
    return operation(x.colors, *args, **kwargs)


def attribute(p: "Painter", operation: Callable, name: str, x: Paint, which: str, *default) -> Any:
    """`x.shape` and the like."""
    if isinstance(x, tuple):  # several results, by name
        return getattr(x, which, *default)
    value = getattr(torch.empty(x.colors.shape, device="meta"), which, *default)
    return Paint(getattr(x.colors, which)) if isinstance(value, Tensor) else value  # as `x.data` and `x.mT` are


def mean(p: "Painter", operation: Callable, name: str, x: Paint, /, *args, **kwargs) -> Any:
    """Means, sums and extremes over the pixels of each map are pooling; over maps, they freeze."""
    out = shapes_of(operation, (x, *args), kwargs)
    dims = kwargs.get("dim", args[0] if args else None)
    dims = range(x.colors.dim()) if dims is None else [dims] if isinstance(dims, int) else dims
    dims = [d % x.colors.dim() for d in dims]
    if not isinstance(out, Tensor):
        p.freeze(x, f"{name} mixes maps")
        return p.like(out, name)
    narrow = across(p, name, x, dims).colors
    for d in dims:
        narrow = narrow.narrow(d, 0, 1)
    return Paint(narrow.reshape(out.shape))


def extreme(p: "Painter", operation: Callable, name: str, x: Paint, other: Any = None, *args, **kwargs) -> Any:
    """torch.max and torch.min: of two tensors, of all elements, or along an axis, where they return the places too."""
    other = kwargs.pop("other", kwargs.pop("dim", other))
    if isinstance(other, Paint | Tensor):
        return combine(p, operation, name, x, other)
    found = mean(p, torch.amax, name, x, *(() if other is None else (other,)), *args, **kwargs)
    return found if other is None else torch.return_types.max((found, found))


def deviation(p: "Painter", operation: Callable, name: str, x: Paint, dim: Any = None, *args, **kwargs) -> Any:
    """Variances and standard deviations, where a first `True` or `False` is no axis."""
    return mean(p, torch.amax, name, x) if isinstance(dim, bool) else mean(p, operation, name, x, dim, *args, **kwargs)


def softmax(p: "Painter", operation: Any, name: str, x: Paint, dim: int | None = None, *args, **kwargs) -> Paint:
    """Shares along an axis: over pixels they leave maps alone, over maps they do not."""
    axis: Any = operation.dim if isinstance(operation, nn.Module) else dim
    return across(p, name, x, range(x.colors.dim()) if axis is None else [axis % x.colors.dim()])


RULES: dict[Any, Callable] = {
    **dict.fromkeys((*CONVS, *TRANSPOSED, nn.Linear), layers.reader),
    **dict.fromkeys((F.conv1d, F.conv2d, F.conv3d), layers.conv),
    **dict.fromkeys((F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d), layers.transposed),
    **dict.fromkeys(BATCH_NORMS, layers.batch_norm),
    **dict.fromkeys((nn.LayerNorm, F.layer_norm), layers.layer_norm),
    **dict.fromkeys((nn.PReLU, F.prelu), layers.prelu),
    F.linear: layers.linear,
    **dict.fromkeys((F.batch_norm, F.instance_norm), layers.functional_batch_norm),
    nn.GroupNorm: layers.group_norm,
    **dict.fromkeys(POOLS, pool),
    **dict.fromkeys(ELEMENTWISE, through),
    **dict.fromkeys((torch.flatten, torch.reshape, nn.Flatten), reshape),
    **dict.fromkeys(("flatten", "view", "view_as", "reshape", "reshape_as"), reshape),
    **dict.fromkeys((nn.Unflatten, torch.unflatten, "unflatten"), reshape),
    **dict.fromkeys((torch.permute, torch.transpose, torch.unsqueeze, torch.squeeze, torch.flip, torch.movedim), move),
    **dict.fromkeys(("permute", "transpose", "unsqueeze", "squeeze", "t", "flip", "movedim", "swapaxes"), move),
    **dict.fromkeys(("expand", "expand_as", "repeat", "repeat_interleave", torch.repeat_interleave), move),
    **dict.fromkeys((torch.cat, torch.concat, torch.stack), cat),
    **dict.fromkeys((torch.chunk, "chunk"), chunk),
    **dict.fromkeys((torch.split, torch.tensor_split, torch.unbind, "split", "tensor_split", "unbind"), split),
    operator.getitem: index,
    **dict.fromkeys((nn.PixelShuffle, F.pixel_shuffle), pixel_shuffle),
    **dict.fromkeys((nn.PixelUnshuffle, F.pixel_unshuffle), pixel_unshuffle),
    **dict.fromkeys((nn.ChannelShuffle, F.channel_shuffle), channel_shuffle),
    **dict.fromkeys((nn.GLU, F.glu), glu),
    **dict.fromkeys(("new_zeros", "new_ones", "new_full", "new_empty"), fill),
    **dict.fromkeys((torch.zeros_like, torch.ones_like, torch.full_like), through),
    F.pad: pad,
    **dict.fromkeys((*SUMS, *PRODUCTS, *PAIRS), combine),
    torch.where: where,
    **dict.fromkeys((torch.masked_fill, "masked_fill", "where"), where),
    operator.setitem: assign,
    **dict.fromkeys((torch.max, torch.min, "max", "min"), extreme),
    **dict.fromkeys((torch.std, torch.var, "std", "var"), deviation),
    **dict.fromkeys((torch.mean, torch.sum, torch.amax, torch.amin, "mean", "sum", "amax", "amin"), mean),
    **dict.fromkeys((nn.Softmax, nn.LogSoftmax, F.softmax, F.log_softmax, torch.softmax, "softmax"), softmax),
    **dict.fromkeys((torch.log_softmax, "log_softmax"), softmax),
    **dict.fromkeys(SIZES, sizes),
    getattr: attribute,
}
AUGMENTED = (operator.iadd, operator.isub, operator.imul, operator.itruediv, operator.ipow)


def changes(kind: Any) -> bool:
    """Whether an operation, known by its `kind` as in `rule_of`, changes its first argument in place."""
    method = isinstance(kind, str) and kind.endswith("_") and not kind.endswith("__")
    return method or kind in (*AUGMENTED, operator.setitem)


def rule_of(kind: Any, name: str) -> Callable | None:
    """What an operation does to paint, if that is known: `kind` is a module's class, a function, or a method's name.

    What changes a tensor in place needs no rule of its own where every element stays in its place: whatever the tensor
    meets, their colors become one, and so they do for all that look at it.
    """
    rule = RULES.get(kind) or RULES.get(f"{getattr(kind, '__module__', '')}.{name}")
    if rule is None and changes(kind):
        rule = RULES.get(kind[:-1])
        return rule if rule in (through, combine, where) else None
    return rule
