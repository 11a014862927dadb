"""The front door: one ASGI application through which every request passes.

It answers the predicting routes itself and hands the rest to BentoML. It is where request ids,
limits, keys, problem responses, the access log and the request metrics are made, for both alike.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from pydantic import BaseModel
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from textclf import telemetry
from textclf.errors import (
    MalformedRequestError,
    NotFoundError,
    RequestError,
    UnsupportedMediaTypeError,
)
from textclf.http import endpoints
from textclf.http.body import read_body
from textclf.http.exchange import READING, Exchange
from textclf.http.keys import KeyRing
from textclf.http.lifecycle import Lifecycle
from textclf.http.patience import Patience
from textclf.http.problems import fault_of_ours, parse_request
from textclf.schema import ClassifyRequest, PredictRequest
from textclf.settings import Settings

_Request = TypeVar("_Request", bound=BaseModel)
Handler = Callable[[bytes], Coroutine[Any, Any, BaseModel]]

_LOGGER = logging.getLogger("textclf.front")


class FrontDoor:
    """Serves the predicting routes and delegates the others to ``app``."""

    def __init__(
        self, app: ASGIApp, lifecycle: Lifecycle, settings: Settings, keys: KeyRing | None = None
    ) -> None:
        self._app = app
        self._lifecycle = lifecycle
        self._settings = settings
        self._keys = keys
        self._handlers: dict[str, Handler] = {
            "/predict": self._handler(PredictRequest, endpoints.predict),
            "/classify": self._handler(ClassifyRequest, endpoints.classify),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or run the application's life span."""
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
        elif scope["type"] == "http":
            await self._serve(Exchange(scope, receive, send, self._lifecycle))
        else:
            await self._refuse_websocket(scope, receive, send)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def receive_and_load() -> Message:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self._lifecycle.start()
            return message

        try:
            await self._app(scope, receive_and_load, send)
        finally:
            await self._lifecycle.close()

    async def _serve(self, exchange: Exchange) -> None:
        try:
            await self._answer(exchange)
        except RequestError as exc:
            await exchange.refuse(exc)
        except Exception:
            _LOGGER.exception("a fault of ours", extra={"request_id": exchange.request_id})
            await exchange.refuse(fault_of_ours())
        finally:
            exchange.record()

    async def _refuse_websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a handshake with a problem.

        Source: https://asgi.readthedocs.io/en/latest/extensions.html#websocket-denial-response
        """

        async def send_denial(message: Message) -> None:
            await send({**message, "type": f"websocket.{message['type']}"})

        exchange = Exchange({**scope, "method": "GET"}, receive, send_denial, self._lifecycle)
        await exchange.refuse(NotFoundError("no path here speaks WebSocket; send HTTP requests"))
        exchange.record()

    async def _answer(self, exchange: Exchange) -> None:
        handler = self._handlers.get(exchange.path)
        exchange.allow(("POST",) if handler else READING)
        if handler:
            await exchange.reply(await self._handle(handler, exchange))
            return
        if exchange.path == "/readyz":
            self._lifecycle.require_ready()
        if exchange.path == "/metrics":
            await exchange.reply_bytes(*await asyncio.to_thread(telemetry.render_metrics))
            return
        await self._app(exchange.delegated_scope(), exchange.receive, exchange.relay)
        await exchange.refuse(fault_of_ours())  # unless an answer was sent

    async def _handle(self, handler: Handler, exchange: Exchange) -> BaseModel:
        if self._keys is not None:
            self._keys.check(exchange.header(b"authorization") or "")
        self._lifecycle.require_ready()  # no body is read for nothing
        declared = _require_json(exchange.header(b"content-type"))
        try:
            with Patience(exchange.receive, self._settings.request_timeout_seconds) as patience:
                body = await read_body(
                    exchange.receive,
                    declared=exchange.header(b"content-length") or "",
                    max_bytes=self._settings.max_body_bytes,
                )
                patience.watch()
                return await handler(body)
        except MalformedRequestError as exc:
            if declared:
                raise
            raise _not_json() from exc

    def _handler(
        self,
        request: type[_Request],
        endpoint: Callable[[Lifecycle, _Request], Awaitable[BaseModel]],
    ) -> Handler:
        async def handle(body: bytes) -> BaseModel:
            return await endpoint(self._lifecycle, parse_request(request, body))

        return handle


def _require_json(content_type: str | None) -> bool:
    """Say whether the body is declared to be JSON; nothing declared is neither yes nor an error."""
    if content_type is None:
        return False
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise _not_json()
    return True


def _not_json() -> UnsupportedMediaTypeError:
    return UnsupportedMediaTypeError("send JSON with Content-Type: application/json")
