"""A key gets its rate and its burst, no more, and is told the truth about when to come back."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.clock import Clock
from textclf.errors import RateLimitedError
from textclf.http.rates import Rate, TokenBucket
from textclf.schema import MAX_TEXTS


def refusal(ask: Callable[[], None]) -> RateLimitedError | None:
    """Return how a request is refused, if it is."""
    try:
        ask()
    except RateLimitedError as error:
        return error
    return None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rate=50", (50, 50)),
        ("rate=0.5", (0.5, 1)),
        ("rate=50,burst=200", (50, 200)),
        ("rate=0", None),
        ("rate=-1", None),
        ("rate=nan", None),
        ("rate=5,burst=0", None),
        ("rate=5 ", None),
        ("burst=5", None),
        ("", None),
    ],
)
def test_a_rate_is_read(text: str, expected: tuple[float, float] | None) -> None:
    """Without a burst it is a second's; what is no rate is none."""
    rate = Rate.parse(text)

    assert (rate and (rate.texts_per_second, rate.burst_texts)) == expected


def test_a_refused_request_is_told_when_to_come_back() -> None:
    """One that comes then is let in; one that comes a second sooner is not."""
    clock = Clock()
    rate = Rate(texts_per_second=0.25, burst_texts=2)
    bucket = TokenBucket(rate, clock=clock)
    refusals = [refusal(bucket.let_in) for _ in range(3)]
    last = refusals[-1]

    assert refusals[:2] == [None, None]
    assert last
    assert last.headers["Retry-After"] == "4"
    assert last.headers["RateLimit-Policy"] == '"texts";q=2;w=8'
    assert last.headers["RateLimit"] == '"texts";r=0;t=4'
    clock.now += 3
    assert refusal(bucket.let_in)
    clock.now += 1
    assert refusal(bucket.let_in) is None


def test_more_texts_than_the_burst_are_waited_for() -> None:
    """A request of 64 texts is served by a key of 10 a second, which then waits for six."""
    clock = Clock()
    bucket = TokenBucket(Rate(texts_per_second=10, burst_texts=10), clock=clock)
    bucket.let_in()
    bucket.charge(MAX_TEXTS - 1)
    refused = refusal(bucket.let_in)

    assert refused
    assert refused.headers["Retry-After"] == "6"
    charged = refusal(lambda: bucket.charge(1))
    assert charged
    assert charged.headers["Retry-After"] == "6"  # a request that comes then is let in


def test_a_time_from_before_a_restart_of_the_machine_locks_nobody_out() -> None:
    """The monotonic clock begins anew with the machine."""
    clock = Clock(1e9)
    bucket = TokenBucket(Rate(texts_per_second=10, burst_texts=10), clock=clock)
    bucket.let_in()
    clock.now = 5.0

    assert refusal(bucket.let_in) is None


@given(
    rate=st.floats(0.1, 1000),
    burst=st.integers(1, 200),
    asked=st.lists(st.tuples(st.floats(0, 3), st.integers(1, MAX_TEXTS)), max_size=60),
)
def test_no_key_gets_more_than_its_rate(
    rate: float, burst: int, asked: list[tuple[float, int]]
) -> None:
    """Over any time: the burst, what the time brings, and what one request may exceed them by."""
    clock = Clock()
    bucket = TokenBucket(Rate(texts_per_second=rate, burst_texts=burst), clock=clock)
    answered = 0
    for pause, texts in asked:
        clock.now += pause
        if refusal(bucket.let_in) is None:
            answered += 1
            if refusal(lambda texts=texts: bucket.charge(texts - 1)) is None:  # type: ignore[misc]
                answered += texts - 1

    assert answered <= burst + rate * (clock.now - 1000) + MAX_TEXTS
