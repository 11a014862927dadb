"""/metrics on a port of its own, served by one worker for all."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import BaseServer, ThreadingTCPServer
from types import MappingProxyType
from typing import IO, Any

from textclf.errors import UnauthorizedError

_TRY_SECONDS = 1.0
_SLOW_CLIENT_SECONDS = 10.0  # from the first byte to the last, as Prometheus has it
_STOP_SECONDS = 0.1
_MOST_SCRAPERS = 8
_LOCK = "metrics-port.lock"
_TEXT = "text/plain; charset=utf-8"
_NO_FIELDS: Mapping[str, str] = MappingProxyType({})
_LOGGER = logging.getLogger("textclf.metrics_port")


@dataclass(frozen=True, kw_only=True)
class MetricsPort:
    """Serves /metrics for all workers from whichever of them has the lock.

    The system takes the lock from a worker that dies, and another has it within a second.

    Attributes:
        host: IP address to listen on.
        port: The port.
        render: Returns the media type and the metrics of every worker; from any thread.
        check: Raises for an Authorization header without a key; None asks for none.
        shared: Folder of the workers of this service; None if there is but one.
    """

    host: str
    port: int
    render: Callable[[], tuple[str, bytes]]
    check: Callable[[str], object] | None = None
    shared: Path | None = None

    async def hold(self) -> None:
        """Serve as soon as no other worker does; until cancelled."""
        with _lock_file(self.shared) as lock:
            while not _locks(lock):  # noqa: ASYNC110 - another process lets go of it
                await asyncio.sleep(_TRY_SECONDS)
            server = await self._listen()
            threading.Thread(
                target=server.serve_forever, args=(_STOP_SECONDS,), daemon=True
            ).start()
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                server.shutdown()
                server.server_close()

    async def _listen(self) -> _Server:
        told = ""
        while True:
            try:
                server = _Server(self)
            except OSError as exc:
                fault = f"cannot serve /metrics on {self.host} port {self.port}: {exc}"
                if fault != told:
                    _LOGGER.error("%s; trying again each second", fault)  # noqa: TRY400
                told = fault
                await asyncio.sleep(_TRY_SECONDS)
            else:
                _LOGGER.info("serving /metrics", extra={"host": self.host, "port": self.port})
                return server


@contextmanager
def _lock_file(shared: Path | None) -> Iterator[IO[Any]]:
    with tempfile.TemporaryFile() if shared is None else (shared / _LOCK).open("ab") as file:
        yield file


def _locks(file: IO[Any]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class _Server(ThreadingTCPServer):
    """A thread a scrape, and few of them."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, own: MetricsPort) -> None:
        self.own = own
        self.address_family = socket.AF_INET6 if ":" in own.host else socket.AF_INET
        self._places = threading.BoundedSemaphore(_MOST_SCRAPERS)
        super().__init__((own.host, own.port), _Handler)

    def get_request(self) -> Any:
        try:
            return super().get_request()
        except OSError:  # it may open no more files, and would be asked again at once
            time.sleep(_STOP_SECONDS)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        ending = threading.Timer(_SLOW_CLIENT_SECONDS, _shut, [request])
        ending.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            ending.cancel()
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        if not isinstance(sys.exception(), OSError):  # a scraper that goes away is no fault
            _LOGGER.error("cannot serve /metrics", exc_info=sys.exception())


def _shut(connection: socket.socket) -> None:
    with suppress(OSError):  # it has ended by itself
        connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    server_version = "textclf"
    sys_version = ""

    def __init__(self, request: Any, client_address: Any, server: BaseServer) -> None:
        assert isinstance(server, _Server)  # noqa: S101 - nothing else makes one
        self._own = server.own
        super().__init__(request, client_address, server)

    def do_GET(self) -> None:
        if self.path.partition("?")[0] != "/metrics":
            self._answer(404, _TEXT, b"there is no such path; see /metrics\n")
            return
        try:
            if self._own.check is not None:
                self._own.check(self.headers.get("Authorization", ""))
        except UnauthorizedError as exc:
            self._answer(exc.http_status, _TEXT, f"{exc}\n".encode(), exc.headers)
            return
        try:
            media_type, body = self._own.render()
        except OSError as exc:  # every worker has files, and this one may open no more
            _LOGGER.warning("cannot read the metrics: %s", exc)
            said = b"the metrics cannot be read now; try again in a second\n"
            self._answer(503, _TEXT, said, {"Retry-After": "1"})
            return
        self._answer(200, media_type, body)

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *arguments: Any) -> None:
        """Say nothing: a scrape is no news."""

    def _answer(
        self, status: int, media_type: str, body: bytes, fields: Mapping[str, str] = _NO_FIELDS
    ) -> None:
        self.send_response(status)
        own = {"Content-Type": media_type, "Content-Length": str(len(body))}
        for name, value in {**own, **fields}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
