"""Recipes: how long to train, by which learning rates, with what momentum and weight decay."""

from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import nn
from torch.optim import SGD, lr_scheduler

from .errors import PrunekitError


@dataclass(frozen=True)
class Recipe:
    """How to train. `schedule` is "steps" (a tenth at each of `milestones`, in epochs), "one-cycle" or "constant"."""

    name: str
    epochs: int
    learning_rate: float
    schedule: str = "constant"
    milestones: tuple[int, ...] = ()
    batch_size: int = 128
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 1e-4

    def lasting(self, epochs: int) -> "Recipe":
        """The same recipe with another number of epochs, milestones stretched alike."""
        milestones = tuple(max(1, round(m * epochs / self.epochs)) for m in self.milestones)
        return replace(self, epochs=epochs, milestones=milestones)


PAPER = Recipe("paper", epochs=164, learning_rate=0.1, schedule="steps", milestones=(81, 122))
PAPER_RETRAINING = Recipe("paper-retraining", epochs=40, learning_rate=0.001)
SHORT = Recipe("short", epochs=28, learning_rate=0.1, schedule="one-cycle", nesterov=True, weight_decay=5e-4)


@cache
def learning_rates(recipe: Recipe, steps: int) -> tuple[float, ...]:
    """The learning rate of each step, `steps` to an epoch."""
    optimizer = SGD([nn.Parameter(torch.zeros(1))], recipe.learning_rate)
    scheduler, rates = schedule(optimizer, recipe, steps), []
    for _ in range(recipe.epochs * steps):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        scheduler.step()
    return tuple(rates)


def schedule(optimizer: SGD, recipe: Recipe, steps: int) -> lr_scheduler.LRScheduler:
    """The recipe's learning rates as a scheduler that is stepped after each batch, `steps` times an epoch."""
    match recipe.schedule:
        case "constant":
            return lr_scheduler.ConstantLR(optimizer, factor=1.0)
        case "steps":
            return lr_scheduler.MultiStepLR(optimizer, [m * steps for m in recipe.milestones], gamma=0.1)
        case "one-cycle":
            total = recipe.epochs * steps + 1
            up = max(0.25, 2 / total)  # a quarter of the way, but at least one step
            return lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, total, pct_start=up, cycle_momentum=False)
    raise PrunekitError(f"Recipe {recipe.name!r}: schedule {recipe.schedule!r} is not steps, one-cycle or constant.")
