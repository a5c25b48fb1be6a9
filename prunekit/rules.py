"""What operations do to paint, one small function each. `KINDS` says which operations follow each.

A rule takes the canvas, the operation, its name, and the operation's own arguments, in which tensors are `Paint`.
"""

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from . import layers, moves
from .canvas import Canvas
from .errors import TraceError
from .layers import BATCH_NORMS, CONVS, TRANSPOSED, across, parameter
from .paint import Paint, along, paints, shapes_of, squeezed, varies

POOLS = (
    nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.LPPool1d, nn.LPPool2d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d,
    nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d,
    nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d,
    nn.Upsample, nn.UpsamplingNearest2d, nn.UpsamplingBilinear2d,
    nn.ZeroPad1d, nn.ZeroPad2d, nn.ZeroPad3d, nn.ReflectionPad1d, nn.ReflectionPad2d, nn.ReflectionPad3d,
    nn.ReplicationPad1d, nn.ReplicationPad2d, nn.ReplicationPad3d, nn.CircularPad1d, nn.CircularPad2d, nn.CircularPad3d,
    nn.ConstantPad1d, nn.ConstantPad2d, nn.ConstantPad3d,
    F.max_pool1d, F.max_pool2d, F.max_pool3d, F.lp_pool1d, F.lp_pool2d, F.avg_pool1d, F.avg_pool2d, F.avg_pool3d,
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
    torch.sigmoid, torch.exp, torch.cos, torch.log, torch.reciprocal, torch.rsqrt,
    "sigmoid", "exp", "cos", "log", "reciprocal", "rsqrt",
    torch.erf, torch.sin, torch.floor, torch.round, torch.nan_to_num, torch.isnan,
    "erf", "sin", "floor", "round", "nan_to_num", "isnan",
    "requires_grad_", F.elu_, F.leaky_relu_, torch.sigmoid_, F.rrelu, F.tanhshrink,
)  # fmt: skip
SUMS = (
    operator.add, operator.iadd, operator.sub, operator.isub, torch.add, torch.sub, torch.subtract, torch.rsub,
    "add", "sub", "subtract", "rsub",
)  # fmt: skip
PRODUCTS = (
    operator.mul, operator.imul, operator.truediv, operator.itruediv, torch.mul, torch.div, torch.multiply,
    torch.divide, "mul", "div", "multiply", "divide",
)  # fmt: skip
PAIRS = (
    operator.pow, operator.ipow, torch.pow, torch.maximum, torch.minimum, "pow", "maximum", "minimum",
    operator.gt, operator.lt, operator.ge, operator.le, torch.gt, torch.lt, torch.ge, torch.le, "gt", "lt", "ge", "le",
    "copy_", "fill_", operator.eq, operator.ne, torch.eq, torch.ne, "eq", "ne",
    operator.and_, operator.or_, torch.logical_and, torch.logical_or, "logical_and", "logical_or",
)  # fmt: skip
SIZES = ("size", "dim", "numel", "nelement", "ndimension")


def pool(canvas: Canvas, operation: Callable, name: str, x: Paint, /, *args, **kwargs) -> Paint:
    """Whatever works on each map alone: the size changes, the color does not."""
    out = shapes_of(operation, (x, *args), kwargs)
    if not isinstance(out, Tensor):
        raise TraceError(f"{name} returns {type(out).__name__}; only pooling that returns one tensor can be followed.")
    return Paint(along(canvas.per_channel(x), 1, out.shape))


def through(canvas: Canvas, operation: Callable, name: str, x: Paint, /, *args, **kwargs) -> Paint:
    """Elementwise: the paint goes through. A constant that is made like a map is still one."""
    return x


def glu(canvas: Canvas, operation: Any, name: str, x: Paint, dim: int = -1) -> Paint:
    """The first half times the sigmoid of the second: the halves go together."""
    a, b = x.colors.chunk(2, operation.dim if isinstance(operation, nn.GLU) else dim)
    return meet(canvas, name, Paint(a), Paint(b))


def fill(canvas: Canvas, operation: Callable, name: str, *args, **kwargs) -> Paint:
    """A new tensor of constants, as large as it is said to be: maps that this counts cannot go."""
    canvas.freeze_counted(name, dict.fromkeys(canvas.node.all_input_nodes))
    return canvas.like(shapes_of(operation, args, kwargs), name)


def spread(canvas: Canvas, operation: Callable, name: str, x: Any, /, *args, **kwargs) -> Paint:
    """In the shape of another tensor; entries of the network's own belong to that one's maps."""
    if not isinstance(x, Paint):
        return combine(canvas, operation, name, x, *args, **kwargs)
    out = moves.move(canvas, operation, name, x, *args, **kwargs)
    for other in paints((args, kwargs)):
        if any(varies(other.colors, d) and not varies(out.colors, d) for d in range(out.colors.dim())):
            canvas.freeze(other, f"{name} spreads one map over several")
    return out


def combine(canvas: Canvas, operation: Callable, name: str, a: Any, b: Any, /, *args, **kwargs) -> Paint:
    """Maps that are added or multiplied become one. A number treats all elements alike; a tensor of the network's own
    may have entries for each map."""
    if isinstance(a, Paint) and isinstance(b, Paint):
        return meet(canvas, name, a, b)
    paint, constant = (a, b) if isinstance(a, Paint) else (b, a)
    if isinstance(constant, Tensor) and constant.numel() > 1:
        return parameter(canvas, name, paint, constant)
    return paint


def blend(canvas: Canvas, operation: Callable, name: str, x: Paint, /, *others, **kwargs) -> Paint:
    """Kept within bounds, or mixed with others: each a number or a map."""
    for other in (*others, *kwargs.values()):
        if isinstance(other, Paint | Tensor):
            x = combine(canvas, operation, name, x, other)
    return x


def matmul(canvas: Canvas, operation: Callable, name: str, a: Any, b: Any) -> Paint:
    """Sums of products, as in attention over pixels: what is summed over cannot go, the axes that are left can."""
    a, b = (canvas.like(x, "a constant") if isinstance(x, Tensor) else x for x in (a, b))
    if min(a.colors.dim(), b.colors.dim()) < 2 or varies(a.colors, -1) or varies(b.colors, -2):
        for x in (a, b):
            canvas.freeze(x, f"{name} mixes maps")
        return canvas.like(shapes_of(operation, (a, b), {}), name)
    return meet(canvas, name, Paint(a.colors[..., :1]), Paint(b.colors[..., :1, :]))


def where(canvas: Canvas, operation: Callable, name: str, condition: Any, a: Any, b: Any) -> Any:
    """One or the other, element by element."""
    return combine(canvas, operation, name, condition, combine(canvas, operation, name, a, b) if paints((a, b)) else a)


def assign(canvas: Canvas, operation: Callable, name: str, x: Paint, where: Any, value: Any) -> None:
    """`x[where] = value`: what is written becomes one with what was there, whose colors all views of `x` share."""
    if not paints(where):
        combine(canvas, operation, name, moves.index(canvas, operator.getitem, name, x, where), value)
    elif isinstance(where, Paint) and where.colors.shape == x.colors.shape and not isinstance(value, Paint | Tensor):
        meet(canvas, name, x, where)
    else:
        raise TraceError(f"{name} writes where values of tensors say: use torch.where instead.")


def meet(canvas: Canvas, name: str, a: Paint, b: Paint) -> Paint:
    """Unite the colors of `a` and `b` element by element.

    One map that is spread over many would make all of them one; it freezes instead.
    """
    shape = torch.broadcast_shapes(a.colors.shape, b.colors.shape)
    wide = [x.colors.expand(shape) for x in (a, b)]
    for x, other in ((a, wide[1]), (b, wide[0])):
        lacking = [d for d in range(1, len(shape) + 1) if x.colors.dim() < d or x.colors.shape[-d] < shape[-d]]
        if any(varies(other, len(shape) - d) for d in lacking):
            canvas.freeze(x, f"{name} spreads it over several maps")
            return Paint(other)
    shared = [d for d in range(len(shape)) if all(w.stride(d) == 0 for w in wide)]
    a_colors, b_colors = (squeezed(w, only=shared) for w in wide)
    for pair in set(zip(a_colors.flatten().tolist(), b_colors.flatten().tolist(), strict=True)):
        canvas.colors.unite(*pair)
    return Paint(a_colors.expand(shape))


def sizes(canvas: Canvas, operation: Callable, name: str, x: Paint, /, *args, **kwargs) -> Any:
    """Sizes are what they are."""
    if name in ("numel", "nelement") or (name == "size" and not (args or kwargs)):
        canvas.counted.shape(canvas.node, x)
    elif name == "size":
        canvas.counted.size(canvas.node, x, *args, **kwargs)
    return operation(x.colors, *args, **kwargs)


def attribute(canvas: Canvas, operation: Callable, name: str, x: Paint, which: str, *default) -> Any:
    """`x.shape` and the like."""
    if isinstance(x, tuple):  # several results, by name
        return getattr(x, which, *default)
    if which == "shape":
        canvas.counted.shape(canvas.node, x)
    if which in ("device", "dtype"):  # those of the network's own tensors, which may be computed with
        return getattr(next(canvas.model.parameters(), torch.empty(0)), which)
    value = getattr(torch.empty(x.colors.shape, device="meta"), which, *default)
    return Paint(getattr(x.colors, which)) if isinstance(value, Tensor) else value  # as `x.data` and `x.mT` are


def mean(canvas: Canvas, operation: Callable, name: str, x: Paint, /, *args, **kwargs) -> Any:
    """Means, sums and extremes over the pixels of each map are pooling; over maps, they freeze."""
    out = shapes_of(operation, (x, *args), kwargs)
    dims = kwargs.get("dim", args[0] if args else None)
    dims = range(x.colors.dim()) if dims is None else [dims] if isinstance(dims, int) else dims
    dims = [d % x.colors.dim() for d in dims]
    if not isinstance(out, Tensor):
        canvas.freeze(x, f"{name} mixes maps")
        return canvas.like(out, name)
    narrow = across(canvas, name, x, dims).colors
    for d in dims:
        narrow = narrow.narrow(d, 0, 1)
    return Paint(narrow.reshape(out.shape))


def extreme(canvas: Canvas, operation: Callable, name: str, x: Paint, other: Any = None, *args, **kwargs) -> Any:
    """torch.max and torch.min: of two tensors, of all elements, or along an axis, where they return the places too."""
    other = kwargs.pop("other", kwargs.pop("dim", other))
    if isinstance(other, Paint | Tensor):
        return combine(canvas, operation, name, x, other)
    found = mean(canvas, torch.amax, name, x, *(() if other is None else (other,)), *args, **kwargs)
    return found if other is None else torch.return_types.max((found, found))


def deviation(canvas: Canvas, operation: Callable, name: str, x: Paint, dim: Any = None, *args, **kwargs) -> Any:
    """Variances and standard deviations, where a first `True` or `False` is no axis."""
    if isinstance(dim, bool):
        return mean(canvas, torch.amax, name, x)
    return mean(canvas, operation, name, x, dim, *args, **kwargs)


def norm(
    canvas: Canvas,
    operation: Callable,
    name: str,
    x: Paint,
    p: Any = 2,
    dim: Any = None,
    keepdim: bool = False,
    **kwargs,
) -> Any:
    """Norms, whose first number is no axis."""
    return mean(canvas, torch.amax, name, x, *(() if dim is None else (dim,)), keepdim=keepdim)


def normalize(
    canvas: Canvas, operation: Callable, name: str, x: Paint, p: float = 2, dim: Any = 1, *args, **kwargs
) -> Paint:
    """F.normalize: each entry over a norm along an axis."""
    return across(canvas, name, x, [d % x.colors.dim() for d in ([dim] if isinstance(dim, int) else dim)])


def softmax(canvas: Canvas, operation: Any, name: str, x: Paint, dim: int | None = None, *args, **kwargs) -> Paint:
    """Shares along an axis: over pixels they leave maps alone, over maps they do not."""
    axis: Any = operation.dim if isinstance(operation, nn.Module) else dim
    return across(canvas, name, x, range(x.colors.dim()) if axis is None else [axis % x.colors.dim()])


KINDS: dict[Callable, tuple] = {  # modules' classes, functions, and names of methods
    layers.reader: (*CONVS, *TRANSPOSED, nn.Linear),
    layers.conv: (F.conv1d, F.conv2d, F.conv3d),
    layers.transposed: (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d),
    layers.linear: (F.linear,),
    layers.batch_norm: BATCH_NORMS,
    layers.functional_batch_norm: (F.batch_norm, F.instance_norm),
    layers.group_norm: (nn.GroupNorm,),
    layers.functional_group_norm: (F.group_norm,),
    layers.layer_norm: (nn.LayerNorm, F.layer_norm),
    layers.prelu: (nn.PReLU, F.prelu),
    pool: POOLS,
    through: (*ELEMENTWISE, torch.zeros_like, torch.ones_like, torch.full_like),
    combine: (*SUMS, *PRODUCTS, *PAIRS),
    blend: (
        torch.clamp, torch.clip, torch.clamp_min, torch.clamp_max, "clamp", "clip", "clamp_min", "clamp_max",
        torch.lerp, torch.addcmul, torch.addcdiv, "lerp", "addcmul", "addcdiv",
    ),
    matmul: (torch.matmul, torch.bmm, operator.matmul, "matmul", "bmm"),
    where: (torch.where, torch.masked_fill, "masked_fill", "where"),
    assign: (operator.setitem,),
    glu: (nn.GLU, F.glu),
    fill: (
        "new_zeros", "new_ones", "new_full", "new_empty",
        torch.zeros, torch.ones, torch.full, torch.empty, torch.rand, torch.randn,
    ),
    spread: ("expand_as",),
    moves.reshape: (
        torch.flatten, torch.reshape, torch.unflatten, nn.Flatten, nn.Unflatten,
        "flatten", "view", "view_as", "reshape", "reshape_as", "unflatten",
    ),
    moves.move: (
        torch.permute, torch.transpose, torch.unsqueeze, torch.squeeze, torch.flip, torch.movedim,
        "permute", "transpose", "unsqueeze", "squeeze", "t", "flip", "movedim", "swapaxes",
        torch.swapaxes, "swapdims", torch.swapdims, "moveaxis", torch.moveaxis, "tile", torch.tile, "broadcast_to",
        "expand", "repeat", "repeat_interleave", torch.repeat_interleave,
    ),
    moves.cat: (torch.cat, torch.concat, torch.concatenate, torch.stack),
    moves.chunk: (torch.chunk, "chunk"),
    moves.split: (torch.split, torch.unbind, "split", "unbind"),
    moves.tensor_split: (torch.tensor_split, "tensor_split"),
    moves.narrow: (torch.narrow, "narrow"),
    moves.index: (operator.getitem,),
    moves.pad: (F.pad,),
    moves.pixel_shuffle: (nn.PixelShuffle, F.pixel_shuffle),
    moves.pixel_unshuffle: (nn.PixelUnshuffle, F.pixel_unshuffle),
    moves.channel_shuffle: (nn.ChannelShuffle, F.channel_shuffle),
    mean: (
        torch.mean, torch.sum, torch.amax, torch.amin, torch.logsumexp, "mean", "sum", "amax", "amin", "logsumexp",
    ),
    extreme: (torch.max, torch.min, "max", "min"),
    deviation: (torch.std, torch.var, "std", "var"),
    norm: (torch.norm, torch.linalg.vector_norm, "norm"),
    normalize: (F.normalize,),
    softmax: (
        nn.Softmax, nn.LogSoftmax, F.softmax, F.log_softmax, torch.softmax, "softmax", torch.log_softmax, "log_softmax",
    ),
    sizes: SIZES,
    attribute: (getattr,),
}  # fmt: skip
RULES: dict[Any, Callable] = {kind: rule for rule, kinds in KINDS.items() for kind in kinds}
EITHER = (combine, matmul, through, spread, where)  # whose first argument may be a constant
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
        return rule if rule in (through, combine, blend, where) else None
    return rule
