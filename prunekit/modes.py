"""A network in eval or train mode for a while, each of its modules afterwards in the mode in which it was."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from torch import nn


@contextmanager
def in_mode(model: nn.Module, training: bool) -> Iterator[None]:
    """Train or eval mode within the context. Put back module by module: BN may be frozen in a network that trains."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.train(training)
        yield
    finally:
        for module, before in modes:
            module.training = before


def evaluating(model: nn.Module) -> AbstractContextManager[None]:
    """Eval mode within the context."""
    return in_mode(model, training=False)
