"""How far a count can be trusted: intervals for a proportion and for the difference of two.

Formulas: Wilson's score interval, and Newcombe's hybrid interval (his method 10), which combines two of Wilson's.
Source: R. G. Newcombe, Statistics in Medicine 17 (1998), 857-872 and 873-890.
"""

from math import sqrt
from statistics import NormalDist

from .errors import PrunekitError


def wilson(correct: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Interval for the proportion behind `correct` of `total`, as (low, high) between 0 and 1."""
    if not 0 <= correct <= total or total < 1:
        raise PrunekitError(f"wilson: {correct} of {total} is not a proportion.")
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    p, n = correct / total, total
    center = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low = 0.0 if correct == 0 else center - half  # exact at the ends, where rounding could cross them
    high = 1.0 if correct == total else center + half
    return low, high


def difference(first: tuple[int, int], second: tuple[int, int], confidence: float = 0.95) -> tuple[float, float]:
    """Interval for the first proportion less the second, each given as (correct, total): (low, high) in -1 to 1.

    The two are taken as independent. For two networks on the same images that is the safe side: they are mostly right
    on the same ones, so the true interval is narrower, but how much cannot be told from the two counts.
    """
    (a, m), (b, n) = first, second
    (low_a, high_a), (low_b, high_b) = wilson(a, m, confidence), wilson(b, n, confidence)
    p, q = a / m, b / n
    return p - q - sqrt((p - low_a) ** 2 + (high_b - q) ** 2), p - q + sqrt((high_a - p) ** 2 + (q - low_b) ** 2)
