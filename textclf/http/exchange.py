"""One request and its answer: the id, the header fields, the count and the log line."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Mapping

from starlette.types import Message, Receive, Scope, Send

from textclf.errors import MethodNotAllowedError, NotReadyError, RequestError
from textclf.http.joined_writes import joined_writes
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

# BentoML's page asks a tag manager for scripts; nothing here reaches beyond the service.
_PAGE_POLICY = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_LOGGER = logging.getLogger("textclf.access")


class Exchange:
    """One request, and the only way to answer it."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, lifecycle: Lifecycle) -> None:
        self.scope = scope
        self.receive = receive
        self.path: str = scope["path"]
        self._headers_given: dict[bytes, bytes] = dict(reversed(scope["headers"]))
        given = self.header(b"x-request-id") or ""
        self.request_id = given if _REQUEST_ID.fullmatch(given) else os.urandom(16).hex()
        self._send = send
        self._tag = lifecycle.tag
        self.route = NOWHERE
        self.parameters: Parameters = {}
        self.stages = Stages()
        self._status = 0
        self._began = time.perf_counter()

    def header(self, name: bytes) -> str | None:
        """Return a header field of the request; ASGI has their names in lower case."""
        value = self._headers_given.get(name)
        return None if value is None else value.decode("latin-1")

    def take(self, routes: RouteTable) -> Route:
        """Return the route that the request takes.

        Raises:
            MethodNotAllowedError: The path does not know the method.
        """
        self.route, self.parameters = routes.find(self.path)
        methods = self.route.methods
        if methods and self.scope["method"] not in methods:
            allowed = ", ".join(methods)
            raise MethodNotAllowedError(
                f"this path answers {allowed} only", headers={"Allow": allowed}
            )
        return self.route

    def delegated_scope(self) -> Scope:
        """Return the scope for BentoML, which has no promised answer to a Range."""
        headers = [(name, value) for name, value in self.scope["headers"] if name != b"range"]
        return {**self.scope, "headers": headers}

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
            extra = {"Content-Security-Policy": _PAGE_POLICY} if self.path == "/" else {}
            headers = [*message.get("headers", []), *self._headers(extra)]
            message = {**message, "headers": headers}
        if self._status < 400:  # what follows a refused head is dropped
            await self._send(message)

    def record(self) -> None:
        """Count the request and log it."""
        seconds = time.perf_counter() - self._began
        method = self.scope["method"] if self._status not in {404, 405} else "other"
        count, durations = metrics().answered(self.route.name, method, self._status)
        count.inc()
        durations.observe(seconds)
        probed = self.scope["method"] in READING and self._status < 400
        _LOGGER.log(
            logging.DEBUG if probed else logging.INFO,
            "request",
            extra={
                "request_id": self.request_id,
                "route": self.route.name,
                "status": self._status,
                "milliseconds": round(seconds * 1000, 3),
                "model": self._tag,
            },
        )

    async def _transmit(
        self, status: int, media_type: str, body: bytes, extra: Mapping[str, str]
    ) -> None:
        self._status = status
        fields = {"Content-Type": media_type, "Content-Length": str(len(body)), **extra}
        head = {"type": "http.response.start", "status": status, "headers": self._headers(fields)}
        with joined_writes(self._send):
            await self._send(head)
            await self._send({"type": "http.response.body", "body": body})

    def _headers(self, extra: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
        fields = {**extra, "X-Request-Id": self.request_id, "X-Model": self._tag}
        return [(name.lower().encode(), value.encode()) for name, value in fields.items()]


def _from_status(status: int) -> RequestError:
    """Translate an answer of the delegated application."""
    if status == 404:
        return no_such_path()
    if status == 503:
        return NotReadyError("not ready; try again in a second", headers={"Retry-After": "1"})
    return fault_of_ours()
