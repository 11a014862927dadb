"""A soak sees what is off, and excuses only what its fault may cause."""

from __future__ import annotations

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from tests.soak.answers import Known
from tests.soak.asking import Asked, Verdict, judge
from tests.soak.episodes import BETWEEN, Episode, Fault, permit, sort_out
from tests.soak.process_faults import TERMINATED
from tests.soak.processes import Sample, Slope, fit_slope
from tests.soak.traffic import Outcome
from tests.soak.verdict import _memory_flaws
from tests.soak.wire import HOST, Answer, Connection

MODEL = "sentiment:reference-2"
GOOD = Known("fine", "positive", 0.9, truncated=False, positive=True)
BAD = Known("dull", "negative", 0.8, truncated=False, positive=False)
CLASSIFY = Asked(b"", "/classify", frozenset({200}), (GOOD, BAD))
PREDICT = Asked(b"", "/predict", frozenset({200}), (BAD,))
REFUSED = Asked(b"", "/predict", frozenset({422}))
PROBLEM = {"type": "about:blank", "title": "No", "detail": "Why", "request_id": "7"}


def said(*predictions: tuple[str, float], model: str = MODEL) -> dict[str, Any]:
    """Return the body of an answer to /classify."""
    return {
        "model": model,
        "predictions": [{"label": a, "score": b, "truncated": False} for a, b in predictions],
    }


def answer(status: int, content: Any, **headers: str) -> Answer:
    """Return an answer with an id and the media type that its status asks for."""
    media_type = "application/problem+json" if status >= 400 else "application/json"
    given = {"content-type": media_type, "x-request-id": "7", **headers}
    return Answer(status, given, json.dumps(content).encode())


def problem(status: int, **headers: str) -> Answer:
    """Return an honest refusal."""
    return answer(status, {**PROBLEM, "status": status}, **headers)


@pytest.mark.parametrize(
    ("asked", "got", "verdict"),
    [
        (CLASSIFY, answer(200, said(("positive", 0.909), ("negative", 0.791))), "right"),
        (CLASSIFY, answer(200, said(("positive", 0.911), ("negative", 0.8))), "wrong"),
        (CLASSIFY, answer(200, said(("negative", 0.8), ("positive", 0.9))), "wrong"),
        (CLASSIFY, answer(200, said(("positive", 0.9))), "wrong"),
        (CLASSIFY, answer(200, said(("positive", 0.9), ("negative", 0.8), model="x")), "wrong"),
        (PREDICT, answer(200, {"positive": False}), "right"),
        (PREDICT, answer(200, {"positive": True}), "wrong"),
        (PREDICT, answer(200, {"positive": 0}), "wrong"),
        (REFUSED, answer(200, {"positive": True}), "wrong"),
        (REFUSED, problem(422), "right"),
        (REFUSED, answer(422, {**PROBLEM, "status": 400}), "odd"),
        (REFUSED, problem(400), "odd"),
        (PREDICT, problem(503, **{"retry-after": "1"}), "refused"),
        (PREDICT, problem(503), "dishonest"),
        (PREDICT, problem(500), "dishonest"),
        (PREDICT, Answer(502, {"content-type": "text/html"}, b"<html>"), "dishonest"),
        (PREDICT, problem(422), "odd"),
    ],
)
def test_answers_are_judged(asked: Asked, got: Answer, verdict: Verdict) -> None:
    """Only the recorded answer is right, and only the contract's refusals are honest."""
    assert judge(asked, got, MODEL)[0] == verdict


def outcome(began: float, ended: float, verdict: Verdict) -> Outcome:
    """Return what came of a request."""
    return Outcome(began, ended, "good", verdict)


def test_a_fault_excuses_only_what_it_may_cause() -> None:
    """A loss under a fault that permits it passes; before, after, or a wrong answer does not."""
    fault = Fault(name="f", promise="", plant=lambda _scene: "", permits=permit("lost"))
    episode = Episode("f", planted=10, released=11, recovered=12)
    passed = [outcome(9, 10.5, "lost"), outcome(11.5, 20, "lost"), outcome(1, 2, "right")]
    caught = [outcome(1, 2, "lost"), outcome(10.5, 11, "wrong"), outcome(12.1, 13, "lost")]

    counts, found = sort_out([*passed, *caught], [episode], [fault])

    assert [one.outcome for one in found] == caught
    assert counts["f"] == {"sent": 3, "lost": 2, "wrong": 1, "retried": 0}
    assert counts[BETWEEN]["sent"] == 3


@pytest.mark.parametrize(
    ("case", "permitted"),
    [
        (outcome(99, 101, "lost"), False),
        (outcome(101, 102, "lost"), False),
        (outcome(101.9, 103, "lost"), True),
        (outcome(100.5, 101, "refused"), True),
        (outcome(98, 99, "refused"), False),
        (outcome(98, 99, "wrong"), False),
    ],
)
def test_a_drain_owes_every_request_an_answer(case: Outcome, permitted: bool) -> None:
    """None is lost until the drain period is over, and none refused before it began."""
    episode = Episode("f", marks={"sigterm": 100.0})

    assert TERMINATED.permits(case, episode) is permitted


def test_nothing_is_excused_by_a_sigterm_that_was_never_sent() -> None:
    """The fault was to be planted, and broke before."""
    assert not TERMINATED.permits(outcome(1, 2, "refused"), Episode("f"))
    assert not TERMINATED.permits(outcome(1, 2, "lost"), Episode("f"))


def test_a_service_that_has_ended_answers_nobody() -> None:
    """Clients that ask until they are told to stop are no fault of a service that ended."""
    episode = Episode("f", planted=10, released=11, recovered=11, ends=True)

    assert episode.covers(outcome(11.1, 11.2, "lost"))
    assert not episode.covers(outcome(8, 9, "lost"))


@pytest.mark.parametrize("mb_per_hour", [0.0, 60.0], ids=["steady", "leaking"])
def test_memory_that_grows_is_told_from_noise(mb_per_hour: float) -> None:
    """The interval holds the true slope, and tells a leak of a MB a minute from none."""
    draw = np.random.default_rng(5)
    noise = np.convolve(draw.normal(0, 1, 1800), np.ones(30) / 30, mode="same")
    samples = [
        Sample(float(at), 200 + mb_per_hour * at / 3600 + noise[at], 220, 30, 9)
        for at in range(1800)
    ]

    slope = fit_slope(samples)

    assert slope is not None
    assert abs(slope.mb_per_hour - mb_per_hour) <= slope.uncertainty < 5
    assert fit_slope(samples[:5]) is None


@pytest.mark.parametrize(
    ("slope", "said"),
    [
        (Slope(7, 4), ""),
        (Slope(0, 28), ""),
        (Slope(-300, 50), ""),
        (Slope(60, 5), "memory grows by 60.0 MB an hour"),
        (Slope(25, 10), "run a longer soak"),
        (Slope(19, 200), "run a longer soak"),
        (Slope(0, 200), "run a longer soak"),
        (None, "not measured"),
    ],
    ids=["steady", "noisy", "shrinking", "leaking", "perhaps", "blind", "blind at none", "nothing"],
)
def test_memory_is_judged_by_what_its_measurement_rules_out(slope: Slope | None, said: str) -> None:
    """A steady service passes in half an hour; a measurement that says nothing does not."""
    flaws = "".join(_memory_flaws(slope))

    assert said in flaws if said else not flaws


def test_a_row_is_sent_to_its_end_while_its_beginning_is_answered() -> None:
    """A client that stopped at the first answer would wait for others to half a request."""
    row = b"x" * 8_000_000

    def send(port: int) -> Answer:
        with Connection(port, patience_seconds=5) as connection:
            connection.send(row)
            return connection.answer()

    with ThreadPoolExecutor(1) as pool, socket.create_server((HOST, 0)) as server:
        answered = pool.submit(send, server.getsockname()[1])
        peer, _ = server.accept()
        with peer, peer.makefile("rb") as stream:
            peer.settimeout(5)
            received = len(stream.read(1000))
            peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            received += len(stream.read(len(row) - 1000))

        assert answered.result().status == 200
    assert received == len(row)
