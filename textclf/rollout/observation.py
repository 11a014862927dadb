"""What versions answered: the numbers that a rollout is decided on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Self

from textclf.errors import EvidenceError


@dataclass(frozen=True, kw_only=True)
class Observation:
    """Counts of the predicting routes of one version, from its start or over a span of time.

    Attributes:
        requests: That ended, refused ones included.
        errors: Of them, those with a status of 500 and above.
        refused: Of them, those with a status from 400 to 499.
        labels: Predictions of each label.
        latency_edges_seconds: Upper edges of the buckets of latency, ascending; the last bucket, of
            all that took longer, has none.
        latency_counts: Requests in each bucket, not cumulated; one more than there are edges.
    """

    requests: int
    errors: int
    refused: int = 0
    labels: Mapping[str, int]
    latency_edges_seconds: tuple[float, ...]
    latency_counts: tuple[int, ...]

    @property
    def answered(self) -> int:
        """Return the requests that were neither refused nor failed, and so have predictions."""
        return self.requests - self.errors - self.refused

    def since(self, earlier: Self) -> Self:
        """Return what one process counted after ``earlier``.

        Each count rises as long as the process lives. If any fell it started anew, and all that it
        counts came after.
        """
        if self.started_after(earlier):
            return self
        return type(self)(
            requests=self.requests - earlier.requests,
            errors=self.errors - earlier.errors,
            refused=self.refused - earlier.refused,
            labels={
                label: count - earlier.labels.get(label, 0) for label, count in self.labels.items()
            },
            latency_edges_seconds=self.latency_edges_seconds,
            latency_counts=tuple(
                max(0, now - then)
                for now, then in zip(self.latency_counts, earlier.latency_counts, strict=True)
            ),
        )

    def started_after(self, earlier: Self) -> bool:
        """Say whether a process shows that it is not the one which counted ``earlier``."""
        return (
            self.latency_edges_seconds != earlier.latency_edges_seconds
            or self.answered < earlier.answered
            or self.refused < earlier.refused
            or self.errors < earlier.errors
            or any(self.labels.get(label, 0) < n for label, n in earlier.labels.items())
            # Up to each edge, as it is exposed: two samples of a scrape may be read apart.
            or any(
                now < then
                for now, then in zip(
                    accumulate(self.latency_counts),
                    accumulate(earlier.latency_counts),
                    strict=True,
                )
            )
        )


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What the replicas of one version have counted, each since it started.

    Attributes:
        replicas: By whatever tells them apart.
        age_seconds: Of the oldest count.
    """

    replicas: Mapping[str, Observation]
    age_seconds: float = 0.0

    def since(self, earlier: Mapping[str, Observation]) -> Observation:
        """Return what came after ``earlier``, of all replicas together.

        One that is new started after it; one that is gone has added nothing.
        """
        return add(
            [
                now.since(earlier[name]) if name in earlier else now
                for name, now in self.replicas.items()
            ]
        )


def add(observations: Sequence[Observation]) -> Observation:
    """Return the sum of observations.

    Raises:
        EvidenceError: Their buckets of latency differ.
    """
    timed = [each for each in observations if any(each.latency_counts)]  # before, it has no buckets
    edges = {each.latency_edges_seconds for each in timed}
    if len(edges) > 1:
        raise EvidenceError(
            "metrics: one version has different buckets of latency; see that all its replicas run "
            "the same image"
        )
    names = {label: None for each in observations for label in each.labels}
    return Observation(
        requests=sum(each.requests for each in observations),
        errors=sum(each.errors for each in observations),
        refused=sum(each.refused for each in observations),
        labels={name: sum(each.labels.get(name, 0) for each in observations) for name in names},
        latency_edges_seconds=edges.pop() if edges else (),
        latency_counts=tuple(map(sum, zip(*(each.latency_counts for each in timed), strict=True)))
        or (0,),
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
