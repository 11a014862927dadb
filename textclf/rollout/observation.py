"""What versions answered: the numbers that a rollout is decided on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, kw_only=True)
class Observation:
    """Counts of the predicting routes of one version, from its start or over a span of time.

    Attributes:
        requests: That ended, refused ones included.
        errors: Of them, those with a status of 500 and above.
        labels: Predictions of each label.
        latency_edges_seconds: Upper edges of the buckets of latency, ascending; the last bucket, of
            all that took longer, has none.
        latency_counts: Requests in each bucket, not cumulated; one more than there are edges.
    """

    requests: int
    errors: int
    labels: Mapping[str, int]
    latency_edges_seconds: tuple[float, ...]
    latency_counts: tuple[int, ...]

    def since(self, earlier: Self) -> Self:
        """Return what came after ``earlier``; a version that started anew counts from its start."""
        if self.requests < earlier.requests or (
            self.latency_edges_seconds != earlier.latency_edges_seconds
        ):
            return self
        return type(self)(
            requests=self.requests - earlier.requests,
            errors=self.errors - earlier.errors,
            labels={
                label: max(0, count - earlier.labels.get(label, 0))
                for label, count in self.labels.items()
            },
            latency_edges_seconds=self.latency_edges_seconds,
            latency_counts=tuple(
                max(0, now - then)
                for now, then in zip(self.latency_counts, earlier.latency_counts, strict=True)
            ),
        )


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What one version answered to one mirrored request; of its text nothing.

    Attributes:
        status: Of the response; 0 for none.
        seconds: That it took.
        shape: Name and JSON type of every member, such as ``predictions.0.label:string``, so that
            ``"false"`` for ``false`` shows; empty unless the status is 200 and the body JSON.
        labels: Of each text, in order.
        scores: Of each text, in order; empty where the route gives none.
    """

    status: int
    seconds: float
    shape: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two answers to one request.

    Attributes:
        request_id: Of both.
        texts_sha256: Of the request's body.
        stable: What the stable version answered, or, while noise is measured, one copy of it.
        candidate: What the candidate answered, or the other copy.
    """

    request_id: str
    texts_sha256: str
    stable: Answer
    candidate: Answer
