"""The front door: one ASGI application through which every request passes.

It answers the predicting routes itself and hands the rest to BentoML. It is where request ids,
limits, keys, problem responses, the access log and the request metrics are made, for both alike.
Every path is a ``Route`` in its table, or below the pattern of one.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from bentoml._internal import server
from pydantic import BaseModel
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from textclf import logs, telemetry
from textclf.errors import (
    ClientDeadlineError,
    DeadlineExceededError,
    MalformedRequestError,
    NotFoundError,
    NotReadyError,
    RequestError,
    UnsupportedMediaTypeError,
)
from textclf.http import endpoints, inference_protocol
from textclf.http.companions import Companions
from textclf.http.connections import limit_handshakes
from textclf.http.exchange import ASSETS, Exchange
from textclf.http.keys_file import KeysFile
from textclf.http.lifecycle import Lifecycle
from textclf.http.page import page_routes
from textclf.http.patience import Patience, read_timeout
from textclf.http.problems import fault_of_ours, parse_request
from textclf.http.routing import JSON, Answer, Route, RouteTable
from textclf.http.scrapes import Scrapes
from textclf.metrics import Stages, metrics
from textclf.schema import ClassifyRequest, PredictRequest
from textclf.settings import Settings
from textclf.tracing import Tracer

_Request = TypeVar("_Request", bound=PredictRequest | ClassifyRequest)

_DELEGATED = ("/", "/livez", "/healthz", "/docs.json", "/schema.json")
_LOGGER = logging.getLogger("textclf.front")


class FrontDoor:
    """Serves the predicting routes and delegates the others to ``app``."""

    def __init__(
        self,
        app: ASGIApp,
        lifecycle: Lifecycle,
        settings: Settings,
        keys: KeysFile | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        self._app = app
        self._lifecycle = lifecycle
        self._tracer = tracer
        self._settings = settings
        self._keys = keys.ring if keys else None
        self._companions = Companions(settings, keys)
        self._scrapes = Scrapes(telemetry.render_metrics)
        self._routes = RouteTable(
            [
                self._predicting("/predict", PredictRequest, endpoints.predict),
                self._predicting("/classify", ClassifyRequest, endpoints.classify),
                *(Route(name=path, handler=self._delegate) for path in _DELEGATED),
                Route(
                    name=ASSETS,
                    pattern=_assets(),
                    handler=self._delegate,
                ),
                Route(name="/readyz", handler=self._delegate_once_ready),
                *(page_routes(lifecycle) if settings.ui else ()),
                Route(name="/metrics", handler=self._metrics),
                *inference_protocol.routes(lifecycle),
            ]
        )
        metrics().expect(self._routes.predicting)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or run the application's life span."""
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
        else:
            await self._serve(Exchange(scope, receive, send, self._lifecycle))

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def receive_and_load() -> Message:
            message = await receive()
            if message["type"] == "lifespan.startup":
                limit_handshakes(self._settings.read_timeout_seconds)
                self._lifecycle.start()
                self._companions.start()
            return message

        is_closed = False

        async def close_and_send(message: Message) -> None:
            nonlocal is_closed
            if message["type"].startswith("lifespan.shutdown."):  # then the server waits no more
                is_closed = True
                await self._close()
            await send(message)

        try:
            await self._app(scope, receive_and_load, close_and_send)
        finally:
            if not is_closed:
                await self._close()

    async def _close(self) -> None:
        await self._companions.stop()
        await self._lifecycle.close()
        if self._tracer is not None:
            await self._tracer.close()
        logs.flush()  # the process ends by the signal that stopped it

    async def _serve(self, exchange: Exchange) -> None:
        try:
            await self._answer(exchange)
        except RequestError as exc:
            await exchange.refuse(exc)
        except Exception:
            _LOGGER.exception("a fault of ours", extra={"request_id": exchange.request_id})
            await exchange.refuse(fault_of_ours())
        finally:
            exchange.record(self._tracer)

    async def _answer(self, exchange: Exchange) -> None:
        route = exchange.take(self._routes)
        answer = await (
            self._predict(route, exchange) if route.predicts else route.handler(exchange, b"")
        )
        if answer is not None:
            await exchange.reply(answer)

    async def _predict(self, route: Route, exchange: Exchange) -> Answer | None:
        if self._keys is not None:
            exchange.caller = self._keys.check(exchange.header(b"authorization") or "")
        self._lifecycle.require_ready()  # no body is read for nothing
        if self._keys is not None and exchange.caller is not None:
            self._keys.let_in(exchange.caller)
        _require_media_type(exchange.header(b"content-type"), route.media_types)
        _require_plain(exchange.header(b"content-encoding"))
        settings = self._settings
        seconds = read_timeout(
            exchange.header(b"x-request-timeout-ms"), settings.request_timeout_seconds
        )
        try:
            with Patience(exchange.receive, seconds, settings.read_timeout_seconds) as patience:
                body = await exchange.read_body(settings.max_body_bytes)
                patience.watch()
                return await route.handler(exchange, body)
        except DeadlineExceededError as exc:
            if seconds < settings.request_timeout_seconds:
                raise ClientDeadlineError(str(exc), headers=exc.headers) from exc
            raise

    async def _delegate(self, exchange: Exchange, _body: bytes) -> None:
        await self._app(exchange.delegated_scope(), exchange.delegated_receive, exchange.relay)
        await exchange.refuse(fault_of_ours())  # unless an answer was sent

    async def _delegate_once_ready(self, exchange: Exchange, body: bytes) -> None:
        self._lifecycle.require_ready()
        await self._delegate(exchange, body)

    async def _metrics(self, exchange: Exchange, _body: bytes) -> Answer:
        if self._settings.metrics_port:
            raise NotFoundError("metrics are served on a port of their own")
        if self._keys is not None and self._settings.metrics_key:
            exchange.caller = self._keys.check(exchange.header(b"authorization") or "")
        try:
            return Answer(*await self._scrapes.page())
        except OSError as exc:  # every worker has files, and this one may open no more
            _LOGGER.warning("cannot read the metrics: %s", exc)
            detail = "the metrics cannot be read now; try again in a second"
            raise NotReadyError(detail, headers={"Retry-After": "1"}) from exc

    def _predicting(
        self,
        path: str,
        request: type[_Request],
        endpoint: Callable[[Lifecycle, _Request, Stages], Awaitable[BaseModel]],
    ) -> Route:
        async def handle(exchange: Exchange, body: bytes) -> Answer:
            try:
                parsed = parse_request(request, body)
            except MalformedRequestError as exc:
                if exchange.header(b"content-type") is not None:
                    raise
                raise _unsupported((JSON,)) from exc
            exchange.charge(len(parsed.texts))
            return Answer.of(await endpoint(self._lifecycle, parsed, exchange.stages))

        return Route(name=path, methods=("POST",), predicts=True, handler=handle)


def _assets() -> re.Pattern[str]:
    """Return what matches BentoML's own files, which it counts by their paths, and nothing else.

    Any other path below theirs would be a series of its metrics for ever.
    """
    folder = Path(server.__file__).parent / ASSETS.removeprefix("/")
    return re.compile("|".join(re.escape(f"{ASSETS}/{file.name}") for file in folder.iterdir()))


def _require_media_type(content_type: str | None, media_types: tuple[str, ...]) -> None:
    """Refuse a body that is declared to be of another type; nothing declared is no error yet."""
    if content_type is None:
        return
    if content_type.partition(";")[0].strip().lower() not in media_types:
        raise _unsupported(media_types)


def _require_plain(content_encoding: str | None) -> None:
    """Refuse a body that is compressed: little of it could be more than may be read."""
    if content_encoding not in {None, "identity"}:
        raise UnsupportedMediaTypeError(
            "send the body without Content-Encoding", headers={"Accept-Encoding": "identity"}
        )


def _unsupported(media_types: tuple[str, ...]) -> UnsupportedMediaTypeError:
    return UnsupportedMediaTypeError(f"send JSON with Content-Type: {' or '.join(media_types)}")
