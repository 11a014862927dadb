"""What an engine saw of versions that they do not count themselves."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Protocol, runtime_checkable

from textclf.errors import EvidenceError, TrafficError
from textclf.rollout.metrics.metrics import Metrics
from textclf.rollout.observation import Observation, Reading

_ENGINE = "requests that the engine had another version answer"


@runtime_checkable
class PassesOver(Protocol):
    """An engine that asks another version where one gives no answer."""

    def passed_over(self) -> Counter[str]:
        """Return how often that was so, by the version that gave none.

        Raises:
            TrafficError: It cannot be told.
        """
        ...


class MetricsPassedOver:
    """Metrics of versions, to which each request that a version was passed over for is an error.

    A candidate that refuses connections or is silent counts nothing, and clients do not see it
    either: another version answers them.
    """

    def __init__(self, metrics: Metrics, engine: PassesOver) -> None:
        self._metrics = metrics
        self._engine = engine
        self._before: Counter[str] | None = None

    def read(self, version: str) -> Reading:
        """Return what a version counted, and beside it what the engine did since the first call.

        What the engine did before may have been about other versions of the same name.

        Raises:
            EvidenceError: Either cannot be read.
        """
        reading = self._metrics.read(version)
        try:
            counted = self._engine.passed_over()
        except TrafficError as exc:
            raise EvidenceError(str(exc)) from exc
        if self._before is None:
            self._before = counted
        unanswered = counted[version] - self._before[version]
        engine = Observation(
            requests=unanswered,
            errors=unanswered,
            labels={},
            latency_edges_seconds=(),
            latency_counts=(0,),
        )
        return replace(reading, replicas={**reading.replicas, _ENGINE: engine})
