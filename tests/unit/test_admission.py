"""Who is let wait, and when who is not should come again."""

from __future__ import annotations

import pytest

from tests.unit.clock import Clock
from textclf.admission import Admission, Load, QueueLimits
from textclf.errors import DeadlineExceededError, QueueFullError

NOTHING = Load(0, 0, 0.0)


def admission(limits: QueueLimits | None = None, clock: Clock | None = None) -> Admission:
    """Return an admission of two threads, to texts of 0.01 s."""
    judge = Admission(limits or QueueLimits(), 2, clock or Clock())
    judge.learn_text(0.01)
    return judge


def retry_after(judge: Admission, load: Load, texts: int = 1) -> int:
    """Return when a call that is refused should come again."""
    with pytest.raises(QueueFullError) as refusal:
        judge.require_places(texts, load)
    return int(refusal.value.headers["Retry-After"])


@pytest.mark.parametrize(
    ("limits", "load"),
    [
        (QueueLimits(texts=100), Load(100, 0, 1.0)),
        (QueueLimits(seconds=0.4), Load(90, 0, 0.9)),
    ],
    ids=["texts", "seconds"],
)
def test_full_queue_refuses(limits: QueueLimits, load: Load) -> None:
    """By the number of texts, or by the time that they take on all the threads."""
    assert retry_after(admission(limits), load) == 1
    admission(limits).require_places(1, load._replace(texts=load.texts - 1, work=load.work / 2))


def test_retry_after_is_when_the_work_is_done() -> None:
    """In proportion to what waits and to how fast it is worked off; but for a short queue."""
    slow = admission(QueueLimits(texts=100))
    for _ in range(100):
        slow.learn(0.01, 0.03)  # three times as slow as the cost model has it

    assert retry_after(admission(QueueLimits(texts=100)), Load(100, 0, 20.0)) == 10
    assert retry_after(slow, Load(100, 0, 20.0)) == 30


def test_queue_of_an_overload_is_kept_short() -> None:
    """A burst may fill it; once it was full it is short, until nobody was refused for a second."""
    clock = Clock()
    judge = admission(QueueLimits(texts=100), clock)
    half, short = Load(50, 0, 0.5), Load(9, 0, 0.09)
    judge.require_places(1, half)
    retry_after(judge, Load(100, 0, 1.0))

    for _ in range(10):  # each refusal shows that it goes on
        clock.now += 0.9
        judge.require_places(1, short)
        assert retry_after(judge, half) == 1

    clock.now += 1.1
    judge.require_places(1, half)


def test_call_that_cannot_be_in_time_is_refused() -> None:
    """With the time to come again; unless it takes too long by itself, when that would not help."""
    clock = Clock()
    judge = admission(clock=clock)
    judge.require_tokens(10, 0.1, Load(9, 9, 4.0), clock.now + 2.1)
    with pytest.raises(QueueFullError, match="try again in 3 s"):
        judge.require_tokens(10, 2.0, Load(9, 9, 6.0), clock.now + 1.5)
    with pytest.raises(DeadlineExceededError, match="about 1 s"):
        judge.require_tokens(10, 2.0, Load(9, 9, 1.0), clock.now + 0.9)


def test_any_call_is_tried_while_nothing_waits() -> None:
    """However long it is and however slow the last one was: or nothing would be tried again."""
    clock = Clock()
    judge = admission(QueueLimits(tokens=5, seconds=0.1), clock)
    for _ in range(100):
        judge.learn(0.001, 1e6)

    judge.require_places(1, NOTHING)
    judge.require_tokens(1000, 99.0, NOTHING, clock.now + 0.001)


def test_process_that_was_stopped_was_not_slow() -> None:
    """One batch that took minutes changes the prediction by less than a half."""
    judge = admission()
    judge.learn(0.01, 300.0)

    assert judge.pace == pytest.approx(1.3)


def test_small_batches_that_were_delayed_say_little_of_large_ones() -> None:
    """What a busy machine adds to each of them is no part of their work."""
    judge = admission()
    for _ in range(50):
        judge.learn(0.2, 0.2 + 0.03)
        judge.learn(0.001, 0.001 + 0.03)

    assert 1.1 < judge.pace < 1.35
