"""Confidence beside accuracy: against scikit-learn, against loops, and on networks whose truth is known."""

import numpy as np
import pytest
import torch
from sklearn.calibration import calibration_curve
from torch import Tensor

from prunekit import confidence
from prunekit.errors import PrunekitError


def drawn(n: int, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    """Logits, and labels that are drawn from their softmax: calibrated; then the logits are stretched by `scale`."""
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(n, 4, generator=generator)
    labels = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
    return scale * logits, labels


@pytest.mark.parametrize("bins", [5, 10, 15])
def test_bins_agree_with_scikit_learn(bins: int):
    logits, labels = drawn(3_000)
    table = confidence.reliability(logits, labels, bins)
    sure, chosen = logits.double().softmax(1).max(1)
    accuracy, mean = calibration_curve((chosen == labels).numpy(), sure.numpy(), n_bins=bins)
    np.testing.assert_allclose(table["accuracy"], accuracy)
    np.testing.assert_allclose(table["confidence"], mean)
    assert table["total"].sum() == 3_000 and (table["correct"] / table["total"] == table["accuracy"]).all()
    assert ((table["low"] < table["confidence"]) & (table["confidence"] <= table["high"])).all()


def test_the_summary_is_the_mean_over_images():
    logits, labels = drawn(500, scale=3)
    sure, chosen = logits.double().softmax(1).max(1)
    right = (chosen == labels).double()
    table, found = confidence.reliability(logits, labels), confidence.summary(logits, labels)
    gaps = [
        abs(float(right[(sure > low) & (sure <= low + 0.1)].mean() - sure[(sure > low) & (sure <= low + 0.1)].mean()))
        for low in table["low"]
    ]
    assert found["ece"] == pytest.approx(np.average(gaps, weights=table["total"]))
    assert found["accuracy"] == pytest.approx(float(right.mean()))
    assert found["confidence"] == pytest.approx(float(sure.mean()))
    assert found["gap"] == pytest.approx(found["confidence"] - found["accuracy"])
    assert found["loss"] == pytest.approx(float(torch.nn.functional.cross_entropy(logits, labels)), rel=1e-5)


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_a_stretch(scale: float):
    """The labels follow the softmax of logits / scale, so that is what comes out, but for the draw of 20,000."""
    logits, labels = drawn(20_000, scale)
    found = confidence.temperature(logits, labels)
    assert found == pytest.approx(scale, rel=0.05)
    at = [
        float(torch.nn.functional.cross_entropy(logits.double() / t, labels))
        for t in (found / 1.01, found, found * 1.01)
    ]
    assert at[1] < min(at[0], at[2])
    mended = confidence.summary(logits / found, labels)
    assert mended["accuracy"] == confidence.summary(logits, labels)["accuracy"] and mended["ece"] < 0.03


def test_certainty_and_errors_in_the_extreme():
    sure = torch.tensor([[1e4, 0.0], [1e4, 0.0]])
    (row,) = confidence.reliability(sure, torch.tensor([0, 1])).to_dict("records")
    assert row == {"total": 2, "correct": 1, "accuracy": 0.5, "confidence": 1.0, "low": 0.9, "high": 1.0}
    assert confidence.summary(sure, torch.tensor([0, 1]))["ece"] == 0.5
    assert confidence.temperature(sure, torch.tensor([0, 1])) == pytest.approx(100, rel=1e-3), "the hottest there is"
    with pytest.raises(PrunekitError, match="all of 2 answers are right"):
        confidence.temperature(sure, torch.tensor([0, 0]))


@pytest.mark.parametrize("images, labels, bins", [(3, 2, 10), (0, 0, 10), (3, 3, 0)])
def test_what_cannot_be_binned_is_refused(images: int, labels: int, bins: int):
    with pytest.raises(PrunekitError, match=f"{images} answers, {labels} labels, {bins} bins"):
        confidence.reliability(torch.zeros(images, 2), torch.zeros(labels, dtype=torch.long), bins)
