"""Carry a plan out: `prune` builds the smaller network, `mask` the same function at full size.

The contract: the pruned network equals the original in which every conv or linear layer that *reads* a removed map has
its weights on that map set to zero. (Zeroing the filter itself is not the same: BN's shift would revive the map.)
"""

import copy
import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from .copies import duplicate
from .errors import PlanError, SurgeryError, said
from .layers import BATCH_NORMS, CONVS, READERS, TRANSPOSED, whole_groups
from .modes import evaluating
from .operations import operations, same_numbers, same_operations, untouched
from .plans import Plan, colors_gone
from .tracing import Graph, in_pairs, trace

M = TypeVar("M", bound=nn.Module)
BY_COUNT = (
    "It decides by how many maps there are, as in `if x.size(1) == 64`, int(x.size(1)) or conv.out_channels. Keep the "
    "filters of that layer, or take what was decided as a number or a module in __init__."
)
ELSE = (
    "The pruned network computes something else than the masked one, so nothing was cut. Either a size is written into "
    "the forward as a number, or it computes with the number of its maps, as in x / int(x.size(1))."
)
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4}  # of |pruned - masked| / max |masked|; coarser types: 5e-2


def prune(model: M, plan: Plan) -> M:
    """A deep copy of `model` in which the filters that `plan` removes are gone, with all that goes along.

    The result is of the user's own class, with smaller tensors of the same dtype, device, memory format and
    `requires_grad`, in the same train or eval mode; `model` is untouched. Before it is returned it is run once beside
    the masked network on random input.

    Raises `PlanError` if the plan is for another network, `SurgeryError` where the forward has a size written into it
    that the cut makes wrong, with its line.
    """
    graph, gone = matched(model, plan)
    small = variant(model, smaller(model, graph, gone))
    for name, colors in graph.widths.items():
        resize(small.get_submodule(name), sum(color not in gone for color in colors))
    compare(small, muted(model, graph, gone), plan.inputs)
    decides_alike(graph, small, plan.inputs)
    if graph.training is not None:  # parts that are there in training only, such as auxiliary heads
        outputs(copy.deepcopy(small).train(), example(small, [(max(2, n), *rest) for n, *rest in plan.inputs]))
    return small


def mask(model: M, plan: Plan) -> M:
    """A deep copy of `model` at full size that computes what `prune(model, plan)` computes.

    Weights that read a removed map are zero. Raises `PlanError` if the plan is for another network.
    """
    graph, gone = matched(model, plan)
    return variant(model, silenced(model, graph, gone))


def matched(model: nn.Module, plan: Plan) -> tuple[Graph, set[int]]:
    """The graph of `model` and the colors that `plan` removes from it."""
    if not isinstance(model, nn.Module):
        raise PlanError(f"prune and mask take a torch.nn.Module, not a {type(model).__name__}.")
    if not isinstance(plan, Plan):
        raise PlanError(f"A network is cut by what pk.plan(...) returns, not by a {type(plan).__name__}.")
    if plan.graph is not None and plan.graph.fits(model):
        graph = plan.graph
    else:
        graph = trace(model, *example(model, plan.inputs))
    return graph, colors_gone(graph, plan)


def example(model: nn.Module, shapes: Sequence[Sequence[int]]) -> list[Tensor]:
    """Random inputs of `shapes`, of the model's number format and device; always the same ones."""
    first = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(*shape, generator=generator).to(first.device, first.dtype) for shape in shapes]


def tensors(model: nn.Module) -> dict[str, Tensor]:
    """Every parameter and buffer once, under its first name."""
    return dict(model.named_parameters()) | dict(model.named_buffers())


def smaller(model: nn.Module, graph: Graph, gone: set[int]) -> dict[str, Tensor]:
    """The tensors that lose something with the colors `gone`, without it."""
    named, cut = tensors(model), {}
    kept = graph.kept(gone)
    for name, dim in sorted(
        kept, key=lambda key: len(kept[key]) / named[key[0]].shape[key[1]]
    ):  # what cuts most, first
        cut[name] = selected(cut.get(name, named[name].detach()), dim, kept[name, dim])
    return {name: tensor.contiguous(memory_format=layout(named[name])) for name, tensor in cut.items()}


def selected(tensor: Tensor, dim: int, indices: list[int]) -> Tensor:
    """`index_select`, in blocks where the indices come in runs, as behind a flatten: that is many times faster."""
    size = tensor.shape[dim]
    breaks = [end for a, b in itertools.pairwise(indices) if b != a + 1 for end in (a + 1, b)]
    run = math.gcd(size, indices[0], indices[-1] + 1, *breaks)
    blocks = torch.tensor(indices[::run], device=tensor.device) // run
    return tensor.unflatten(dim, (size // run, run)).index_select(dim, blocks).flatten(dim, dim + 1)


def silenced(model: nn.Module, graph: Graph, gone: set[int], only: Collection[str] | None = None) -> dict[str, Tensor]:
    """The weights that read a map of the colors `gone`, with zeros there; all of them, or those named in `only`."""
    named, silent = tensors(model), {}
    for axis in graph.axes.values():
        if axis.role != "reads" or gone.isdisjoint(axis.colors) or (only is not None and axis.tensor not in only):
            continue
        dead = [i for i, color in enumerate(axis.colors) if color in gone]
        weight = named[axis.tensor].detach().clone()
        silent[axis.tensor] = weight.index_fill_(axis.dim, torch.tensor(dead, device=weight.device), 0)
    return silent


def muted(model: M, graph: Graph, gone: set[int]) -> M:
    """What `mask` makes, only to be looked at: tensors are the model's own, and readers get zeros for removed maps."""
    named = tensors(model)
    touched = {
        id(named[a.tensor]): a for a in graph.axes.values() if a.role == "reads" and not gone.isdisjoint(a.colors)
    }
    used = {str(node.target) for node in graph.nodes.nodes if node.op == "get_attr"}  # by functions, not by a module
    hooked = {name: touched.get(id(m.weight)) for name, m in model.named_modules() if type(m) in READERS}
    hooked = {name: axis for name, axis in hooked.items() if axis is not None and axis.tensor not in used}
    rest = {a.tensor for a in touched.values()} - {axis.tensor for axis in hooked.values()}
    clone = variant(model, silenced(model, graph, gone, rest), share=True)
    for name, axis in hooked.items():
        dead = [i for i, color in enumerate(axis.colors) if color in gone]
        hook = partial(mute, dead=dead, size=len(axis.colors))
        clone.get_submodule(name).register_forward_pre_hook(hook, with_kwargs=True)
    return clone


def mute(module: nn.Module, args: tuple, kwargs: dict[str, Any], dead: list[int], size: int) -> tuple[tuple, dict]:
    """A hook that sets the inputs `dead` of a reader to zero, in each of its groups of `size` inputs."""
    x = args[0] if args else kwargs["input"]
    dim = -1 if isinstance(module, nn.Linear) else 1
    places = [i + start for start in range(0, x.shape[dim], size) for i in dead]
    x = x.index_fill(dim, torch.tensor(places, device=x.device), 0)
    return ((x, *args[1:]), kwargs) if args else (args, kwargs | {"input": x})


def layout(tensor: Tensor) -> torch.memory_format:
    """channels_last for a tensor that lies so and not otherwise, else the usual."""
    last = tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format


def variant(model: M, changed: Mapping[str, Tensor], share: bool = False) -> M:
    """A deep copy of `model` with other tensors in place of those named in `changed`.

    With `share` the unchanged tensors are the model's own: made at no cost, for looking only.
    """
    memo: dict[int, Any] = {}  # a copy takes what it finds here for the copy
    for name, old in tensors(model).items():
        if name in changed:
            new = changed[name]
            memo[id(old)] = nn.Parameter(new, old.requires_grad) if isinstance(old, nn.Parameter) else new
        elif share:
            memo[id(old)] = old
    clone = copied(model, memo)
    for module in clone.modules():
        refit(module)
    return clone


def copied(model: M, memo: dict[int, Any]) -> M:
    """A deep copy of `model`; what `memo` has under an object's id is taken for its copy."""
    try:
        return duplicate(model, memo)
    except Exception as error:  # whatever a user's attribute may raise
        for name, module in model.named_modules():
            for key in vars(module):
                if f"{key}_orig" in module._parameters or f"{key}_g" in module._parameters:
                    raise SurgeryError(
                        f"The network cannot be copied: {key!r} of {name!r} is computed, by torch.nn.utils.prune or "
                        "weight_norm. Make it a plain one first, with torch.nn.utils.prune.remove or "
                        "torch.nn.utils.remove_weight_norm; or cut out what is masked, with pk.shrink."
                    ) from error
        raise SurgeryError(
            f"The network cannot be copied with copy.deepcopy: {error} Set the attribute that holds such a thing, "
            "often a stored activation, to None first."
        ) from error


def refit(module: nn.Module) -> None:
    """Make a layer's own numbers agree with its tensors."""
    if isinstance(module, TRANSPOSED):
        inputs, per_group = module.weight.shape[:2]
        module.groups = max(1, module.groups * inputs // module.in_channels) if module.groups > 1 else 1
        module.in_channels, module.out_channels = inputs, per_group * module.groups
    elif isinstance(module, CONVS):
        filters, per_group = module.weight.shape[:2]
        if whole_groups(module):
            module.groups = module.groups * filters // module.out_channels
        module.out_channels, module.in_channels = filters, per_group * module.groups
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, BATCH_NORMS):
        entries = next((t for t in (module.weight, module.running_mean) if t is not None), None)
        if entries is not None:
            module.num_features = len(entries)
    elif isinstance(module, nn.GroupNorm) and module.weight is not None:
        resize(module, len(module.weight))
    elif isinstance(module, nn.PReLU):
        module.num_parameters = module.weight.numel()


def resize(module: nn.Module, maps: int) -> None:
    """Set the number of maps of a norm that has no entries to tell it."""
    if isinstance(module, nn.GroupNorm):
        module.num_groups, module.num_channels = module.num_groups * maps // module.num_channels, maps
    else:
        module.num_features = maps  # type: ignore[assignment]


def compare(small: nn.Module, masked: nn.Module, shapes: Sequence[Sequence[int]]) -> None:
    """Run both in eval mode on one random input of these shapes; raise `SurgeryError` unless they agree."""
    inputs = example(masked, shapes)
    with evaluating(small), evaluating(masked):
        wanted, got = outputs(masked, inputs), outputs(small, inputs)
    if len(got) != len(wanted):
        raise SurgeryError(ELSE)
    for a, b in zip(got, wanted, strict=True):
        scale, tolerance = b.abs().max().clamp(min=torch.finfo(b.dtype).tiny), TOLERANCE.get(b.dtype, 5e-2)
        if not scale.isfinite():
            raise SurgeryError(
                "The network's own output is not finite on a random input: it cannot be told whether the pruned one "
                "computes the same, so nothing was cut."
            )
        if a.shape != b.shape or not (a - b).abs().max() <= tolerance * scale:
            raise SurgeryError(ELSE)


def decides_alike(graph: Graph, small: nn.Module, shapes: Sequence[Sequence[int]]) -> None:
    """Write the forward of `small` down, too; raise `SurgeryError` unless it does the same with the same numbers,
    though there are fewer maps.

    One random input, as `compare` has it, does not come to every branch, nor to every bound.
    """
    for training, before in enumerate(graph.modes):
        try:
            after = operations(small, in_pairs(example(small, shapes)), bool(training))[0]
        except Exception as error:  # anything that a forward may raise
            raise SurgeryError(f"The pruned network cannot be followed: {said(error)}. {BY_COUNT}") from error
        if not (same_operations(before, after) and same_numbers(before, after)):
            mode = " in train mode" if training else ""
            raise SurgeryError(f"With fewer maps the forward does something else{mode}, so nothing was cut. {BY_COUNT}")


def outputs(model: nn.Module, inputs: list[Tensor]) -> list[Tensor]:
    """Every floating-point tensor that the model returns, or else all that it returns, such as the number of a class.

    A forward that draws random numbers draws the same ones.
    """
    try:
        with torch.no_grad(), untouched(model):
            out = model(*(x.clone() for x in inputs))  # which a forward may change in place
            returned = [t for t in tree_leaves(out) if isinstance(t, Tensor)]
            return [t for t in returned if t.is_floating_point()] or [t.double() for t in returned]
    except Exception as error:  # whatever a forward may raise
        raise SurgeryError(
            f"The pruned network does not run: {said(error)}. A size seems to be written into the forward; take it "
            "from the tensor instead, as in x.size(1)."
        ) from error
