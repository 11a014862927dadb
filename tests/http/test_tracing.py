"""Spans reach a receiver of OTLP, and belong together; without one nothing of it is loaded."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.http.serving import PROJECT, Served, serve

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "0067f18809c90217"
SAMPLED = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=value"}
PLANTED = "PlantedPersonalDatum"
CLOCK_SLACK_NS = 500_000_000


class Receiver:
    """Takes traces as a collector does."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self._arrived = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                packed = self.headers.get("Content-Encoding") == "gzip"
                is_ours = self.path == "/v1/traces" and self.headers["X-Tenant"] == "films"
                self.send_response(200 if is_ours else 404)
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)
                if is_ours:
                    receiver.take(gzip.decompress(body) if packed else body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def take(self, body: bytes) -> None:
        """Keep what was sent."""
        with self._arrived:
            self.bodies.append(body)
            self._arrived.notify_all()

    def spans(self) -> Iterator[tuple[Span, dict[str, object]]]:
        """Return each span, with what it says of its sender."""
        for body in list(self.bodies):
            for group in ExportTraceServiceRequest.FromString(body).resource_spans:
                for scope in group.scope_spans:
                    for span in scope.spans:
                        yield span, values(group.resource.attributes)

    def wait_for(self, wanted: Callable[[Span], bool], number: int = 1) -> list[Span]:
        """Return the wanted spans as soon as there are so many."""
        with self._arrived:
            found: list[Span] = []

            def look() -> bool:
                found[:] = [span for span, _ in self.spans() if wanted(span)]
                return len(found) >= number

            assert self._arrived.wait_for(look, 30), [span.name for span, _ in self.spans()]
            return found

    def close(self) -> None:
        """Take no more."""
        self._server.shutdown()  # nothing if it was before
        self._thread.join()
        self._server.server_close()


def values(attributes: Any) -> dict[str, object]:
    """Return attributes as a dictionary."""

    def value(given: AnyValue) -> object:
        kind = given.WhichOneof("value")
        content = getattr(given, str(kind))
        return [value(item) for item in content.values] if kind == "array_value" else content

    return {attribute.key: value(attribute.value) for attribute in attributes}


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    """Return a receiver."""
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture(scope="module")
def traced(receiver: Receiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Serve with the standard variables set."""
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
        "OTEL_EXPORTER_OTLP_HEADERS": "x-tenant=films",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
        "OTEL_BSP_SCHEDULE_DELAY": "50",
        "OTEL_SERVICE_NAME": "film-reviews",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
    }
    folder = tmp_path_factory.mktemp("traced")
    with serve(folder, environ=variables, LOG_LEVEL="DEBUG") as served:
        yield served


def test_spans_of_a_request_belong_together(traced: Served, receiver: Receiver) -> None:
    """The request's span has the caller's for its parent, and those of its stages for children."""
    began = time.time_ns()
    with traced.client() as client:
        response = client.post(
            "/classify", params={"q": PLANTED}, json={"texts": ["fine", PLANTED]}, headers=SAMPLED
        )
    ended = time.time_ns()
    spans = receiver.wait_for(lambda span: span.trace_id.hex() == TRACE, 4)

    request = next(span for span in spans if span.kind == Span.SPAN_KIND_SERVER)
    assert (request.name, request.parent_span_id.hex()) == ("POST /classify", PARENT)
    assert request.trace_state == "vendor=value"
    stages = [span for span in spans if span is not request]
    assert [span.name for span in stages] == ["tokenise", "queue", "infer"]
    assert {span.parent_span_id for span in stages} == {request.span_id}
    times = [request.start_time_unix_nano]
    times += [time for s in stages for time in (s.start_time_unix_nano, s.end_time_unix_nano)]
    times += [request.end_time_unix_nano]
    assert times == sorted(times)
    # A span ends when the answer is sent, by when the client may have it; clocks are read in turn.
    assert began - CLOCK_SLACK_NS < times[0] < times[-1] < ended + CLOCK_SLACK_NS

    attributes = values(request.attributes)
    assert (
        attributes.items()
        >= {
            "http.request.method": "POST",
            "http.route": "/classify",
            "http.response.status_code": 200,
            "http.response.header.x-request-id": [response.headers["x-request-id"]],
            "url.path": "/classify",
            "url.scheme": "http",
            "server.address": "127.0.0.1",
            "network.protocol.version": "1.1",
            "textclf.model": response.headers["x-model"],
            "textclf.texts": 2,
        }.items()
    )
    sender = next(sender for span, sender in receiver.spans() if span.trace_id.hex() == TRACE)
    assert sender["service.name"] == "film-reviews"
    assert sender["deployment.environment.name"] == "test"


def test_the_log_leads_to_the_trace(traced: Served, receiver: Receiver) -> None:
    """A request without a trace of its own begins one; its line in the log names it."""
    with traced.client() as client:
        request_id = client.post("/predict", json=["fine"]).headers["x-request-id"]
    log = traced.wait_for_log(request_id)

    entry = next(json.loads(line) for line in log.splitlines() if request_id in line)
    (span,) = receiver.wait_for(lambda span: span.span_id.hex() == entry["span_id"])
    assert span.trace_id.hex() == entry["trace_id"]
    assert not span.parent_span_id


@pytest.mark.parametrize(
    ("body", "status"), [(["   "], 422), ([PLANTED, 1], 422)], ids=["blank", "of another type"]
)
def test_a_refused_request_has_its_span(
    traced: Served, receiver: Receiver, body: object, status: int
) -> None:
    """It reached no stage, and is no failure of the service."""
    with traced.client() as client:
        request_id = client.post("/predict", json=body).headers["x-request-id"]

    (span,) = receiver.wait_for(lambda span: request_id in str(span.attributes))
    assert values(span.attributes)["http.response.status_code"] == status
    assert span.status.code == Status.STATUS_CODE_UNSET
    assert not [s for s, _ in receiver.spans() if s.parent_span_id == span.span_id]


def test_what_is_not_to_be_traced_is_not(traced: Served, receiver: Receiver) -> None:
    """The caller's decision stands, and probes make no spans."""
    other = TRACE[::-1]
    with traced.client() as client:
        client.get("/readyz")
        client.post("/predict", json=["fine"], headers={"traceparent": f"00-{other}-{PARENT}-00"})
        last = client.post("/predict", json=[PLANTED]).headers["x-request-id"]
    receiver.wait_for(lambda span: last in str(span.attributes))

    assert other not in {span.trace_id.hex() for span, _ in receiver.spans()}
    assert not [span for span, _ in receiver.spans() if "/readyz" in span.name]
    assert f'"trace_id": "{other}"' in traced.wait_for_log(other)


@pytest.mark.parametrize("path", ["/predict", "/classify", f"/{PLANTED}"])
def test_no_text_leaves_by_the_log_or_a_trace(
    traced: Served, receiver: Receiver, path: str
) -> None:
    """Whatever a request holds, and wherever: all that the process wrote and sent is without it."""
    texts = [PLANTED, f"{PLANTED} is fine"]
    whole = json.dumps([PLANTED]).encode()
    bodies: list[str | bytes] = [
        json.dumps([PLANTED]), json.dumps({"texts": texts}), json.dumps(texts),
        json.dumps({PLANTED: PLANTED}), json.dumps({"texts": [PLANTED, 1], PLANTED: PLANTED}),
        json.dumps([PLANTED * 1000]), whole[:-1], whole + b"\xff", whole + PLANTED.encode(),
        PLANTED, b"[" * 10_000 + whole,
    ]  # fmt: skip
    with traced.client() as client:
        for body in bodies:
            client.post(path, content=body, headers={"Content-Type": "application/json"})
            client.post(path, content=body, headers={"Content-Type": f"text/{PLANTED}"})
        last = client.post(
            "/predict", params={PLANTED: PLANTED}, json=["fine"],
            headers={"X-Request-Id": f"{PLANTED} fine", "Authorization": f"Bearer {PLANTED}"},
        ).headers["x-request-id"]  # fmt: skip
    receiver.wait_for(lambda span: last in str(span.attributes))

    assert PLANTED not in traced.wait_for_log(last)
    assert all(PLANTED.encode() not in body for body in receiver.bodies)


def test_without_a_receiver_nothing_of_it_is_loaded() -> None:
    """The service costs no more than before there were traces."""
    looking = "import sys, service; print(service.is_traced, *sys.modules)"
    shown = subprocess.run(
        [sys.executable, "-c", looking], cwd=PROJECT, check=True, capture_output=True, text=True
    )

    is_traced, *modules = shown.stdout.split()
    assert is_traced == "False"
    assert not [name for name in modules if name.startswith("opentelemetry.exporter")]
    assert "opentelemetry.sdk.trace" not in modules


def test_a_receiver_that_is_away_keeps_nobody_waiting(traced: Served, receiver: Receiver) -> None:
    """Requests are answered, the log says it in JSON, and the service ends within seconds."""
    receiver.close()
    with traced.client() as client:
        assert client.post("/predict", json=["fine"]).status_code == 200
        traced.wait_for_log("while exporting spans batch")
        assert client.post("/predict", json=["fine"]).status_code == 200
    began = time.monotonic()
    traced.terminate()
    traced.process.wait(timeout=30)

    assert time.monotonic() - began < 20
    log = traced.log.read_text()
    assert all(json.loads(line)["message"] for line in log.splitlines())
    assert PLANTED not in log
    assert "cleanup finalized" in log  # what is logged last is written too
