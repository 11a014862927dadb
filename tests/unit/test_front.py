"""The front door keeps its promises whatever stands behind it."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.unit.spoiling import break_the_graph, slow_the_graph
from textclf import telemetry
from textclf.http.front import FrontDoor
from textclf.http.lifecycle import Lifecycle
from textclf.metrics import metrics
from textclf.settings import Settings

TEXT = "the text of a request"


async def raising(_scope: Scope, _receive: Receive, _send: Send) -> None:
    """Fail before an answer has begun."""
    raise ValueError(TEXT)


async def silent(_scope: Scope, _receive: Receive, _send: Send) -> None:
    """Return without an answer, as BentoML does of what raised behind its time limit."""


async def raising_after_500(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer as Starlette does: send a 500, then raise what caused it."""
    await PlainTextResponse(TEXT, 500)(scope, receive, send)
    raise ValueError(TEXT)


@pytest.fixture
def call(classifier_folder: Path) -> Callable[..., httpx.Response]:
    """Return a function that asks a front door before ``app``, with a ready model."""
    settings = Settings(model=str(classifier_folder))

    def ask(
        app: ASGIApp,
        method: str,
        path: str,
        *,
        spoil: Callable[[Lifecycle], None] | None = None,
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        async def run() -> httpx.Response:
            lifecycle = Lifecycle(settings)
            await lifecycle.load()
            if spoil:
                spoil(lifecycle)
            transport = httpx.ASGITransport(FrontDoor(app, lifecycle, settings))
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                response = await client.request(method, path, json=["fine"], headers=headers)
            await lifecycle.close()
            return response

        return asyncio.run(run())

    return ask


@pytest.mark.parametrize(
    ("app", "status"),
    [
        (raising, 500),
        (silent, 500),
        (raising_after_500, 500),
        (PlainTextResponse(TEXT, 502), 500),
        (PlainTextResponse(TEXT, 404), 404),
        (PlainTextResponse(TEXT, 503), 503),
        (PlainTextResponse(TEXT, 403), 500),
    ],
    ids=["raises", "silent", "500 and raises", "502", "404", "503", "a status nobody promised"],
)
def test_error_of_what_stands_behind_becomes_a_problem(
    call: Callable[..., httpx.Response], app: ASGIApp, status: int
) -> None:
    """Its text never reaches the client; the request id does."""
    response = call(app, "GET", "/healthz")

    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["request_id"] == response.headers["x-request-id"]
    assert TEXT not in response.text


@pytest.mark.parametrize(
    ("length", "status"), [("0" * 4400 + "8", 200), ("9" * 19, 413), ("9" * 5000, 413)]
)
def test_a_declared_length_may_have_any_digits(
    call: Callable[..., httpx.Response], length: str, status: int
) -> None:
    """On a route that reads a body and on one that does not."""
    declared = {"Content-Length": length}

    assert call(raising, "POST", "/predict", headers=declared).status_code == status
    assert call(PlainTextResponse(""), "GET", "/livez", headers=declared).status_code == 200


def test_a_client_that_gives_less_time_is_told_apart(
    call: Callable[..., httpx.Response],
) -> None:
    """In the count alone: its answer is the same 504 as where the service's time is over."""
    before = shown("client_deadline"), shown("deadline")

    hurried = {"X-Request-Timeout-Ms": "50"}
    response = call(raising, "POST", "/predict", spoil=slow_the_graph, headers=hurried)

    assert response.status_code == 504
    assert (shown("client_deadline"), shown("deadline")) == (before[0] + 1, before[1])


def shown(reason: str) -> float:
    """Return how many requests were refused for a reason."""
    value: float = metrics().refusal(reason)._value.get()
    return value


def test_fault_of_ours_gets_500_and_is_logged(
    call: Callable[..., httpx.Response], caplog: pytest.LogCaptureFixture
) -> None:
    """The log has the id that the client was given, and the cause; the client has no detail."""
    response = call(raising, "POST", "/predict", spoil=break_the_graph)

    assert response.status_code == 500
    assert "broke" not in response.text
    record = next(record for record in caplog.records if record.exc_info)
    assert vars(record)["request_id"] == response.json()["request_id"]
    assert "the graph broke" in caplog.text


def test_page_may_load_nothing_from_elsewhere(call: Callable[..., httpx.Response]) -> None:
    """The page's own policy keeps a browser from asking other hosts, or telling them of it."""
    response = call(HTMLResponse("page"), "GET", "/")

    assert response.headers["content-security-policy"].startswith("default-src 'self'")
    assert response.headers["referrer-policy"] == "no-referrer"
    assert response.headers["x-content-type-options"] == "nosniff"


async def telling(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with what came of the request."""
    request = Request(scope, receive)
    told = {"body": (await request.body()).decode(), "type": request.headers.get("content-type")}
    await JSONResponse(told)(scope, receive, send)


def test_no_body_reaches_what_stands_behind(call: Callable[..., httpx.Response]) -> None:
    """BentoML unpickles one that says it is pickled; it gets none, of whatever type."""
    response = call(telling, "GET", "/livez")

    assert response.request.content == b'["fine"]'
    assert response.json() == {"body": "", "type": None}


def test_metrics_that_cannot_be_read_are_asked_for_again(
    call: Callable[..., httpx.Response], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that may open no more files reads no worker's: a fault that passes."""

    def fail() -> tuple[str, bytes]:
        raise OSError(errno.EMFILE, "Too many open files")

    def spoil(_lifecycle: Lifecycle) -> None:
        monkeypatch.setattr(telemetry, "render_metrics", fail)

    response = call(silent, "GET", "/metrics", spoil=spoil)

    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"
