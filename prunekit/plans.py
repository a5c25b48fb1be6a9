"""A plan is data: which filters of which layers stay, and how they were chosen.

It prints, compares, goes to JSON and back, and applies to any network with the layers it names.
"""

import fnmatch
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from numbers import Integral, Real
from operator import index
from typing import Any

import torch
from torch import Tensor

from .criteria import Activation, Criterion, Scores, name_of, record, resolve
from .errors import PlanError
from .graph import tensor_of
from .tracing import Graph

FORMAT = "prunekit plan 1"
STRATEGIES = ("independent", "greedy")


@dataclass(frozen=True)
class Plan:
    """Which filters stay. `kept` and `filters` map a layer's name to the indices that stay and to how many there are.

    `inputs` are the shapes of the traced example; `rates`, `criterion`, `strategy` and `seed` say how the filters were
    chosen. Layers that are tied to a named one are not listed: they follow from the network.
    """

    kept: Mapping[str, tuple[int, ...]]
    filters: Mapping[str, int]
    inputs: tuple[tuple[int, ...], ...]
    rates: Mapping[str, float] = field(default_factory=dict)
    criterion: str = "by hand"
    strategy: str = "independent"
    seed: int = 0
    graph: Graph | None = field(default=None, compare=False, repr=False)  # what it was made on, to trace only once

    def __post_init__(self) -> None:
        for layer, kept in self.kept.items():
            if not kept or list(kept) != sorted(set(kept)) or not 0 <= kept[0] <= kept[-1] < self.filters[layer]:
                raise PlanError(
                    f"Plan: layer {layer!r} of {self.filters[layer]} filters cannot keep {list(kept)}: a plan keeps at "
                    "least one filter of a layer, in ascending order, each once."
                )
        if any(size < 1 for shape in self.inputs for size in shape):
            raise PlanError(f"Plan: there are no inputs of the shapes {list(self.inputs)}.")

    def __getstate__(self) -> dict[str, Any]:
        """Without the graph, which holds the whole network: for pickle, torch.save and copies."""
        return self.__dict__ | {"graph": None}

    def __str__(self) -> str:
        how = f"{self.criterion}, {self.strategy}" if self.rates else self.criterion
        lines = [f"  {layer}: {self.filters[layer]} -> {len(kept)}" for layer, kept in self.kept.items()]
        return "\n".join([f"Plan ({how}), filters kept in each layer named:", *lines])

    def to_json(self) -> str:
        """The plan as one line of JSON."""
        parts = {name: value for name, value in self.__dict__.items() if name != "graph"}
        return json.dumps({"format": FORMAT} | parts)

    @staticmethod
    def from_json(text: str) -> "Plan":
        """The plan that `to_json` wrote. Raises `PlanError` for anything else."""
        try:
            parts = json.loads(text)
            if parts.pop("format") != FORMAT:
                raise ValueError("its format is not one that this version reads")
            parts["kept"] = {layer: tuple(map(index, kept)) for layer, kept in parts["kept"].items()}
            parts["inputs"] = tuple(tuple(map(index, shape)) for shape in parts["inputs"])
            return Plan(**parts, graph=None)
        except PlanError:
            raise
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise PlanError(f"This is not a plan that prunekit wrote: {error!r}.") from error


def plan(
    graph: Graph,
    rates: float | Mapping[str, float] | None = None,
    *,
    keep: Mapping[str, int] | None = None,
    criterion: Criterion = "l1",
    strategy: str = "independent",
    data: Iterable | None = None,
    seed: int = 0,
) -> Plan:
    """Choose the filters to remove: in each layer the lowest-scored ones. Sections 3.1 to 3.3 of the paper.

    `rates` gives the share of filters to remove, in [0, 1): one number for every conv layer that is tied to no other,
    or one per layer; names may be patterns, so `{"layer1.*.conv1": 0.6}` is a rate for a stage. Of n filters
    floor(n (1 - rate)) stay, or a few more where they go in groups. `keep` gives the number that stays instead, also
    for single layers beside `rates`. A layer that is named decides for the layers that are tied to it: name a stage's
    projection to choose by the projection, as the paper does.

    `criterion` is one of `prunekit.criteria.CRITERIA`, a function from a weight (filters, ...) to scores (filters,),
    `Scores` that are known already, or an `Activation`, which needs `data`: an iterable of inputs or of (input, label)
    pairs. `strategy` "greedy" leaves kernels over maps that are already removed out of the score; "independent" counts
    them. `seed` is for "random", which scores a layer alike alone and among others.

    Raises `PlanError` for a layer that is not there, a rate outside [0, 1), a layer that would be left empty or cannot
    lose as much, two named layers that are tied, and scores that are not finite.
    """
    if not isinstance(graph, Graph):
        raise PlanError(f"plan takes what pk.trace(model, example) returns, not a {type(graph).__name__}.")
    if strategy not in STRATEGIES:
        raise PlanError(f"Strategy {strategy!r} is unknown; take 'independent' or 'greedy'.")
    if not isinstance(keep, Mapping | None):
        raise PlanError(f"`keep` gives numbers by layer, as in {{'layer1.conv1': 8}}, and is {keep!r}.")
    fixed = checked_counts(graph, expand(graph, keep or {}))
    if rates is None or isinstance(rates, Mapping):
        shares = expand(graph, rates or {})
    else:
        shares = dict.fromkeys(graph.free(), rates)
    shares = {layer: rate for layer, rate in shares.items() if layer not in fixed}
    counts = {layer: kept_count(layer, len(graph.colors(layer)), rate) for layer, rate in shares.items()} | fixed
    if not counts and isinstance(rates, float | int):
        raise PlanError(
            "One rate for all goes to the convs that are tied to no other and can lose every filter, and here is none. "
            "Name layers, as in {'layer1.conv1': 0.3}: graph.report() shows what each can lose, and what goes with it."
        )
    if not counts:
        raise PlanError("Nothing to do: give `rates` or `keep` for at least one layer that can lose filters.")
    layers = [layer for layer in graph.layers if layer in counts]  # in forward order, which greedy depends on
    refuse_tied(graph, layers)

    kept: dict[str, tuple[int, ...]] = {}
    if strategy == "independent":
        for layer, values in scores(graph, layers, [criterion], data, seed)[name_of(criterion)].items():
            kept[layer] = highest(graph, layer, values, counts[layer])
    else:
        gone: set[int] = set()
        for layer in layers:
            scorer = resolve(criterion, seed, layer)
            if isinstance(scorer, Activation) or isinstance(criterion, Scores):
                kind = "an activation criterion" if isinstance(scorer, Activation) else "known scores"
                raise PlanError(f"Strategy 'greedy' is about kernels; with {kind} take 'independent'.")
            kept[layer] = highest(graph, layer, scorer(weight_of(graph, layer, gone)), counts[layer])
            gone |= set(graph.layers[layer]) - {graph.layers[layer][i] for i in kept[layer]}
    for layer, stays in kept.items():
        stuck = isinstance(rates, Mapping) and len(stays) == len(graph.layers[layer])
        if len(stays) > counts[layer] and (stuck or layer in fixed):
            n = len(graph.layers[layer])
            raise PlanError(
                f"Layer {layer!r}: its filters go in groups, which cannot add up to {n - counts[layer]} of {n}. "
                "graph.colors(layer) has a number for each group."
            )
    exact = {layer: float(rate) for layer, rate in shares.items()}
    return finished(graph, kept, rates=exact, criterion=name_of(criterion), strategy=strategy, seed=seed)


def plan_by_hand(graph: Graph, removed: Mapping[str, Iterable[int]]) -> Plan:
    """The plan that removes exactly the filters `removed`: layer name to indices, counted from 0."""
    kept = {}
    for layer, indices in removed.items():
        n, lost = len(graph.colors(layer)), whole_numbers(layer, indices)
        if not lost <= set(range(n)):
            raise PlanError(
                f"Layer {layer!r} has filters 0 to {n - 1}; {sorted(lost - set(range(n)))} are not among them."
            )
        kept[layer] = tuple(i for i in range(n) if i not in lost)
    return finished(graph, kept)


def whole_numbers(layer: str, indices: Any) -> set[int]:
    """`indices`, a list, an array or a tensor, as numbers; a mask is refused, whose entries would pass for 0 and 1."""
    try:
        listed = list(indices.tolist() if hasattr(indices, "tolist") else indices)
        if not any(isinstance(i, bool) for i in listed):
            return set(map(index, listed))
    except TypeError:
        pass
    raise PlanError(
        f"Layer {layer!r}: filters are given by number, counted from 0, as in [2, 5], not as {indices!r}. Of a mask "
        "take mask.nonzero()[:, 0]."
    )


def scores(
    graph: Graph, layers: Sequence[str], criteria: Sequence[Criterion], data: Iterable | None = None, seed: int = 0
) -> dict[str, dict[str, Tensor]]:
    """The scores (filters,) of each of `layers` by each of `criteria`; activations in one pass of `data` for all."""
    found: dict[str, dict[str, Tensor]] = {}
    activations: dict[str, Activation] = {}
    for criterion in criteria:
        name = name_of(criterion)
        if name in found or name in activations:
            raise PlanError(f"Two criteria are called {name!r}: give each function a name of its own.")
        for layer in layers:
            scorer = resolve(criterion, seed, layer)
            if isinstance(scorer, Activation):
                activations[name] = scorer
            else:
                found.setdefault(name, {})[layer] = scorer(weight_of(graph, layer, set()))
    if activations and data is None:
        raise PlanError(f"Criterion {next(iter(activations))!r} looks at feature maps: pass images as `data`.")
    return found | (record(graph.model, layers, data or (), activations) if activations else {})


def colors_gone(graph: Graph, plan: Plan) -> set[int]:
    """The colors that `plan` removes from the network of `graph`. Raises `PlanError` if the plan is not for it."""
    gone: set[int] = set()
    for layer, kept in plan.kept.items():
        colors = graph.colors(layer)
        if len(colors) != plan.filters[layer]:
            raise PlanError(
                f"The plan is for another network: it knows {plan.filters[layer]} filters in layer {layer!r}, and here "
                f"there are {len(colors)}."
            )
        gone |= {colors[i] for i in set(range(len(colors))) - set(kept)}
        for color in gone & set(colors):
            if color in graph.reasons:
                raise PlanError(f"Layer {layer!r} cannot lose this filter: {graph.reasons[color]}.")
    for layer, kept in plan.kept.items():
        wrong = [i for i in kept if graph.layers[layer][i] in gone]
        if wrong:
            raise PlanError(
                f"The plan keeps filter {wrong[0]} of layer {layer!r}, but removes one that is tied to it: they stay "
                "or go together. Of several tied layers name only one."
            )
    for axis in graph.axes.values():
        if gone.issuperset(axis.colors):
            raise PlanError(
                f"The plan would leave nothing of {axis.tensor!r}. Remove fewer filters of what is tied to it."
            )
    return gone


def finished(graph: Graph, kept: dict[str, tuple[int, ...]], **how: Any) -> Plan:
    """A plan over `graph`, checked against it."""
    filters = {layer: len(graph.layers[layer]) for layer in kept}
    made = Plan(kept, filters, tuple(tuple(x.shape) for x in graph.inputs), graph=graph, **how)
    colors_gone(graph, made)
    return made


def expand(graph: Graph, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Names and patterns replaced by the layers they stand for. An exact name comes before a pattern."""
    found: dict[str, Any] = {}
    for name, value in wanted.items():
        by_name = isinstance(name, str) and name not in graph.layers
        matches = fnmatch.filter(graph.layers, name) if by_name else [name] if name in graph.layers else []
        if not matches:
            graph.colors(name)  # raises, and says what is near
        for layer in matches:
            if layer != name and layer in wanted:
                continue
            if layer in found and found[layer] != value:
                raise PlanError(f"Two patterns give layer {layer!r} different values: name it by itself as well.")
            found[layer] = value
    return found


def kept_count(layer: str, filters: int, rate: float) -> int:
    """floor(filters (1 - rate)), exactly: a rate is the fraction that a person means (3 * 0.1 is 3/10)."""
    if not isinstance(rate, Real) or not 0 <= rate < 1:  # also refuses NaN
        raise PlanError(
            f"Layer {layer!r}: rate {rate!r} is not a share to remove; take one from 0 up to, not including, 1."
        )
    kept = math.floor(filters * (1 - Fraction(float(rate)).limit_denominator(10**6)))
    if not kept:
        raise PlanError(f"Layer {layer!r}: rate {rate} of {filters} filters would leave none. Take a smaller rate.")
    return kept


def checked_counts(graph: Graph, keep: Mapping[str, int]) -> dict[str, int]:
    """`keep`, if each count can stay of its layer."""
    for layer, count in keep.items():
        n = len(graph.colors(layer))
        if isinstance(count, bool) or not isinstance(count, Integral) or not 1 <= count <= n:
            raise PlanError(f"Layer {layer!r} has {n} filters: it cannot keep {count!r}. Take a number from 1 to {n}.")
    return {layer: int(count) for layer, count in keep.items()}


def refuse_tied(graph: Graph, layers: list[str]) -> None:
    """Two layers that share a unit cannot both decide about it."""
    owner: dict[int, str] = {}
    for layer in layers:
        for color in graph.layers[layer]:
            other = owner.setdefault(color, layer)
            if other != layer and color not in graph.reasons:
                raise PlanError(
                    f"Layers {other!r} and {layer!r} are tied: they lose the same filters. Name only the one that "
                    "shall decide."
                )


def weight_of(graph: Graph, layer: str, gone: set[int]) -> Tensor:
    """The weight of `layer` (filters, inputs, ...), at least in float32, without the inputs whose maps are `gone`."""
    name = graph.weights[layer]
    weight = tensor_of(graph.model, name).detach()
    weight = weight if weight.dtype == torch.float64 else weight.float()
    if graph.axes[name, 0].role != "gives":  # a transposed conv
        weight = weight.transpose(0, 1)
    reads = next((axis for axis in graph.axes.values() if axis.tensor == name and axis.role == "reads"), None)
    if not gone or reads is None:
        return weight
    return weight[:, [i for i, color in enumerate(reads.colors) if color not in gone]]


def highest(graph: Graph, layer: str, scores: Tensor, keep: int) -> tuple[int, ...]:
    """The filters of `layer` that stay when the lowest scores go first: `keep`.

    Filters of one color go together. Where these groups cannot add up, as many go as can, and a few more stay.
    """
    colors = graph.layers[layer]
    if tuple(scores.shape) != (len(colors),):
        raise PlanError(
            f"Layer {layer!r}: the criterion gave scores of shape {tuple(scores.shape)}, not ({len(colors)},)."
        )
    if not torch.isfinite(scores).all():
        raise PlanError(f"Layer {layer!r}: the scores are not finite; its weights or maps hold NaN or infinity.")
    units: dict[int, list[int]] = {}
    for i, color in enumerate(colors):
        if color not in graph.reasons:
            units.setdefault(color, []).append(i)
    missing = len(colors) - keep
    removable = sum(len(unit) for unit in units.values())
    if missing > removable:
        reason = next(graph.reasons[color] for color in colors if color in graph.reasons)
        limit = f"only {removable} can go" if removable else "none can go"
        raise PlanError(f"Layer {layer!r} cannot lose {missing} of its {len(colors)} filters: {limit}: {reason}.")
    lost: set[int] = set()
    values = scores.tolist()
    for unit in sorted(units.values(), key=lambda unit: (sum(values[i] for i in unit) / len(unit), unit)):
        if len(lost) + len(unit) <= missing:
            lost |= set(unit)
    return tuple(i for i in range(len(colors)) if i not in lost)
