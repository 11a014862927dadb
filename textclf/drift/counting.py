"""Which bin of each feature the texts that are served fall into."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Iterable

from prometheus_client import Counter as Metric

from textclf.drift.reference import (
    OTHERS,
    Feature,
    Observation,
    Reference,
    characters_per_token,
    unknown_tokens,
)

Bins = tuple[int | None, ...]
_MOST_WAITING = 1_024
_VALUES: dict[str, Callable[[Observation], float | None]] = {
    "scores": lambda observation: observation.score,
    "lengths": lambda observation: observation.tokens,
    "characters_per_token": characters_per_token,
    "unknown_tokens": unknown_tokens,
}


class FeatureCounts:
    """Counts texts by their bins; of a text nothing else is kept."""

    def __init__(self, reference: Reference, model: str, texts: Metric) -> None:
        """Begin every count at 0, since a series that is new has no rate.

        Args:
            reference: Has the bins.
            model: Tag of the model.
            texts: The metric, with the labels model, feature and bin.
        """
        self._features = reference.features
        self._places = tuple(map(_find_place, reference.features))
        self._counts = [
            [texts.labels(model, feature.name, name) for name in feature.bins]
            for feature in reference.features
        ]
        self._waiting: deque[Bins] = deque()
        self._writing = threading.Lock()

    def place(self, observation: Observation) -> Bins:
        """Return the bin of each feature; None where the text says nothing of it."""
        return tuple([place(observation) for place in self._places])

    def add(self, texts: Iterable[Bins]) -> None:
        """Count texts by their bins; on the event loop."""
        self._waiting.extend(texts)
        if len(self._waiting) >= _MOST_WAITING:
            self.write()

    def write(self) -> None:
        """Tell the metric of what was added; from any thread."""
        with self._writing:
            added = [self._waiting.popleft() for _ in range(len(self._waiting))]
        for metrics, found in zip(self._counts, zip(*added, strict=True), strict=False):
            for index, texts in Counter(found).items():
                if index is not None:
                    metrics[index].inc(texts)


def _find_place(feature: Feature) -> Callable[[Observation], int | None]:
    if feature.name == "labels":
        known = {name: index for index, name in enumerate(feature.bins)}
        others = known.get(OTHERS)
        return lambda observation: known.get(observation.label, others)
    value, edges = _VALUES[feature.name], feature.edges

    def place(observation: Observation) -> int | None:
        found = value(observation)
        return None if found is None else bisect_left(edges, found)

    return place
