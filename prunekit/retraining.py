"""Retrain after pruning: everything at once (one-shot), or layer by layer (iterative). Section 3.4 of the paper."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from torch import Tensor, nn

from .criteria import Criterion
from .data import Data
from .plans import Plan, expand, plan
from .recipes import Recipe
from .surgery import prune
from .tracing import trace
from .train import Compute, fit


@dataclass
class Retrained:
    """A pruned and retrained network, the plans that made its shape, in order, and what was seen at each epoch.

    `history` has the columns of `train.fit` and before them `step` (which plan, from 1).
    """

    model: nn.Module
    plans: list[Plan] = field(default_factory=list)
    history: pd.DataFrame = field(default_factory=pd.DataFrame)


def one_shot(
    model: nn.Module,
    plan: Plan,
    data: Data,
    recipe: Recipe,
    *,
    seed: int = 0,
    compute: Compute | None = None,
    checkpoint: str | Path | None = None,
    progress: bool | None = None,
) -> Retrained:
    """Carry `plan` out on `model`, which stays as it is, and retrain the result by `recipe`.

    The other arguments, and the errors, are those of `train.fit`.
    """
    small = prune(model, plan)
    history = fit(small, data, recipe, seed, compute, checkpoint, progress=progress)
    return Retrained(small, [plan], history.assign(step=1))


def iterative(
    model: nn.Module,
    example: Tensor,
    rates: Mapping[str, float],
    data: Data,
    recipe: Recipe,
    *,
    criterion: Criterion = "l1",
    seed: int = 0,
    compute: Compute | None = None,
    checkpoint: str | Path | None = None,
    progress: bool | None = None,
) -> Retrained:
    """Prune one layer, retrain by `recipe`, and so on through the layers of `rates` in forward order.

    Each layer's filters are scored on the network as retrained so far. `model` stays as it is; `rates`, by name or
    pattern, is as in `plan`. `checkpoint` is a folder, with a file for each step.
    """
    graph = trace(model, example)
    shares = expand(graph, rates)
    result = Retrained(model)
    for step, layer in enumerate((name for name in graph.layers if name in shares), start=1):
        placed = example.to(next(result.model.parameters()).device)  # training may have moved the network
        chosen = plan(trace(result.model, placed), {layer: shares[layer]}, criterion=criterion, seed=seed)
        file = Path(checkpoint) / f"step{step}.pt" if checkpoint else None
        done = one_shot(
            result.model, chosen, data, recipe, seed=seed + step, compute=compute, checkpoint=file, progress=progress
        )
        history = pd.concat([result.history, done.history.assign(step=step, layer=layer)], ignore_index=True)
        result = Retrained(done.model, [*result.plans, chosen], history)
    return result
