"""A proxy on loopback that is itself every host it is asked to connect to."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.azure.exchange import Request, Response


class TerminatingProxy(ThreadingHTTPServer):
    """Takes CONNECT, ends TLS with a certificate of its own, and answers what comes inside.

    Attributes:
        errors: What went wrong here rather than at a client.
    """

    daemon_threads = False  # so that closing waits for them
    request_queue_size = 64

    def __init__(
        self,
        respond: Callable[[Request], Response],
        tls: ssl.SSLContext,
        *,
        accepts: Callable[[str], bool],
    ) -> None:
        """Listen on a free port.

        Args:
            respond: Answers a request; called from many threads.
            tls: Holds the certificate.
            accepts: Tells whether a host is played here; any other is refused with 502.
        """
        super().__init__(("127.0.0.1", 0), _Connection)
        self.respond = respond
        self.tls = tls
        self.accepts = accepts
        self.errors: list[BaseException] = []
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._serving = threading.Thread(target=self.serve_forever, args=(0.02,))
        self._serving.start()

    @property
    def url(self) -> str:
        """The value of HTTPS_PROXY."""
        return f"http://127.0.0.1:{self.server_port}"

    def close(self) -> None:
        """End every connection and every thread."""
        self.shutdown()
        self._serving.join()
        with self._lock:
            for connection in self._open:
                _hang_up(connection)
        self.server_close()

    def opened(self, connection: socket.socket) -> None:
        """Remember a connection, to end it when the proxy closes."""
        with self._lock:
            self._open.add(connection)

    def closed(self, connection: socket.socket) -> None:
        """Forget a connection."""
        with self._lock:
            self._open.discard(connection)


def _hang_up(connection: socket.socket) -> None:
    # Through a descriptor of its own: another thread is reading from the TLS object.
    with contextlib.suppress(OSError), socket.socket(fileno=socket.dup(connection.fileno())) as own:
        own.shutdown(socket.SHUT_RDWR)


class _Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    host = ""

    @property
    def proxy(self) -> TerminatingProxy:
        return cast(TerminatingProxy, self.server)

    def setup(self) -> None:
        super().setup()
        self.proxy.opened(self.connection)

    def handle(self) -> None:
        with contextlib.suppress(OSError):  # the client left, or does not trust the certificate
            super().handle()

    def finish(self) -> None:
        self.proxy.closed(self.connection)
        with contextlib.suppress(OSError):
            super().finish()
        self.connection.close()

    def do_CONNECT(self) -> None:
        host = self.path.rpartition(":")[0]
        if not self.proxy.accepts(host):
            self._respond(
                Request(method="CONNECT", host=host, path="", query={}, headers={}, body=b"")
            )
            return
        self.host = host
        self.send_response(200)
        self.end_headers()
        self.proxy.closed(self.connection)
        self.rfile.close()
        self.connection = self.proxy.tls.wrap_socket(self.connection, server_side=True)
        self.proxy.opened(self.connection)
        self.rfile = self.connection.makefile("rb")
        self.wfile = self.connection.makefile("wb", 0)
        self.close_connection = False

    def _answer(self) -> None:
        if hasattr(
            socket, "TCP_QUICKACK"
        ):  # urllib3 sends a body through a proxy only after an ACK
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        target = urlsplit(self.path)
        length = int(self.headers.get("Content-Length", 0))
        self._respond(
            Request(
                method=self.command,
                host=self.host or target.netloc,
                path=unquote(target.path),
                query=dict(parse_qsl(target.query, keep_blank_values=True)),
                headers={name.lower(): value for name, value in self.headers.items()},
                body=self.rfile.read(length),
            )
        )

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = _answer  # noqa: N815 - as named there

    def _respond(self, request: Request) -> None:
        try:
            response = self.proxy.respond(request)
        except Exception as exc:  # noqa: BLE001 - raised when the stand-in closes
            self.proxy.errors.append(exc)
            response = Response(status=500)
        self.send_response(response.status)
        for name, value in {"Content-Length": len(response.body), **response.headers}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if request.method != "HEAD":
            self._send_body(response)

    def _send_body(self, response: Response) -> None:
        half = len(response.body) // 2
        self.wfile.write(response.body[:half])
        if response.hold:
            response.hold.reached.set()
            response.hold.release.wait()
        if response.cut_short:
            self.close_connection = True
        else:
            self.wfile.write(response.body[half:])

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        pass
