"""Metrics and logs. No text of a request ever reaches either."""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import os
import struct
import sys
import threading
import time
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import Any, TextIO

from prometheus_client import Counter, Gauge, Histogram

LOGGER = logging.getLogger("textclf")
_MOST_READINGS = 5
_GATHER_SECONDS = 0.2
# Each is a quarter longer than the one before: a rollout has to see a 99th percentile move by that.
_SECONDS = (*(float(f"{0.001 * 1.25**step:.3g}") for step in range(47)), 30.0)
_MAKING = threading.Lock()
_TEXTS = (1, 2, 4, 8, 16, 32, 64)
_ENCODE = json.JSONEncoder(ensure_ascii=False, default=str).encode
_RECORD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


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


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, message, and whatever ``extra`` was given."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as JSON, without a line break."""
        entry: dict[str, object] = {
            "time": f"{_to_the_second(int(record.created))}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "message": record.getMessage(),
        }
        entry |= {k: v for k, v in vars(record).items() if k not in _RECORD_FIELDS}
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return _ENCODE(entry)


class GatheringHandler(logging.StreamHandler[TextIO]):
    """Writes lines a few times a second; a warning or worse, and what precedes it, at once.

    A write lets go of the interpreter, which the event loop then has to win back from the threads
    that run batches.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._lines: list[str] = []
        self._waiting: asyncio.AbstractEventLoop | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Take a line."""
        try:
            self._lines.append(self.format(record) + self.terminator)
        except Exception:  # noqa: BLE001 - as every handler of the standard library does
            self.handleError(record)
        if record.levelno >= logging.WARNING or not self._write_later():
            self.flush()

    def flush(self) -> None:
        """Write what was taken."""
        with self.lock or nullcontext():
            lines, self._lines = self._lines, []
            self._waiting = None
            if lines:
                self.stream.write("".join(lines))
            super().flush()

    def _write_later(self) -> bool:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # another thread, or no service
            return False
        if self._waiting is not loop:
            self._waiting = loop
            loop.call_later(_GATHER_SECONDS, self.flush)
        return True


@functools.lru_cache(maxsize=1)
def _to_the_second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def configure_logging(level: str) -> None:
    """Send the service's log to stderr, one JSON object a line.

    What no line of it shows is not looked up either.

    Source: https://docs.python.org/3/howto/logging.html#optimization
    """
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None  # noqa: SLF001 - as its source says
    handler = GatheringHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    LOGGER.handlers = [handler]
    LOGGER.propagate = False
    LOGGER.setLevel(level)


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
