"""A model that gave the right answers at its start is looked at again while it serves."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import REGISTRY

from tests.unit.spoiling import only_graph
from textclf.errors import NotReadyError, QueueFullError
from textclf.http import self_check
from textclf.http.lifecycle import Lifecycle
from textclf.settings import Settings


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(self_check, "EVERY_SECONDS", 0.01)


@pytest.fixture
def serve(classifier_folder: Path) -> Callable[..., str]:
    """Return a function that spoils a ready model, and tells its state some checks later."""

    def run(spoil: Callable[[Any], Iterator[bool]]) -> str:
        async def live() -> str:
            lifecycle = Lifecycle(Settings(model=str(classifier_folder)))
            await lifecycle.load()
            spoiled = spoil(lifecycle.require_ready())
            async with asyncio.timeout(20):
                while not next(spoiled):  # noqa: ASYNC110 - checks set no event
                    await asyncio.sleep(0.01)
            state = lifecycle.state
            if state == "failed":
                with pytest.raises(NotReadyError, match="failed its checks"):
                    lifecycle.require_ready()
            await lifecycle.close()
            return state

        return asyncio.run(live())

    return run


def shown(name: str) -> float | None:
    """Return the value of one of the service's metrics in this process."""
    return REGISTRY.get_sample_value(f"textclf_{name}")


def flip(classifier: Any, *, times: float = float("inf")) -> list[int]:
    """Let the graph give each score to the other label, so many times; return its runs so far."""
    graph = only_graph(classifier)
    scores = graph.scores
    runs: list[int] = []
    numbers = itertools.count()  # threads run batches at the same time: each has its own

    def flipped(batch: Sequence[Sequence[int]]) -> np.ndarray:
        number = next(numbers)
        runs.append(len(batch))
        right: np.ndarray = scores(batch)
        return right[:, ::-1] if number < times else right

    graph.scores = flipped
    return runs


def test_a_model_that_goes_wrong_answers_no_more(serve: Callable[..., str]) -> None:
    """Answers that are wrong twice in a row end the readiness, and the metrics say so."""

    def spoil(classifier: Any) -> Iterator[bool]:
        assert (shown("ready"), shown("self_check_passed")) == (1, 1)
        flip(classifier)
        while shown("ready"):
            yield False
        yield True

    assert serve(spoil) == "failed"
    assert shown("self_check_passed") == 0


def test_answers_that_are_right_again_end_nothing(serve: Callable[..., str]) -> None:
    """One look that fails is looked at again; later ones find other texts."""

    def spoil(classifier: Any) -> Iterator[bool]:
        runs = flip(classifier, times=1)
        while len(runs) < 40:
            yield False
        yield True

    assert serve(spoil) == "ready"
    assert shown("self_check_passed") == 1


def test_a_full_queue_says_nothing_of_the_model(serve: Callable[..., str]) -> None:
    """There is no place for a golden text, which is no wrong answer; a minute later there is."""
    refused: list[int] = []

    def spoil(classifier: Any) -> Iterator[bool]:
        places = classifier._engine.places

        def full(texts: int) -> Any:
            if len(refused) < 3:
                refused.append(texts)
                raise QueueFullError("no place")
            return places(texts)

        before = shown("self_check_timestamp_seconds")
        classifier._engine.places = full
        while len(refused) < 3 or shown("self_check_timestamp_seconds") == before:
            yield False
        yield True

    assert serve(spoil) == "ready"
    assert refused == [self_check.TEXTS] * 3


def test_texts_that_were_wrong_are_asked_again_until_they_are_answered(
    serve: Callable[..., str],
) -> None:
    """A full queue does not let them off."""
    asked: list[Sequence[object]] = []

    def spoil(classifier: Any) -> Iterator[bool]:
        replay, places = classifier.replay, classifier._engine.places

        def recorded(examples: list[Sequence[object]]) -> Any:
            if not asked:  # what was asked before may still run
                flip(classifier, times=1)
            asked.extend(examples)
            return replay(examples)

        def full_once(texts: int) -> Any:
            if len(asked) == 2:
                raise QueueFullError("no place")
            return places(texts)

        classifier.replay, classifier._engine.places = recorded, full_once
        while len(asked) < 4:
            yield False
        yield True

    assert serve(spoil) == "ready"
    assert asked[0] == asked[1] == asked[2] != asked[3]
