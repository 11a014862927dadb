"""Quantiles of latency from buckets, and whether one of them grew."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from textclf.rollout.finding import Finding, Phase, Terms, percent
from textclf.rollout.observation import Observation
from textclf.rollout.pairs import LATENCY_EDGES_SECONDS, PairSummary
from textclf.rollout.sequential import (
    ANY_RATE,
    RARE,
    Floats,
    Prior,
    log_evidence,
    log_evidence_of_increase,
    standard_errors_of_increase,
)

Counts = NDArray[np.int64]

_QUANTILES = {"p50": 0.5, "p99": 0.99}


@dataclass(frozen=True, kw_only=True)
class Latencies:
    """Two versions' requests in the same buckets.

    Attributes:
        edges_seconds: Upper edges, ascending; the last bucket has none.
        candidate: Requests in each bucket; one more than there are edges.
        reference: The same of the version that it is compared with.
        slower_alone: If they come in pairs, for each edge, the pairs that it parts with the
            candidate above it, and those with the reference above it.
    """

    edges_seconds: tuple[float, ...]
    candidate: Counts
    reference: Counts
    slower_alone: tuple[Counts, Counts] | None = None

    @classmethod
    def of_observations(cls, candidate: Observation, reference: Observation) -> Self:
        """Sort two observations into the buckets whose edges both have."""
        ours, theirs = candidate.latency_edges_seconds, reference.latency_edges_seconds
        edges = tuple(edge for edge in ours if edge in theirs)
        return cls(
            edges_seconds=edges,
            candidate=_merge(candidate, edges),
            reference=_merge(reference, edges),
        )

    @classmethod
    def of_pairs(cls, pairs: PairSummary) -> Self:
        """Take the latencies of answered pairs."""
        return cls(
            edges_seconds=LATENCY_EDGES_SECONDS,
            candidate=pairs.candidate_latency_counts,
            reference=pairs.stable_latency_counts,
            slower_alone=(pairs.candidate_slower_alone, pairs.stable_slower_alone),
        )

    def slower(self) -> tuple[Counts, Counts]:
        """Return for each edge how many requests of the two took longer."""
        ours, theirs = (counts[::-1].cumsum()[::-1][1:] for counts in self._both())
        return ours, theirs

    def log_evidence(self, prior: Prior) -> Floats:
        """Return for each edge the evidence that more of the candidate's requests took longer.

        Of pairs, those that an edge parts are as likely to have either version above it unless one
        is slower, whatever the requests are.
        """
        if self.slower_alone is None:
            (ours, theirs), (n, rn) = self.slower(), self._sizes()
            return log_evidence_of_increase((ours, n), (theirs, rn), prior=prior)
        up, down = self.slower_alone
        return np.where(up > down, log_evidence(up, up + down, 0.5), -np.inf)

    def standard_errors(self) -> Floats:
        """Return for each edge by how many standard errors more of the candidate's took longer."""
        if self.slower_alone is None:
            (ours, theirs), (n, rn) = self.slower(), self._sizes()
            return standard_errors_of_increase((ours, n), (theirs, rn))
        up, down = self.slower_alone
        return np.asarray((up - down) / np.sqrt(np.maximum(up + down, 1)), np.float64)

    def _sizes(self) -> tuple[int, int]:
        return int(self.candidate.sum()), int(self.reference.sum())

    def _both(self) -> tuple[Counts, Counts]:
        return self.candidate, self.reference


def _merge(observation: Observation, edges: Sequence[float]) -> Counts:
    """Return the counts of an observation in the buckets between some of its edges."""
    up_to = np.cumsum(observation.latency_counts, dtype=np.int64)
    last = [observation.latency_edges_seconds.index(edge) for edge in edges]
    return np.diff([0, *up_to[last], *up_to[-1:]]).astype(np.int64)


@dataclass(frozen=True, kw_only=True)
class Growth:
    """How a quantile of latency differs between two versions.

    Attributes:
        candidate_seconds: The candidate's quantile, interpolated within its bucket.
        reference_seconds: The reference's.
        lower: Least ratio of the two, at every look, but for the level; 0 if there is none.
        upper: Greatest ratio; infinite if there is none.
        edge_seconds: Around the two, where they differ most.
        slower_shares: Of the candidate's and of the reference's requests, slower than this edge.
        proven: Whether this is beyond chance at every look.
        suspected: Whether this is beyond two standard errors at this one.
    """

    candidate_seconds: float
    reference_seconds: float
    lower: float
    upper: float
    edge_seconds: float
    slower_shares: tuple[float, float]
    proven: bool
    suspected: bool

    @property
    def ratio(self) -> float:
        """Return the candidate's quantile over the reference's."""
        return self.candidate_seconds / self.reference_seconds


def measure_growth(latencies: Latencies, quantile: float, level: float) -> Growth:
    """Compare a quantile of two versions that both have requests.

    Args:
        latencies: Of both, with one edge at least.
        quantile: Such as 0.99.
        level: Of the statements that hold at every look; the edges share it.
    """
    edges = latencies.edges_seconds
    prior = RARE if quantile > 0.9 else ANY_RATE
    (ours, our_bucket), (theirs, their_bucket) = (
        _quantile(edges, counts, quantile) for counts in (latencies.candidate, latencies.reference)
    )
    around = slice(max(0, min(their_bucket, our_bucket) - 1), max(our_bucket, their_bucket) + 1)
    evidence, errors = latencies.log_evidence(prior)[around], latencies.standard_errors()[around]
    most = around.start + int(np.argmax(errors))
    shares = tuple(
        float(slower[most] / counts.sum())
        for slower, counts in zip(
            latencies.slower(), (latencies.candidate, latencies.reference), strict=True
        )
    )
    lower, upper = _ratio_bounds(latencies, quantile, level, prior)
    return Growth(
        candidate_seconds=ours,
        reference_seconds=theirs,
        lower=lower,
        upper=upper,
        edge_seconds=edges[most],
        slower_shares=(shares[0], shares[1]),
        proven=bool(evidence.max() > math.log(len(edges) / level)),
        suspected=bool(errors.max() > 2),
    )


def judge_latency(metric: str, latencies: Latencies, most: float, terms: Terms) -> Finding:
    """Judge the growth of the quantile that a metric's name ends in, against the most allowed."""
    n, reference_n = int(latencies.candidate.sum()), int(latencies.reference.sum())
    name = metric.rpartition("_")[2]
    if not (n and reference_n and latencies.edges_seconds):
        return Finding(
            metric=metric,
            phase="Inconclusive",
            n=n,
            value=None,
            lower=None,
            upper=None,
            threshold=most,
            reason=f"{name}: {n} {terms.unit}, of {terms.whose} {reference_n}, in buckets of "
            f"{len(latencies.edges_seconds)} edges that both have: none to compare",
        )
    growth = measure_growth(latencies, _QUANTILES[name], terms.level)
    phase: Phase = "Successful"
    verdict = f"within the x{most:g} that is allowed"
    if growth.ratio > most and growth.proven:
        ours, theirs = growth.slower_shares
        phase = "Failed"
        verdict = (
            f"over the x{most:g} that is allowed, and surely slower: {percent(ours)} took over "
            f"{1000 * growth.edge_seconds:.4g} ms, of {terms.whose} {percent(theirs)}"
        )
    elif min(n, reference_n) < terms.minimum:
        phase, verdict = "Inconclusive", f"too few, {terms.minimum} are needed"
    elif growth.ratio > most and growth.suspected:
        phase = "Inconclusive"
        verdict = f"over the x{most:g} that is allowed, but not yet surely slower"
    elif growth.ratio > most:
        verdict = f"over the x{most:g} that is allowed, but well within chance"
    return Finding(
        metric=metric,
        phase=phase,
        n=n,
        value=growth.ratio,
        lower=growth.lower,
        upper=growth.upper if math.isfinite(growth.upper) else None,
        threshold=most,
        reason=f"{name} of {n} {terms.unit} is {1000 * growth.candidate_seconds:.3g} ms, x"
        f"{growth.ratio:.2f} of {terms.whose} {1000 * growth.reference_seconds:.3g} ms: {verdict}",
        seen={
            "candidate_seconds": growth.candidate_seconds,
            "reference_seconds": growth.reference_seconds,
        },
    )


def _quantile(edges: Sequence[float], counts: Counts, quantile: float) -> tuple[float, int]:
    """Return a quantile, and the bucket that it lies in.

    Latency is spread over decades, so that the logarithm is what a bucket is filled evenly in.
    """
    up_to = counts.cumsum()
    rank = quantile * up_to[-1]
    bucket = int(np.searchsorted(up_to, rank))
    inside = (rank - (up_to[bucket] - counts[bucket])) / counts[bucket]
    low, high = (_edge(edges, at) for at in (bucket - 1, bucket))
    return low * (high / low) ** float(inside), bucket


def _edge(edges: Sequence[float], at: int) -> float:
    """Return an edge; outside, as if the outermost two went on."""
    if 0 <= at < len(edges):
        return edges[at]
    if len(edges) == 1:
        return edges[0] * (2.0 if at > 0 else 0.5)
    return edges[0] ** 2 / edges[1] if at < 0 else edges[-1] ** 2 / edges[-2]


def _ratio_bounds(
    latencies: Latencies, quantile: float, level: float, prior: Prior
) -> tuple[float, float]:
    """Return what the ratio lies between; a bound is an edge over an edge."""
    between = []
    for counts, slower in zip(
        (latencies.candidate, latencies.reference), latencies.slower(), strict=True
    ):
        n = counts.sum()
        sure = log_evidence(slower, n, 1 - quantile, prior) > math.log(
            2 * len(latencies.edges_seconds) / level
        )
        edges = np.array(latencies.edges_seconds)
        below = edges[sure & (slower / n > 1 - quantile)]
        above = edges[sure & (slower / n < 1 - quantile)]
        between.append((below.max(initial=0.0), above.min(initial=math.inf)))
    (low, high), (reference_low, reference_high) = between
    lower = low / reference_high
    return float(lower), float(high / reference_low) if reference_low > 0 else math.inf
