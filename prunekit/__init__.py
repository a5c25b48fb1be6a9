"""prunekit: remove whole filters from PyTorch CNNs, exactly."""

from . import costs, criteria, data, ledger, nets, retraining, train
from .costs import cost, cost_of
from .criteria import Activation, record
from .errors import PrunekitError
from .files import load, plans_of, save
from .plans import Plan, plan, plan_by_hand
from .sensitivity import sweep
from .surgery import mask, prune
from .tracing import Graph, trace

__version__ = "0.1.0"
