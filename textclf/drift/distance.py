"""How far two samples of one feature are apart, and how far they have to be to mean something.

The population stability index of shares p and q over B bins is ``sum((p - q) * ln(p / q))``, the
symmetric form of the Kullback-Leibler divergence. It has thresholds that people know, and unlike
the Jensen-Shannon distance it has a known distribution where nothing has changed: for samples of n
and m texts it is ``(1/n + 1/m)`` times a chi-square of B-1 degrees of freedom. A small sample
therefore looks drifted without being so, which is what is corrected for here.

Source: B. Yurdakul, Statistical Properties of Population Stability Index, 2018,
https://scholarworks.wmich.edu/dissertations/3208/
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

LEAST_TEXTS = 200  # of a window; fewer say nothing
# "A significant shift has occurred"; below 0.1 is no change, between them some.
# Source: N. Siddiqi, Credit Risk Scorecards, 2006; Yurdakul 2018, page 2
LARGE_SHIFT = 0.25
FALSE_ALARM_RATE = 0.001  # of one feature in one window, by chance alone
_PSEUDO_COUNT = 0.5  # so that an empty bin has a logarithm; Source: Krichevsky and Trofimov, 1981
_Z = NormalDist().inv_cdf(1 - FALSE_ALARM_RATE)


def psi(counts: Sequence[float], other: Sequence[float]) -> float:
    """Return the population stability index of two samples over the same bins.

    It is 0 for equal shares, symmetric, and grows without bound.
    """
    total, other_total = (sum(c) + _PSEUDO_COUNT * len(c) for c in (counts, other))
    shares = [(count + _PSEUDO_COUNT) / total for count in counts]
    others = [(count + _PSEUDO_COUNT) / other_total for count in other]
    return sum((p - q) * math.log(p / q) for p, q in zip(shares, others, strict=True))


def corrected_psi(counts: Sequence[float], other: Sequence[float]) -> float:
    """Return the index less what chance alone makes of it on average; never below 0."""
    noise = (len(counts) - 1) * _noise(sum(counts), sum(other))
    return max(0.0, psi(counts, other) - noise)


def threshold(bins: int, texts: float, reference_texts: float) -> float:
    """Return the corrected index beyond which a feature has drifted.

    It is a large shift, or what chance exceeds once in a thousand windows, where that is more.

    Args:
        bins: Of the feature.
        texts: In the window; at least 1.
        reference_texts: At least 1.
    """
    freedom = max(bins - 1, 1)
    by_chance = (_chi_square_quantile(freedom) - freedom) * _noise(texts, reference_texts)
    return max(LARGE_SHIFT, by_chance)


def _noise(texts: float, other: float) -> float:
    return 1 / texts + 1 / other


def _chi_square_quantile(freedom: int) -> float:
    """Return what a chi-square variable exceeds at the false alarm rate, within 3 %.

    Source: E. B. Wilson and M. M. Hilferty, The Distribution of Chi-Square, 1931
    """
    spread = 2 / (9 * freedom)
    return float(freedom * (1 - spread + _Z * math.sqrt(spread)) ** 3)
