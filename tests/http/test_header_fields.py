"""The fields of the answers' heads, as they are on the wire."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import httpx
import pytest

from tests.http.serving import Served

BODY = b'["good"]'
JSON = b"Content-Type: application/json\r\nContent-Length: 8\r\n"
UNREAD = 100_000
CASES: dict[str, tuple[bytes, bytes, bytes]] = {
    "a prediction": (b"POST /predict", JSON, BODY),
    "a page": (b"GET /", b"", b""),
    "a page that is not there": (b"GET /nope", b"", b""),
    "a wrong method": (b"PUT /predict", b"", b""),
    "a wrong type": (b"POST /predict", b"Content-Type: text/plain\r\nContent-Length: 8\r\n", BODY),
    "a wrong shape": (b"POST /classify", JSON, BODY),
    "a probe": (b"GET /readyz", b"", b""),
    "metrics": (b"GET /metrics", b"", b""),
    "the document": (b"GET /docs.json", b"", b""),
    "an asset": (b"GET /static_content/index.css", b"", b""),
    "a head of a page": (b"HEAD /", b"", b""),
    "a head of a probe": (b"HEAD /livez", b"", b""),
    "a head of metrics": (b"HEAD /metrics", b"", b""),
    "a head of nothing": (b"HEAD /nope", b"", b""),
    "a head of a prediction": (b"HEAD /predict", b"", b""),
}


@pytest.fixture
def connection(service: Served) -> Iterator[socket.socket]:
    """Open a connection to the service."""
    url = httpx.URL(service.url)
    with socket.create_connection((url.host, url.port or 80), timeout=10) as connection:
        yield connection


def exchange(connection: socket.socket, request: bytes) -> tuple[list[tuple[str, str]], bytes]:
    """Send a request and return the fields and all that follows, until the server closes."""
    connection.sendall(request)
    received = b"".join(iter(lambda: connection.recv(65_536), b""))
    head, _, body = received.partition(b"\r\n\r\n")
    fields = [line.split(": ", 1) for line in head.decode().split("\r\n")[1:]]
    return [(name.lower(), value) for name, value in fields], body


@pytest.mark.parametrize(("start", "fields", "body"), CASES.values(), ids=CASES.keys())
def test_fields_of_every_answer(
    connection: socket.socket, start: bytes, fields: bytes, body: bytes
) -> None:
    """No server is named, nothing is sniffed, lengths are right, and each field is there once."""
    head = start + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + fields + b"\r\n"

    given, content = exchange(connection, head + body)

    names = [name for name, _ in given]
    found = dict(given)
    assert len(names) == len(set(names))
    assert "server" not in names
    assert found["date"].endswith("GMT")
    assert found["x-content-type-options"] == "nosniff"
    assert found["connection"] == "close"
    length = int(found["content-length"])
    assert length > 0
    assert len(content) == (0 if start.startswith(b"HEAD") else length)
    assert (found.get("cache-control") == "no-store") == (b"static_content" not in start)
    is_page = found["content-type"].startswith("text/html")
    assert ("content-security-policy" in names) == ("referrer-policy" in names) == is_page


@pytest.mark.parametrize(
    ("start", "fields", "closes"),
    [
        (b"POST /nope", JSON, False),
        (b"GET /livez", JSON, False),
        (b"POST /nope", b"Content-Length: %d\r\n" % UNREAD, True),
        (b"GET /livez", b"Content-Length: %d\r\n" % UNREAD, True),
        (b"PUT /predict", b"Transfer-Encoding: chunked\r\n", True),
        (b"POST /predict", b"Content-Type: x/y\r\nTransfer-Encoding: chunked\r\n", True),
    ],
    ids=["little", "little to a probe", "much", "much to a probe", "unknown", "unknown type"],
)
def test_connection_of_a_body_that_is_not_read(
    connection: socket.socket, start: bytes, fields: bytes, closes: bool
) -> None:
    """It is closed where more may come than is worth reading past."""
    connection.sendall(start + b" HTTP/1.1\r\nHost: x\r\n" + fields + b"\r\n")
    head = connection.recv(65_536).lower()

    assert (b"connection: close" in head) == closes
    if not closes:
        connection.sendall(BODY)
        given, _ = exchange(
            connection, b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        assert dict(given)["content-length"] == "1"
