"""Threads that run waiting texts in batches, as soon as one of them is free.

::

    event loop      scores() ──put──► BatchQueue               ┌──► future
    threads                              └──take──► Graph ──call─┘

A thread that ends a batch takes the next one itself, without waiting for the event loop.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from textclf.admission import Admission, Load, QueueLimits
from textclf.batching import BatchQueue
from textclf.deadline import DEADLINE
from textclf.errors import DeadlineExceededError, InferenceError, TextClassifierError
from textclf.inference import Graph
from textclf.metrics import Stages, metrics

Scores = NDArray[np.float32]
_CLOSED = "the service is shutting down"
_LOGGER = logging.getLogger("textclf.engine")
_NONE: Scores = np.empty(0, np.float32)


@dataclass(eq=False, slots=True)
class _Call:
    """Texts that are asked for together."""

    loop: asyncio.AbstractEventLoop
    answered: asyncio.Future[None]
    scores: list[Scores]
    missing: int
    stages: Stages
    deadline: float
    error: TextClassifierError | None = None

    def finish(self) -> None:
        """Wake who waits; on the event loop."""
        if self.answered.done():  # cancelled
            return
        error, self.error = self.error, None  # its traceback leads here: no cycle is left
        if error is not None:
            self.answered.set_exception(error)
        else:
            self.answered.set_result(None)


@dataclass(eq=False, slots=True)
class _Text:
    call: _Call
    index: int
    input_ids: Sequence[int]


@dataclass(eq=False, slots=True)
class _Batch:
    texts: list[_Text]
    graph: Graph
    work: float = 0.0
    began: float = 0.0


@dataclass(eq=False, slots=True)
class _State:
    """What the threads and the event loop share; only under the lock."""

    idle: int = 0
    running: int = 0
    running_work: float = 0.0
    closed: bool = False
    changed: threading.Condition = field(default_factory=threading.Condition)


class Engine:
    """Runs a graph for many callers at once; an answer never depends on who else asks."""

    def __init__(
        self,
        graph: Graph,
        queue: BatchQueue[_Text],
        *,
        threads: int,
        wide: Graph | None = None,
        limits: QueueLimits | None = None,
    ) -> None:
        """Start the threads.

        Args:
            graph: Runs on the one thread that calls it.
            queue: Chooses what runs together; empty, and of no other use.
            threads: Batches that run at once.
            wide: The same graph on every CPU, for a text that has them all to itself.
            limits: Beyond them calls are refused.
        """
        self._graph = graph
        self._wide = wide
        self._queue = queue
        self._limits = limits or QueueLimits()
        self._admission = Admission(self._limits, threads)
        self._texts = 0
        self._tokens = 0
        self._state = _State()
        metrics().gathered.look(self, self._show_queue)
        self._threads = [
            threading.Thread(target=self._work, name=f"inference-{number}", daemon=True)
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    @contextmanager
    def places(self, texts: int) -> Iterator[None]:
        """Hold places for texts, from before they are tokenised until they are answered.

        Raises:
            QueueFullError: There are not so many left, or they would wait for too long.
        """
        self._admission.require_places(texts, self._load())
        self._texts += texts
        try:
            yield
        finally:
            self._texts -= texts

    async def scores(
        self, texts: Sequence[Sequence[int]], stages: Stages | None = None
    ) -> list[Scores]:
        """Return the scores of each text, each of shape ``(labels,)``, in order.

        Cancelling drops what has not started; so does the deadline of ``textclf.deadline``.

        Args:
            texts: The input_ids of each; at least one. They have their places.
            stages: Told when they are run and when all are done.

        Raises:
            QueueFullError: Too many tokens are waiting, overall or for the deadline.
            DeadlineExceededError: Not all of them were run in time, or will be.
            InferenceError: The graph fails on one of these texts.
        """
        tokens, deadline = sum(map(len, texts)), DEADLINE.get()
        work = sum(self._queue.cost.text_seconds(len(input_ids)) for input_ids in texts)
        self._admission.require_tokens(tokens, work, self._load(), deadline)
        self._admission.learn_text(work / len(texts))
        self._tokens += tokens
        loop = asyncio.get_running_loop()
        answered = loop.create_future()
        scores = [_NONE] * len(texts)
        call = _Call(loop, answered, scores, len(texts), stages or Stages(), deadline)
        tickets: list[int] = []
        try:
            with self._state.changed:
                if self._state.closed:
                    raise InferenceError(_CLOSED)
                for index, input_ids in enumerate(texts):
                    tickets.append(self._queue.put(len(input_ids), _Text(call, index, input_ids)))
                self._state.changed.notify(len(texts))
            await call.answered
            return call.scores
        finally:
            self._tokens -= tokens
            if call.missing:
                with self._state.changed:
                    self._queue.discard(tickets)

    def overloaded_seconds(self) -> int | None:
        """Return when to come again if every call is refused by now, whatever it is."""
        return self._admission.overloaded_seconds(self._load())

    def close(self) -> None:
        """Let running batches end and drop the rest; returns when the threads have ended."""
        with self._state.changed:
            self._state.closed = True
            self._state.changed.notify_all()
        for thread in self._threads:
            thread.join()
        metrics().gathered.forget(self)
        left: dict[_Call, None] = {}
        while texts := self._queue.take():  # nothing is put any more
            left |= {text.call: None for text in texts}
        for call in left:
            call.error = InferenceError(_CLOSED)
        _deliver(list(left))

    def _show_queue(self) -> None:
        own = metrics()
        own.queue_texts.set(self._texts)
        own.queue_tokens.set(self._tokens)
        own.queue_texts_limit.set(self._limits.texts)
        own.queue_tokens_limit.set(self._limits.tokens)

    def _load(self) -> Load:
        work = self._queue.work + self._state.running_work  # near enough without the lock
        return Load(self._texts, self._tokens, work)

    def _work(self) -> None:
        batch = self._wait()
        while batch is not None:
            self._run(batch)
            following, finished = self._exchange(batch)
            _deliver(finished)
            try:
                metrics().gathered.batch([len(text.input_ids) for text in batch.texts])
            except Exception:  # what was answered is not lost for a count
                _LOGGER.exception("cannot count a batch")
            batch = following or self._wait()

    def _wait(self) -> _Batch | None:
        """Return a batch as soon as there is one; None to end."""
        state = self._state
        with state.changed:
            while not state.closed:
                if batch := self._take():
                    return batch
                state.idle += 1
                state.changed.wait()
                state.idle -= 1
        return None

    def _exchange(self, done: _Batch) -> tuple[_Batch | None, list[_Call]]:
        """Return the next batch, if one waits, and the calls that have all their answers."""
        state = self._state
        with state.changed:
            state.running -= 1
            state.running_work = state.running_work - done.work if state.running else 0.0
            self._admission.learn(done.work, time.monotonic() - done.began)
            for text in done.texts:
                text.call.missing -= 1
            finished = {text.call: None for text in done.texts if not text.call.missing}
            now = time.perf_counter()
            for call in finished:
                call.stages.answered = now
            return None if state.closed else self._take(), list(finished)

    def _take(self) -> _Batch | None:
        state = self._state
        texts = self._take_timely()
        if not texts:
            return None
        now = time.perf_counter()
        for text in texts:
            text.call.stages.taken = text.call.stages.taken or now
        alone = len(texts) == 1 and not state.running and not self._queue
        work = sum(self._queue.cost.text_seconds(len(text.input_ids)) for text in texts)
        state.running += 1
        state.running_work += work
        graph = self._wide if alone and self._wide else self._graph
        return _Batch(texts, graph, work, time.monotonic())

    def _take_timely(self) -> list[_Text]:
        """Take a batch, without the texts whose deadline passed while they waited."""
        while texts := self._queue.take(self._state.idle):
            now = time.monotonic()
            timely = [text for text in texts if text.call.deadline > now]
            if len(timely) < len(texts):
                late = {text.call: None for text in texts if text.call.deadline <= now}
                for call in late:
                    call.error = DeadlineExceededError("no answer in time; send fewer texts")
                _deliver(list(late))
            if timely:
                return timely
        return []

    def _run(self, batch: _Batch) -> None:
        try:
            scores = batch.graph.scores([text.input_ids for text in batch.texts])
            for text, row in zip(batch.texts, scores, strict=True):
                text.call.scores[text.index] = row
        except Exception as exc:  # noqa: BLE001 - whatever it is, the thread has others to serve
            self._isolate(batch, exc)

    def _isolate(self, batch: _Batch, error: Exception) -> None:
        """Let no text fail for another of its batch."""
        if len(batch.texts) > 1:
            for text in batch.texts:
                self._run(_Batch([text], batch.graph))
        elif isinstance(error, InferenceError):
            batch.texts[0].call.error = error
        else:
            batch.texts[0].call.error = InferenceError(f"the graph fails: {error!r}")


def _deliver(calls: Sequence[_Call]) -> None:
    """Wake those who wait; once for each event loop, of which there is one but in tests."""
    for loop in {call.loop for call in calls}:
        own = [call for call in calls if call.loop is loop]
        with suppress(RuntimeError):  # the loop was closed: nobody waits
            loop.call_soon_threadsafe(_finish, own)


def _finish(calls: Sequence[_Call]) -> None:
    for call in calls:
        call.finish()
