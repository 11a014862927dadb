"""Every metric of the service: its name, its labels and what it means; docs/metrics.md shows them.

No label has a value that a client chooses, and no text of a request is ever in one.
"""

from __future__ import annotations

import functools
import itertools
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from prometheus_client import Counter, Gauge, Histogram

from textclf.errors import RequestError
from textclf.gathering import GatheredCounter, GatheredHistogram, GatheredLabels, Gathering
from textclf.process import ProcessReading, read_process
from textclf.schema import Prediction

STAGES = ("tokenise", "queue", "infer")
_MAKING = threading.Lock()
# Each is a quarter longer than the one before: a rollout has to see a 99th percentile move by that.
_SECONDS = (*(float(f"{0.001 * 1.25**step:.3g}") for step in range(47)), 30.0)
_STAGE_SECONDS = tuple(0.000_05 * 2**step for step in range(20))
_TEXTS = (1, 2, 4, 8, 16, 32, 64)
_TOKENS = tuple(2**power for power in range(2, 14))
_STATUSES = ("200", "500", "503", "504")
_SCORES = (*(step / 20 for step in range(2, 20)), 0.98, 0.99, 0.995, 1.0)


@dataclass(slots=True)
class Stages:
    """When the stages of a request began, in seconds of ``time.perf_counter``; 0: not reached.

    Attributes:
        began: Its texts were given to the tokenizer.
        tokenised: They were tokenised, and began to wait.
        taken: The first of them was run.
        answered: All of them had their scores.
        tokens: How many each text has, special ones included.
    """

    began: float = 0.0
    tokenised: float = 0.0
    taken: float = 0.0
    answered: float = 0.0
    tokens: Sequence[int] = ()

    def periods(self, ended: float) -> Iterator[tuple[str, float, float]]:
        """Yield each stage that was reached, its beginning and its end.

        Args:
            ended: When the request was over, which may have cut a stage off.
        """
        marks = (self.began, self.tokenised, self.taken, self.answered)
        for name, start, end in zip(STAGES, marks[:-1], marks[1:], strict=True):
            if start:
                yield name, start, end or ended

    def durations_ms(self, ended: float) -> dict[str, float]:
        """Return how long each stage took that was reached, as the log has it."""
        if not self.answered:
            return {f"{name}_ms": _ms(end - start) for name, start, end in self.periods(ended)}
        return {
            "tokenise_ms": _ms(self.tokenised - self.began),
            "queue_ms": _ms(self.taken - self.tokenised),
            "infer_ms": _ms(self.answered - self.taken),
        }


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)


class Metrics:
    """The service's own metrics; every label has a bounded set of values."""

    def __init__(self) -> None:
        self.requests = Counter(
            "textclf_requests_total", "Answered requests.", ["route", "method", "status"]
        )
        self.request_seconds = Histogram(
            "textclf_request_seconds",
            "Time from a request's head to the end of its answer.",
            ["route"],
            buckets=_SECONDS,
        )
        self.refused = Counter(
            "textclf_refused_requests_total",
            "Requests that got no answer they asked for.",
            ["reason"],
        )
        self.key_requests = Counter(
            "textclf_key_requests_total",
            "Answered requests by the name of their key, as the keys file has it.",
            ["key", "status"],
        )
        self.keys_file_broken = Gauge(
            "textclf_keys_file_broken",
            "Whether the keys file cannot be used, so that the keys of before are in force.",
            multiprocess_mode="livemax",
        )
        self.requests_in_progress = Gauge(
            "textclf_requests_in_progress",
            "Requests whose texts are waiting or running.",
            multiprocess_mode="livesum",
        )
        self.stage_seconds = Histogram(
            "textclf_stage_seconds",
            "Time that a request was tokenised, waited for its first batch, and then until its "
            "last one was done.",
            ["stage"],
            buckets=_STAGE_SECONDS,
        )
        self.queue_texts = Gauge(
            "textclf_queue_texts",
            "Texts that are tokenised, waiting or running.",
            multiprocess_mode="livesum",
        )
        self.queue_tokens = Gauge(
            "textclf_queue_tokens",
            "Tokens of texts that are waiting or running.",
            multiprocess_mode="livesum",
        )
        self.queue_texts_limit = Gauge(
            "textclf_queue_texts_limit",
            "Texts beyond which requests are refused.",
            multiprocess_mode="livesum",
        )
        self.queue_tokens_limit = Gauge(
            "textclf_queue_tokens_limit",
            "Tokens beyond which requests are refused.",
            multiprocess_mode="livesum",
        )
        self.batch_texts = Histogram("textclf_batch_texts", "Texts in a batch.", buckets=_TEXTS)
        self.batch_tokens = Histogram(
            "textclf_batch_tokens", "Tokens in a batch, padding included.", buckets=_TOKENS
        )
        self.tokens = Counter("textclf_tokens_total", "Tokens that were run, without padding.")
        self.padding_tokens = Counter(
            "textclf_padding_tokens_total", "Tokens that were run and are no text."
        )
        self.predictions = Counter(
            "textclf_predictions_total", "Classified texts by label.", ["label"]
        )
        self.score = Histogram("textclf_score", "Scores of the labels that won.", buckets=_SCORES)
        self.input_tokens = Histogram(
            "textclf_input_tokens",
            "Tokens of a text that the model read, special ones too.",
            buckets=_TOKENS,
        )
        self.truncated_texts = Counter(
            "textclf_truncated_texts_total", "Texts of which the model read only the beginning."
        )
        self.cached_texts = Counter(
            "textclf_cached_texts_total", "Texts that were answered from the cache."
        )
        self.drift_texts = Counter(
            "textclf_drift_texts_total",
            "Classified texts by the bin of each feature that the reference distribution has.",
            ["model", "feature", "bin"],
        )
        self.model_info = Gauge(
            "textclf_model_info",
            "1, for the model that is served: its store tag, textclf's version, how its numbers "
            "are stored, and the first digits of its graph's sha256.",
            ["model", "version", "precision", "graph"],
            multiprocess_mode="livemax",
        )
        self.ready = Gauge(
            "textclf_ready", "Whether every worker gives predictions.", multiprocess_mode="livemin"
        )
        self.self_check_passed = Gauge(
            "textclf_self_check_passed",
            "Whether golden texts got the recorded answers when every worker last looked.",
            multiprocess_mode="livemin",
        )
        self.self_check_time = Gauge(
            "textclf_self_check_timestamp_seconds",
            "When the worker that looked longest ago compared golden answers, since 1970.",
            multiprocess_mode="livemin",
        )
        self.self_check_seconds = Gauge(
            "textclf_self_check_seconds",
            "How long the slowest of the last self-checks took.",
            multiprocess_mode="livemax",
        )
        self.workers = Gauge(
            "textclf_workers", "Worker processes that live.", multiprocess_mode="livesum"
        )
        self.start_time = Gauge(
            "textclf_start_time_seconds",
            "When the youngest worker started, dead or alive, since 1970.",
            multiprocess_mode="max",  # of those that live, the death of one would change it too
        )
        self.cpu_seconds = Counter(
            "textclf_cpu_seconds_total", "CPU time of the workers, in user and system mode."
        )
        self.resident_memory = Gauge(
            "textclf_resident_memory_bytes",
            "Memory of the workers, each one's own and shared.",
            multiprocess_mode="livesum",
        )
        self.open_files = Gauge(
            "textclf_open_files",
            "Open files and sockets of the worker that has most.",
            multiprocess_mode="livemax",
        )
        self.open_files_limit = Gauge(
            "textclf_open_files_limit",
            "Open files and sockets that a worker may have.",
            multiprocess_mode="livemin",
        )
        for reason in sorted(refusal_reasons()):  # a series that is new has no rate
            self.refused.labels(reason)
        self.workers.set(1)
        self.start_time.set_to_current_time()
        self.gathered = Gathered(self)

    @functools.cache  # noqa: B019 - lives as long as the process
    def refusal(self, reason: str) -> Counter:
        """Return the count of requests refused for a reason."""
        return self.refused.labels(reason)

    @functools.cache  # noqa: B019
    def key_answered(self, key: str, status: int) -> Counter:
        """Return the count of requests with a key of this name."""
        return self.key_requests.labels(key, str(status))

    @functools.cache  # noqa: B019
    def answered(self, route: str, method: str, status: int) -> tuple[Counter, Histogram]:
        """Return the count and the durations of requests."""
        return self.requests.labels(route, method, str(status)), self.request_seconds.labels(route)

    def expect(self, routes: Iterable[str]) -> None:
        """Let the counts of these predicting routes that availability stands on begin at 0."""
        for route, status in itertools.product(routes, _STATUSES):
            self.requests.labels(route, "POST", status)

    def serve(self, labels: Iterable[str], **info: str) -> None:
        """Say which model is served, and let the counts of its labels begin at 0."""
        self.model_info.labels(**info).set(1)
        for label in labels:
            self.predictions.labels(label)

    def check(self, *, passed: bool, seconds: float) -> None:
        """Say how a self-check went that ended just now."""
        self.self_check_passed.set(passed)
        self.self_check_seconds.set(seconds)
        self.self_check_time.set_to_current_time()


class Gathered(Gathering):
    """What requests and batches count, until it is written."""

    def __init__(self, own: Metrics) -> None:
        self._stages = [GatheredHistogram(own.stage_seconds.labels(stage)) for stage in STAGES]
        self._predictions = GatheredLabels(own.predictions)
        self._truncated_texts = GatheredCounter(own.truncated_texts)
        self._score = GatheredHistogram(own.score)
        self._input_tokens = GatheredHistogram(own.input_tokens)
        self._batch_texts = GatheredHistogram(own.batch_texts)
        self._batch_tokens = GatheredHistogram(own.batch_tokens)
        self._tokens = GatheredCounter(own.tokens)
        self._padding_tokens = GatheredCounter(own.padding_tokens)
        super().__init__(
            [
                *self._stages,
                self._predictions,
                self._truncated_texts,
                self._score,
                self._input_tokens,
                self._batch_texts,
                self._batch_tokens,
                self._tokens,
                self._padding_tokens,
            ]
        )
        self._own = own
        self._in_progress = 0
        self._process = ProcessReading()
        self.look(self, self._look)

    @contextmanager
    def request(self) -> Iterator[None]:
        """Count a request as in progress; on the event loop."""
        self._in_progress += 1
        self.write_soon()
        try:
            yield
        finally:
            self._in_progress -= 1
            self.write_soon()

    def answer(self, predictions: Sequence[Prediction], stages: Stages) -> None:
        """Count what a request was answered."""
        with self.lock:
            for prediction in predictions:
                self._predictions.add(prediction.label)
                self._score.add(prediction.score)
                self._truncated_texts.add(prediction.truncated)
            if not stages.answered:
                return
            for tokens in stages.tokens:
                self._input_tokens.add(tokens)
            tokenise, queue, infer = self._stages
            tokenise.add(stages.tokenised - stages.began)
            queue.add(stages.taken - stages.tokenised)
            infer.add(stages.answered - stages.taken)

    def batch(self, lengths: Sequence[int]) -> None:
        """Count a batch of texts of so many tokens; from any thread."""
        tokens, padded = sum(lengths), len(lengths) * max(lengths)
        with self.lock:
            self._batch_texts.add(len(lengths))
            self._batch_tokens.add(padded)
            self._tokens.add(tokens)
            self._padding_tokens.add(padded - tokens)

    def _look(self) -> None:
        own, before = self._own, self._process
        own.requests_in_progress.set(self._in_progress)
        if (now := read_process(before)) is before:
            return
        self._process = now
        own.cpu_seconds.inc(now.cpu_seconds - before.cpu_seconds)
        own.resident_memory.set(now.resident_bytes)
        own.open_files.set(now.open_files)
        own.open_files_limit.set(now.open_files_limit)


def refusal_reasons(error: type[RequestError] = RequestError) -> set[str]:
    """Return why a request may be refused: every value of that label."""
    return {error.reason}.union(*map(refusal_reasons, error.__subclasses__()))


def metrics() -> Metrics:
    """Return the metrics of this process, made when they are first asked for; from any thread.

    Not while modules are imported: BentoML's arbiter imports the service too, but answers nothing.
    """
    with _MAKING:
        return _make_metrics()


@functools.cache
def _make_metrics() -> Metrics:
    return Metrics()
