"""Which texts are let wait: by how long they would have to. Pure, but for the clock.

A queue is there for bursts. One that has filled up is no burst but overload, and to keep it full
gains nothing: as many are refused, and whoever is admitted waits for its whole length. So once a
call had to be refused the queue is kept short, until none was refused for a while.

Sources:
    How a queue that stands is told from one that a burst left: K. Nichols and V. Jacobson,
    "Controlling queue delay", https://queue.acm.org/detail.cfm?id=2209336
    The same for servers, with two limits: https://queue.acm.org/detail.cfm?id=2839461
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, inf
from typing import NamedTuple

from textclf.errors import DeadlineExceededError, QueueFullError

_SHORT_TEXTS = 5  # for each thread: batches worth their run, and a wait that is not noticed
_SHORT_FOR_SECONDS = 1.0
_WEIGHT = 0.1  # of the newest batch in what was worked lately
_FIRST_SECONDS = 0.01  # of work, taken to have gone as the cost model has it
_MOST_GROWTH = 4.0  # of the pace at once: a process that was stopped was not slow


@dataclass(frozen=True, kw_only=True)
class QueueLimits:
    """How much may wait or run at a time.

    Attributes:
        texts: Most texts.
        tokens: Most tokens of all of them.
        seconds: Longest that a call may have to wait, as predicted.
    """

    texts: int = 1024
    tokens: int = 65_536
    seconds: float = inf


class Load(NamedTuple):
    """What waits or runs: ``work`` is in seconds of a thread, as the cost model has it."""

    texts: int
    tokens: int
    work: float


class Admission:
    """Judges each call by what waits before it, and learns how fast that goes.

    Attributes:
        pace: Seconds that pass on a thread for each second of work; measured, so that it has what
            the cost model leaves out: the other threads, padding, what a run costs by itself.
    """

    def __init__(
        self, limits: QueueLimits, threads: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.pace = 1.0
        self._worked = self._spent = _FIRST_SECONDS
        self._limits = limits
        self._threads = threads
        self._clock = clock
        self._text_work = 0.0  # of a text, on average
        self._short_until = -inf

    def require_places(self, texts: int, load: Load) -> None:
        """Let a call of so many texts wait, or refuse it before it costs anything.

        Raises:
            QueueFullError: Too many texts wait, or for too long.
        """
        if load.texts + texts > self._limits.texts:
            raise self._full(f"{load.texts} texts are", load)
        if not load.work:
            return
        if self.wait_seconds(load) > self._limits.seconds:
            raise self._full(f"{self.wait_seconds(load):.1f} s of work is", load)
        if (after := self.overloaded_seconds(load)) is not None:
            raise _try_again("more than can be worked off is", after)

    def require_tokens(self, tokens: int, work: float, load: Load, deadline: float) -> None:
        """Let a call wait that is tokenised.

        Args:
            tokens: It has.
            work: That they are.
            load: What waits or runs already; nothing of that is always followed by any call.
            deadline: Of its answer, on the clock.

        Raises:
            QueueFullError: Too many tokens wait, or too many for the answer to be in time.
            DeadlineExceededError: Nor would it be if nothing waited.
        """
        if not load.tokens:
            return
        if load.tokens + tokens > self._limits.tokens:
            raise self._full(f"{load.tokens} tokens are", load)
        left = deadline - self._clock()
        own, wait = self._seconds(work), self.wait_seconds(load)
        if load.work and own + wait > left:
            if own > left:
                raise DeadlineExceededError(
                    f"these texts take about {own:.2g} s, longer than they are given; "
                    "send fewer texts"
                )
            raise _try_again(f"{wait:.2g} s of work is", own + wait - left)

    def overloaded_seconds(self, load: Load) -> int | None:
        """Return when to come again if every call is refused by now, whatever it is."""
        now = self._clock()
        if now >= self._short_until or load.work <= self._short_work():
            return None
        self._short_until = now + _SHORT_FOR_SECONDS
        return max(1, ceil(self._seconds(load.work - self._short_work())))

    def learn(self, work: float, seconds: float) -> None:
        """Take into account how long a batch took.

        The pace is that of all work lately, not of the mean batch: what delays a batch by itself
        would count for nothing of a large one and for most of a small one.
        """
        if work > 0:
            found = min(seconds, _MOST_GROWTH * self.pace * work)
            self._worked += _WEIGHT * (work - self._worked)
            self._spent += _WEIGHT * (found - self._spent)
            self.pace = self._spent / self._worked

    def learn_text(self, work: float) -> None:
        """Take into account what the texts of a call are, on average."""
        self._text_work += _WEIGHT * (work - self._text_work) if self._text_work else work

    def wait_seconds(self, load: Load) -> float:
        """Predict how long what waits or runs will take."""
        return self._seconds(load.work)

    def _seconds(self, work: float) -> float:
        return work * self.pace / self._threads

    def _short_work(self) -> float:
        return _SHORT_TEXTS * self._threads * self._text_work

    def _full(self, what: str, load: Load) -> QueueFullError:
        """Refuse, and tell when the queue will be short enough for who comes then."""
        self._short_until = self._clock() + _SHORT_FOR_SECONDS
        return _try_again(what, self._seconds(load.work - self._short_work()))


def _try_again(what: str, seconds: float) -> QueueFullError:
    after = max(1, ceil(seconds))
    return QueueFullError(
        f"{what} waiting; try again in {after} s", headers={"Retry-After": str(after)}
    )
