"""Connections that harm nobody: uvicorn's, with limits on what comes before a request is one.

::

    accepted ──► waiting ──first byte──► head ──► request ──► answered ──► waiting …
                    │                     │
                    │ too long: closed    │ too long: 408, too large: 431
                    └─ whoever waits longest makes room where there are too many

The application sees a request only once its head is whole, so a client that sends one byte now and
then, or none, would hold a connection for ever. What is refused here is handed to the application
as a request that carries its refusal, so that it is answered, logged and counted like any other.

Source: https://www.rfc-editor.org/rfc/rfc9112#section-9.5
"""

from __future__ import annotations

import asyncio
import resource
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from uvicorn.config import HTTP_PROTOCOLS, Config
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)
from uvicorn.server import ServerState

from textclf.errors import (
    HeadTooLargeError,
    MalformedRequestError,
    NotReadyError,
    RequestError,
    RequestTimeoutError,
)
from textclf.http.exchange import REFUSAL

_MAX_HEAD_BYTES = 32_768
_MAX_FIELDS = 100
_SPARE_FILES = 128  # for the model, the log, metrics, what BentoML holds
_CLOSE = {"Connection": "close"}
_BODY_FIELDS = {b"content-length", b"transfer-encoding"}
Shed = Callable[[bytes, list[tuple[bytes, bytes]]], tuple[bytes, bytes] | None]


def _shed_nothing(_path: bytes, _fields: list[tuple[bytes, bytes]]) -> None:
    return None


@dataclass(frozen=True, kw_only=True)
class ConnectionLimits:
    """What connections may take.

    Attributes:
        connections: Most at a time.
        read_seconds: Longest time for a TLS handshake, for a request's head, and for what a closing
            client reads.
        kept_files: Most files that stay open beside them, such as those of keys with a rate.
    """

    connections: int
    read_seconds: float
    kept_files: int = 0


def limit_connections(limits: ConnectionLimits, shed: Shed = _shed_nothing) -> None:
    """Have the uvicorn that is started next in this process hold its connections to limits.

    BentoML starts it, and has no option for any of this; uvicorn looks its protocol up here.

    Args:
        limits: For each worker.
        shed: Given the path and the fields of a POST, returns the fields and the body of a 429 that
            it gets at once.
    """
    spare = limits.kept_files + _SPARE_FILES
    files = _raise_open_files(limits.connections + spare)
    guard = Guard(max(1, files - spare), limits.read_seconds, shed)

    def protocol(**options: Any) -> LimitedProtocol:
        return LimitedProtocol(guard, **options)

    HTTP_PROTOCOLS["auto"] = protocol  # type: ignore[assignment] # what is no name is taken itself


def limit_handshakes(seconds: float) -> None:
    """Have servers that the running loop starts from now on wait so long for a TLS handshake.

    Until it is over there is no protocol that could hold it to a limit, and uvicorn, which starts
    them after the application's life span began, has no option for it: asyncio's minute holds.
    """
    loop = asyncio.get_running_loop()
    create = loop.create_server

    async def create_server(*arguments: Any, ssl: Any = None, **options: Any) -> asyncio.Server:
        if ssl is not None:
            options["ssl_handshake_timeout"] = seconds
        server: asyncio.Server = await create(*arguments, ssl=ssl, **options)
        return server

    loop.create_server = create_server  # type: ignore[method-assign]


def _raise_open_files(wanted: int) -> int:
    """Let this process open so many files, or as many as it may; return how many it is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return allowed


class Guard:
    """What the connections of one server share: how many there are, and who waits for whom."""

    def __init__(self, connections: int, read_seconds: float, shed: Shed) -> None:
        self.read_seconds = read_seconds
        self.shed = shed
        self.waiting: OrderedDict[LimitedProtocol, None] = OrderedDict()
        self._connections = connections
        self._all: set[LimitedProtocol] = set()
        self._sweeping: asyncio.TimerHandle | None = None

    def admit(self, connection: LimitedProtocol) -> None:
        """Take a connection; if that is one too many, the one that waited longest has to go."""
        self._all.add(connection)
        if len(self._all) > self._connections:
            if not self.waiting:
                detail = "too many connections are open; try again in a second"
                connection.refuse(NotReadyError(detail, headers={"Retry-After": "1"}))
                return
            self.waiting.popitem(last=False)[0].let_go()
        self.waiting[connection] = None
        if self._sweeping is None:
            self._sweep()

    def forget(self, connection: LimitedProtocol) -> None:
        """Count a connection no more."""
        self._all.discard(connection)
        self.waiting.pop(connection, None)

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in tuple(self._all):
            connection.heed_time(now)
        self._sweeping = None
        if self._all:
            self._sweeping = loop.call_later(min(1.0, self.read_seconds / 4), self._sweep)


class LimitedProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(
        self,
        guard: Guard,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        if config.server_header:  # what it runs on is nobody's business
            config.server_header = False
            config.encoded_headers = _without_server(config.encoded_headers)
            server_state.default_headers = _without_server(server_state.default_headers)
        self.access_log = False  # the application has its own
        self.ws_protocol_class = None  # a handshake is a request like any other
        self._guard = guard
        self._in_message = self._in_head = False
        self._head_bytes = 0  # what came in later segments than its beginning or a part of its body
        self._segment_bytes = 0
        self._since = 0.0
        self._stuck_since = 0.0
        self._refused = False
        self._shed_with: tuple[bytes, bytes] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._since = self.loop.time()
        self._guard.admit(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._guard.forget(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, unless the connection was refused."""
        if self._refused:
            return
        self._segment_bytes = len(data)
        self._head_bytes += len(data)
        super().data_received(data)
        if not self._in_message or self._head_bytes <= _MAX_HEAD_BYTES or self._refused:
            return
        if self._in_head or self._shed_with is not None or not self.cycle.response_complete:
            self.refuse(_head_too_large())
        else:  # it was answered before its end
            self.transport.close()

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing: a client may ask for what it does not get."""

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP in the form of every other refusal."""
        self.refuse(MalformedRequestError(f"{msg[:-1].lower()}; send HTTP/1.1"))

    def on_message_begin(self) -> None:
        """Begin a head; of this segment, much may be of the requests before it."""
        super().on_message_begin()
        self._in_message = self._in_head = True
        self._head_bytes = 0
        self._since = self.loop.time()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a field, unless there are too many or it comes after the body."""
        if self._in_head and len(self.headers) <= _MAX_FIELDS:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Hand the request to the application, which answers it or its refusal."""
        self._in_head = False
        self._guard.waiting.pop(self, None)
        self._unset_keepalive_if_required()  # what was answered here may have set it meanwhile
        if len(self.headers) > _MAX_FIELDS or (
            self._head_bytes + self._segment_bytes > _MAX_HEAD_BYTES
            and self._head_size() > _MAX_HEAD_BYTES
        ):
            self.scope[REFUSAL] = _head_too_large()  # type: ignore[literal-required]
        elif self._is_shed():
            self._since = self.loop.time()
            self._guard.waiting[self] = None  # for the rest of the request
            return
        upgrades = self.parser.should_upgrade()
        if upgrades and any(name in _BODY_FIELDS for name, _ in self.headers):
            self.scope[REFUSAL] = MalformedRequestError(  # type: ignore[literal-required]
                "nothing is upgraded here, and no body is read behind it; send it without Upgrade"
            )
        super().on_headers_complete()
        if upgrades:  # the parser reads no further
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Hand on a part of the body, if anyone reads it."""
        self._head_bytes = 0
        if self._shed_with is None:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """End the request; answer it, if that is done here."""
        self._in_message = False
        if self._shed_with is None:
            super().on_message_complete()
            return
        keep = self.parser.should_keep_alive() and self.parser.get_http_version() != "1.0"
        self._answer_shed(self._shed_with, keep=keep)

    def _answer_shed(self, refusal: tuple[bytes, bytes], *, keep: bool) -> None:
        self._shed_with = None
        fields, body = refusal
        common = [b"%b: %b\r\n" % field for field in self.server_state.default_headers]
        end = b"\r\n" if keep else b"connection: close\r\n\r\n"
        self.transport.write(b"".join([STATUS_LINE[429], *common, fields, end, body]))
        if not keep:
            self.transport.close()
        self.on_response_complete()

    def on_response_complete(self) -> None:
        """Begin to wait for the next request, unless it is there already."""
        super().on_response_complete()
        if self.timeout_keep_alive_task is not None:
            self._since = self.loop.time()
            self._guard.waiting[self] = None

    def heed_time(self, now: float) -> None:
        """End a wait that takes too long: for a head, or for a client to read the end."""
        limit = self._guard.read_seconds
        if self.transport.is_closing() or self.flow.write_paused:
            self._stuck_since = self._stuck_since or now
            if now - self._stuck_since > limit:
                self.transport.abort()
            return
        self._stuck_since = 0.0
        # uvicorn sees to a connection that is idle after an answer, until a byte comes
        idle = self.timeout_keep_alive_task is not None and not self._in_head
        if self in self._guard.waiting and not idle and now - self._since > limit:
            self.let_go()

    def let_go(self) -> None:
        """Close a connection that waits for a request, with a word if one has begun."""
        self._guard.waiting.pop(self, None)
        if self._in_head:
            self.refuse(RequestTimeoutError("the head of the request took too long to come"))
        elif self._shed_with is not None:
            self._refused = True  # nothing more of it is read
            self._answer_shed(self._shed_with, keep=False)
        else:
            self.transport.close()

    def refuse(self, error: RequestError) -> None:
        """Answer with an error once what was asked before is answered, and close."""
        self._refused = True
        self._shed_with = None
        error.headers |= _CLOSE
        last = self.cycle
        busy = last is not None and not last.response_complete
        if busy and last.more_body:  # its body will never be whole
            if self.pipeline and self.pipeline[0][0] is last:
                self.pipeline.popleft()
            else:
                last.disconnected = True
                last.message_event.set()
                busy = False
        cycle = self.cycle = self._refused_cycle(error)
        if busy:
            self.pipeline.appendleft((cycle, self.app))
        else:
            self._start_asgi_task(cycle, self.app)

    def _refused_cycle(self, error: RequestError) -> RequestResponseCycle:
        self.on_message_begin()  # a scope of its own
        self._in_message = self._in_head = False
        self.scope |= {"method": "other", "path": "", "raw_path": b"", "query_string": b""}
        self.scope[REFUSAL] = error  # type: ignore[literal-required]
        cycle = RequestResponseCycle(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=False,
            on_response=self.on_response_complete,
        )
        cycle.more_body = False
        return cycle

    def _is_shed(self) -> bool:
        """Say whether the request is refused at once; one that is waited for or queued is not."""
        busy = self.cycle is not None and not self.cycle.response_complete
        if busy or self.parser.get_method() != b"POST" or self.expect_100_continue:
            return False
        if self.flow.write_paused:  # its client does not read; uvicorn waits for that
            return False
        if self.parser.should_upgrade():
            return False
        self._shed_with = self._guard.shed(self.url, self.headers)
        return self._shed_with is not None

    def _head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)


def _without_server(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [field for field in headers if field[0] != b"server"]


def _head_too_large() -> HeadTooLargeError:
    return HeadTooLargeError(
        f"the head is over {_MAX_HEAD_BYTES} bytes or {_MAX_FIELDS} fields; send less in it",
        headers=dict(_CLOSE),
    )
