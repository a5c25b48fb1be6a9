"""prunekit: remove whole filters from PyTorch CNNs, exactly."""

from . import costs, criteria, data, ledger, nets, recipes, retraining, train
from .allocation import plan_by_sensitivity
from .budgets import plan_for
from .costs import cost, cost_of
from .criteria import Activation, Scores, record
from .errors import PrunekitError
from .files import load, plans_of, rebuild, save
from .following import follow, follow_average
from .plans import Plan, plan, plan_by_hand
from .sensitivity import sweep
from .shrinking import plan_zeros, shrink, shrinkable
from .surgery import mask, prune
from .tracing import Graph, trace

__version__ = "0.1.0"


def __getattr__(name: str):
    """`draw`, imported when it is first asked for: matplotlib and seaborn take a while, and few programs draw."""
    if name == "draw":
        from .drawing import draw

        return draw
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
