"""One write for a whole answer.

uvicorn writes the head of an answer and its body apart, and uvloop sends each at once: two calls of
the system where one does, and a client that is woken for a head it can do nothing with.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from starlette.types import Send


class _Collecting:
    """A transport that keeps what is written until the answer is whole."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._parts: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        self._parts.append(data)

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def flush(self) -> None:
        # The client may have gone a moment ago, which uvicorn learns only after uvloop has closed.
        if self._parts and not self._transport.is_closing():
            self._transport.write(b"".join(self._parts))
        self._parts = []


@contextmanager
def joined_writes(send: Send) -> Iterator[None]:
    """Join what is sent inside the block into one write, if uvicorn is what sends it."""
    cycle = getattr(send, "__self__", None)
    transport = getattr(cycle, "transport", None)
    if cycle is None or transport is None:
        yield
        return
    collecting = _Collecting(transport)
    cycle.transport = collecting
    try:
        yield
    finally:
        cycle.transport = transport
        collecting.flush()
