"""Thousands of rollouts at once: how often, and how soon, one metric says what it says.

Arrays have the shape ``(rollouts, looks)``. What is judged, and by which rule, is that of
``analysis``; a test holds the two together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from textclf.rollout.finding import LEAST_TRIALS
from textclf.rollout.rates import effective_trials
from textclf.rollout.sequential import (
    ANY_RATE,
    RARE,
    Floats,
    Prior,
    log_evidence,
    log_evidence_of_increase,
    standard_errors_of_increase,
)
from textclf.schema import MAX_TEXTS

Bools = NDArray[np.bool_]

# As in the service's own histogram: from 1 ms to 30 s, each 25 % above the last.
EDGES_SECONDS = tuple(0.001 * 1.25**i for i in range(47))


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How often is looked, at how much.

    Attributes:
        rollouts: That are simulated.
        looks: In each.
        batch: Candidate's requests between two looks.
        reference_batch: The reference's.
    """

    rollouts: int
    looks: int
    batch: int
    reference_batch: int

    @property
    def requests(self) -> NDArray[np.int64]:
        """Return the candidate's requests at each look."""
        return self.batch * np.arange(1, self.looks + 1)

    @property
    def reference_requests(self) -> NDArray[np.int64]:
        """Return the reference's requests at each look."""
        return self.reference_batch * np.arange(1, self.looks + 1)

    @property
    def shape(self) -> tuple[int, int]:
        """Return the shape of what is simulated."""
        return self.rollouts, self.looks


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What a metric is judged by.

    Attributes:
        threshold: The greatest increase allowed, or, of latencies, the greatest ratio.
        level: Of the test.
        prior: Of the evidence on a rate.
    """

    threshold: float
    level: float
    prior: Prior = RARE


@dataclass(frozen=True, kw_only=True)
class Looks:
    """What every look at one metric said.

    Attributes:
        schedule: Of the looks.
        failed: Whether the candidate was said to have failed.
        suspected: Whether it would be held back for what was seen or how little, if it has not
            failed.
    """

    schedule: Schedule
    failed: Bools
    suspected: Bools

    def failed_by(self) -> Floats:
        """Return for each look the share of rollouts that have failed by then."""
        return np.asarray(np.logical_or.accumulate(self.failed, axis=1).mean(axis=0), np.float64)

    def requests_to_failure(self, share: float) -> int | None:
        """Return the candidate's requests by which this share of rollouts has failed."""
        reached = np.flatnonzero(self.failed_by() >= share)
        return int(self.schedule.requests[reached[0]]) if reached.size else None

    def passed_at(self, requests: int) -> float:
        """Return the share of rollouts that one look would let go on at that many requests."""
        look = requests // self.schedule.batch - 1
        failed = self.failed[:, : look + 1].any(axis=1)
        return float((~failed & ~self.suspected[:, look]).mean())


def simulate_rate(
    generator: np.random.Generator,
    schedule: Schedule,
    rates: tuple[ArrayLike, ArrayLike],
    rule: Rule,
) -> Looks:
    """Draw successes of two versions and look at the increase.

    Args:
        generator: Of the draws.
        schedule: Of the looks.
        rates: The candidate's and the reference's, one for all or one a look.
        rule: Of the judgement.
    """
    ours, theirs = (
        generator.binomial(batch, np.broadcast_to(rate, schedule.shape)).cumsum(axis=1)
        for batch, rate in zip((schedule.batch, schedule.reference_batch), rates, strict=True)
    )
    return _look(schedule, (ours, schedule.requests), (theirs, schedule.reference_requests), rule)


def simulate_batches(
    generator: np.random.Generator,
    schedule: Schedule,
    shares: tuple[float, float],
    rule: Rule,
    *,
    batched: float,
) -> Looks:
    """Draw predictions of two versions, some of many texts that are all alike, and look at a label.

    Args:
        generator: Of the draws.
        schedule: Of the looks.
        shares: Of the label, the candidate's and the reference's.
        rule: Of the judgement.
        batched: Share of the requests with as many texts as there may be; all others have one.
    """
    both = []
    for batch, share in zip((schedule.batch, schedule.reference_batch), shares, strict=True):
        full = generator.binomial(batch, batched, schedule.shape)
        labelled = MAX_TEXTS * generator.binomial(full, share)
        labelled += generator.binomial(batch - full, share)
        total = (batch + (MAX_TEXTS - 1) * full).cumsum(axis=1)
        trials = effective_trials(total, batch * np.arange(1, schedule.looks + 1))
        both.append((trials * labelled.cumsum(axis=1) / total, trials))
    looks = _look(schedule, both[0], both[1], rule)
    thin = np.minimum(both[0][1], both[1][1]) < LEAST_TRIALS
    return replace(looks, suspected=looks.suspected | thin)


def _look(
    schedule: Schedule,
    counts: tuple[ArrayLike, ArrayLike],
    reference: tuple[ArrayLike, ArrayLike],
    rule: Rule,
) -> Looks:
    evidence = log_evidence_of_increase(counts, reference, margin=rule.threshold, prior=rule.prior)
    increase = np.divide(*counts) - np.divide(*reference)
    errors = standard_errors_of_increase(counts, reference)
    return Looks(
        schedule=schedule,
        failed=evidence > math.log(1 / rule.level),
        suspected=(increase > rule.threshold) & (errors > 2),
    )


def simulate_pairs(
    generator: np.random.Generator,
    schedule: Schedule,
    rates: tuple[float, float],
    rule: Rule,
    *,
    noise_pairs: int,
) -> Looks:
    """Draw what pairs differ in, after noise that is drawn once, and look at it.

    Args:
        generator: Of the draws.
        schedule: Of the looks; its requests are pairs.
        rates: The candidate's and the noise's.
        rule: Of the judgement.
        noise_pairs: That the noise is measured on; 0 if it is taken to be none.
    """
    seen = generator.binomial(schedule.batch, rates[0], schedule.shape).cumsum(axis=1)
    counts = seen, schedule.requests
    if noise_pairs:
        noise = generator.binomial(noise_pairs, rates[1], (schedule.rollouts, 1))
        evidence = log_evidence_of_increase(
            counts, (noise, noise_pairs), margin=rule.threshold, prior=rule.prior
        )
        over = seen / schedule.requests - noise / noise_pairs > rule.threshold
        suspected = over & (standard_errors_of_increase(counts, (noise, noise_pairs)) > 2)
    else:
        suspected = over = seen / schedule.requests > rule.threshold
        evidence = log_evidence(*counts, rule.threshold, rule.prior)
    return Looks(
        schedule=schedule,
        failed=over & (evidence > math.log(1 / rule.level)),
        suspected=suspected,
    )


@dataclass(frozen=True, kw_only=True)
class Speed:
    """How latencies are spread: log-normally.

    Attributes:
        median_seconds: Of all requests.
        spread: Standard deviation of the logarithm.
        slowest_share: Of requests, those that take longer still.
        slowest_factor: How much longer.
    """

    median_seconds: float = 0.03
    spread: float = 0.4
    slowest_share: float = 0.05
    slowest_factor: float = 1.0

    def buckets(self, edges: Sequence[float]) -> Floats:
        """Return the probability of each bucket."""
        usual = self._below(np.array(edges))
        # The slowest are those above a quantile, so that they begin at it times the factor.
        stretched = np.maximum(
            self._below(np.array(edges) / self.slowest_factor), 1 - self.slowest_share
        )
        return np.diff([0.0, *np.minimum(usual, stretched), 1.0])

    def _below(self, seconds: Floats) -> Floats:
        return np.asarray(ndtr(np.log(seconds / self.median_seconds) / self.spread), np.float64)


def simulate_latency(
    generator: np.random.Generator,
    schedule: Schedule,
    speeds: tuple[Sequence[Speed], Sequence[Speed]],
    rule: Rule,
    *,
    quantile: float,
) -> Looks:
    """Draw latencies of two versions into the service's buckets and look at a quantile's growth.

    Args:
        generator: Of the draws.
        schedule: Of the looks.
        speeds: The candidate's and the reference's, one a look.
        rule: Of the judgement.
        quantile: That is looked at.
    """
    ours, theirs = (
        generator.multinomial(
            batch,
            [speed.buckets(EDGES_SECONDS) for speed in seen],
            (schedule.rollouts, schedule.looks),
        ).cumsum(axis=1)
        for batch, seen in zip((schedule.batch, schedule.reference_batch), speeds, strict=True)
    )
    slower, reference_slower = (
        counts.sum(axis=2, keepdims=True) - counts.cumsum(axis=2)[..., :-1]
        for counts in (ours, theirs)
    )
    counts = slower, schedule.requests[:, np.newaxis]
    reference = reference_slower, schedule.reference_requests[:, np.newaxis]
    (seconds, bucket), (reference_seconds, reference_bucket) = (
        _quantiles(each, quantile) for each in (ours, theirs)
    )
    edge = np.arange(len(EDGES_SECONDS))
    low, high = np.sort([bucket, reference_bucket], axis=0)[..., np.newaxis]
    around = (low - 1 <= edge) & (edge <= high)
    k, n, rk, rn = (each[around] for each in np.broadcast_arrays(*counts, *reference))
    evidence = np.full(around.shape, -np.inf)
    evidence[around] = log_evidence_of_increase(
        (k, n), (rk, rn), prior=RARE if quantile > 0.9 else ANY_RATE
    )
    errors = np.where(around, standard_errors_of_increase(counts, reference), -np.inf)
    over = seconds / reference_seconds > rule.threshold
    return Looks(
        schedule=schedule,
        failed=over & (evidence.max(axis=2) > math.log(edge.size / rule.level)),
        suspected=over & (errors.max(axis=2) > 2),
    )


def _quantiles(counts: NDArray[np.int64], quantile: float) -> tuple[Floats, NDArray[np.int64]]:
    """Return a quantile of each row, and the bucket that it lies in."""
    up_to = counts.cumsum(axis=-1)
    rank = quantile * up_to[..., -1:]
    bucket = (up_to < rank).sum(axis=-1)
    at = bucket[..., np.newaxis]
    inside = (rank - np.take_along_axis(up_to - counts, at, -1)) / np.take_along_axis(
        counts, at, -1
    )
    return 0.001 * 1.25 ** (bucket - 1 + inside[..., 0]), bucket
