"""Pairs of answers to the same requests, counted."""

from __future__ import annotations

import math

import numpy as np
import pytest

from textclf.rollout.observation import Answer, Pair
from textclf.rollout.pairs import (
    LATENCY_EDGES_SECONDS,
    PairSummary,
    describe_break,
    summarise,
)

SHAPE = ("model:string", "predictions.0.label:string", "predictions.0.score:number")


def answer(
    *labels: str,
    scores: tuple[float, ...] = (),
    status: int = 200,
    seconds: float = 0.03,
    shape: tuple[str, ...] = SHAPE,
) -> Answer:
    """Return an answer; of a failure nothing but the status and the time."""
    if status != 200:
        return Answer(status=status, seconds=seconds)
    return Answer(status=status, seconds=seconds, shape=shape, labels=labels, scores=scores)


def pair(stable: Answer, candidate: Answer, texts: str = "aa") -> Pair:
    """Return two answers to a request."""
    return Pair(request_id="r-1", texts_sha256=texts, stable=stable, candidate=candidate)


def test_equal_answers_differ_in_nothing() -> None:
    """A pair of equal answers is counted, and nothing else is."""
    one = answer("pos", scores=(0.9,))
    found = summarise([pair(one, one)] * 3)

    assert (found.pairs, found.answered, found.compared) == (3, 3, 3)
    assert found.disagreement == found.shape_breaks == 0
    assert found.score_shifts == [0.0, 0.0, 0.0]
    assert not found.candidate_slower_alone.any()
    assert not found.stable_slower_alone.any()


@pytest.mark.parametrize(
    ("stable", "candidate", "fails_alone", "breaks"),
    [
        (200, 200, 0, 0),
        (200, 500, 1, 0),
        (200, 0, 1, 0),
        (503, 200, 0, 0),
        (500, 0, 0, 0),
        (0, 500, 0, 0),
        (422, 422, 0, 0),
        (422, 413, 0, 0),
        (422, 500, 1, 0),
        (422, 0, 1, 0),
        (422, 200, 0, 1),
        (200, 422, 1, 1),
        (429, 200, 0, 0),
        (200, 429, 1, 0),
    ],
)
def test_statuses_of_either_side(
    stable: int, candidate: int, fails_alone: int, breaks: int
) -> None:
    """What the candidate alone fails is counted; what one side alone refuses is a break.

    Too many requests at once are no word on the request itself.
    """
    one, other = (answer("pos", scores=(0.9,), status=status) for status in (stable, candidate))
    found = summarise([pair(one, other)])

    assert (found.candidate_failures_alone, found.shape_breaks) == (fails_alone, breaks)
    assert len(found.first_shape_breaks) == breaks
    assert found.answered == (stable == candidate == 200)


@pytest.mark.parametrize(
    ("stable", "candidate", "words"),
    [
        (("positive:boolean",), ("positive:string",), "positive is a string, was a boolean"),
        (SHAPE, SHAPE[:2], "predictions.0.score is missing"),
        (("a:number",), ("a:null", "b:array"), "a is null, was a number; b is new"),
        (
            tuple(f"{n}:number" for n in "abcde"),
            (),
            "a is missing; b is missing; c is missing; 2 m",
        ),
        (("model:string:x:string",), ("model:string:x:object",), "model:string:x is an object, w"),
    ],
    ids=["the change nobody notices", "missing", "new", "many", "colon in a name"],
)
def test_breaks_of_shape_in_words(
    stable: tuple[str, ...], candidate: tuple[str, ...], words: str
) -> None:
    """A changed type, a missing member and a new one are each named."""
    assert describe_break(stable, candidate).startswith(words)
    found = summarise([pair(answer(shape=stable), answer(shape=candidate))])
    assert found.shape_breaks == 1
    assert found.first_shape_breaks[0].endswith("in request r-1")


def test_the_order_of_members_is_no_break() -> None:
    """JSON objects have no order."""
    assert summarise([pair(answer(shape=SHAPE), answer(shape=SHAPE[::-1]))]).shape_breaks == 0


def test_only_the_first_few_breaks_are_kept_in_words() -> None:
    """A thousand breaks are counted, and a few told."""
    found = summarise([pair(answer(shape=SHAPE), answer(shape=()))] * 1000)

    assert found.shape_breaks == 1000
    assert len(found.first_shape_breaks) == 5


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf, -0.01, 1.01])
def test_scores_that_cannot_be(score: float) -> None:
    """NaN and scores outside of 0 to 1 are counted, and move no quantile."""
    found = summarise([pair(answer("pos", scores=(0.9,)), answer("pos", scores=(score,)))])

    assert found.invalid_scores == 1
    assert found.first_invalid_scores == [f"{score} in request r-1"]
    assert all(math.isfinite(shift) for shift in found.score_shifts)


def test_disagreement_is_a_share_of_each_pair() -> None:
    """One of four texts and one of one are 1.25 pairs that disagree."""
    found = summarise(
        [
            pair(answer("a", "a", "a", "a"), answer("a", "a", "b", "a")),
            pair(answer("a"), answer("b")),
            pair(answer("a"), answer("a")),
        ]
    )

    assert found.compared == 3
    assert found.disagreement == pytest.approx(1.25)


@pytest.mark.parametrize(
    ("stable", "candidate", "shift"),
    [
        (("pos", 0.9), ("pos", 0.8), 0.1),
        (("pos", 0.51), ("neg", 0.52), 0.03),
        (("pos", 0.99), ("neg", 0.99), 0.98),
        (("a", 0.4), ("b", 0.4), 0.0),
    ],
    ids=["same label", "flip near the middle", "sure flip", "of many labels"],
)
def test_score_shifts_are_of_the_same_label(
    stable: tuple[str, float], candidate: tuple[str, float], shift: float
) -> None:
    """A score of another label counts as what it leaves to the stable version's label."""
    one, other = (answer(label, scores=(score,)) for label, score in (stable, candidate))

    assert summarise([pair(one, other)]).score_shifts == [pytest.approx(shift)]


def test_the_largest_shift_of_a_pair_counts() -> None:
    """Quantiles are over pairs, each with its worst text."""
    found = summarise(
        [pair(answer("a", "a", scores=(0.9, 0.8)), answer("a", "a", scores=(0.9, 0.5)))]
    )

    assert found.score_shift_quantiles() == {
        name: pytest.approx(0.3) for name in ("p50", "p90", "p99", "most")
    }
    assert PairSummary().score_shift_quantiles() == {}


def test_latencies_are_ordered_at_each_edge() -> None:
    """An edge parts a pair if it lies between the two; who is above it is who is slower."""
    found = summarise(
        [
            pair(answer("a", seconds=0.03), answer("a", seconds=0.06)),
            pair(answer("a", seconds=0.05), answer("a", seconds=0.03)),
        ]
    )
    edges = np.array(LATENCY_EDGES_SECONDS)

    assert (found.candidate_slower_alone == ((edges >= 0.03) & (edges < 0.06))).all()
    assert (found.stable_slower_alone == ((edges >= 0.03) & (edges < 0.05))).all()
    assert found.stable_latency_counts.sum() == found.candidate_latency_counts.sum() == 2


def test_known_labels_tell_who_is_right_alone() -> None:
    """McNemar's counts come from texts whose right label somebody knows."""
    known = {"aa": ("pos", "pos"), "bb": ("neg",)}
    found = summarise(
        [
            pair(answer("pos", "neg"), answer("neg", "neg"), "aa"),
            pair(answer("pos"), answer("neg"), "bb"),
            pair(answer("pos"), answer("neg"), "unknown"),
        ],
        known,
    )

    assert (found.texts_known, found.stable_right_alone, found.candidate_right_alone) == (3, 1, 1)


def test_a_summary_grows_with_its_pairs() -> None:
    """Extending in parts comes to what summing up at once does."""
    pairs = [
        pair(
            answer("a", scores=(0.5 + i / 100,)),
            answer("ab"[i % 2], scores=(0.9,), status=(200, 500)[i % 5 == 4], seconds=i / 100),
        )
        for i in range(40)
    ]
    in_parts = summarise(pairs[:10]).extend(pairs[10:20]).extend(pairs[20:])

    at_once = summarise(pairs)
    for name, value in vars(at_once).items():
        assert np.array_equal(getattr(in_parts, name), value), name
    assert in_parts.pairs == 40
