"""Whether a rate of the candidate's is over its reference's by more than a budget."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from textclf.rollout.finding import Finding, Phase, Terms, percent
from textclf.rollout.sequential import (
    RARE,
    Floats,
    Prior,
    bounds,
    bounds_of_increase,
    standard_errors_of_increase,
)
from textclf.schema import MAX_TEXTS


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Successes and trials of the candidate and of its reference; None for one without any."""

    counts: tuple[float, float]
    reference: tuple[float, float] | None
    words: str
    prior: Prior = RARE

    @property
    def increase(self) -> float:
        """Return the difference of the rates; a rate that nothing is known of is 0."""
        return rate(self.counts) - rate(self.reference)

    def bounds(self, level: float) -> tuple[float, float]:
        """Return what the difference lies between."""
        if self.reference is None:
            return bounds(*self.counts, level, self.prior)
        return bounds_of_increase(self.counts, self.reference, level, self.prior)

    def is_unexcused(self, threshold: float, least: int) -> bool:
        """Return whether a rate is over the threshold, of a reference too thin to say why."""
        thin = self.reference is not None and self.reference[1] < least
        return thin and rate(self.counts) > threshold

    def is_suspect(self) -> bool:
        """Return whether the difference is more than two standard errors."""
        if self.reference is None:
            return True
        return bool(standard_errors_of_increase(self.counts, self.reference) > 2)

    def describe(self, terms: Terms) -> str:
        """Say both rates."""
        seen = f"{percent(rate(self.counts))} of {self.counts[1]:.0f} {terms.unit} {self.words}"
        if self.reference is None:
            return seen
        share = percent(rate(self.reference))
        return f"{seen}, against {share} of {terms.whose} {self.reference[1]:.0f}"


def judge_rates(
    metric: str, rates: Rates, threshold: float, terms: Terms, *, trials: float | None = None
) -> Finding:
    """Judge the increase of a rate.

    Args:
        metric: Its name.
        rates: Of both versions.
        threshold: The greatest increase allowed.
        terms: Its level and its words.
        trials: What has to reach the minimum, if that is not the trials of both sides.
    """
    n = int(rates.counts[1])
    lower, upper = rates.bounds(terms.level)
    if trials is None:
        trials = min(n, n if rates.reference is None else rates.reference[1])
    phase: Phase = "Successful"
    verdict = f"within the {percent(threshold)} more that are allowed"
    if lower > threshold:
        phase = "Failed"
        verdict = f"surely {percent(lower)} more, {percent(threshold)} are allowed"
    elif trials < terms.minimum:
        phase, verdict = "Inconclusive", f"too few, {terms.minimum} are needed"
    elif rates.is_unexcused(threshold, terms.least_reference):
        phase = "Inconclusive"
        verdict = f"too few of {terms.whose}, {terms.least_reference} are needed"
    elif rates.increase > threshold and rates.is_suspect():
        phase = "Inconclusive"
        verdict = f"over the {percent(threshold)} more that are allowed, but not yet surely"
    elif rates.increase > threshold:
        verdict = f"over the {percent(threshold)} more that are allowed, but well within chance"
    return Finding(
        metric=metric,
        phase=phase,
        n=n,
        value=rates.increase if n else None,
        lower=lower if n else None,
        upper=upper if n else None,
        threshold=threshold,
        reason=f"{rates.describe(terms)}: {verdict}",
    )


def rate(counts: tuple[float, float] | None) -> float:
    """Return successes by trials; 0 where there are none."""
    return counts[0] / counts[1] if counts and counts[1] else 0.0


def effective_trials(predictions: ArrayLike, answered: ArrayLike) -> Floats:
    """Return how many independent trials predictions are worth at the least; arrays broadcast.

    All texts of one request may be alike. Of how many texts each request had only the mean is
    known, so that they are taken to be as unequal as that allows: one text or the most that a
    request may have.

    Args:
        predictions: Of all requests together.
        answered: Requests that made them.

    Source: Kish, Survey Sampling, 1965: the square of the sum of the clusters' sizes by the sum of
    their squares, where a cluster is all alike.
    """
    total, requests = (np.asarray(value, np.float64) for value in (predictions, answered))
    single = np.minimum(total, requests)
    full, rest = np.divmod(total - single, MAX_TEXTS - 1)
    squares = single + full * (MAX_TEXTS**2 - 1) + (rest + 1) ** 2 - 1
    return np.asarray(total**2 / np.maximum(squares, 1), np.float64)
