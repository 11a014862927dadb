"""The paths below /v2 refuse in the protocol's form what every predicting route refuses."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from starlette.responses import PlainTextResponse

from tests.unit.spoiling import break_the_graph, slow_the_graph
from textclf.http.front import FrontDoor
from textclf.http.keys_file import KeysFile
from textclf.http.lifecycle import Lifecycle
from textclf.settings import Settings

PATH = "/v2/models/sentiment/infer"
BODY = {"inputs": [{"name": "text", "shape": [2], "datatype": "BYTES", "data": ["good", "bad"]}]}


def fill_the_queue(lifecycle: Lifecycle) -> None:
    """Let there be no place for another text."""
    lifecycle.require_ready()._engine._texts = 1024


def be_fine(_lifecycle: Lifecycle) -> None:
    """Change nothing."""


def be(state: str) -> Callable[[Lifecycle], None]:
    """Return what puts a service in a state."""

    def set_state(lifecycle: Lifecycle) -> None:
        lifecycle.state = state  # type: ignore[assignment]

    return set_state


@dataclass(frozen=True)
class Case:
    """A request that gets no answer, and why."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    spoil: Callable[[Lifecycle], None] = be_fine
    given: dict[str, str] = field(default_factory=dict)
    body: bytes = json.dumps(BODY).encode()
    max_body_bytes: int = 1000
    rate: str = ""
    answered_before: int = 0


KEY = {"Authorization": "Bearer sesame"}
ZIPPED = gzip.compress(json.dumps(BODY).encode())
CASES = {
    "no key": Case(401, {"WWW-Authenticate": "Bearer"}, given={"Authorization": ""}),
    "key used up": Case(429, {"Retry-After": ""}, rate=":rate=0.001,burst=2", answered_before=1),
    "starting": Case(503, {"Retry-After": "1"}, be("starting")),
    "failed": Case(503, {"Retry-After": "60"}, be("failed")),
    "draining": Case(503, {"Retry-After": "1", "Connection": "close"}, be("draining")),
    "queue full": Case(429, {"Retry-After": ""}, fill_the_queue),
    "too late": Case(504, {}, slow_the_graph, {"X-Request-Timeout-Ms": "20"}),
    "a fault of ours": Case(500, {}, break_the_graph),
    "too large": Case(413, {}, max_body_bytes=20),
    "compressed": Case(
        415, {"Accept-Encoding": "identity"}, given={"Content-Encoding": "gzip"}, body=ZIPPED
    ),
    "no JSON": Case(415, {}, given={"Content-Type": "text/plain"}),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_refusals(
    case: Case, classifier_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Status and fields are those of /classify, the body the protocol's, and it echoes nothing."""
    caplog.set_level(logging.CRITICAL)
    keys = tmp_path / "keys"
    keys.write_text(f"web:{hashlib.sha256(b'sesame').hexdigest()}{case.rate}\n")
    settings = Settings(model=str(classifier_folder), max_body_bytes=case.max_body_bytes)

    async def ask() -> tuple[httpx.Response, httpx.Response]:
        lifecycle = Lifecycle(settings)
        await lifecycle.load()
        case.spoil(lifecycle)
        front = FrontDoor(PlainTextResponse(""), lifecycle, settings, KeysFile(keys))
        transport = httpx.ASGITransport(front)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            headers = KEY | case.given
            for _ in range(case.answered_before):
                answered = await client.post(PATH, content=case.body, headers=headers)
                assert answered.status_code == 200
            refused = await client.post(PATH, content=case.body, headers=headers)
            likewise = await client.post(
                "/classify", content=b'{"texts": ["good", "bad"]}', headers=headers
            )
        await lifecycle.close()
        return refused, likewise

    refused, likewise = asyncio.run(ask())

    assert refused.status_code == likewise.status_code == case.status
    assert refused.headers["content-type"] == "application/json"
    assert list(refused.json()) == ["error"]
    assert "good" not in refused.text
    assert refused.headers["x-request-id"]
    assert refused.headers["x-model"] == "sentiment:tiny-1"
    for name, value in case.headers.items():
        assert refused.headers[name] == (value or refused.headers[name])
        assert name.lower() in likewise.headers
