"""What happens to paint where maps are moved: laid out anew, dealt out, put side by side, cut into parts, padded."""

import operator
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, fx, nn

from .canvas import Canvas
from .counting import nodes
from .errors import TraceError
from .paint import Paint, along, paints, shapes_of, squeezed, varies


def reshape(canvas: Canvas, operation: Any, name: str, x: Paint, /, *args, **kwargs) -> Paint:
    """Axes that merge keep every color in place. Where an axis of maps is split, as in a channel shuffle, one of its
    factors has to be computed: that one shrinks, so the maps at the same place of it go together."""
    out = Paint(operation(x.colors, *(a.colors if isinstance(a, Paint) else a for a in args), **kwargs))
    sizes = asked_sizes(canvas.node, operation, x.colors.dim())
    written = {d for d, size in sizes.items() if isinstance(size, int) and size != -1}
    varying = [d for d in range(out.colors.dim()) if varies(out.colors, d)]
    for d, size in sizes.items():
        placed_by_counts(canvas, name, out, d, size)
        if d in varying and isinstance(size, fx.Node):
            canvas.laid_out.append((squeezed(out.colors).unique().tolist(), canvas.counted.colors(size), name))
    split = [d for d in split_axes(x.colors.shape, out.colors.shape) if d in varying]
    # Four maps in four groups of c // 4: an axis of one, which is computed, stands for the factor that would shrink.
    ones = {d for d, size in enumerate(out.colors.shape) if size == 1 and isinstance(sizes.get(d), fx.Node)}
    rigid = any(d in written and ones & {d - 1, d + 1} for d in varying)
    shrinks = [d for d in split if d not in written]
    if rigid or (split and len(shrinks) != 1):
        canvas.freeze(x, f"{name} splits the axis of its maps into sizes that are written into the forward")
    elif split:
        canvas.per_channel(out, shrinks[0])
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


def pixel_shuffle(canvas: Canvas, operation: Any, name: str, x: Paint, factor: int | None = None, **kwargs) -> Paint:
    """Each r*r maps become one of r times the height and width: they go together."""
    out = shapes_of(operation, (x,) if factor is None else (x, factor), kwargs)
    return Paint(along(canvas.tie(canvas.per_channel(x), out.shape[1], 0), 1, out.shape))


def pixel_unshuffle(canvas: Canvas, operation: Any, name: str, x: Paint, factor: int | None = None, **kwargs) -> Paint:
    """Each map becomes r*r smaller ones, which go together."""
    out = shapes_of(operation, (x,) if factor is None else (x, factor), kwargs)
    times = out.shape[1] // x.colors.shape[1]
    return Paint(along([color for color in canvas.per_channel(x) for _ in range(times)], 1, out.shape))


def channel_shuffle(canvas: Canvas, operation: Any, name: str, x: Paint, groups: int | None = None, **kwargs) -> Paint:
    """As a module or a function, the number of groups stays: maps at the same place of each group go together."""
    groups = int(operation.groups if groups is None else groups)
    colors = [color for color in canvas.tie(canvas.per_channel(x), groups) for _ in range(groups)]
    return Paint(along(colors, 1, x.colors.shape))


def move(canvas: Canvas, operation: Callable, name: str, x: Paint, /, *args, **kwargs) -> Paint:
    """Permutations, repetitions, and axes of size one."""
    out = Paint(operation(x.colors, *(a.colors if isinstance(a, Paint) else a for a in args), **kwargs))
    if name in ("expand", "broadcast_to", "repeat", "tile"):
        asked = [*asked_sizes(canvas.node, operation, 0).values()]
        for d, size in enumerate(asked, start=out.colors.dim() - len(asked)):
            placed_by_counts(canvas, name, out, d, size)
    elif name == "repeat_interleave":
        placed_by_counts(canvas, name, out, kwargs.get("dim", args[-1]), (canvas.node.args[1:], canvas.node.kwargs))
    return out


def placed_by_counts(canvas: Canvas, name: str, x: Paint, dim: int, asked: Any) -> None:
    """What is `asked` for along an axis of `x` that is none of maps: if it depends on how many maps there are, they
    stay."""
    found = nodes(asked)
    if found and dim < x.colors.dim() and x.colors.shape[dim] > 1 and not varies(x.colors, dim):
        canvas.freeze_counted(name, dict.fromkeys(found))


def cat(canvas: Canvas, operation: Callable, name: str, xs: Sequence, /, *args, **kwargs) -> Paint:
    """Painted side by side; constants among the parts are pinned."""
    pinned = [x if isinstance(x, Paint) else canvas.like(x, "a constant") for x in xs]
    return Paint(operation([x.colors for x in pinned], *args, **kwargs))


def divide(canvas: Canvas, operation: Callable, name: str, x: Paint, /, *args, **kwargs) -> Any:
    """Parts side by side. They follow a cut where so many are asked for, or parts of sizes that are computed."""
    parts = operation(x.colors, *args, **kwargs)
    asked = next((value for value in (*args, *(kwargs[key] for key in kwargs if key != "dim"))), None)
    follows = canvas.several_nodes() or (name in ("chunk", "tensor_split") and isinstance(asked, int))
    first = parts[0]
    if first.dim() < x.colors.dim():  # unbind
        part(canvas, name, x, first)
    else:
        for d in range(x.colors.dim()):
            if first.shape[d] < x.colors.shape[d]:
                placed_by_counts(canvas, name, x, d, (canvas.node.args[1:], canvas.node.kwargs))
                divided(canvas, name, x, d, first.shape[d], follows and len({one.shape[d] for one in parts}) == 1)
    return tuple(map(Paint, parts))


def index(canvas: Canvas, operation: Callable, name: str, x: Any, where: Any) -> Any:
    """A part of a map keeps its color. A part of the maps can be followed if it is one of several of one size."""
    if not isinstance(x, Paint):  # a tuple of paints
        return operation(x, where)
    if paints(where):
        raise TraceError(f"{name} picks elements by their values, and how many is not known: use torch.where instead.")
    colors = operation(x.colors, where)
    whole = where if isinstance(where, tuple) else (where,)
    if canvas.node.target in (operator.getitem, operator.setitem):
        asked: Any = canvas.node.args[1]
        for d, s in placed(asked if isinstance(asked, tuple) else (asked,), x.colors.dim()):
            placed_by_counts(canvas, name, x, d, s)
    picks = [s for s in whole if isinstance(s, list | Tensor)]
    if picks and not all(isinstance(s, slice | int | list) or getattr(s, "ndim", 0) == 1 for s in whole):
        fixed(canvas, name, x)  # or all of them, in a fixed order
        return Paint(colors)
    united = canvas.united(x)
    axes = {d: s for d, s in placed(whole, x.colors.dim()) if varies(united, d)}
    wide = {d: range(x.colors.shape[d]) for d in axes}
    parts = {d: s for d, s in axes.items() if isinstance(s, slice) and wide[d][s] != wide[d]}
    sliced = colors.numel() and all(isinstance(s, slice) for s in whole if s is not Ellipsis)
    if any(isinstance(s, list | Tensor) for s in axes.values()) or len(parts) > 1 or (parts and not sliced):
        fixed(canvas, name, x)
    elif parts:
        ((d, s),) = parts.items()
        start, stop, step = s.indices(x.colors.shape[d])
        regular = step == 1 and start % (stop - start) == 0
        divided(canvas, name, x, d, stop - start, follows=regular and canvas.several_nodes())
    else:
        part(canvas, name, x, colors)
    return Paint(colors)


def placed(where: Sequence[Any], axes: int) -> list[tuple[int, Any]]:
    """What an index asks for along each of so many axes; None makes a new axis, an ellipsis stands for several."""
    asked = [s for s in where if s is not None]
    if any(s is Ellipsis for s in asked):
        at = next(i for i, s in enumerate(asked) if s is Ellipsis)
        asked[at : at + 1] = [slice(None)] * (axes - len(asked) + 1)
    return list(enumerate(asked))


def narrow(canvas: Canvas, operation: Callable, name: str, x: Paint, dim: int, start: int, length: int) -> Any:
    """`x[start:start + length]` along an axis."""
    placed_by_counts(canvas, name, x, dim, (canvas.node.args[2:], canvas.node.kwargs))
    where = (slice(None),) * (dim % x.colors.dim()) + (slice(start, start + length),)
    return index(canvas, operator.getitem, name, x, where)


def fixed(canvas: Canvas, name: str, x: Paint) -> None:
    """Freeze `x`: which of its maps are taken is written into the forward."""
    canvas.freeze(x, f"{name} takes a fixed part of the maps")


def part(canvas: Canvas, name: str, x: Paint, colors: Tensor) -> None:
    """Freeze `x` if the part `colors` lacks some of its units: they would have to be chosen anew after a cut."""
    here, there = (set(canvas.united(paint).flatten().tolist()) for paint in (x, Paint(colors)))
    if here != there:
        fixed(canvas, name, x)


def divided(canvas: Canvas, name: str, x: Paint, dim: int, size: int, follows: bool) -> None:
    """`x` is divided into parts of `size` along `dim`; `follows` says whether that is computed from how much there is.

    Then each part has to lose as many maps as the others."""
    if not varies(canvas.united(x), dim):
        return
    colors = canvas.per_channel(x, dim)
    if not follows or len(colors) % size:
        fixed(canvas, name, x)
    else:
        canvas.divisions.append([colors[i : i + size] for i in range(0, len(colors), size)])


def pad(
    canvas: Canvas,
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
        asked: Any = canvas.node.kwargs.get("pad", canvas.node.args[1:2])
        beside = asked[0][:spatial] if asked and isinstance(asked[0], tuple) else asked
        canvas.freeze_counted(name, dict.fromkeys(nodes(beside)))
        x = Paint(along(canvas.per_channel(x), 1, (*x.colors.shape[:2], *out.shape[2:])))
    for i in range(spatial, len(pad), 2):
        if pad[i] or pad[i + 1]:
            x = padded(canvas, name, x, x.colors.dim() - 1 - i // 2, (pad[i], pad[i + 1]), mode)
    return x


def padded(canvas: Canvas, name: str, x: Paint, dim: int, ends: tuple[int, int], mode: str) -> Paint:
    """Whole maps appended at the two ends of `dim`."""
    front, back = (canvas.colors.fresh(max(0, count)) for count in ends)
    if mode != "constant" or min(ends) < 0:
        canvas.freeze(x, f"{name} pads maps with other maps, or crops them")
    if not canvas.several_nodes():
        canvas.colors.freeze(front + back, f"{name} pads a fixed number of maps")
    elif front and back:  # as many at one end as at the other, or what is in the middle moves
        canvas.divisions.append([front, back])
    colors = [*front, *canvas.per_channel(x, dim)[max(0, -ends[0]) : x.colors.shape[dim] + min(0, ends[1])], *back]
    shape = [len(colors) if d == dim else size for d, size in enumerate(x.colors.shape)]
    return Paint(along(colors, dim, shape))
