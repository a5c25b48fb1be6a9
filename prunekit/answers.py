"""What a network answers, image by image, and what that says of single classes: accuracy hides who pays.

Sources: Hooker et al., "What Do Compressed Deep Neural Networks Forget?" (2019) and "Characterising Bias in Compressed
Models" (2020), who compare classes before and after compression.
"""

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd
import torch
from scipy.stats import binomtest
from torch import Tensor, nn

from .errors import PrunekitError
from .intervals import wilson
from .modes import evaluating
from .train import Compute, labeled


def logits(
    model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], compute: Compute | None = None
) -> tuple[Tensor, Tensor]:
    """What `model` answers on `batches` of x (n, C, H, W) and y (n,): logits (N, classes) in float32, and labels (N,).

    The model is in eval mode meanwhile, and has to be where `compute` computes: by default where it is, in its
    number format.
    """
    compute = compute or Compute.of(model)
    found, labels = [], []
    with evaluating(model), torch.inference_mode():
        for x, y in labeled(batches, "logits"):
            with compute.autocast():
                found.append(model(compute.batch(x)).float().cpu())
            labels.append(y.cpu())
    if not found:
        raise PrunekitError("logits: there is not one image in `batches`.")
    return torch.cat(found), torch.cat(labels)


def checked(answers: Mapping[str, Tensor], labels: Tensor) -> dict[str, Tensor]:
    """The class that each network answers (N,), by its name. Refuses answers to another number of images."""
    for name, given in answers.items():
        if given.dim() != 2 or len(given) != len(labels):
            raise PrunekitError(
                f"{name!r}: logits of shape {tuple(given.shape)} for {len(labels)} labels. Give (images, classes), of "
                "the same images in the same order as the labels."
            )
    return {name: given.argmax(1) for name, given in answers.items()}


def by_class(
    answers: Mapping[str, Tensor], labels: Tensor, classes: Sequence[str], confidence: float = 0.95
) -> pd.DataFrame:
    """Right answers class by class. `answers` holds logits (N, classes) by network, `labels` is (N,).

    Columns: network, class, correct, total, accuracy, and the ends of its Wilson interval, low and high, as shares.
    Each interval holds its own truth with `confidence`; that all of ten do so is less likely.
    """
    rows = []
    for name, chosen in checked(answers, labels).items():
        for index, label in enumerate(classes):
            of = labels == index
            if total := int(of.sum()):
                correct = int((chosen[of] == index).sum())
                low, high = wilson(correct, total, confidence)
                counts = {"correct": correct, "total": total, "accuracy": correct / total}
                rows.append({"network": name, "class": label, **counts, "low": low, "high": high})
    return pd.DataFrame(rows)


def flips(before: Tensor, after: Tensor, labels: Tensor, classes: Sequence[str]) -> pd.DataFrame:
    """Images whose answer changed between two networks, class by class and over all; both are logits (N, classes).

    Columns: class (the last row is "all"), total, lost (right before, wrong after), gained (wrong before, right after),
    changed (another answer, right or not), p and p_adjusted. `p` is that of McNemar's exact test: how likely the lost
    and gained divide at least as unequally if an image that changes is as often gained as lost. `p_adjusted` is p times
    the number of classes, at most 1 (Bonferroni), since the worst of several classes looks bad by luck; that of "all",
    which is one question, is its p.
    """
    found = checked({"before": before, "after": after}, labels)
    right_before, right_after = (chosen == labels for chosen in found.values())
    changed, rows = found["before"] != found["after"], []
    present = [index for index in range(len(classes)) if (labels == index).any()]
    for index in (*present, None):
        of = torch.ones_like(labels, dtype=torch.bool) if index is None else labels == index
        lost, gained = int((right_before & ~right_after & of).sum()), int((~right_before & right_after & of).sum())
        p = float(binomtest(lost, lost + gained).pvalue) if lost + gained else 1.0
        rows.append(
            {
                "class": "all" if index is None else classes[index],
                "total": int(of.sum()),
                "lost": lost,
                "gained": gained,
                "changed": int((changed & of).sum()),
                "p": p,
                "p_adjusted": p if index is None else min(1.0, p * len(present)),
            }
        )
    return pd.DataFrame(rows)
