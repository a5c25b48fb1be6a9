"""What an operation is given: what of it enters its result, and what are only sizes to it, or places."""

import operator
from collections.abc import Callable
from functools import partial

import torch
from torch import fx

from . import layers, moves, rules
from .counting import leaves, nodes

COMPUTING = (  # with all that they get, and None: what is not known
    None, rules.through, rules.combine, rules.blend, rules.where, rules.extreme, rules.reduce, rules.deviation,
    rules.norm, rules.normalize, rules.pool, rules.softmax, rules.matmul, layers.functional_batch_norm,
    layers.layer_norm, layers.prelu, moves.cat,
)  # fmt: skip


def computing(rule: Callable | None, node: fx.Node) -> list[fx.Node]:
    """The nodes among what an operation computes with: all but what are sizes to it, or places."""
    if rule in COMPUTING:
        return nodes((node.args, node.kwargs))
    full = {"new_full": 2, torch.full: 1}
    place = 2 if rule is rules.assign else 3 if rule is moves.pad else full.get(node.target, len(node.args))  # type: ignore
    return nodes((node.args[place:], [node.kwargs.get(name) for name in ("fill_value", "value")]))


def numbers(node: fx.Node) -> list[str]:
    """All that an operation gets, nodes by name, but for a number of groups, which follows a cut if a layer has it."""
    if isinstance(node.target, partial):  # a tensor that the forward makes
        return [repr((x.shape, x.tolist())) for x in node.target.args]
    compares = (operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge)
    if node.target in compares and not node.users:  # a branch was decided by it
        return []
    place = {layers.functional: 6, layers.functional_group_norm: 1}.get(rules.RULES.get(node.target))  # type: ignore[call-overload]
    args = [x for i, x in enumerate(node.args) if i != place]
    named = {key: x for key, x in node.kwargs.items() if place is None or key not in ("groups", "num_groups")}
    return [repr(x) for x in leaves((args, named))]
