"""HTTP over a bare socket: what no client library sends, and all ways to lose an answer."""

from __future__ import annotations

import json
import select
import socket
import struct
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

HOST = "127.0.0.1"
PATIENCE_SECONDS = 60.0  # the service gives up sooner, and says so
_CHUNK_BYTES = 65_536
_LINGER = struct.pack("ii", 1, 0)
# Linux's, which Python does not name.
_TCP_REPAIR = 19


class LostError(Exception):
    """No whole answer came.

    Attributes:
        begun: Some of it did.
    """

    def __init__(self, reason: str, *, begun: bool = False) -> None:
        super().__init__(reason)
        self.begun = begun


@dataclass(frozen=True)
class Answer:
    """A whole answer; the names of its header fields are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def content(self) -> Any:
        """Return its body as JSON; None if it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    @property
    def closes(self) -> bool:
        """Whether the server takes no other request on this connection."""
        return self.headers.get("connection", "").lower() == "close"


class Connection:
    """One connection to a service of this machine."""

    def __init__(self, port: int, *, patience_seconds: float = PATIENCE_SECONDS) -> None:
        """Connect.

        Raises:
            LostError: Nobody listens, or takes connections.
        """
        try:
            self._socket = socket.create_connection((HOST, port), timeout=patience_seconds)
        except OSError as exc:
            raise LostError(f"no connection: {_name(exc)}") from exc
        self._patience_seconds = patience_seconds
        self._received = b""
        self.answers = 0

    def __enter__(self) -> Self:
        """Return it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def send(self, data: bytes) -> None:
        """Send bytes; stop, without a fault, once the server closes before their end.

        What it answers meanwhile is kept: to the first of many requests, or to a body too large.

        Raises:
            LostError: The server takes nothing, for too long.
        """
        view = memoryview(data)
        deadline = time.monotonic() + self._patience_seconds
        while view:
            readable, writable, _ = select.select([self._socket], [self._socket], [], 1.0)
            try:
                if readable:
                    self._receive(deadline)
                if writable:
                    view = view[self._socket.send(view[:_CHUNK_BYTES]) :]
            except (LostError, OSError):  # what was answered before is read all the same
                return
            if not writable and time.monotonic() > deadline:
                raise LostError("the server reads nothing")

    def answer(self, *, to_head: bool = False) -> Answer:
        """Return the next answer.

        Args:
            to_head: The request was a HEAD, whose answer has no body.

        Raises:
            LostError: It did not come, or not to its end.
        """
        deadline = time.monotonic() + self._patience_seconds
        head = self._until(b"\r\n\r\n", deadline).decode("latin-1")
        first, *lines = head.split("\r\n")
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        try:
            status = int(first.split(" ")[1])
        except (IndexError, ValueError):
            raise LostError(f"not HTTP: {first[:40]!r}", begun=True) from None
        if 100 <= status < 200:
            return self.answer(to_head=to_head)
        body = b"" if to_head else self._body(headers, deadline)
        self.answers += 1
        return Answer(status, headers, body)

    def close(self) -> None:
        """Close it as clients do."""
        self._socket.close()

    def reset(self) -> None:
        """Close it as a client that was killed does: what is under way is thrown away."""
        with suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
        self._socket.close()

    def vanish(self) -> bool:
        """Close it without a word to the server, as when a machine loses its power.

        Source: https://lwn.net/Articles/495304/

        Returns:
            False if this process may not; it stays open then.
        """
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, 1)
        except OSError:
            return False
        self._socket.close()
        return True

    def _body(self, headers: Mapping[str, str], deadline: float) -> bytes:
        if "content-length" in headers:
            return self._exactly(int(headers["content-length"]), deadline)
        if headers.get("transfer-encoding", "").lower() != "chunked":
            return b""
        parts = []
        while size := int(self._until(b"\r\n", deadline), 16):
            parts.append(self._exactly(size, deadline))
            self._exactly(2, deadline)
        self._until(b"\r\n", deadline)
        return b"".join(parts)

    def _until(self, end: bytes, deadline: float) -> bytes:
        while end not in self._received:
            self._receive(deadline)
        found, _, self._received = self._received.partition(end)
        return found

    def _exactly(self, size: int, deadline: float) -> bytes:
        while len(self._received) < size:
            self._receive(deadline)
        found, self._received = self._received[:size], self._received[size:]
        return found

    def _receive(self, deadline: float) -> None:
        begun = bool(self._received)
        try:
            self._socket.settimeout(max(0.01, deadline - time.monotonic()))
            data = self._socket.recv(_CHUNK_BYTES)
        except OSError as exc:
            raise LostError(_name(exc), begun=begun) from exc
        if not data:
            raise LostError("closed", begun=begun)
        self._received += data


def _name(exc: OSError) -> str:
    return type(exc).__name__.removesuffix("Error")
