"""How long an answer is worked on: to its deadline, or until the client leaves."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from starlette.types import Message, Receive

from textclf.errors import ClientGoneError, DeadlineExceededError, RequestError

# Most answers are there sooner, and to watch a client costs more than to answer from what is known.
_WATCH_AFTER_SECONDS = 0.05


class Patience:
    """Cancels the task that enters it once nobody waits for its work any more.

    As ``asyncio.timeout`` does, but with one timer for both reasons: a client is watched only when
    its answer takes longer than most.

    Raises:
        DeadlineExceededError: On leaving, if the time is over.
        ClientGoneError: On leaving, if the client went away.
    """

    def __init__(self, receive: Receive, seconds: float) -> None:
        self._receive = receive
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._watched = False
        self._watcher: asyncio.Task[Message] | None = None
        self._reason: RequestError | None = None

    def __enter__(self) -> Self:
        """Start the clock."""
        self._task = asyncio.current_task()
        self._deadline = self._loop.time() + self._seconds
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
        left = self._deadline - self._loop.time()
        if left <= 0:
            self._end(
                DeadlineExceededError(
                    f"no answer within {self._seconds:g} s; send fewer texts",
                    headers={"Connection": "close"},  # its body may not have been read
                )
            )
            return
        if self._watched and self._watcher is None:
            self._watcher = self._loop.create_task(self._disconnect())
        pause = left if self._watched else min(left, _WATCH_AFTER_SECONDS)
        self._timer = self._loop.call_later(pause, self._look)

    async def _disconnect(self) -> Message:
        message = await self._receive()  # after the body nothing else can come
        self._end(ClientGoneError("the connection was closed before the answer"))
        return message

    def _end(self, reason: RequestError) -> None:
        if self._reason is None and self._task is not None:
            self._reason = reason
            self._task.cancel()
