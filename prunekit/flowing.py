"""Follow one filter's paint through a network, operation by operation: what it passes, joins and is read by.

`trace` says in the end what goes together; here is how it comes about, for one filter, as a table that can be stepped
through. The rows come from the painting itself: the graph is painted again, and everything that happens is noted.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import pandas as pd
from torch import Tensor, fx, nn

from .canvas import Canvas
from .errors import PlanError
from .graph import Graph, layer_of
from .modes import evaluating
from .operations import untouched
from .paint import Colors, Paint, paints, varies
from .tracing import Painter, in_pairs

COLUMNS = ["operation", "kind", "shape", "happens", "painted", "channels", "paints", "goes", "reason", "sources"]


def flow(graph: Graph, layer: str, index: int) -> pd.DataFrame:
    """The course of the paint of filter `index` of `layer`, and of all that become one with it, a row per step.

    Only operations that the paint reaches have a row, in the order of the forward pass in eval mode. Columns:

    * operation: the name of a module, or of a call in the torch.fx graph; kind: its class, or "function" and the like;
    * shape: of one image's tensor, without the batch axis: of what is read or frozen there, else of what is made;
    * happens: "gives" (a filter of the unit makes its map here), "passes", "carries" (passes, and the module has
      entries for the map), "moves" (passes, to other places), "divides" (parts that have to stay of one size),
      "joins" (colors become one here), "pads" (a map that goes along later is padded on), "reads" (a conv or linear
      layer's weights on the map) or "freezes" (from here on it cannot go);
    * painted: the places that carry the paint, among so many `channels`;
    * paints: for each of these places the filters whose colors have become one there so far, as "layer[index]";
    * goes: what of the network's tensors goes with the unit here, as "tensor[index]";
    * reason: why the unit cannot go, where that turns out; sources: the rows from which the paint comes.

    A layer that reads the paint and gives off new paint of the same unit has two rows. Raises `PlanError` for a layer
    or a filter that is not there, or not there in eval mode.
    """
    colors = graph.colors(layer)
    if not 0 <= index < len(colors):
        raise PlanError(f"Layer {layer!r} has filters 0 to {len(colors) - 1}; there is no filter {index}.")
    canvas = Watched(graph.model)
    diary = Diary(canvas, graph.nodes)
    with untouched(graph.model), evaluating(graph.model):
        diary.run(*canvas.inputs(in_pairs(graph.inputs)))
    canvas.settle()
    gives = [axis for axis in canvas.axes.values() if axis.role == "gives"]
    givers: dict[int, list[str]] = defaultdict(list)
    for axis in gives:
        for place, color in enumerate(axis.colors):
            givers[color].append(f"{layer_of(graph.model, axis.tensor)}[{place}]")
    first = next((axis.colors[index] for axis in gives if axis.tensor == graph.weights[layer]), None)
    if first is None:
        raise PlanError(f"Layer {layer!r} makes no maps in eval mode, and that is what is followed here.")
    unit = {c for c in range(1, len(canvas.colors.parent)) if canvas.colors.find(c) == canvas.colors.find(first)}
    return pd.DataFrame(Course(graph.model, unit, givers).rows(diary.pages), columns=COLUMNS)


@dataclass(frozen=True)
class Page:
    """What one operation did: its result, the (tensor, dimension, role, colors) it remembered, and what it did to
    colors."""

    node: fx.Node
    value: Any
    remembered: list[tuple[str, int, str, list[int]]]
    unions: list[tuple[int, int]]
    frozen: list[tuple[list[int], str]]
    divided: list[list[list[int]]]


class WatchedColors(Colors):
    """Colors that note in which order they become one, and freeze."""

    def __init__(self) -> None:
        super().__init__()
        self.unions: list[tuple[int, int]] = []
        self.frozen_so_far: list[tuple[list[int], str]] = []

    def unite(self, a: int, b: int) -> None:
        if self.find(a) != self.find(b):
            self.unions.append((a, b))
        super().unite(a, b)

    def freeze(self, colors: Iterable[int], reason: str) -> None:
        colors = list(colors)
        self.frozen_so_far.append((colors, reason))
        super().freeze(colors, reason)


class Watched(Canvas):
    """A canvas that notes in which order colors become one, freeze, and come to axes."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.colors: WatchedColors = WatchedColors()
        self.remembered: list[tuple[str, int, str, list[int]]] = []

    def remember(self, tensor: Tensor | None, dim: int, role: str, colors: list[int]) -> None:
        super().remember(tensor, dim, role, colors)
        if tensor is not None:
            self.remembered.append((self.names[id(tensor)], dim, role, list(colors)))


class Diary(Painter):
    """A painter that keeps a page for each operation."""

    def __init__(self, canvas: Watched, nodes: fx.Graph):
        super().__init__(canvas, nodes)
        self.logs = (canvas.remembered, canvas.colors.unions, canvas.colors.frozen_so_far, canvas.divisions)
        self.pages: list[Page] = []

    def run_node(self, n: fx.Node) -> Any:
        before = [len(log) for log in self.logs]
        value = super().run_node(n)
        self.pages.append(Page(n, value, *(log[start:] for log, start in zip(self.logs, before, strict=True))))  # type: ignore[arg-type]
        return value


class Course:
    """Turns the pages of a diary into the rows of one unit, the colors `unit`, made by the filters `givers`."""

    def __init__(self, model: nn.Module, unit: set[int], givers: dict[int, list[str]]):
        self.model, self.unit, self.givers = model, unit, givers
        self.mates = {color: {color} for color in unit}  # what each color has become one with, so far
        self.found: list[dict[str, Any]] = []
        self.row_of: dict[fx.Node, int] = {}

    def rows(self, pages: Iterable[Page]) -> list[dict[str, Any]]:
        values: dict[fx.Node, Any] = {}
        for page in pages:
            values[page.node] = page.value
            for a, b in page.unions:
                if a in self.unit:
                    merged = self.mates[a] | self.mates[b]
                    self.mates.update(dict.fromkeys(merged, merged))
            self.step(page, values)
        return self.found

    def step(self, page: Page, values: dict[fx.Node, Any]) -> None:
        """The rows of one operation: what it reads or freezes, and what it makes."""
        sources = [n for n in page.node.all_input_nodes if n in self.row_of]
        arriving = [paint for n in sources for paint in paints(values[n])]
        goes: dict[str, list[str]] = {"reads": [], "carries": [], "gives": []}
        for name, dim, role, colors in page.remembered:
            if found := self.among(colors):
                goes[role].append(slice_of(name, dim, found))
        reason = next((reason for colors, reason in page.frozen if self.among(colors)), "")
        made = [] if page.node.op == "output" else paints(page.value)
        if goes["reads"]:
            self.add(page, "reads", arriving, goes["reads"], "", sources)
        if self.places(made)[0]:
            happens = "gives" if goes["gives"] else "freezes" if reason else self.passing(page, goes, arriving, made)
            self.add(page, happens, made, goes["gives"] + goes["carries"], reason, [] if goes["reads"] else sources)
            self.row_of[page.node] = len(self.found) - 1
        elif reason and arriving:
            self.add(page, "freezes", arriving, [], reason, sources)

    def passing(self, page: Page, goes: dict[str, list[str]], arriving: list[Paint], made: list[Paint]) -> str:
        """One word for what happens to paint that goes on."""
        if any(a in self.unit for a, _ in page.unions):
            return "joins"
        if not arriving:
            return "pads"
        if any(self.among(part) for parts in page.divided for part in parts):
            return "divides"
        if goes["carries"]:
            return "carries"
        same = any(self.places([paint])[0] == self.places(made)[0] for paint in arriving)
        return "passes" if same else "moves"

    def add(
        self, page: Page, happens: str, shown: list[Paint], goes: list[str], reason: str, sources: list[fx.Node]
    ) -> None:
        node, (painted, channels, colors) = page.node, self.places(shown)
        module = self.model.get_submodule(str(node.target)) if node.op == "call_module" else None
        self.found.append(
            {
                "operation": node.name if module is None else str(node.target),
                "kind": node.op.removeprefix("call_") if module is None else type(module).__name__,
                "shape": tuple(shown[0].colors.shape[1:]),
                "happens": happens,
                "painted": painted,
                "channels": channels,
                "paints": tuple(map(self.names, colors)),
                "goes": tuple(dict.fromkeys(goes)),
                "reason": reason,
                "sources": tuple(self.row_of[n] for n in sources),
            }
        )

    def among(self, colors: list[int]) -> list[int]:
        """The places in `colors` that have a color of the unit."""
        return [place for place, color in enumerate(colors) if color in self.unit]

    def places(self, tensors: list[Paint]) -> tuple[tuple[int, ...], int, list[list[int]]]:
        """Where the unit is among the channels of tensors side by side, how many channels there are, and its colors."""
        found = [[c for c in colors if c in self.unit] for paint in tensors for colors in channels(paint.colors)]
        painted = tuple(place for place, colors in enumerate(found) if colors)
        return painted, len(found), [found[place] for place in painted]

    def names(self, colors: list[int]) -> tuple[str, ...]:
        """The filters whose colors have become one with these `colors` so far, in the order of the forward pass."""
        mates = set[int]().union(*(self.mates[color] for color in colors))
        return tuple(name for mate in sorted(mates) for name in self.givers.get(mate, ()))


def channels(colors: Tensor) -> list[list[int]]:
    """The colors of each channel: along the axis on which colors change, or along several in their order, or else 1.

    There are several to a channel only where images of a batch have different colors.
    """
    if colors.dim() < 2:
        return [[color] for color in colors.flatten().tolist()]
    axes = [d for d in range(1, colors.dim()) if varies(colors, d)] or [1]
    for d in set(range(1, colors.dim())) - set(axes):
        colors = colors.narrow(d, 0, 1)
    images = colors.flatten(1) if varies(colors, 0) else colors[:1].flatten(1)
    return [sorted(set(column)) for column in images.t().tolist()]


def slice_of(tensor: str, dim: int, places: list[int]) -> str:
    """Places along an axis of a tensor as Python writes them: ``"fc.weight[:, 8:12]"``."""
    runs = [[i for _, i in run] for _, run in groupby(enumerate(places), lambda pair: pair[1] - pair[0])]
    if len(places) == 1:
        inner = str(places[0])
    else:
        inner = f"{places[0]}:{places[-1] + 1}" if len(runs) == 1 else str(places)
    return f"{tensor}[{':, ' * dim}{inner}]"
