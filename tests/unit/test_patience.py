"""Work ends when nobody waits for it, and its end says why."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import math
import time
import weakref

import pytest

from textclf.deadline import DEADLINE
from textclf.errors import (
    ClientGoneError,
    DeadlineExceededError,
    MalformedRequestError,
    RequestError,
    RequestTimeoutError,
)
from textclf.http import patience
from textclf.http.patience import TIMEOUT_FIELD, Patience, read_timeout


async def never() -> dict[str, str]:
    """Receive nothing."""
    await asyncio.Event().wait()
    return {}


def work(
    *,
    seconds: float,
    limit: float,
    leaves_after: float | None,
    reads: bool,
    body_limit: float = math.inf,
) -> str:
    """Return how work of so many seconds ends."""

    async def receive() -> dict[str, str]:
        if leaves_after is None:
            return await never()
        await asyncio.sleep(leaves_after)
        return {"type": "http.disconnect"}

    async def run() -> str:
        began = time.monotonic()
        try:
            with Patience(receive, limit, body_limit) as patient:
                assert began + limit <= DEADLINE.get() <= time.monotonic() + limit
                if not reads:
                    patient.watch()
                await asyncio.sleep(seconds)
        except RequestError as exc:
            await asyncio.sleep(0)  # no cancellation is left over
            return type(exc).__name__
        return "done"

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("seconds", "limit", "leaves_after", "reads", "expected"),
    [
        (0.0, 5, None, False, "done"),
        (0.12, 5, None, False, "done"),
        (5, 0.02, None, False, DeadlineExceededError.__name__),
        (5, 0.12, None, False, DeadlineExceededError.__name__),
        (5, 0.12, None, True, DeadlineExceededError.__name__),
        (5, 5, 0.01, False, ClientGoneError.__name__),
        (0.15, 5, 0.0, True, "done"),
    ],
    ids=["at once", "later", "too late at once", "too late", "body too late", "left",
         "what comes while the body is read is for who reads it"],
)  # fmt: skip
def test_work_ends(
    seconds: float, limit: float, leaves_after: float | None, reads: bool, expected: str
) -> None:
    """In time, at the deadline, or when the client leaves."""
    assert work(seconds=seconds, limit=limit, leaves_after=leaves_after, reads=reads) == expected


@pytest.mark.parametrize(
    ("reads", "limit", "expected"),
    [
        (True, 5, RequestTimeoutError.__name__),
        (True, 0.05, DeadlineExceededError.__name__),
        (False, 5, "done"),
    ],
    ids=["too slow", "slower than the answer may be", "read in time"],
)
def test_body_has_a_time_of_its_own(reads: bool, limit: float, expected: str) -> None:
    """Which ends when the body was read."""
    ends = work(seconds=0.3, limit=limit, leaves_after=None, reads=reads, body_limit=0.1)

    assert ends == expected


@pytest.mark.parametrize(
    "given", ["", "0", "-1", "1.5", "1e3", " 5", "+5", "\u0665", "fast", "9" * 5000]
)
def test_wrong_timeout_is_refused(given: str) -> None:
    """The message names the field and what it may be."""
    with pytest.raises(MalformedRequestError, match=f"{TIMEOUT_FIELD} .* whole number"):
        read_timeout(given, 30)


@pytest.mark.parametrize(("given", "seconds"), [(None, 30), ("1", 0.001), ("30001", 30)])
def test_timeout_is_in_milliseconds(given: str | None, seconds: float) -> None:
    """And no more than an answer is given anyway, which is what it is without one."""
    assert read_timeout(given, 30) == seconds


def test_cancelling_from_outside_stays_a_cancellation() -> None:
    """The server may stop a request too, and no reason of ours is put in its place."""

    async def run() -> None:
        async def wait() -> None:
            with Patience(never, 5):
                await asyncio.sleep(5)

        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())


def test_a_request_that_was_given_up_leaves_nothing_behind() -> None:
    """What it held is freed at once, and not when garbage is collected at last."""

    class Body:
        """Something that a request holds."""

    held: list[weakref.ref[Body]] = []

    async def run() -> None:
        body = Body()
        held.append(weakref.ref(body))
        with Patience(never, 0.01):
            await asyncio.sleep(5)
        del body

    async def refuse() -> None:
        with contextlib.suppress(DeadlineExceededError):
            await run()

    gc.disable()
    try:
        asyncio.run(refuse())
        assert held[0]() is None
    finally:
        gc.enable()


def test_short_work_watches_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client is asked after only when its answer takes longer than most."""
    monkeypatch.setattr(patience, "_WATCH_AFTER_SECONDS", 0.02)
    asked: list[float] = []

    async def receive() -> dict[str, str]:
        asked.append(1)
        return await never()

    async def run(seconds: float) -> None:
        with Patience(receive, 5) as patient:
            patient.watch()
            await asyncio.sleep(seconds)

    asyncio.run(run(0))
    assert not asked
    asyncio.run(run(0.1))
    assert len(asked) == 1
