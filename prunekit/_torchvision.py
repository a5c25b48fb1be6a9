"""torchvision, also beside a torch that it was not built for.

The torchvision wheel on the package index is built against CUDA. Beside a CPU build of torch its compiled operators
cannot load, and `import torchvision` stops at "operator torchvision::nms does not exist", although nothing that
prunekit uses (models, datasets, transforms) needs a compiled operator. Declaring the signatures of the operators
that the import asks for is enough; calling one still fails with torchvision's own message.

Everything in prunekit takes torchvision from here: ``from prunekit._torchvision import torchvision``.
"""

import importlib
import sys
from types import ModuleType

import torch

MISSING = "operator torchvision::nms does not exist"
SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)

_declared: list[torch.library.Library] = []  # a library that is garbage collected takes its schemas with it


def load() -> ModuleType:
    """Import torchvision and return it.

    Errors: whatever a plain ``import torchvision`` raises, except the missing ``nms`` of a CPU torch, which is met
    by declaring the operators' signatures and importing once more.
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if MISSING not in str(error):
            raise
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    _declare()
    return importlib.import_module("torchvision")


def _declare() -> None:
    if not _declared:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for schema in SCHEMAS:
            library.define(schema)
        _declared.append(library)


load()

import torchvision  # noqa: E402

__all__ = ["torchvision"]
