"""A bounded load of clients that count every failure."""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from benchmarks.corpus import read_corpus

TIMEOUT_SECONDS = 30.0
MOST_REQUESTS = 200_000
SHORT_CHARACTERS = 50


@dataclass(frozen=True)
class Reply:
    """What one client got.

    Attributes:
        ended: Moment of its end, as ``monotonic``.
        seconds: That it took.
        status: 0 without an answer.
        failure: Why it counts as failed; empty if it does not.
    """

    ended: float
    seconds: float
    status: int
    failure: str


class Load:
    """Clients that ask at a steady rate, each once and by either route, while the block lasts.

    Attributes:
        replies: In the order of their end.
    """

    def __init__(
        self, port: int, *, rate: float, keep_alive: bool = False, texts: Sequence[str] = ()
    ) -> None:
        """Describe it.

        Args:
            port: Of loopback.
            rate: Requests a second.
            keep_alive: Whether clients use their connection again, if the server lets them.
            texts: Asked in random order; none for the benchmark's short ones.
        """
        self.replies: list[Reply] = []
        self._port = port
        self._rate = rate
        self._keep_alive = keep_alive
        draw = random.Random(port)  # noqa: S311 - an order
        short = [text for text in read_corpus() if len(text) < SHORT_CHARACTERS]
        self._requests = [
            _encode(path, content, keep_alive=keep_alive)
            for text in texts or short
            for path, content in (("/predict", [text]), ("/classify", {"texts": [text]}))
        ]
        draw.shuffle(self._requests)
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End; every request that was sent is waited for."""
        self._stop.set()
        self._thread.join()

    @property
    def failures(self) -> Counter[str]:
        """How many requests failed, by reason."""
        return Counter(reply.failure for reply in self.replies if reply.failure)

    def wait_for(self, replies: int) -> None:
        """Wait until there are so many more replies."""
        deadline = time.monotonic() + TIMEOUT_SECONDS + replies / self._rate * 4
        wanted = len(self.replies) + replies
        while len(self.replies) < wanted:
            assert time.monotonic() < deadline, f"{len(self.replies)} of {wanted} replies"
            time.sleep(0.01)

    async def _run(self) -> None:
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number in range(MOST_REQUESTS):
                await asyncio.sleep(max(0.0, began + number / self._rate - time.monotonic()))
                if self._stop.is_set():
                    break
                group.create_task(self._ask(self._requests[number % len(self._requests)]))
        for _, writer in self._idle:
            writer.close()

    async def _ask(self, request: bytes) -> None:
        began = time.monotonic()
        status, body, failure = 0, b"", ""
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                status, body = await self._exchange(request)
        except (OSError, EOFError, TimeoutError, ValueError) as exc:
            failure = type(exc).__name__
        ended = time.monotonic()
        if not failure and status != 200:
            failure = str(status)
        elif not failure and not _is_prediction(json.loads(body)):
            failure = "wrong body"
        self.replies.append(Reply(ended, ended - began, status, failure))

    async def _exchange(self, request: bytes) -> tuple[int, bytes]:
        while self._idle and self._idle[-1][0].at_eof():
            self._idle.pop()[1].close()
        if self._idle:
            reader, writer = self._idle.pop()
        else:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        keep = False
        try:
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            body = await reader.readexactly(int(head.partition(b"content-length: ")[2].split()[0]))
            keep = self._keep_alive and b"connection: close" not in head
        finally:
            if keep:
                self._idle.append((reader, writer))
            else:
                writer.close()
        return int(head[9:12]), body


def _is_prediction(content: Any) -> bool:
    if "positive" in content:
        return isinstance(content["positive"], bool)
    (prediction,) = content["predictions"]
    return isinstance(prediction["label"], str) and isinstance(prediction["score"], float)


def _encode(path: str, content: Any, *, keep_alive: bool) -> bytes:
    body = json.dumps(content).encode()
    return (
        b"POST %s HTTP/1.1\r\nHost: rollout.test\r\nContent-Type: application/json\r\n"
        b"Connection: %s\r\nContent-Length: %d\r\n\r\n%s"
        % (path.encode(), b"keep-alive" if keep_alive else b"close", len(body), body)
    )
