"""Shrink a network whose filters were only set to zero, by torch.nn.utils.prune or by hand: cut them out for good."""

from typing import Any, TypeVar

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.utils import prune as torch_prune

from .errors import SurgeryError
from .graph import tensor_of
from .layers import BATCH_NORMS
from .plans import Plan
from .surgery import compare, copied, prune
from .zeros import Zeros

M = TypeVar("M", bound=nn.Module)


def shrink(model: M, *inputs: Tensor) -> M:
    """A deep copy of `model` without the filters that are zero, or that nothing reads, computing the same function.

    `inputs` is an example, such as `torch.randn(1, 3, 32, 32)`; only its shape matters. Masks of torch.nn.utils.prune
    are made final in the copy. What removed maps contributed is folded into the layers that read them; one without a
    bias and without a BN behind it gets a bias. Where zero padding keeps a constant from being folded, one zero filter
    stays and stands for all others of its layer. What cannot go exactly stays, too: `shrinkable` says why.

    The function is the same in eval mode. In train mode it differs where BN or dropout saw a removed map that was read:
    BN turns a constant map into its shift, whatever the running statistics say, and dropout makes it vary.

    The result is the model with the folded numbers, pruned by `plan_zeros(model, ...)`, and it is compared with the
    model on random input before it is returned. To keep it: `pk.save(small, pk.plan_zeros(model, x), path)`.

    Raises `TraceError` where the forward cannot be followed, `SurgeryError` where it has a size written into it.
    """
    zeros = Zeros(final(model), inputs)
    plan = zeros.plan()
    fold(zeros)
    small: Any = prune(zeros.model, plan)
    compare(small, model, plan.inputs)
    return small


def plan_zeros(model: nn.Module, *inputs: Tensor) -> Plan:
    """The plan of what `shrink` removes. `prune` by it leaves out what the removed maps contributed."""
    return Zeros(final(model), inputs).plan()


def shrinkable(model: nn.Module, *inputs: Tensor) -> pd.DataFrame:
    """What `shrink` would do: a row per layer, with layer, filters, zero, removed, reason.

    `zero` counts the filters whose weights are all zero; `removed` those that go, be it because they are zero, because
    nothing reads them, or because what follows makes a constant of them; `reason` says why the first zero filter that
    stays does so.
    """
    zeros = Zeros(final(model), inputs)
    rows = []
    for layer, colors in zeros.graph.layers.items():
        staying = [colors[i] for i in zeros.zero[layer] if colors[i] not in zeros.gone]
        rows.append(
            {
                "layer": layer,
                "filters": len(colors),
                "zero": len(zeros.zero[layer]),
                "removed": sum(color in zeros.gone for color in colors),
                "reason": zeros.obstacles[staying[0]] if staying else "",
            }
        )
    return pd.DataFrame(rows)


def final(model: M) -> M:
    """A deep copy of `model` in which masks of torch.nn.utils.prune are multiplied into the weights."""
    masked = [
        (name, hook._tensor_name)
        for name, module in model.named_modules()
        for hook in module._forward_pre_hooks.values()
        if isinstance(hook, torch_prune.BasePruningMethod)
    ]
    memo: dict[int, Any] = {}  # deepcopy takes what it finds here for the copy: it refuses what a hook has computed
    products: dict[int, tuple[str, Tensor]] = {}
    for name, tensor in masked:
        module = model.get_submodule(name)
        computed = getattr(module, tensor).detach().clone()
        memo[id(getattr(module, tensor))] = computed
        first, product = products.setdefault(id(getattr(module, f"{tensor}_orig")), (name, computed))
        if not product.equal(computed):
            raise SurgeryError(
                f"Layers {first!r} and {name!r} share a weight and mask it differently: it cannot become one smaller "
                "weight. Give both the same mask, or each a weight of its own."
            )
    clone = copied(model, memo)
    for name, tensor in masked:
        torch_prune.remove(clone.get_submodule(name), tensor)
    return clone


def fold(zeros: Zeros) -> None:
    """Move what removed maps add, in the network of `zeros` itself, into biases, running means and other kernels."""
    model: Any = zeros.model
    for move in zeros.moves:
        weight = tensor_of(model, move.axis.tensor).detach().movedim(move.axis.dim, 0)
        ratios = move.ratios.view(-1, *[1] * (weight.dim() - 1)).to(weight.device)
        weight[move.to] = (weight[move.to] + ratios * weight[move.of].double()).to(weight.dtype)
    for name, added in zeros.folds().items():
        module: Any = model.get_submodule(name)
        behind = norm_behind(zeros, name)
        with torch.no_grad():
            if module.bias is not None:
                module.bias += added.to(module.bias)
            elif behind is not None:
                mean: Any = model.get_submodule(behind).running_mean
                mean -= added.to(mean)
            else:
                module.bias = nn.Parameter(added.to(module.weight), module.weight.requires_grad)


def norm_behind(zeros: Zeros, name: str) -> str | None:
    """The BN with running statistics that gets all that the layer `name` gives off and nothing else, if there is."""
    nodes = [node for node in zeros.graph.nodes.nodes if node.op == "call_module"]
    users = {user for node in nodes if node.target == name for user in node.users}
    targets = {str(user.target) for user in users}
    if len(targets) != 1 or not users <= set(nodes):
        return None
    (target,) = targets
    module = zeros.model.get_submodule(target)
    alone = users == {node for node in nodes if node.target == target}
    rows = isinstance(module, nn.BatchNorm1d) and isinstance(zeros.model.get_submodule(name), nn.Linear)
    flat = all(call.maps.dim() == 1 for each in zeros.readers for call in each.calls.get(name, ()))
    fits = isinstance(module, BATCH_NORMS) and module.running_mean is not None and (flat or not rows)
    return target if fits and alone else None
