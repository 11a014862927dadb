"""Spans of predicting requests, sent where OpenTelemetry's standard variables say.

They are made when a request is over, from the times that its stages began at: nothing is carried
along with it, and where no receiver is set not even OpenTelemetry's SDK is asked.

Source: https://opentelemetry.io/docs/specs/semconv/http/http-spans/
"""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from starlette.types import Scope

import textclf
from textclf.metrics import Stages

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.util.types import AttributeValue

_MOST_SECONDS_TO_CLOSE = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedRequest:
    """A request that was answered.

    Attributes:
        scope: As ASGI has it.
        route: The name of its route.
        status: Of its answer.
        request_id: As the answer and the log have it.
        model: Store tag.
        began: When its head was there, in seconds of ``time.perf_counter``.
        stages: When it got how far.
    """

    scope: Scope
    route: str
    status: int
    request_id: str
    model: str
    began: float
    stages: Stages


class Tracer:
    """Makes a span of a request and one of each stage it reached."""

    def __init__(self, provider: TracerProvider) -> None:
        from opentelemetry import propagate, trace  # noqa: PLC0415 - only where it is wanted

        self._provider = provider
        self._tracer = provider.get_tracer("textclf", textclf.__version__)
        self._extract = propagate.extract
        self._within = trace.set_span_in_context
        self._server = trace.SpanKind.SERVER
        self._failed = trace.StatusCode.ERROR

    @classmethod
    def open(cls) -> Self:
        """Return a tracer that sends its spans with OTLP over HTTP.

        The SDK reads the sampler, the receiver, its headers and its certificates, names of the
        service, and limits from the standard variables.

        Source: https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
        """
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
            OTLPSpanExporter,
        )
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

        resource = Resource.create(
            {
                "service.name": "textclf",
                "service.version": textclf.__version__,
                "service.instance.id": str(uuid.uuid4()),
            }
        )
        provider = TracerProvider(
            resource=resource.merge(OTELResourceDetector().detect()), shutdown_on_exit=False
        )
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        return cls(provider)

    def trace(self, request: TracedRequest) -> dict[str, str]:
        """Make the spans of a request that just ended; return what its line in the log says."""
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in request.scope["headers"]}
        since_1970 = time.time_ns() - time.perf_counter_ns()
        ended = time.perf_counter()
        span = self._tracer.start_span(
            f"{request.scope['method']} {request.route}",
            self._extract(headers),
            self._server,
            _attributes(request),
            start_time=since_1970 + int(request.began * 1e9),
        )
        if request.status >= 500:
            span.set_status(self._failed)
        if span.is_recording():
            within = self._within(span)
            for name, start, end in request.stages.periods(ended):
                stage = self._tracer.start_span(
                    name, within, start_time=since_1970 + int(start * 1e9)
                )
                stage.end(since_1970 + int(end * 1e9))
        span.end(since_1970 + int(ended * 1e9))
        context = span.get_span_context()
        return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}

    async def close(self) -> None:
        """Send what waits, unless the receiver keeps it waiting for long."""
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        await asyncio.to_thread(closing.join, _MOST_SECONDS_TO_CLOSE)


def _attributes(request: TracedRequest) -> dict[str, AttributeValue]:
    scope = request.scope
    attributes: dict[str, AttributeValue] = {
        "http.request.method": scope["method"],
        "http.route": request.route,
        "http.response.status_code": request.status,
        "http.response.header.x-request-id": [request.request_id],
        "url.path": scope["path"],  # and never the query, in which a client may send anything
        "url.scheme": scope["scheme"],
        "network.protocol.version": scope["http_version"],
        "textclf.model": request.model,
    }
    if scope.get("server"):
        attributes["server.address"], attributes["server.port"] = scope["server"]
    if request.status >= 500:
        attributes["error.type"] = str(request.status)
    if tokens := request.stages.tokens:
        attributes |= {"textclf.texts": len(tokens), "textclf.tokens": sum(tokens)}
    return attributes
