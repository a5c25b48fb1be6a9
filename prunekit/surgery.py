"""Carry a plan out: `prune` builds the smaller network, `mask` the same function at full size.

The contract: the pruned network equals the original in which every conv or linear layer that *reads* a removed map has
its weights on that map set to zero. (Zeroing the filter itself is not the same: BN's shift would revive the map.)
"""

import copy
from collections.abc import Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from .errors import PlanError, SurgeryError, line_of
from .layers import BATCH_NORMS, CONVS, TRANSPOSED, whole_groups
from .modes import evaluating
from .plans import Plan, colors_gone
from .tracing import Graph, trace

M = TypeVar("M", bound=nn.Module)
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
    masked = variant(model, silenced(model, graph, gone), share=True)
    compare(small, masked, plan.inputs)
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
    for (name, dim), kept in graph.kept(gone).items():
        old = cut.get(name, named[name].detach())
        cut[name] = old.index_select(dim, torch.tensor(kept, device=old.device))
    return {name: tensor.contiguous(memory_format=layout(named[name])) for name, tensor in cut.items()}


def silenced(model: nn.Module, graph: Graph, gone: set[int]) -> dict[str, Tensor]:
    """The weights that read a map of the colors `gone`, with zeros there."""
    named, silent = tensors(model), {}
    for (name, dim), kept in graph.kept(gone).items():
        axis = graph.axes[name, dim]
        if axis.role == "reads":
            silent[name] = named[name].detach().clone()
            dead = sorted(set(range(len(axis.colors))) - set(kept))
            silent[name].index_fill_(dim, torch.tensor(dead, device=silent[name].device), 0)
    return silent


def layout(tensor: Tensor) -> torch.memory_format:
    """channels_last for a tensor that lies so and not otherwise, else the usual."""
    last = tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format


def variant(model: M, changed: Mapping[str, Tensor], share: bool = False) -> M:
    """A deep copy of `model` with other tensors in place of those named in `changed`.

    With `share` the unchanged tensors are the model's own: made at no cost, for looking only.
    """
    memo: dict[int, object] = {}  # deepcopy takes what it finds here for the copy
    for name, old in tensors(model).items():
        if name in changed:
            new = changed[name]
            memo[id(old)] = nn.Parameter(new, old.requires_grad) if isinstance(old, nn.Parameter) else new
        elif share:
            memo[id(old)] = old
    try:
        clone = copy.deepcopy(model, memo)
    except Exception as error:  # whatever a user's attribute may raise
        raise SurgeryError(
            f"The network cannot be copied with copy.deepcopy: {error} Set the attribute that holds such a thing, "
            "often a stored activation, to None first."
        ) from error
    for module in clone.modules():
        refit(module)
    return clone


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
    for a, b in zip(got, wanted, strict=True):
        scale, tolerance = b.abs().max().clamp(min=torch.finfo(b.dtype).tiny), TOLERANCE.get(b.dtype, 5e-2)
        if a.shape != b.shape or not (a - b).abs().max() <= tolerance * scale:
            raise SurgeryError(
                "The pruned network computes something else than the masked one, so nothing was cut. Either a size is "
                "written into the forward as a number, or the network's own output is not finite."
            )


def outputs(model: nn.Module, inputs: list[Tensor]) -> list[Tensor]:
    """Every floating-point tensor that the model returns; a forward that draws random numbers draws the same ones."""
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            return [t for t in tree_leaves(model(*inputs)) if isinstance(t, Tensor) and t.is_floating_point()]
    except Exception as error:  # whatever a forward may raise
        raise SurgeryError(
            f"The pruned network does not run: {error} {line_of(error)} A size seems to be written into the forward; "
            "take it from the tensor instead, as in x.size(1)."
        ) from error
