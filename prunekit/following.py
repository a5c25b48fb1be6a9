"""What belongs to a network in training follows a cut: the optimizer's state, and an average of the weights."""

import copy
from collections.abc import Mapping
from numbers import Number
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from .errors import PlanError
from .plans import Plan
from .surgery import layout, matched, prune

O = TypeVar("O", bound=Optimizer)  # noqa: E741


def follow(optimizer: O, model: nn.Module, small: nn.Module, plan: Plan) -> O:
    """An optimizer like `optimizer`, which works on `model`, for `small`, which is `prune(model, plan)`.

    It is of the same class, with the same groups and options; momentum, moments and whatever else it keeps in the shape
    of a parameter are cut as the parameter was. `optimizer` and `model` stay as they are. Hooks are not taken over. A
    scheduler goes on when it is pointed at the result: `scheduler.optimizer = follow(...)`.

    The contract: where the optimizer works on each entry by itself (SGD, Adam, AdamW, RMSprop, Adagrad and the like), a
    step of the result leaves the same weights and state as a step of `optimizer` on `mask(model, plan)` would leave in
    the entries that stay, up to rounding. For several steps the mask has to be applied after each: the masked weights
    get gradients, too. What looks at all entries together, such as clipping by the gradient's norm, sees fewer of them.
    (Where a gradient is zero but for rounding, as that of a bias before BN, Adam makes a whole step of the rounding.)

    Raises `PlanError` for a parameter that is not the model's, a `small` that the plan does not make, and a state that
    is neither in the shape of its parameter nor a single number.
    """
    if not isinstance(optimizer, Optimizer):
        raise PlanError(
            f"follow takes an optimizer, not a {type(optimizer).__name__}. Load a state_dict into one first; a "
            "scheduler goes on when its `optimizer` is what follow returns."
        )
    if isinstance(optimizer, torch.optim.LBFGS):
        raise PlanError("LBFGS keeps a history of all parameters as one: start with a fresh one after the cut.")
    graph, gone = matched(model, plan)
    kept: dict[str, dict[int, list[int]]] = {}
    for (name, dim), indices in graph.kept(gone).items():
        kept.setdefault(name, {})[dim] = indices
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    new = dict(small.named_parameters())
    memo: dict[int, Any] = {}  # deepcopy takes what it finds here for the copy
    for number, group in enumerate(optimizer.param_groups):
        for old in group["params"]:
            name = names.get(id(old))
            if name is None:
                raise PlanError(
                    f"Group {number} of the optimizer has a parameter, {tuple(old.shape)}, that is not the model's. "
                    "Pass the model that this optimizer was made for, as it was before the cut."
                )
            expected = [len(kept.get(name, {}).get(dim, range(size))) for dim, size in enumerate(old.shape)]
            if name not in new or list(new[name].shape) != expected:
                got = f"has it as {tuple(new[name].shape)}" if name in new else "does not have it"
                raise PlanError(
                    f"By the plan, {name!r} becomes {tuple(expected)}; the small network {got}. Pass "
                    "prune(model, plan) of the same plan."
                )
            memo[id(old)] = new[name]
            for key, value in optimizer.state.get(old, {}).items():
                memo[id(value)] = cut(value, old, kept.get(name, {}), f"State {key!r} of {name!r}")
    followed = copy.deepcopy(optimizer, memo)
    for key, value in vars(optimizer).items():  # which torch's optimizers do not copy
        if key not in vars(followed) and not callable(value):
            setattr(followed, key, copy.deepcopy(value, memo))
    return followed


def cut(state: Any, parameter: Tensor, kept: Mapping[int, list[int]], what: str) -> Any:
    """What stays of a `state` in the shape of its `parameter`; a single number stays as it is. A copy."""
    whole = isinstance(state, Tensor) and state.shape == parameter.shape
    single = state.numel() == 1 if isinstance(state, Tensor) else isinstance(state, Number | str | None)
    if kept and not whole and not single:
        kind = f"of shape {tuple(state.shape)}" if isinstance(state, Tensor) else f"a {type(state).__name__}"
        raise PlanError(
            f"{what} is {kind}, not of the parameter's shape {tuple(parameter.shape)}: it cannot be cut with it. Start "
            "with a fresh optimizer after the cut."
        )
    if not whole:
        return copy.deepcopy(state)
    left = state.detach().clone()
    for dim, indices in kept.items():
        left = left.index_select(dim, torch.tensor(indices, device=left.device))
    return left.contiguous(memory_format=layout(state))


def follow_average(average: AveragedModel, plan: Plan) -> AveragedModel:
    """An average like `average`, of networks that `plan` has cut: its own network pruned, its count and rule the same.

    `average` stays as it is. Any other second network of the same architecture is cut by `prune(second, plan)`.
    """
    if not isinstance(average, AveragedModel):
        raise PlanError(
            f"follow_average takes a torch.optim.swa_utils.AveragedModel, not a {type(average).__name__}; "
            "cut another network of the same architecture with prune(network, plan)."
        )
    return copy.deepcopy(average, {id(average.module): prune(average.module, plan)})
