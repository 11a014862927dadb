"""How the image starts, stops, measures and logs."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx
from prometheus_client.parser import text_string_to_metric_families

from textclf.errors import OperationCheckError
from textclf.image.checks.check import Flaw, check
from textclf.image.checks.container import Container
from textclf.image.checks.contract import LONG_TEXTS
from textclf.image.checks.draining import Sent, judge_end
from textclf.image.checks.subject import Service, Subject
from textclf.schema import MAX_TEXT_CHARACTERS, MAX_TEXTS

_DRAIN_SECONDS = 2.0
_END_SECONDS = 60.0
_SLOW_TEXTS = 16
_PAUSE_SECONDS = 0.02
_LOAD_CLIENTS = 4
_PATHS = 300
_METRICS = {
    "textclf_requests", "textclf_request_seconds", "textclf_requests_in_progress",
    "textclf_predictions", "textclf_truncated_texts",
}  # fmt: skip
_NANOSECONDS = 1e9
_HEALTH_SLACK_SECONDS = 10.0


@check(OperationCheckError)
def ready_in_time(subject: Subject) -> str:
    """The service is ready within the limit, counted from `docker run`."""
    start, limit = subject.image.start, subject.limits.start_limit_seconds
    if start.seconds is None:
        raise Flaw(f"it never is ready: {start.reason}")
    if start.seconds > limit:
        raise Flaw(f"it is ready after {start.seconds:.1f} s; the limit is {limit:g} s")
    return f"{start.seconds:.1f} s"


@check(OperationCheckError)
def healthcheck(subject: Subject) -> str:
    """The image has a HEALTHCHECK, and a container that is ready turns healthy."""
    image = subject.ready_image
    settings = image.config.get("Healthcheck") or {}
    if settings.get("Test", ["NONE"])[0] == "NONE":
        raise Flaw("the image has no HEALTHCHECK")
    waits = (settings.get(name) or 30 * _NANOSECONDS for name in ("Interval", "Timeout"))
    patience = 2 * sum(waits) / _NANOSECONDS + _HEALTH_SLACK_SECONDS
    health: dict[str, object] = {}

    def settled() -> bool:
        health.update(image.shared.described()["State"]["Health"])
        return health["Status"] == "healthy"

    if not image.shared.wait_for(settled, patience):
        raise Flaw(f"the container is {health['Status']} after {patience:.0f} s")
    return f"every {(settings.get('Interval') or 30 * _NANOSECONDS) / _NANOSECONDS:g} s"


@check(OperationCheckError)
def stop_signal(subject: Subject) -> None:
    """The image is stopped with SIGTERM."""
    signal = subject.image.config.get("StopSignal")
    if signal not in {"SIGTERM", "15"}:
        raise Flaw(f"STOPSIGNAL is {signal or 'not set'}, not SIGTERM")


@check(OperationCheckError)
def sigterm_under_load(subject: Subject) -> str:
    """SIGTERM under load loses no request, and the container ends with exit code 0."""
    environment = {
        "TEXTCLF_DRAIN_SECONDS": f"{_DRAIN_SECONDS:g}",
        "TEXTCLF_MAX_QUEUE_SECONDS": "60",  # where the CPUs are busy nothing else is to be refused
    }
    with subject.ready_image.ready_container(environment=environment) as (container, service):
        requests, sigterm_at = _end_under_load(container, service.url)
        state = container.described()["State"]
    shown = judge_end(requests, sigterm_at=sigterm_at, drain_seconds=_DRAIN_SECONDS)
    if state["ExitCode"] != 0:
        raise Flaw(f"SIGTERM ended it with exit code {state['ExitCode']}, not 0")
    return shown


def _end_under_load(container: Container, url: str) -> tuple[Sequence[Sent], float]:
    requests: list[Sent] = []
    ended = threading.Event()
    flowing = threading.Semaphore(0)

    def load(body: dict[str, list[str]]) -> None:
        with httpx.Client(base_url=url, timeout=_END_SECONDS, trust_env=False) as client:
            while not ended.is_set():
                requests.append(_send(client, body))
                flowing.release()
                ended.wait(_PAUSE_SECONDS)

    slow = {"texts": LONG_TEXTS["texts"][:_SLOW_TEXTS]}
    bodies = [slow, slow, {"texts": ["good"]}, {"texts": ["bad"]}]
    with ThreadPoolExecutor(len(bodies)) as pool:
        loads = [pool.submit(load, body) for body in bodies]
        try:
            for _ in range(2 * len(bodies)):
                flowing.acquire(timeout=_END_SECONDS)
            sigterm_at = time.monotonic()
            container.signal("SIGTERM")
            in_time = container.wait_for(container.has_ended, _END_SECONDS)
        finally:
            ended.set()
    for done in loads:
        done.result()
    if not in_time:
        raise Flaw(f"it still runs {_END_SECONDS:.0f} s after SIGTERM")
    return requests, sigterm_at


def _send(client: httpx.Client, body: dict[str, list[str]]) -> Sent:
    """Send one request on a connection of its own; tell no answer from one that is cut short."""
    began, status, whole, retry_after = time.monotonic(), 0, False, ""
    with suppress(httpx.TransportError):
        headers = {"Connection": "close"}
        with client.stream("POST", "/classify", json=body, headers=headers) as response:
            status, retry_after = response.status_code, response.headers.get("retry-after", "")
            response.read()
            whole = True
    return Sent(
        began=began, ended=time.monotonic(), status=status, whole=whole, retry_after=retry_after
    )


@check(OperationCheckError)
def memory(subject: Subject) -> str:
    """The largest requests, side by side, stay within the memory limit."""
    limit_bytes = int(subject.limits.memory_limit_mb * 1e6)
    options = (f"--memory={limit_bytes}", f"--memory-swap={limit_bytes}")
    environment = {"TEXTCLF_REQUEST_TIMEOUT_SECONDS": "60"}
    with subject.ready_image.ready_container(*options, environment=environment) as (
        container,
        service,
    ):
        text = "a long text to read " * (MAX_TEXT_CHARACTERS // 20)
        body = {"texts": [text] * MAX_TEXTS}
        with ThreadPoolExecutor(_LOAD_CLIENTS) as pool:
            statuses = set(pool.map(lambda _: _status(service, body), range(_LOAD_CLIENTS)))
        state = container.described()["State"]
        if state["OOMKilled"] or not state["Running"] or 0 in statuses:
            raise Flaw(
                f"{subject.limits.memory_limit_mb:g} MB do not suffice: the container "
                f"{'was killed' if state['OOMKilled'] else 'failed'} under the largest requests"
            )
        if statuses - {200, 429}:
            raise Flaw(f"the largest requests got status {max(statuses)}, not 200")
        peak = container.peak_memory_bytes()
    return f"peak {peak / 1e6:.0f} of {subject.limits.memory_limit_mb:g} MB, page cache included"


def _status(service: Service, body: object) -> int:
    with suppress(httpx.TransportError):
        return service.post("/classify", body).status_code
    return 0


@check(OperationCheckError)
def metrics(subject: Subject) -> str:
    """/metrics is in Prometheus' format, has the service's own metrics, and does not grow."""
    service = subject.service
    service.post("/classify", {"texts": ["good"]})
    before = _series(service)
    missing = _METRICS - {name.split("{")[0] for name in before[0]}
    if missing:
        raise Flaw(f"GET /metrics lacks {', '.join(sorted(missing))}")
    marker = uuid.uuid4().hex
    for number in range(_PATHS):
        service.get(f"/{marker}-{number}")
    after = _series(service)
    if marker in after[1]:
        raise Flaw("GET /metrics: unknown paths become labels")
    if len(after[0]) - len(before[0]) >= _PATHS:
        raise Flaw(f"GET /metrics: {_PATHS} unknown paths made as many series")
    return f"{len(after[0])} series"


def _series(service: Service) -> tuple[list[str], str]:
    response = service.get("/metrics")
    if response.status_code != 200:
        raise Flaw(f"GET /metrics: status {response.status_code}, not 200")
    text = response.text
    try:
        families = list(text_string_to_metric_families(text))
    except ValueError as exc:
        raise Flaw(f"GET /metrics is not in Prometheus' format: {exc}") from exc
    return [
        f"{family.name}{{{sorted(sample.labels.items())}}}"
        for family in families
        for sample in family.samples
        if "le" not in sample.labels  # a first request of another check makes dozens of buckets
    ] + [family.name for family in families], text


@check(OperationCheckError)
def json_logs(subject: Subject) -> str:
    """Each line of the output is a JSON object with time, level and message; BentoML's are too."""
    lines = "\n".join(subject.ready_image.shared.logs()).splitlines()
    for line in filter(None, lines):
        try:
            members = set(json.loads(line))
        except (ValueError, TypeError):
            raise Flaw(f"a line of the log is not a JSON object: {line[:200]!r}") from None
        if not {"time", "level", "message"} <= members:
            raise Flaw(f"a line of the log lacks time, level or message: {line[:200]!r}")
    return f"{len(lines)} lines"


@check(OperationCheckError)
def no_text_in_logs(subject: Subject) -> str:
    """The log holds no text of a request, be it a good one or a bad one."""
    service, container = subject.service, subject.ready_image.shared
    marker = f"marker{uuid.uuid4().hex}"
    bodies = [
        ("/predict", [f"a good {marker}"]),
        ("/classify", {"texts": [f"good {marker}", f"bad {marker}"]}),
        ("/predict", [marker + "x" * MAX_TEXT_CHARACTERS]),
        ("/classify", {"texts": [marker, 1]}),
        ("/classify", {"texts": ["good"], marker: marker}),
        ("/predict", f'["{marker}'.encode()),
        ("/predict", f'["{marker}'.encode() + b'\xff"]'),
    ]
    for path, body in bodies:
        service.post(path, body)
    service.client.post("/predict", content=marker, headers={"Content-Type": "text/plain"})
    last = uuid.uuid4().hex
    service.get("/nope", **{"X-Request-Id": last})
    if not container.wait_for(lambda: last in "".join(container.logs()), _HEALTH_SLACK_SECONDS):
        raise Flaw("the id of a refused request does not reach the log")
    lines = [line for line in "\n".join(container.logs()).splitlines() if marker in line]
    if lines:
        raise Flaw(f"{len(lines)} lines of the log hold the text of a request")
    return f"{len(bodies) + 1} requests"
