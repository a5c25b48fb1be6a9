"""Intervals against an independent implementation, printed examples, and what they promise: coverage."""

import numpy as np
import pytest
from scipy.stats import binomtest

from prunekit.errors import PrunekitError
from prunekit.intervals import difference, wilson


@pytest.mark.parametrize("correct, total", [(0, 10), (1, 10), (5, 10), (10, 10), (81, 263), (9000, 10_000)])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.999])
def test_wilson_agrees_with_scipy(correct, total, confidence):
    theirs = binomtest(correct, total).proportion_ci(confidence, method="wilson")
    assert wilson(correct, total, confidence) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


@pytest.mark.parametrize(
    "first, second, interval",
    [  # Newcombe (1998), table II, method 10
        ((56, 70), (48, 80), (0.0524, 0.3339)),
        ((9, 10), (3, 10), (0.1705, 0.8090)),
        ((6, 7), (2, 7), (0.0582, 0.8062)),
        ((5, 56), (0, 29), (-0.0381, 0.1926)),
        ((0, 10), (0, 20), (-0.1611, 0.2775)),
        ((10, 10), (0, 20), (0.6791, 1.0000)),
    ],
)
def test_the_difference_agrees_with_newcombes_table(first, second, interval):
    assert difference(first, second) == pytest.approx(interval, abs=5e-5)


def test_the_difference_turns_around_with_its_order():
    low, high = difference((40, 100), (55, 90))
    assert difference((55, 90), (40, 100)) == pytest.approx((-high, -low))


def test_nineteen_of_twenty_intervals_hold_the_truth():
    random = np.random.default_rng(0)
    p, q, n, trials = 0.93, 0.90, 360, 2000
    pairs = zip(random.binomial(n, p, trials), random.binomial(n, q, trials), strict=True)
    held = sum(low <= p - q <= high for low, high in (difference((int(a), n), (int(b), n)) for a, b in pairs))
    assert 0.93 < held / trials < 0.97


@pytest.mark.parametrize("correct, total", [(-1, 10), (11, 10), (0, 0)])
def test_what_is_no_proportion_is_refused(correct, total):
    with pytest.raises(PrunekitError, match="not a proportion"):
        wilson(correct, total)
