"""What operations do to paint, one small function each. `KINDS` says which operations follow each.

A rule takes the canvas, the operation, its name, and the operation's own arguments, in which tensors are `Paint`.
"""

import operator
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from . import layers, moves
from .canvas import Canvas
from .errors import TraceError
from .layers import across, parameter
from .paint import Paint, along, paints, shapes_of, squeezed, varies


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


def combine(canvas: Canvas, operation: Callable, name: str, x: Any, other: Any, *args, **kwargs) -> Paint:
    """Maps that are added or multiplied become one. A number treats all elements alike; a tensor of the network's own
    may have entries for each map."""
    if isinstance(x, Paint) and isinstance(other, Paint):
        return meet(canvas, name, x, other)
    paint, constant = (x, other) if isinstance(x, Paint) else (other, x)
    if isinstance(constant, Tensor) and constant.numel() > 1:
        return parameter(canvas, name, paint, constant)
    return paint


def blend(canvas: Canvas, operation: Callable, name: str, *given, **named) -> Paint:
    """Kept within bounds, mixed with others, or one or another of them: each a number or a map."""
    tensors: list[Any] = [x for x in (*given, *named.values()) if isinstance(x, Paint | Tensor)]
    x, *others = sorted(tensors, key=lambda x: isinstance(x, Tensor))  # paint first
    for other in others:
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


def where(canvas: Canvas, operation: Callable, name: str, *given, **named) -> Paint:
    """One or the other, element by element."""
    if len(given) + len(named) < 3:
        raise TraceError(f"{name} finds elements by their values, and how many is not known.")
    return blend(canvas, operation, name, *given, **named)


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
    if name in ("size", "numel", "nelement"):
        canvas.counted.shape(canvas.node, x, *args, **kwargs)
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


def axes(x: Paint, dim: Any) -> list[int]:
    """What an operation calls `dim`, counted from 0: one axis, several, or, where it names none, all."""
    dims = [dim] if isinstance(dim, int) else range(x.colors.dim()) if dim in (None, (), []) else dim
    return [d % x.colors.dim() for d in dims]


def reduce(canvas: Canvas, operation: Callable, name: str, x: Paint, /, *args, **kwargs) -> Any:
    """Means, sums and extremes over the pixels of each map are pooling; over maps, they freeze."""
    out = shapes_of(operation, (x, *args), kwargs)
    dims = axes(x, kwargs.get("dim", args[0] if args else None))
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
    found = reduce(canvas, torch.amax, name, x, *(() if other is None else (other,)), *args, **kwargs)
    return found if other is None else torch.return_types.max((found, found))


def deviation(canvas: Canvas, operation: Callable, name: str, x: Paint, dim: Any = None, *args, **kwargs) -> Any:
    """Variances and standard deviations, where a first `True` or `False` is no axis."""
    if isinstance(dim, bool):
        return reduce(canvas, torch.amax, name, x)
    return reduce(canvas, operation, name, x, dim, *args, **kwargs)


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
    return reduce(canvas, torch.amax, name, x, *(() if dim is None else (dim,)), keepdim=keepdim)


def normalize(
    canvas: Canvas, operation: Callable, name: str, x: Paint, p: float = 2, dim: Any = 1, *args, **kwargs
) -> Paint:
    """F.normalize: each entry over a norm along an axis."""
    return across(canvas, name, x, axes(x, dim))


def softmax(canvas: Canvas, operation: Any, name: str, x: Paint, dim: int | None = None, *args, **kwargs) -> Paint:
    """Shares along an axis: over pixels they leave maps alone, over maps they do not."""
    return across(canvas, name, x, axes(x, operation.dim if isinstance(operation, nn.Module) else dim))


HOMES = (nn, F, torch, operator)
KINDS: dict[Callable, str] = {  # what each rule is for, by name: in any of HOMES, or a tensor's method; ? is 1, 2 or 3
    layers.reader: "Conv?d ConvTranspose?d Linear",
    layers.functional: "conv?d conv_transpose?d linear",
    layers.batch_norm: "BatchNorm?d SyncBatchNorm InstanceNorm?d",
    layers.functional_batch_norm: "batch_norm instance_norm",
    layers.group_norm: "GroupNorm",
    layers.functional_group_norm: "group_norm",
    layers.layer_norm: "LayerNorm layer_norm",
    layers.prelu: "PReLU prelu",
    pool: "MaxPool?d LPPool?d AvgPool?d AdaptiveAvgPool?d AdaptiveMaxPool?d max_pool?d lp_pool?d avg_pool?d "
    "adaptive_avg_pool?d adaptive_max_pool?d Upsample UpsamplingNearest2d UpsamplingBilinear2d interpolate "
    "ZeroPad?d ReflectionPad?d ReplicationPad?d CircularPad?d ConstantPad?d",
    through: "ReLU ReLU6 LeakyReLU ELU SELU CELU GELU SiLU Mish Hardswish Tanh Softsign Softshrink Hardshrink "
    "Tanhshrink RReLU Sigmoid Hardsigmoid Softplus LogSigmoid Hardtanh Threshold Dropout Dropout?d Identity "
    "relu relu6 leaky_relu elu selu celu gelu silu mish hardswish tanh softsign tanhshrink rrelu sigmoid hardsigmoid "
    "softplus logsigmoid hardtanh threshold dropout dropout?d relu_ elu_ leaky_relu_ sigmoid_ zero_ requires_grad_ "
    "abs neg sign sqrt square exp log cos sin erf floor round reciprocal rsqrt nan_to_num isnan invert logical_not "
    "contiguous clone detach float half bfloat16 double to type_as zeros_like ones_like full_like",
    combine: "add iadd sub isub subtract rsub mul imul multiply truediv itruediv div divide pow ipow maximum minimum "
    "gt lt ge le eq ne and_ or_ logical_and logical_or copy_ fill_",
    blend: "clamp clip clamp_min clamp_max lerp addcmul addcdiv",
    matmul: "matmul bmm",
    where: "where masked_fill",
    assign: "setitem",
    glu: "GLU glu",
    fill: "new_zeros new_ones new_full new_empty zeros ones full empty rand randn",
    spread: "expand_as",
    moves.reshape: "Flatten Unflatten flatten unflatten view view_as reshape reshape_as",
    moves.move: "permute transpose swapaxes swapdims movedim moveaxis t flip squeeze unsqueeze expand broadcast_to "
    "repeat tile repeat_interleave",
    moves.cat: "cat concat concatenate stack",
    moves.divide: "chunk split unbind tensor_split",
    moves.narrow: "narrow",
    moves.index: "getitem",
    moves.pad: "pad",
    moves.pixel_shuffle: "PixelShuffle pixel_shuffle",
    moves.pixel_unshuffle: "PixelUnshuffle pixel_unshuffle",
    moves.channel_shuffle: "ChannelShuffle channel_shuffle",
    reduce: "mean sum amax amin logsumexp",
    extreme: "max min",
    deviation: "std var",
    norm: "norm",
    normalize: "normalize",
    softmax: "Softmax LogSoftmax softmax log_softmax",
    sizes: "size dim numel nelement ndimension",
}


def known(names: str) -> Iterator[Any]:
    """All that goes by `names`: modules' classes, functions, and tensors' methods, which go by the name itself."""
    for name in chain(*([n.replace("?", d) for d in "123"] if "?" in n else [n] for n in names.split())):
        yield from (getattr(home, name) for home in HOMES if callable(getattr(home, name, None)))
        yield from [name] if hasattr(Tensor, name) else []


RULES: dict[Any, Callable] = {kind: rule for rule, names in KINDS.items() for kind in known(names)} | {
    getattr: attribute, torch.linalg.vector_norm: norm, "torchvision.ops.stochastic_depth.stochastic_depth": through,
}  # fmt: skip
EITHER = (combine, blend, matmul, through, spread, where)  # whose first argument may be a constant
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
