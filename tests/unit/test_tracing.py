"""Spans of requests that did not go to their end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from textclf.metrics import Stages
from textclf.tracing import TracedRequest, Tracer


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    """Return where the spans go."""
    return InMemorySpanExporter()


@pytest.fixture
def tracer(exporter: InMemorySpanExporter) -> Iterator[Tracer]:
    """Return a tracer."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = Tracer(provider)
    yield tracer
    asyncio.run(tracer.close())


def request(status: int, stages: Stages, began: float) -> TracedRequest:
    """Return a request that was answered just now."""
    scope = {"method": "POST", "path": "/predict", "scheme": "http", "http_version": "1.1"}
    return TracedRequest(
        scope={**scope, "headers": []}, route="/predict", status=status, request_id="id",
        model="sentiment:a-1", began=began, stages=stages,
    )  # fmt: skip


def seconds(span: ReadableSpan) -> float:
    """Return how long a span lasts."""
    assert span.start_time
    assert span.end_time
    return (span.end_time - span.start_time) / 1e9


def test_a_stage_that_was_cut_off_ends_with_its_request(
    tracer: Tracer, exporter: InMemorySpanExporter
) -> None:
    """A deadline that is over in the queue shows the queue, and no inference."""
    now = time.perf_counter()
    stages = Stages(began=now - 2.9, tokenised=now - 2.5, tokens=[3, 4])
    said = tracer.trace(request(504, stages, now - 3))

    tokenise, queue, whole = exporter.get_finished_spans()
    assert [tokenise.name, queue.name, whole.name] == ["tokenise", "queue", "POST /predict"]
    assert [seconds(s) for s in (tokenise, queue, whole)] == pytest.approx([0.4, 2.5, 3], abs=0.1)
    assert queue.end_time == whole.end_time
    assert stages.durations_ms(now) == {"tokenise_ms": 400.0, "queue_ms": 2500.0}
    assert whole.context
    assert said == {
        "trace_id": f"{whole.context.trace_id:032x}",
        "span_id": f"{whole.context.span_id:016x}",
    }


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (200, StatusCode.UNSET, None),
        (429, StatusCode.UNSET, None),
        (499, StatusCode.UNSET, None),
        (500, StatusCode.ERROR, "500"),
        (503, StatusCode.ERROR, "503"),
    ],
)
def test_only_what_is_no_fault_of_a_client_is_an_error(
    tracer: Tracer, exporter: InMemorySpanExporter, status: int, code: StatusCode, kind: str | None
) -> None:
    """As the conventions have it for a server's spans."""
    tracer.trace(request(status, Stages(), time.perf_counter()))

    (span,) = exporter.get_finished_spans()
    assert span.status.status_code is code
    assert span.attributes
    assert span.attributes.get("error.type") == kind
