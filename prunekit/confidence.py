"""Whether a network knows how often it is right: confidence beside accuracy, and one number that mends it.

Confidence is the largest softmax probability. Source: Guo et al., "On Calibration of Modern Neural Networks" (2017).
"""

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn import functional as F

from .errors import PrunekitError

COLDEST, HOTTEST = 0.01, 100.0  # temperatures that are looked at


def reliability(logits: Tensor, labels: Tensor, bins: int = 10) -> pd.DataFrame:
    """Images by confidence, in `bins` of equal width; for logits (N, classes) and labels (N,). A row per bin.

    Columns: low and high (the bin's ends; an image at an end is in the bin below), total, correct, accuracy, and
    confidence, the mean in the bin.
    """
    if bins < 1 or len(logits) != len(labels) or not len(labels):
        raise PrunekitError(
            f"reliability: {len(logits)} answers, {len(labels)} labels, {bins} bins; give as many answers as labels, "
            "and at least one bin."
        )
    confidence, chosen = logits.double().softmax(1).max(1)
    ends = np.linspace(0, 1, bins + 1)
    images = pd.DataFrame({"confidence": confidence.clamp(max=1).numpy(), "right": (chosen == labels).numpy()})
    images["bin"] = np.searchsorted(ends[1:-1], images["confidence"])
    table = images.groupby("bin").agg(
        total=("right", "size"), correct=("right", "sum"), accuracy=("right", "mean"), confidence=("confidence", "mean")
    )
    return table.assign(low=ends[table.index], high=ends[table.index + 1]).reset_index(drop=True)


def summary(logits: Tensor, labels: Tensor, bins: int = 10) -> dict[str, float]:
    """Over all images: accuracy, confidence (the mean), gap (confidence less accuracy), ece and loss.

    `ece` is the expected calibration error: the mean over images of `|accuracy - confidence|` of their bin. It depends
    on `bins`, and is above zero by chance alone where images are few. `loss` is the mean cross-entropy.
    """
    table = reliability(logits, labels, bins)
    share = table["total"] / table["total"].sum()
    accuracy = float(table["correct"].sum() / table["total"].sum())
    confidence = float((share * table["confidence"]).sum())
    return {
        "accuracy": accuracy,
        "confidence": confidence,
        "gap": confidence - accuracy,
        "ece": float((share * (table["accuracy"] - table["confidence"]).abs()).sum()),
        "loss": float(F.cross_entropy(logits.double(), labels)),
    }


def temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature T for which softmax(logits / T) has the least cross-entropy, between 0.01 and 100.

    Above 1 the network was too sure, below 1 not sure enough; no answer changes. Fit it on validation images. Raises
    `PrunekitError` where every answer is right: the loss then falls for ever as T goes to 0.
    """
    if bool((logits.argmax(1) == labels).all()):
        raise PrunekitError(
            f"temperature: all of {len(labels)} answers are right, so no temperature is the best. Take more images."
        )
    scores = logits.double()

    def loss(log_temperature: float) -> float:
        return float(F.cross_entropy(scores / float(np.exp(log_temperature)), labels))

    # The loss is convex in 1 / T, so it has one valley in log T as well.
    found = minimize_scalar(loss, bounds=(np.log(COLDEST), np.log(HOTTEST)), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))
