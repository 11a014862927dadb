"""Threads that run what waits: each caller gets its own scores, and no one else's fault."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textclf.admission import QueueLimits
from textclf.batching import BatchLimits, BatchQueue
from textclf.deadline import DEADLINE
from textclf.engine import Engine
from textclf.errors import DeadlineExceededError, InferenceError, QueueFullError

BAD = 13


class Echo:
    """A graph whose scores say which text they are of; ``BAD`` ids make it fail."""

    def __init__(self) -> None:
        self.batches: list[list[list[int]]] = []
        self.gate = threading.Event()
        self.gate.set()

    def scores(self, batch: Sequence[Sequence[int]]) -> np.ndarray:
        """Return the sum and the length of each text."""
        self.batches.append([list(ids) for ids in batch])
        assert self.gate.wait(10)
        if any(BAD in ids for ids in batch):
            raise InferenceError("the graph fails on ids")
        return np.array([[sum(ids), len(ids)] for ids in batch], np.float32)


@contextmanager
def engine(
    graph: Echo, *, threads: int = 2, wide: Echo | None = None, limits: QueueLimits | None = None
) -> Iterator[Engine]:
    """Run a graph on threads for as long as the block lasts."""
    queue = BatchQueue(BatchLimits(texts=4))  # type: ignore[var-annotated]
    running = Engine(graph, queue, threads=threads, wide=wide, limits=limits)  # type: ignore[arg-type]
    try:
        yield running
    finally:
        graph.gate.set()
        running.close()


async def ask(running: Engine, texts: Sequence[Sequence[int]]) -> list[np.ndarray]:
    """Return the scores of texts that take their places first, as every caller does."""
    with running.places(len(texts)):
        return await running.scores(texts)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what threads do."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - threads set no event of asyncio
            await asyncio.sleep(0.001)


TEXT = st.lists(st.integers(20, 999), min_size=1, max_size=40)


@settings(deadline=None, max_examples=50)
@given(
    calls=st.lists(st.lists(TEXT, min_size=1, max_size=10), min_size=1, max_size=20), data=st.data()
)
def test_each_call_gets_its_own_scores(calls: list[list[list[int]]], data: st.DataObject) -> None:
    """Whatever is asked at the same time, and whoever leaves in between."""
    leaving = data.draw(st.sets(st.sampled_from(range(len(calls)))))
    graph = Echo()

    async def run(running: Engine) -> list[object]:
        tasks = [asyncio.create_task(ask(running, texts)) for texts in calls]
        await asyncio.sleep(random.random() / 1000)  # noqa: S311 - no secret
        for index in leaving:
            tasks[index].cancel()
        return list(await asyncio.gather(*tasks, return_exceptions=True))

    with engine(graph) as running:
        answers = asyncio.run(run(running))
        assert running._texts == running._tokens == 0
        assert len(running._queue) == 0

    for index, (texts, answer) in enumerate(zip(calls, answers, strict=True)):
        if isinstance(answer, asyncio.CancelledError):
            assert index in leaving
            continue
        assert isinstance(answer, list)
        assert [row.tolist() for row in answer] == [[sum(ids), len(ids)] for ids in texts]


def test_bad_text_fails_its_own_call_only() -> None:
    """The texts that shared its batch are answered."""
    graph = Echo()
    graph.gate.clear()

    async def run(running: Engine) -> list[object]:
        first = asyncio.create_task(ask(running, [[1]]))
        await until(lambda: len(graph.batches) == 1)
        tasks = [asyncio.create_task(ask(running, [ids])) for ids in ([20], [BAD], [30], [40])]
        await until(lambda: len(running._queue) == 4)
        graph.gate.set()
        return list(await asyncio.gather(first, *tasks, return_exceptions=True))

    with engine(graph, threads=1) as running:
        _, *answers = asyncio.run(run(running))

    assert len(graph.batches[1]) == 4
    assert [isinstance(answer, InferenceError) for answer in answers] == [False, True, False, False]


def test_unforeseen_fault_ends_neither_thread_nor_service() -> None:
    """It is an error of the call that met it; the next one is answered."""
    graph = Echo()
    graph.scores = lambda _batch: 1 / 0  # type: ignore[assignment, method-assign, return-value]
    with engine(graph, threads=1) as running:
        with pytest.raises(InferenceError, match="ZeroDivisionError"):
            asyncio.run(ask(running, [[1]]))
        del graph.scores
        assert asyncio.run(ask(running, [[1, 2]]))[0].tolist() == [3, 2]


def test_answers_that_are_too_few_are_no_answers() -> None:
    """A graph that gives fewer rows than texts fails the call, and the thread goes on."""
    graph = Echo()
    graph.scores = lambda _batch: np.empty((0, 2), np.float32)  # type: ignore[assignment, method-assign]
    with engine(graph, threads=1) as running:
        with pytest.raises(InferenceError):
            asyncio.run(ask(running, [[1], [2]]))
        del graph.scores
        assert len(asyncio.run(ask(running, [[1], [2]]))) == 2
        assert running._state.running == 0


def test_text_without_a_token_stops_nothing() -> None:
    """Some tokenizers give none for a text that looks empty."""
    with engine(Echo(), threads=1) as running:
        answers = asyncio.run(ask(running, [[], [1], [], [1, 2]]))

    assert [row.tolist() for row in answers] == [[0, 0], [1, 1], [0, 0], [3, 2]]


def test_count_that_fails_loses_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of the metrics may be full."""

    def fail() -> None:
        raise OSError(28, "no space left")

    with engine(Echo(), threads=1) as running, monkeypatch.context() as patch:
        patch.setattr("textclf.engine.metrics", fail)
        for _ in range(2):
            assert len(asyncio.run(ask(running, [[1]]))) == 1


def test_nobody_waits_for_an_engine_that_is_closed() -> None:
    """What waited is told, and so is who comes later."""
    graph = Echo()
    graph.gate.clear()

    async def close_while_waiting(running: Engine) -> list[object]:
        first = asyncio.create_task(ask(running, [[20]]))
        await until(lambda: len(graph.batches) == 1)
        second = asyncio.create_task(ask(running, [[30]]))
        await until(lambda: len(running._queue) == 1)
        closing = asyncio.create_task(asyncio.to_thread(running.close))
        await until(lambda: running._state.closed)
        graph.gate.set()
        await closing
        late = asyncio.create_task(ask(running, [[40]]))
        return list(await asyncio.gather(first, second, late, return_exceptions=True))

    with engine(graph, threads=1) as running:
        answers = asyncio.run(close_while_waiting(running))

    assert [isinstance(answer, InferenceError) for answer in answers] == [False, True, True]
    assert len(graph.batches) == 1


def test_texts_of_one_call_are_spread_over_the_threads() -> None:
    """None is idle while another has more than one."""
    graph = Echo()
    graph.gate.clear()

    async def run(running: Engine) -> None:
        task = asyncio.create_task(ask(running, [[n] for n in range(20, 28)]))
        await until(lambda: len(graph.batches) == 2)
        graph.gate.set()
        await task

    with engine(graph) as running:
        asyncio.run(until(lambda: running._state.idle == 2))
        asyncio.run(run(running))

    assert sorted(map(len, graph.batches)) == [4, 4]


def test_lone_text_is_run_on_every_cpu() -> None:
    """One that shares the machine is not."""
    graph, wide = Echo(), Echo()
    graph.gate.clear()
    wide.gate.clear()

    async def run(running: Engine) -> None:
        first = asyncio.create_task(ask(running, [[20]]))
        await until(lambda: len(wide.batches) == 1)
        second = asyncio.create_task(ask(running, [[21]]))
        await until(lambda: len(graph.batches) == 1)
        graph.gate.set()
        wide.gate.set()
        await asyncio.gather(first, second)
        await ask(running, [[24]])

    with engine(graph, wide=wide) as running:
        asyncio.run(run(running))

    assert wide.batches == [[[20]], [[24]]]
    assert sorted(ids for batch in graph.batches for ids in batch) == [[21]]


@pytest.mark.parametrize(
    ("limits", "what"),
    [(QueueLimits(texts=2), "2 texts"), (QueueLimits(tokens=4), "4 tokens")],
    ids=["texts", "tokens"],
)
def test_queue_is_bounded(limits: QueueLimits, what: str) -> None:
    """Beyond the limit a call is refused at once, and told when to come again."""
    graph = Echo()
    graph.gate.clear()

    async def run(running: Engine) -> None:
        waiting = asyncio.create_task(ask(running, [[1, 2], [3, 4]]))
        await until(lambda: bool(graph.batches))
        with pytest.raises(QueueFullError, match=f"{what} are waiting") as refusal:
            await ask(running, [[5]])
        assert int(refusal.value.headers["Retry-After"]) >= 1
        graph.gate.set()
        await waiting
        assert len(await ask(running, [[5]])) == 1

    with engine(graph, threads=1, limits=limits) as running:
        asyncio.run(run(running))


def test_longest_call_that_may_be_sent_is_taken_when_nothing_waits() -> None:
    """A limit below it would refuse it for ever."""
    with engine(Echo(), limits=QueueLimits(tokens=2)) as running:
        assert len(asyncio.run(ask(running, [[1, 2, 3]]))) == 1


def test_cancelled_call_costs_nothing_once_dequeued() -> None:
    """What has not started when its client leaves never does."""
    graph = Echo()
    graph.gate.clear()

    async def run(running: Engine) -> None:
        first = asyncio.create_task(ask(running, [[20]]))
        await until(lambda: len(graph.batches) == 1)
        left = asyncio.create_task(ask(running, [[30]]))
        await until(lambda: len(running._queue) == 1)
        left.cancel()
        await until(lambda: len(running._queue) == 0)
        graph.gate.set()
        await first

    with engine(graph, threads=1) as running:
        asyncio.run(run(running))

    assert graph.batches == [[[20]]]


def test_text_whose_deadline_passed_while_it_waited_is_never_run() -> None:
    """Its call is told so; what else waits is run."""
    graph = Echo()
    graph.gate.clear()

    async def ask_until(running: Engine, ids: list[int], seconds: float) -> list[np.ndarray]:
        DEADLINE.set(time.monotonic() + seconds)
        return await ask(running, [ids])

    async def run(running: Engine) -> list[object]:
        first = asyncio.create_task(ask(running, [[20]]))
        await until(lambda: len(graph.batches) == 1)
        late = asyncio.create_task(ask_until(running, [30], 0.05))
        timely = asyncio.create_task(ask_until(running, [40], 60))
        await until(lambda: len(running._queue) == 2)
        await asyncio.sleep(0.1)
        graph.gate.set()
        return list(await asyncio.gather(first, late, timely, return_exceptions=True))

    with engine(graph, threads=1) as running:
        first, late, timely = asyncio.run(run(running))
        assert running._texts == running._tokens == running._state.running_work == 0

    assert isinstance(late, DeadlineExceededError)
    assert isinstance(first, list)
    assert isinstance(timely, list)
    assert graph.batches == [[[20]], [[40]]]


def test_work_is_forgotten_with_its_texts() -> None:
    """What was run, dropped or refused is not waited for."""
    graph = Echo()
    graph.gate.clear()

    async def run(running: Engine) -> None:
        tasks = [asyncio.create_task(ask(running, [[n] * n for n in range(20, 28)]))]
        await until(lambda: bool(graph.batches))
        tasks.append(asyncio.create_task(ask(running, [[1] * 30])))
        await until(lambda: running._texts == 9)
        await asyncio.sleep(0)
        cost = running._queue.cost
        texts = sum(cost.text_seconds(n) for n in (*range(20, 28), 30))
        assert running._load().work == pytest.approx(texts)
        tasks[1].cancel()
        await until(lambda: running._texts == 8)
        assert running._load().work == pytest.approx(texts - cost.text_seconds(30))
        graph.gate.set()
        await tasks[0]

    with engine(graph, threads=1) as running:
        asyncio.run(run(running))
        assert running._load() == (0, 0, 0.0)
