"""How long an answer is worked on: to its deadline, or until the client leaves."""

from __future__ import annotations

import asyncio
import math
import time
from types import TracebackType
from typing import Self

from starlette.types import Message, Receive

from textclf.deadline import DEADLINE
from textclf.errors import (
    ClientGoneError,
    DeadlineExceededError,
    MalformedRequestError,
    RequestError,
    RequestTimeoutError,
)

TIMEOUT_FIELD = "X-Request-Timeout-Ms"

# Most answers are there sooner, and to watch a client costs more than to answer from what is known.
_WATCH_AFTER_SECONDS = 0.05


def read_timeout(given: str | None, most_seconds: float) -> float:
    """Return the seconds that an answer is given, from the ``X-Request-Timeout-Ms`` of its client.

    Args:
        given: The value of the field, if it was sent.
        most_seconds: What an answer is given anyway.

    Raises:
        MalformedRequestError: It is no whole number of milliseconds.
    """
    if given is None:
        return most_seconds
    if not (given.isascii() and given.isdigit() and len(given) < 10 and int(given)):
        raise MalformedRequestError(
            f"{TIMEOUT_FIELD} has to be a whole number of milliseconds, of less than 10 digits"
        )
    return min(int(given) / 1000, most_seconds)


class Patience:
    """Cancels the task that enters it once nobody waits for its work any more.

    As ``asyncio.timeout`` does, but with one timer for both reasons: a client is watched only when
    its answer takes longer than most.

    Raises:
        DeadlineExceededError: On leaving, if the time is over.
        RequestTimeoutError: On leaving, if the body took too long.
        ClientGoneError: On leaving, if the client went away.
    """

    def __init__(self, receive: Receive, seconds: float, body_seconds: float = math.inf) -> None:
        """Prepare to wait.

        Args:
            receive: Tells when the client left.
            seconds: For the answer, from now on.
            body_seconds: For the request's body, until ``watch`` is called.
        """
        self._receive = receive
        self._seconds = seconds
        self._body_seconds = body_seconds
        self._loop = asyncio.get_running_loop()
        self._watched = False
        self._watcher: asyncio.Task[Message] | None = None
        self._reason: RequestError | None = None

    def __enter__(self) -> Self:
        """Start the clock."""
        self._task = asyncio.current_task()
        now = self._loop.time()
        self._deadline = now + self._seconds
        self._body_deadline = now + self._body_seconds
        DEADLINE.set(time.monotonic() + self._seconds)
        first = min(_WATCH_AFTER_SECONDS, self._seconds)
        self._timer = self._loop.call_later(first, self._look)
        return self

    def watch(self) -> None:
        """Say that the body was read, so that only a disconnect can still come."""
        self._watched = True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Stop the clock; raise the reason if the work was cancelled for it."""
        self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
        reason, self._reason = self._reason, None
        if reason is not None and kind is asyncio.CancelledError and self._task:
            self._task.uncancel()
            try:
                raise reason
            finally:
                del reason  # its traceback holds this frame: the cycle would keep the whole request

    def _look(self) -> None:
        now = self._loop.time()
        left = self._deadline - now
        if not self._watched:
            left = min(left, self._body_deadline - now)
        if left <= 0:
            self._end(self._too_late(now))
            return
        if self._watched and self._watcher is None:
            self._watcher = self._loop.create_task(self._disconnect())
        pause = left if self._watched else min(left, _WATCH_AFTER_SECONDS)
        self._timer = self._loop.call_later(pause, self._look)

    def _too_late(self, now: float) -> RequestError:
        close = {} if self._watched else {"Connection": "close"}  # more of its body may come
        if now < self._deadline:
            return RequestTimeoutError(
                f"the body did not come within {self._body_seconds:g} s; send it faster",
                headers=close,
            )
        return DeadlineExceededError(
            f"no answer within {self._seconds:g} s; send fewer texts", headers=close
        )

    async def _disconnect(self) -> Message:
        message = await self._receive()  # after the body nothing else can come
        self._end(ClientGoneError("the connection was closed before the answer"))
        return message

    def _end(self, reason: RequestError) -> None:
        if self._reason is None and self._task is not None:
            self._reason = reason
            self._task.cancel()
