"""Keep-alive HTTP/1.1 connections on epoll, with no more work a request than Python needs."""

from __future__ import annotations

import re
import select
import socket
import time
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple, Self

Failure = str
_READ_BYTES = 65_536
_RETRY_SECONDS = 0.02
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_KEEP_ALIVE = re.compile(rb"\r\nconnection: *keep-alive", re.IGNORECASE)


class Exchange(NamedTuple):
    """A request and what became of it.

    Attributes:
        started: When it was scheduled or, in a closed loop, sent; as ``perf_counter``.
        ended: When its answer had arrived, or when it failed.
        status: Of the answer; 0 without one.
        body: Of the answer.
        failure: Why there is no answer; empty if there is one.
    """

    started: float
    ended: float
    status: int
    body: bytes
    failure: Failure


Exchanges = list[Exchange]


class Answer(NamedTuple):
    """A whole answer."""

    status: int
    body: bytes
    closes: bool


def parse_answer(received: bytes, *, at_end: bool = False) -> Answer | None:
    """Return the answer at the start of ``received``; None while a part is missing.

    Args:
        received: Everything since the request.
        at_end: Whether the server closed the connection after that.

    Raises:
        ValueError: This is no HTTP.
    """
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = received[:end]
    status = int(head[9:12])
    closes = _CLOSE.search(head) is not None
    if head.startswith(b"HTTP/1.0") and not _KEEP_ALIVE.search(head):
        closes = True
    if found := _LENGTH.search(head):
        stop = end + 4 + int(found[1])
        return Answer(status, received[end + 4 : stop], closes) if len(received) >= stop else None
    if _CHUNKED.search(head):
        body = _join_chunks(received, end + 4)
        return None if body is None else Answer(status, body, closes)
    return Answer(status, received[end + 4 :], closes=True) if at_end else None


def _join_chunks(received: bytes, start: int) -> bytes | None:
    body = b""
    while (line_end := received.find(b"\r\n", start)) >= 0:
        size = int(received[start:line_end].partition(b";")[0], 16)
        start = line_end + 2
        if len(received) < start + size + 2:
            return None
        if not size:
            return body
        body += received[start : start + size]
        start += size + 2
    return None


class _Connection:
    __slots__ = ("received", "sock", "started", "unsent", "watches_output")

    def __init__(self) -> None:
        self.sock: socket.socket | None = None
        self.started = 0.0
        self.received = b""
        self.unsent = b""
        self.watches_output = False


class Pool:
    """Connections to one server.

    Attributes:
        waiting: When each request was scheduled that no connection was free for.
        ended: Every exchange so far.
        in_flight: Requests without an answer, those that wait included.
        dropped: Requests that were never sent.
        keep_asking: Whether an answer is followed by the next request: a closed loop.
    """

    def __init__(self, port: int, connections: int, requests: Sequence[bytes]) -> None:
        self.waiting: deque[float] = deque()
        self.ended: Exchanges = []
        self.in_flight = 0
        self.dropped = 0
        self.keep_asking = False
        self._port = port
        self._requests = requests
        self._next = 0
        self._epoll = select.epoll()
        self._open: dict[int, _Connection] = {}
        self._free = deque(_Connection() for _ in range(connections))
        self._resting: list[tuple[float, _Connection]] = []

    def __enter__(self) -> Self:
        """Give the pool."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close every connection."""
        for connection in list(self._open.values()):
            self._close(connection)
        self._epoll.close()

    def ask(self, moment: float) -> None:
        """Send the next request, which was scheduled for this moment, or let it wait."""
        self.in_flight += 1
        if self._free:
            self._send(self._free.popleft(), moment)
        else:
            self.waiting.append(moment)

    def ask_on_all(self) -> None:
        """Send a request on every connection."""
        for _ in range(len(self._free)):
            self.ask(time.perf_counter())

    def work(self, until: float) -> None:
        """Wait for the server, at the longest until that moment, and handle what it sent."""
        now = time.perf_counter()
        if self._resting:
            until = min(until, now + _RETRY_SECONDS)
            self._wake(now)
        seconds = max(0.0, until - now)
        if not self.keep_asking:
            # epoll waits whole milliseconds, which an open loop would be late by; select does not.
            select.select([self._epoll], [], [], seconds)
            seconds = 0
        for number, event in self._epoll.poll(seconds):
            connection = self._open[number]
            if connection.unsent and connection.sock and event & select.EPOLLOUT:
                self._flush(connection, connection.sock)
            if connection.sock and event & ~select.EPOLLOUT:
                self._receive(connection, connection.sock)

    def drop_waiting(self) -> None:
        """Never send what waits for a connection."""
        self.dropped += len(self.waiting)
        self.in_flight -= len(self.waiting)
        self.waiting.clear()

    def abandon(self) -> Exchanges:
        """Return what was sent and not answered."""
        now = time.perf_counter()
        return [
            Exchange(connection.started, now, 0, b"", "unanswered")
            for connection in self._open.values()
            if connection.started
        ]

    def _send(self, connection: _Connection, moment: float) -> None:
        connection.unsent = self._requests[self._next]
        self._next = (self._next + 1) % len(self._requests)
        connection.started = moment
        if connection.sock is None:
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.connect_ex(("127.0.0.1", self._port))
            connection.sock = sock
            self._open[sock.fileno()] = connection
            self._epoll.register(sock.fileno(), select.EPOLLIN)
        self._flush(connection, connection.sock)

    def _flush(self, connection: _Connection, sock: socket.socket) -> None:
        try:
            connection.unsent = connection.unsent[sock.send(connection.unsent) :]
        except BlockingIOError:  # it is still connecting, or its buffer is full
            pass
        except OSError as exc:
            self._fail(connection, type(exc).__name__)
            return
        if bool(connection.unsent) != connection.watches_output:
            connection.watches_output = not connection.watches_output
            output = select.EPOLLOUT if connection.watches_output else 0
            self._epoll.modify(sock.fileno(), select.EPOLLIN | output)

    def _receive(self, connection: _Connection, sock: socket.socket) -> None:
        try:
            data = sock.recv(_READ_BYTES)
            received = connection.received + data if connection.received else data
            answer = parse_answer(received, at_end=not data)
        except BlockingIOError:
            return
        except OSError as exc:
            self._fail(connection, type(exc).__name__)
            return
        except ValueError:
            self._fail(connection, "no HTTP")
            return
        if answer is not None and connection.started:
            self._finish(connection, answer)
        elif data:
            connection.received = received
        elif connection.started:
            self._fail(connection, "closed without an answer")
        else:
            self._close(connection)  # it was free, and stays so

    def _finish(self, connection: _Connection, answer: Answer) -> None:
        now = time.perf_counter()
        connection.received = b""
        self.ended.append(Exchange(connection.started, now, answer.status, answer.body, ""))
        self.in_flight -= 1
        if answer.closes:
            self._close(connection)
        self._use(connection, now)

    def _use(self, connection: _Connection, now: float) -> None:
        connection.started = 0.0
        if self.keep_asking:
            self.in_flight += 1
            self._send(connection, now)
        elif self.waiting:
            self._send(connection, self.waiting.popleft())
        else:
            self._free.append(connection)

    def _fail(self, connection: _Connection, failure: Failure) -> None:
        self._close(connection)
        if not connection.started:
            return
        now = time.perf_counter()
        self.ended.append(Exchange(connection.started, now, 0, b"", failure))
        self.in_flight -= 1
        self._resting.append((now + _RETRY_SECONDS, connection))

    def _wake(self, now: float) -> None:
        rested = [connection for moment, connection in self._resting if moment <= now]
        self._resting = [pair for pair in self._resting if pair[0] > now]
        for connection in rested:
            self._use(connection, now)

    def _close(self, connection: _Connection) -> None:
        if connection.sock is None:
            return
        del self._open[connection.sock.fileno()]
        connection.sock.close()  # which also takes it out of the epoll
        connection.sock = None
        connection.received = b""
        connection.unsent = b""
        connection.watches_output = False
