"""What /metrics says of drift, on top of the counts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

from prometheus_client import generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families

from textclf.drift.distance import LEAST_TEXTS, corrected_psi, threshold
from textclf.drift.reference import Reference
from textclf.drift.window import Counts, SlidingWindow

COUNTS = "textclf_drift_texts_total"


class DriftMonitor:
    """Compares what all workers have counted with the reference, when somebody asks.

    Nothing of it is a gauge of one worker: a distance cannot be put together from the distances
    that each worker sees, but the counts can be added up.
    """

    def __init__(
        self,
        model: str,
        reference: Reference | None,
        page: bytes,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin a window now.

        Args:
            model: Tag of the model.
            reference: Of that model; None if it has none, which is said then.
            page: The metrics as they are, in Prometheus' text format.
            clock: Seconds that only go forward.
        """
        self._model = model
        self._reference = reference
        self._clock = clock
        self._window = SlidingWindow(clock(), read_counts(page, model))
        self._lock = threading.Lock()

    def render(self, page: bytes) -> bytes:
        """Return what a page of metrics lacks: distances, thresholds, and what they stand on."""
        return bytes(generate_latest(_Families([*self._families(page)])))

    def _families(self, page: bytes) -> Iterator[Metric]:
        reference = self._reference
        texts = _gauge(
            "reference_texts", "Texts that the traffic is compared with; 0: none.", "source"
        )
        texts.add_metric(
            [self._model, reference.origin if reference else "none"],
            reference.texts if reference else 0,
        )
        yield texts
        if reference:
            with self._lock:
                seconds, counts = self._window.look(self._clock(), read_counts(page, self._model))
            span = _gauge("window_seconds", "How far back the window of the distances goes.")
            span.add_metric([self._model], seconds)
            yield span
            yield from _compare(self._model, reference, counts)


class _Families:
    """Metric families, as prometheus_client wants to collect them."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families


def read_counts(page: bytes, model: str) -> Counts:
    """Return how many texts of a model fell into each bin, as a page of metrics says."""
    wanted = "\n".join(
        line for line in page.decode("utf-8").split("\n") if line.startswith(f"{COUNTS}{{")
    )
    return {
        (sample.labels["feature"], sample.labels["bin"]): sample.value
        for family in text_string_to_metric_families(wanted + "\n")
        for sample in family.samples
        if sample.labels["model"] == model
    }


def _compare(model: str, reference: Reference, counts: Counts) -> Iterator[Metric]:
    shares = _gauge("reference_share", "Share of a bin in the reference.", "feature", "bin")
    known = _gauge(
        "reference_feature_texts", "Texts of the reference that say something of it.", "feature"
    )
    seen = _gauge("window_texts", "Texts in the window.", "feature")
    distances = _gauge(
        "distance",
        "Population stability index of the window against the reference, less what chance makes "
        f"of it; missing below {LEAST_TEXTS} texts.",
        "feature",
    )
    thresholds = _gauge("threshold", "Distance beyond which a feature has drifted.", "feature")
    for feature in reference.features:
        found = [counts.get((feature.name, name), 0.0) for name in feature.bins]
        for name, count in zip(feature.bins, feature.counts, strict=True):
            shares.add_metric([model, feature.name, name], count / feature.texts)
        known.add_metric([model, feature.name], feature.texts)
        seen.add_metric([model, feature.name], sum(found))
        if sum(found) >= LEAST_TEXTS:
            distances.add_metric([model, feature.name], corrected_psi(found, feature.counts))
            limit = threshold(len(found), sum(found), feature.texts)
            thresholds.add_metric([model, feature.name], limit)
    yield from (shares, known, seen, distances, thresholds)


def _gauge(name: str, meaning: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"textclf_drift_{name}", meaning, labels=["model", *labels])
