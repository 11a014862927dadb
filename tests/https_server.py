"""A TLS server on this machine that answers as it is told, well or badly."""

from __future__ import annotations

import gzip
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.certificates import Certificates

_MOMENT_SECONDS = 0.02


class Exchange(BaseHTTPRequestHandler):
    """One request; an ``Answer`` writes to it."""

    server: _Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Give the next answer for the path; the last one stays."""
        path = self.path.partition("?")[0]
        with self.server.lock:
            self.server.requests.append(Request(self.path, dict(self.headers)))
            answers = self.server.answers.get(path, [status(404)])
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
        answer(self)

    def start(self, code: int, **headers: str | int) -> None:
        """Send status and headers; ``_`` in a name stands for ``-``."""
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def hang_up(self) -> None:
        """Close the connection after this answer."""
        self.close_connection = True

    def moments(self) -> Iterator[None]:
        """Yield every now and then until the server is closed."""
        while not self.server.closing.wait(_MOMENT_SECONDS):
            yield

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base has it
        """Say nothing."""


Answer = Callable[[Exchange], None]


@dataclass(frozen=True)
class Request:
    """What was asked for.

    Attributes:
        path: With its query.
        headers: As they came.
    """

    path: str
    headers: dict[str, str]


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True

    def __init__(self, answers: dict[str, list[Answer]]) -> None:
        super().__init__(("127.0.0.1", 0), Exchange)
        self.answers = answers
        self.requests: list[Request] = []
        self.closing = threading.Event()
        self.lock = threading.Lock()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a client may hang up."""


@dataclass
class HttpsServer:
    """A running server.

    Attributes:
        port: On 127.0.0.1.
        answers: Path to what it gets, one after the other; the last one stays.
        requests: What was asked for so far.
    """

    port: int
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)

    def url(self, path: str, *, host: str = "127.0.0.1", user: str = "", query: str = "") -> str:
        """Return the address of a path."""
        return f"https://{user}{host}:{self.port}{path}{query}"


@contextmanager
def serve(certificates: Certificates) -> Iterator[HttpsServer]:
    """Run a server that answers 404 until it is told more."""
    context = certificates.server_context()
    answers: dict[str, list[Answer]] = {}
    server = _Server(answers)
    # The handshake is left to the thread of the connection: one that fails stops no other.
    server.socket = context.wrap_socket(
        server.socket, server_side=True, do_handshake_on_connect=False
    )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield HttpsServer(server.server_address[1], answers, server.requests)
    finally:
        server.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()


class _Refusal(BaseHTTPRequestHandler):
    def do_CONNECT(self) -> None:
        self.send_response(407)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base has it
        """Say nothing."""


@contextmanager
def refusing_proxy() -> Iterator[int]:
    """Run a proxy that wants another password; yield its port, where nothing speaks TLS."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Refusal)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def content(body: bytes, *, etag: str | None = None) -> Answer:
    """Send ``body``; with an ETag, also a part of it."""

    def _answer(exchange: Exchange) -> None:
        headers: dict[str, str | int] = {"ETag": etag} if etag else {}
        asked = re.fullmatch(r"bytes=(\d+)-", exchange.headers.get("Range", ""))
        start = int(asked[1]) if asked and etag and exchange.headers["If-Range"] == etag else 0
        if start:
            headers["Content_Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        exchange.start(206 if start else 200, Content_Length=len(body) - start, **headers)
        exchange.wfile.write(body[start:])

    return _answer


def truncated(body: bytes, sent: int, *, etag: str | None = None) -> Answer:
    """Promise all of ``body``, send so many bytes, and hang up."""

    def _answer(exchange: Exchange) -> None:
        exchange.hang_up()
        exchange.start(200, Content_Length=len(body), **({"ETag": etag} if etag else {}))
        exchange.wfile.write(body[:sent])

    return _answer


def status(code: int, **headers: str | int) -> Answer:
    """Send a status and no body."""
    return lambda exchange: exchange.start(code, Content_Length=0, **headers)


def redirect(location: str) -> Answer:
    """Send the client elsewhere."""
    return status(302, Location=location)


def chunked(body: bytes) -> Answer:
    """Send ``body`` without saying how long it is."""

    def _answer(exchange: Exchange) -> None:
        exchange.start(200, Transfer_Encoding="chunked")
        exchange.wfile.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))

    return _answer


def compressed(body: bytes) -> Answer:
    """Send ``body`` compressed, though nobody asked for that."""
    packed = gzip.compress(body)

    def _answer(exchange: Exchange) -> None:
        exchange.start(200, Content_Length=len(packed), Content_Encoding="gzip")
        exchange.wfile.write(packed)

    return _answer


def trickling_body(exchange: Exchange) -> None:
    """Send one byte after the other without end."""
    exchange.hang_up()
    exchange.start(200, Content_Length=1_000_000)
    for _ in exchange.moments():
        exchange.wfile.write(b".")


def trickling_headers(exchange: Exchange) -> None:
    """Never come to the end of the headers."""
    exchange.hang_up()
    exchange.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
    for _ in exchange.moments():
        exchange.wfile.write(b".")


def silent(exchange: Exchange) -> None:
    """Take the request and say nothing."""
    exchange.hang_up()
    for _ in exchange.moments():
        pass
