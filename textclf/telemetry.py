"""The service's own metrics. No text of a request ever reaches them."""

from __future__ import annotations

import functools
import os
import struct
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from prometheus_client import Counter, Gauge, Histogram

_MOST_READINGS = 5
# Each is a quarter longer than the one before: a rollout has to see a 99th percentile move by that.
_SECONDS = (*(float(f"{0.001 * 1.25**step:.3g}") for step in range(47)), 30.0)
_MAKING = threading.Lock()
_TEXTS = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class Metrics:
    """The service's own metrics; every label has a bounded set of values."""

    requests: Counter
    requests_in_progress: Gauge
    request_seconds: Histogram
    predictions: Counter
    truncated_texts: Counter
    batch_texts: Histogram
    tokens: Counter
    padding_tokens: Counter
    cached_texts: Counter

    @functools.cache  # noqa: B019 - lives as long as the process
    def predicted(self, label: str) -> Counter:
        """Return the count of predictions of a label."""
        return self.predictions.labels(label)

    @functools.cache  # noqa: B019
    def answered(self, route: str, method: str, status: int) -> tuple[Counter, Histogram]:
        """Return the count and the durations of requests."""
        return self.requests.labels(route, method, str(status)), self.request_seconds.labels(route)


def metrics() -> Metrics:
    """Return the metrics of this process, made when they are first asked for; from any thread.

    Not while modules are imported: BentoML's arbiter imports the service too, but answers nothing.
    """
    with _MAKING:
        return _make_metrics()


@functools.cache
def _make_metrics() -> Metrics:
    return Metrics(
        requests=Counter(
            "textclf_requests_total", "Answered requests.", ["route", "method", "status"]
        ),
        requests_in_progress=Gauge(
            "textclf_requests_in_progress",
            "Requests whose texts are waiting or running.",
            multiprocess_mode="livesum",
        ),
        request_seconds=Histogram(
            "textclf_request_seconds",
            "Time from a request's head to the end of its answer.",
            ["route"],
            buckets=_SECONDS,
        ),
        predictions=Counter("textclf_predictions_total", "Classified texts by label.", ["label"]),
        truncated_texts=Counter(
            "textclf_truncated_texts_total", "Texts of which the model read only the beginning."
        ),
        batch_texts=Histogram("textclf_batch_texts", "Texts in a batch.", buckets=_TEXTS),
        tokens=Counter("textclf_tokens_total", "Tokens that were run, without padding."),
        padding_tokens=Counter(
            "textclf_padding_tokens_total", "Tokens that were run and are no text."
        ),
        cached_texts=Counter(
            "textclf_cached_texts_total", "Texts that were answered from the cache."
        ),
    )


def render_metrics() -> tuple[str, bytes]:
    """Return the media type and the metrics of every worker, ours and BentoML's, as text.

    A worker's file of metrics may be read in the moment in which it is made, and is then too short
    for its own header; a moment later it is whole.
    """
    from bentoml._internal.configuration.containers import BentoMLContainer  # noqa: PLC0415

    client: Any = BentoMLContainer.metrics_client.get()
    for _ in range(_MOST_READINGS - 1):
        with suppress(struct.error, RuntimeError):
            return client.CONTENT_TYPE_LATEST, client.generate_latest()
    return client.CONTENT_TYPE_LATEST, client.generate_latest()


def refuse_usage_tracking() -> None:
    """Keep BentoML from reporting usage over the network; a value that is set already stands."""
    from bentoml._internal.utils.analytics import usage_stats  # noqa: PLC0415

    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
    usage_stats.do_not_track.cache_clear()  # the command line has asked already
