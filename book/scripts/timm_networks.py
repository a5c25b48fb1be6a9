"""Trace and prune networks of timm, as networks.py does it with torchvision's: one of each kind.

    make bench-env
    PYTHONPATH=_build/timm python book/scripts/timm_networks.py [NETWORK...]

timm has more than a thousand networks. Each of its files has one kind (`resnet.py`, `densenet.py`), in several sizes;
here it is the one of each file that has the fewest weights. A row per network in the ledger's table networks/timm.
"""

import importlib
import sys

import torch
from torch import nn

from networks import arguments, measure, randomize, record
from prunekit import _torchvision  # noqa: F401 - timm imports torchvision

timm = importlib.import_module("timm")
TABLE = "timm"


def names() -> list[str]:
    """The network with the fewest weights of each of timm's files; none of those for its own tests."""
    found = []
    for file in timm.list_modules():
        sizes = {name: weights(name) for name in timm.list_models(module=file) if not name.startswith("test_")}
        found.append(min(sizes, key=lambda name: (sizes[name], name)))
    return found


def weights(name: str) -> int:
    with torch.device("meta"):  # sizes only
        return sum(p.numel() for p in timm.create_model(name, num_classes=10).parameters())


def build(name: str) -> nn.Module:
    """The network in eval mode with random numbers everywhere, in float64, for 10 classes."""
    return randomize(timm.create_model(name, num_classes=10).double().eval())


def main() -> int:
    options = arguments("Measure the smallest network of each of timm's files.")

    def row(name: str) -> dict:
        model = build(name)
        return measure(name, model, model.default_cfg["input_size"][-1])  # type: ignore[index]

    record(options, "timm_networks.py", TABLE, options.networks or names(), row)
    return 0


if __name__ == "__main__":
    sys.exit(main())
