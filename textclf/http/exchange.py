"""One request and its answer: the id, the header fields, the count and the log line."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Mapping

from starlette.types import Message, Receive, Scope, Send

from textclf.errors import MethodNotAllowedError, NotReadyError, RequestError
from textclf.http.body import read_body, read_length
from textclf.http.joined_writes import joined_writes
from textclf.http.keys import Key
from textclf.http.lifecycle import Lifecycle
from textclf.http.problems import fault_of_ours
from textclf.http.routing import (
    NOWHERE,
    READING,
    Answer,
    Parameters,
    Route,
    RouteTable,
    no_such_path,
)
from textclf.metrics import Stages, metrics
from textclf.tracing import TracedRequest, Tracer

# BentoML's page asks a tag manager for scripts; nothing here reaches beyond the service.
_PAGE = {
    "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Referrer-Policy": "no-referrer",
}
_EVERYWHERE = [(b"x-content-type-options", b"nosniff")]
_NOT_KEPT = (b"cache-control", b"no-store")
_MOST_IGNORED_BYTES = 65_536
_OF_ANY_METHOD = {404, 405, 431}  # answered before the method was looked at, or for it
_NOT_DELEGATED = {b"range", b"content-type", b"content-length", b"transfer-encoding", b"expect"}
ASSETS = "/static_content"
REFUSAL = "textclf.refusal"  # of a scope: why the server refuses the request before it is answered
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_LOGGER = logging.getLogger("textclf.access")


class Exchange:
    """One request, and the only way to answer it."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, lifecycle: Lifecycle) -> None:
        self.scope = scope
        self.receive = receive
        self.path: str = scope["path"]
        self._headers_given: dict[bytes, bytes] = dict(reversed(scope["headers"]))
        given = self.header(b"x-request-id") or ""
        self.request_id = given if REQUEST_ID.fullmatch(given) else os.urandom(16).hex()
        self._send = send
        self._tag = lifecycle.tag
        self.route = NOWHERE
        self.parameters: Parameters = {}
        self.stages = Stages()
        self.caller: Key | None = None
        self._status = 0
        self._is_read = self._is_delegated = False
        self._began = time.perf_counter()

    def header(self, name: bytes) -> str | None:
        """Return a header field of the request; ASGI has their names in lower case."""
        value = self._headers_given.get(name)
        return None if value is None else value.decode("latin-1")

    def take(self, routes: RouteTable) -> Route:
        """Return the route that the request takes.

        Raises:
            MethodNotAllowedError: The path does not know the method.
            RequestError: The server refuses the request already.
        """
        self.route, self.parameters = routes.find(self.path)
        if REFUSAL in self.scope:
            raise self.scope.pop(REFUSAL)
        methods = self.route.methods
        if methods and self.scope["method"] not in methods:
            allowed = ", ".join(methods)
            raise MethodNotAllowedError(
                f"this path answers {allowed} only", headers={"Allow": allowed}
            )
        return self.route

    async def read_body(self, max_bytes: int) -> bytes:
        """Return the request's body; errors are those of ``textclf.http.body.read_body``."""
        declared = self.header(b"content-length") or ""
        body = await read_body(self.receive, declared=declared, max_bytes=max_bytes)
        self._is_read = True
        return body

    def charge(self, texts: int) -> None:
        """Count the texts of the request, the first of which was counted when it was let in.

        Raises:
            RateLimitedError: Its key has used up its rate.
        """
        if texts > 1 and self.caller is not None and self.caller.bucket is not None:
            self.caller.bucket.charge(texts - 1)

    def delegated_scope(self) -> Scope:
        """Return the scope for BentoML: of no body, and of no Range, which it promises nothing for.

        BentoML unpickles a body that says it is pickled.
        """
        headers = [field for field in self.scope["headers"] if field[0] not in _NOT_DELEGATED]
        return {**self.scope, "headers": headers}

    async def delegated_receive(self) -> Message:
        """Receive for BentoML, which gets no body to read: its end, then the client's."""
        if not self._is_delegated:
            self._is_delegated = True
            return {"type": "http.request", "body": b"", "more_body": False}
        while (message := await self.receive())["type"] == "http.request":
            pass
        return message

    async def reply(self, answer: Answer) -> None:
        """Send an answer of 200."""
        await self._transmit(200, answer.media_type, answer.body, answer.headers)

    async def refuse(self, error: RequestError) -> None:
        """Send what the route makes of an error, unless an answer has begun."""
        if self._status:
            return
        metrics().refusal(error.reason).inc()
        refusal = self.route.refusal(error, self.request_id)
        await self._transmit(refusal.status, refusal.media_type, refusal.body, error.headers)

    async def relay(self, message: Message) -> None:
        """Pass on what the delegated application sends; its errors become problems."""
        if message["type"] == "http.response.start":
            if message["status"] >= 400:
                await self.refuse(_from_status(message["status"]))
                return
            self._status = message["status"]
            given = message.get("headers", [])
            media_type = dict(given).get(b"content-type", b"").decode("latin-1")
            message = {**message, "headers": [*given, *self._headers(media_type, {})]}
        if self._status < 400:  # what follows a refused head is dropped
            with joined_writes(self._send):
                await self._send(message)

    def record(self, tracer: Tracer | None = None) -> None:
        """Count the request and log it; trace it if it was to predict."""
        ended = time.perf_counter()
        seconds = ended - self._began
        method = self.scope["method"] if self._status not in _OF_ANY_METHOD else "other"
        count, durations = metrics().answered(self.route.name, method, self._status)
        count.inc()
        durations.observe(seconds)
        caller = {}
        if self.caller is not None:
            caller = {"key": self.caller.name}
            metrics().key_answered(self.caller.name, self._status).inc()
        probed = self.scope["method"] in READING and self._status < 400
        _LOGGER.log(
            logging.DEBUG if probed else logging.INFO,
            "request",
            extra={
                "request_id": self.request_id,
                "route": self.route.name,
                "status": self._status,
                "total_ms": round(seconds * 1000, 3),
                **self.stages.durations_ms(ended),
                "model": self._tag,
                **caller,
                **(self._trace(tracer) if tracer and self.route.predicts else {}),
            },
        )

    def _trace(self, tracer: Tracer) -> dict[str, str]:
        return tracer.trace(
            TracedRequest(
                scope=self.scope,
                route=self.route.name,
                status=self._status,
                request_id=self.request_id,
                model=self._tag,
                began=self._began,
                stages=self.stages,
            )
        )

    async def _transmit(
        self, status: int, media_type: str, body: bytes, extra: Mapping[str, str]
    ) -> None:
        self._status = status
        fields = {"Content-Type": media_type, "Content-Length": str(len(body)), **extra}
        headers = self._headers(media_type, fields)
        head = {"type": "http.response.start", "status": status, "headers": headers}
        with joined_writes(self._send):
            await self._send(head)
            await self._send({"type": "http.response.body", "body": body})

    def _headers(self, media_type: str, extra: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
        fields = {**extra, "X-Request-Id": self.request_id, "X-Model": self._tag}
        if media_type.startswith("text/html"):
            fields = {**_PAGE, **fields}
        if not self._is_read and self._leaves_body():
            fields["Connection"] = "close"
        headers = [(name.lower().encode(), value.encode()) for name, value in fields.items()]
        if self.route.name != ASSETS and "Cache-Control" not in extra:
            headers.append(_NOT_KEPT)
        return headers + _EVERYWHERE

    def _leaves_body(self) -> bool:
        """Say whether more of the body may come than is worth the reading past it."""
        if b"transfer-encoding" in self._headers_given:
            return True
        length = read_length(self.header(b"content-length") or "0")
        return length is None or length > _MOST_IGNORED_BYTES


def _from_status(status: int) -> RequestError:
    """Translate an answer of the delegated application."""
    if status == 404:
        return no_such_path()
    if status == 503:
        return NotReadyError("not ready; try again in a second", headers={"Retry-After": "1"})
    return fault_of_ours()
