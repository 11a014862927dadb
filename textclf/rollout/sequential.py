"""Tests that may be looked at after every request: evidence against rates, and their bounds.

One primitive carries all of it. For a Bernoulli mean, the likelihood of the data averaged over a
beta distribution of means, divided by their likelihood under the true mean, is a nonnegative
martingale that starts at 1. By Ville's inequality it ever exceeds ``1 / level`` with a probability
of at most ``level``, however often one looks and whenever one stops. The means that it has not
exceeded ``1 / level`` for are a confidence sequence.

Two independent rates multiply: the product is again such a martingale, for each pair of rates. A
claim on both, such as "the candidate's rate is at most one point over the reference's", is refuted
once the product exceeds ``1 / level`` for every pair of rates that obeys the claim.

Counts may be fractions, if a trial gives anything from 0 to 1: the martingale is then a
supermartingale, and all bounds hold.

Source: Robbins, Statistical methods related to the law of the iterated logarithm, 1970; Howard,
Ramdas, McAuliffe, Sekhon, Time-uniform, nonparametric, nonasymptotic confidence sequences, Annals
of Statistics 2021, https://arxiv.org/abs/1810.08240; for claims on several rates, Wasserman,
Ramdas, Balakrishnan, Universal inference, PNAS 2020, https://arxiv.org/abs/1912.11436.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import betaln, xlog1py, xlogy

Prior = tuple[float, float]
Floats = NDArray[np.float64]

# Any prior keeps the level; one near the true rate needs fewer trials.
ANY_RATE: Prior = (0.5, 0.5)
RARE: Prior = (0.5, 10.0)

_TINY = 1e-9
_HALVINGS = 32


def log_evidence(
    successes: ArrayLike, trials: ArrayLike, rate: ArrayLike, prior: Prior = ANY_RATE
) -> Floats:
    """Return the logarithm of the evidence against a success rate; arrays broadcast.

    Args:
        successes: Seen so far.
        trials: Of them.
        rate: That is doubted, from 0 to 1.
        prior: Parameters of the beta distribution.

    Source: the beta-binomial mixture of Robbins 1970 and Howard et al. 2021.
    """
    k, n, p = (np.asarray(value, np.float64) for value in (successes, trials, rate))
    alpha, beta = prior
    mixture = betaln(alpha + k, beta + n - k) - betaln(alpha, beta)
    return np.asarray(mixture - xlogy(k, p) - xlog1py(n - k, -p), np.float64)


def log_evidence_of_increase(
    counts: tuple[ArrayLike, ArrayLike],
    reference: tuple[ArrayLike, ArrayLike],
    *,
    margin: float = 0.0,
    prior: Prior = ANY_RATE,
) -> Floats:
    """Return the logarithm of the evidence that one rate is over another by more than a margin.

    Args:
        counts: Successes and trials of the one; arrays broadcast.
        reference: Successes and trials of the other.
        margin: From -1 to 1.
        prior: Of both rates.

    Returns:
        Minus infinity where the rates that were seen do not differ by as much.

    Source: Wasserman, Ramdas, Balakrishnan 2020, with the product of two mixtures.
    """
    k, n, rk, rn = np.broadcast_arrays(
        *(np.asarray(value, np.float64) for value in (*counts, *reference))
    )
    evidence = _least_log_evidence((k, n), (rk, rn), margin, prior)
    seen = k / np.maximum(n, 1) - rk / np.maximum(rn, 1)
    return np.where((n > 0) & (rn > 0) & (seen > margin), evidence, -np.inf)


def _least_log_evidence(
    counts: tuple[Floats, Floats], reference: tuple[Floats, Floats], margin: float, prior: Prior
) -> Floats:
    """Return the least evidence against two rates that differ by the margin.

    It is convex in the reference's rate, so that the sign of its slope leads to its least.
    """
    (k, n), (rk, rn) = counts, reference
    low = np.full(k.shape, max(0.0, -margin) + _TINY)
    high = np.full(k.shape, min(1.0, 1.0 - margin) - _TINY)
    for _ in range(_HALVINGS):
        q = (low + high) / 2
        p = q + margin
        falling = (n - k) / (1 - p) + (rn - rk) / (1 - q) < k / p + rk / q
        low, high = np.where(falling, q, low), np.where(falling, high, q)
    q = (low + high) / 2
    return log_evidence(k, n, q + margin, prior) + log_evidence(rk, rn, q, prior)


def bounds(
    successes: float, trials: float, level: float, prior: Prior = ANY_RATE
) -> tuple[float, float]:
    """Return what a success rate lies between, at every look, but for a chance of ``level``."""
    if trials <= 0:
        return 0.0, 1.0

    def excess(rate: float) -> float:
        return float(log_evidence(successes, trials, rate, prior)) + float(np.log(level))

    return _around(excess, successes / trials, 0.0, 1.0)


def bounds_of_increase(
    counts: tuple[float, float],
    reference: tuple[float, float],
    level: float,
    prior: Prior = ANY_RATE,
) -> tuple[float, float]:
    """Return what one rate less another lies between, at every look, but for ``level``."""
    if counts[1] <= 0 or reference[1] <= 0:
        return -1.0, 1.0
    one, other = (
        (np.asarray(done, np.float64), np.asarray(of, np.float64))
        for done, of in (counts, reference)
    )

    def excess(margin: float) -> float:
        return float(_least_log_evidence(one, other, margin, prior)) + float(np.log(level))

    return _around(excess, counts[0] / counts[1] - reference[0] / reference[1], -1.0, 1.0)


def _around(
    excess: Callable[[float], float], seen: float, least: float, most: float
) -> tuple[float, float]:
    """Return where a convex function changes sign on either side of where it is negative."""
    lower, upper = least, most
    first, last = least + 4 * _TINY, most - 4 * _TINY
    middle = min(max(seen, first), last)
    if excess(first) > 0 > excess(middle):
        lower = float(brentq(excess, first, middle, xtol=1e-8))
    if excess(last) > 0 > excess(middle):
        upper = float(brentq(excess, middle, last, xtol=1e-8))
    return lower, upper


def standard_errors_of_increase(
    counts: tuple[ArrayLike, ArrayLike],
    reference: tuple[ArrayLike, ArrayLike],
    *,
    margin: float = 0.0,
) -> Floats:
    """Return how many standard errors one rate is over another plus a margin; arrays broadcast.

    For one look alone: it is no proof, and only holds a rollout back.
    """
    k, n, rk, rn = (np.asarray(value, np.float64) for value in (*counts, *reference))
    pooled = (k + rk) / np.maximum(n + rn, 1)
    variance = pooled * (1 - pooled) * (1 / np.maximum(n, 1) + 1 / np.maximum(rn, 1))
    seen = k / np.maximum(n, 1) - rk / np.maximum(rn, 1) - margin
    return np.asarray(seen / np.sqrt(np.maximum(variance, _TINY**2)), np.float64)
