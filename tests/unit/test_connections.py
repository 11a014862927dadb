"""Connections under limits, with uvicorn itself and real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import re
import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.config import HTTP_PROTOCOLS

from textclf.errors import RequestError
from textclf.http.connections import ConnectionLimits, limit_connections
from textclf.http.exchange import REFUSAL

READ_SECONDS = 0.4
GET = b"GET /fine HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /fine HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n"
CHUNKED = b"POST /fine HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
MEETING = threading.Barrier(3, timeout=10)  # of two requests for /wait and their test


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer 200 with the body and how many fields came, or what the server refuses it for."""
    refusal: RequestError | None = scope.get(REFUSAL)
    if scope["path"] == "/large":
        body, status, fields = b"x" * 50_000_000, 200, {}
    elif refusal is not None:
        body, status, fields = str(refusal).encode(), refusal.http_status, refusal.headers
    else:
        body, status, fields, more = b"", 200, {}, True
        if scope["path"] == "/wait":
            await asyncio.to_thread(MEETING.wait)  # until both are here
            await asyncio.to_thread(MEETING.wait)  # until the test has seen enough
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message["body"]
            more = message["more_body"]
        body += b"+%d" % len(scope["headers"])
    headers = [(name.lower().encode(), value.encode()) for name, value in fields.items()]
    headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def shed(path: bytes, fields: list[tuple[bytes, bytes]]) -> tuple[bytes, bytes] | None:
    """Refuse what is asked for under /shed at once."""
    return (
        (b"x-fields: %d\r\ncontent-length: 2\r\n" % len(fields), b"no")
        if path == b"/shed"
        else None
    )


@contextmanager
def serving(connections: int, *, keep_alive: float = 2) -> Iterator[int]:
    """Serve ``answer`` under limits and give its port."""
    limits = ConnectionLimits(connections=connections, read_seconds=READ_SECONDS)
    limit_connections(limits, shed)
    config = uvicorn.Config(
        answer,
        log_config=None,
        lifespan="off",
        timeout_keep_alive=keep_alive,  # type: ignore[arg-type] # any seconds
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield port
        finally:
            server.should_exit = server.force_exit = True
            thread.join()


@pytest.fixture(autouse=True)
def _own_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(HTTP_PROTOCOLS, "auto", HTTP_PROTOCOLS["auto"])


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Serve for the tests that leave nothing open."""
    before = HTTP_PROTOCOLS["auto"]
    with serving(100) as port:
        yield port
    HTTP_PROTOCOLS["auto"] = before


def connect(port: int) -> socket.socket:
    """Open a connection."""
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def read_to_end(connection: socket.socket) -> bytes:
    """Return what comes until the server closes."""
    received = b""
    while True:
        try:
            part = connection.recv(65_536)
        except ConnectionResetError:  # it closed over what it did not read
            return received
        if not part:
            return received
        received += part


def statuses(received: bytes) -> list[int]:
    """Return the statuses of answers, in order."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", received)]


FIELDS = b"A: x\r\n" * 100
TALES: dict[str, tuple[bytes, list[int]]] = {
    "no request": (b"", []),
    "blank lines": (b"\r\n\r\n", []),
    "half a head": (b"GET / HT", [408]),
    "half a second head": (GET + b"GET / HT", [200, 408]),
    "no HTTP": (b"HELLO\r\n\r\n", [400]),
    "a request, then no HTTP": (GET + b"HELLO\r\n\r\n", [200, 400]),
    "two requests, then no HTTP": (POST + b"good" + GET + b"HELLO\r\n\r\n", [200, 200, 400]),
    "a chunk that is none": (CHUNKED + b"4\r\ngood\r\nNO\r\n", [400]),
    "a request, then a chunk that is none": (POST + b"good" + CHUNKED + b"NO\r\n", [200, 400]),
    "a field of 40 kB": (GET[:-2] + b"A: " + b"x" * 40_000 + b"\r\n\r\n", [431]),
    "a path of 40 kB": (GET.replace(b"fine", b"x" * 40_000), [431]),
    "a head of 1 MB that does not end": (GET[:-2] + b"A: " + b"x" * 1_000_000, [431]),
    "101 fields": (GET[:-2] + FIELDS + b"\r\n", [431]),
    "a good request, then 101 fields": (GET + GET[:-2] + FIELDS + b"\r\n", [200, 431]),
}


@pytest.mark.parametrize(("sent", "expected"), TALES.values(), ids=TALES.keys())
def test_what_is_no_request_is_answered_where_it_can_be(
    port: int, sent: bytes, expected: list[int]
) -> None:
    """In its turn, and the connection is closed; what was asked before has its own answer."""
    with connect(port) as connection:
        connection.sendall(sent)
        began = time.monotonic()
        received = read_to_end(connection)

    assert statuses(received) == expected
    assert time.monotonic() - began < 4 * READ_SECONDS
    if expected:
        assert received.lower().count(b"connection: close") == 1


def test_head_that_comes_a_byte_at_a_time_gets_408(port: int) -> None:
    """Each byte comes in time, the head does not."""
    with connect(port) as connection:
        connection.settimeout(0.05)
        received = b""
        for byte in GET:
            connection.sendall(bytes([byte]))
            try:
                received = connection.recv(4096)
            except TimeoutError:
                continue
            break

    assert statuses(received) == [408]


def test_bytes_after_an_answer_do_not_hold_the_connection(port: int) -> None:
    """Neither blank lines for ever, nor a body that the answer did not wait for."""
    with connect(port) as connection:
        connection.sendall(GET)
        assert statuses(connection.recv(4096)) == [200]
        began = time.monotonic()
        with contextlib.suppress(OSError):  # it is closed or reset
            while time.monotonic() - began < 4 * READ_SECONDS:
                connection.sendall(b"\r\n")
                time.sleep(0.05)

    assert time.monotonic() - began < 4 * READ_SECONDS


def test_a_head_is_not_charged_for_the_requests_before_it(port: int) -> None:
    """Many requests come in one segment, with the beginning of one more."""
    row = (POST + b"body") * 800
    with connect(port) as connection:
        connection.sendall(row + POST[:30])
        received = connection.recv(1)
        connection.sendall(POST[30:] + b"last" + GET[:-2] + b"Connection: close\r\n\r\n")
        received += read_to_end(connection)

    assert statuses(received) == [200] * 802


@pytest.mark.parametrize("path", [b"/fine", b"/shed"])
def test_a_field_after_a_body_that_does_not_end_gets_431(port: int, path: bytes) -> None:
    """As one before it does; a client that goes on sending learns it, or is cut off."""
    endless = CHUNKED.replace(b"/fine", path) + b"4\r\ngood\r\n0\r\nA: "
    sent = 0
    with connect(port) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(endless)
        while sent < 8_000_000:
            connection.sendall(b"x" * 8_000)
            sent += 8_000
    assert sent < 8_000_000

    with connect(port) as connection:
        connection.sendall(endless)
        for _ in range(10):
            time.sleep(0.01)  # so that it comes in parts; more than are needed
            with contextlib.suppress(ConnectionError):
                connection.sendall(b"x" * 8_000)
        assert set(statuses(read_to_end(connection))) <= {431}


def test_a_handshake_for_another_protocol_is_an_ordinary_request(port: int) -> None:
    """Whole or not; what follows it is not read, and the client is told."""
    upgrade = GET[:-2] + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    with connect(port) as connection:
        connection.sendall(upgrade + GET)
        received = read_to_end(connection)

    assert statuses(received) == [200]
    assert b"connection: close" in received.lower()


def test_what_was_shed_does_not_end_the_request_behind_it() -> None:
    """Which may take longer than an idle connection is kept."""
    with serving(2, keep_alive=0.5) as port, connect(port) as one, connect(port) as other:
        for connection in (one, other):
            connection.sendall(SHED + b"good" + GET.replace(b"fine", b"wait"))
        MEETING.wait()
        time.sleep(1)  # it has to take that long
        MEETING.wait()
        for connection in (one, other):
            received = b""
            while len(statuses(received)) < 2:
                received += connection.recv(4096)
            assert statuses(received) == [429, 200]


def test_fields_after_a_body_are_not_kept(port: int) -> None:
    """However many there are: the memory would be theirs."""
    trailer = b"4\r\ngood\r\n0\r\n" + b"A: x\r\n" * 500 + b"\r\n"
    with connect(port) as connection:
        connection.sendall(CHUNKED + trailer)

        assert b"good+2" in connection.recv(4096)


def test_long_heads_that_are_within_the_limits_are_read(port: int) -> None:
    """Of 30 kB and of 100 fields; the body that came with one does not count."""
    long = POST[:-2] + b"A: " + b"x" * 30_000 + b"\r\n\r\ngood"
    many = GET[:-2] + b"A: x\r\n" * 99 + b"\r\n"
    large = POST.replace(b"4", b"60000") + b"x" * 60_000
    with connect(port) as connection:
        for request in (long, many, large):
            connection.sendall(request)
            received = b""
            while not re.search(rb"\+\d+$", received):
                received += connection.recv(65_536)
            assert statuses(received) == [200]


SHED = POST.replace(b"fine", b"shed")
SHED_TALES: dict[str, tuple[bytes, list[int], bool]] = {
    "before another": (SHED + b"good" + SHED + b"good" + GET, [429, 429, 200], True),
    "behind another": (GET + SHED + b"good", [200, 200], True),  # in its turn, as any request
    "in chunks": (
        CHUNKED.replace(b"fine", b"shed") + b"4\r\ngood\r\n0\r\n\r\n" + GET,
        [429, 200],
        True,
    ),
    "by another method": (GET.replace(b"fine", b"shed"), [200], True),
    "no HTTP after it": (SHED + b"goodHELLO\r\n\r\n", [429, 400], False),
    "half of it": (SHED + b"go", [429], False),  # once the rest took too long
    "of HTTP/1.0": (SHED.replace(b"1.1", b"1.0") + b"good", [429], False),
    "the last": (SHED[:-2] + b"Connection: close\r\n\r\ngood", [429], False),
}


@pytest.mark.parametrize(
    ("sent", "expected", "goes_on"), SHED_TALES.values(), ids=SHED_TALES.keys()
)
def test_what_is_shed_is_answered_without_a_word_to_the_application(
    port: int, sent: bytes, expected: list[int], goes_on: bool
) -> None:
    """Once it was sent whole; the connection goes on as it would."""
    with connect(port) as connection:
        connection.sendall(sent)
        received = b""
        while goes_on and len(statuses(received)) < len(expected):
            received += connection.recv(65_536)
        if not goes_on:
            received = read_to_end(connection)

        assert statuses(received) == expected
        if goes_on:
            connection.sendall(GET)
            assert statuses(connection.recv(65_536)) == [200]


def test_the_server_is_not_named(port: int) -> None:
    """Nor its version; the date is there once."""
    with connect(port) as connection:
        connection.sendall(GET)
        head = connection.recv(4096).lower()

    assert b"\r\nserver:" not in head
    assert head.count(b"\r\ndate: ") == 1


def test_answer_that_is_not_read_does_not_hold_the_connection(port: int) -> None:
    """A client that stops reading in the middle of it is cut off."""
    with connect(port) as connection:
        connection.sendall(GET.replace(b"fine", b"large"))
        assert connection.recv(10)
        time.sleep(4 * READ_SECONDS)  # it has to be left alone for that long

        assert len(read_to_end(connection)) < 50_000_000


def test_whoever_waits_longest_makes_room() -> None:
    """Idle connections, half heads and silent ones go before anyone is refused."""
    with serving(3) as port, connect(port) as idle, connect(port) as half, connect(port) as silent:
        half.sendall(b"GET / HT")
        idle.sendall(GET)
        assert statuses(idle.recv(4096)) == [200]
        with connect(port) as fourth, connect(port) as fifth, connect(port) as sixth:
            for connection in (fourth, fifth, sixth):
                connection.sendall(GET)
                assert statuses(connection.recv(4096)) == [200]
            assert statuses(read_to_end(half)) == [408]
            assert read_to_end(silent) == b""
            assert read_to_end(idle) == b""


def test_one_too_many_is_refused_while_all_are_busy() -> None:
    """With an answer that says when to come again; the busy ones are answered."""
    with serving(2) as port, connect(port) as one, connect(port) as other:
        for connection in (one, other):
            connection.sendall(GET.replace(b"fine", b"wait"))
        MEETING.wait()
        with connect(port) as third:
            refused = read_to_end(third)
        MEETING.wait()
        assert statuses(one.recv(4096)) == statuses(other.recv(4096)) == [200]

    assert statuses(refused) == [503]
    assert b"retry-after: 1" in refused.lower()


@pytest.mark.parametrize(
    ("soft", "hard", "raised"), [(256, 4096, 628), (256, 512, 512), (4096, 4096, None)]
)
def test_open_files_follow_the_connections(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, raised: int | None
) -> None:
    """As many as are needed, or as many as are allowed; never fewer than before."""
    set_to: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _kind: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _kind, limits: set_to.append(limits))

    limit_connections(ConnectionLimits(connections=500, read_seconds=1))

    assert set_to == ([] if raised is None else [(raised, hard)])
