"""Whatever is sent, the front door answers, and never with an error of its own."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.responses import PlainTextResponse
from starlette.types import Message

from tests.fuzz.mutants import MARKER, Breeder, Mutant
from textclf.http.front import FrontDoor
from textclf.http.lifecycle import Lifecycle
from textclf.schema import MAX_TEXTS, ClassifyResponse, PredictResponse
from textclf.settings import Settings

REQUESTS = 100_000
TOGETHER = 100
_MOST_BYTES = 16_384
_TIMEOUT = b"x-request-timeout-ms"

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=40)
    | st.just(MARKER)
    | st.just(f"{MARKER} " * 20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


@dataclass
class Door:
    """A front door with a ready model, and what came of the requests so far."""

    front: FrontDoor
    lifecycle: Lifecycle
    runner: asyncio.Runner
    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)

    def ask_all(self, mutants: list[Mutant]) -> None:
        """Send requests side by side, and check each answer."""

        async def run() -> list[list[Message]]:
            return await asyncio.gather(*map(self._ask, mutants))

        for mutant, messages in zip(mutants, self.runner.run(run()), strict=True):
            fault = self._find_fault(mutant, messages)
            assert not fault, f"{fault}\n{str(mutant)[:3000]}\n{str(messages)[:2000]}"

    async def _ask(self, mutant: Mutant) -> list[Message]:
        parts = [
            {"type": "http.request", "body": chunk, "more_body": True} for chunk in mutant.chunks
        ]
        if not mutant.leaves:
            parts[-1]["more_body"] = False
        waiting: list[Message] = [*parts, {"type": "http.disconnect"}]
        sent: list[Message] = []

        async def receive() -> Message:
            if len(waiting) == 1 and not mutant.leaves:
                await asyncio.Event().wait()  # the client waits for its answer
            return waiting.pop(0) if len(waiting) > 1 else waiting[0]

        async def send(message: Message) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": mutant.method,
            "path": mutant.path,
            "raw_path": mutant.path.encode(),
            "query_string": b"",
            "headers": mutant.headers,
        }
        await self.front(scope, receive, send)
        return sent

    def _find_fault(self, mutant: Mutant, messages: list[Message]) -> str:
        """Say what is wrong with an answer; empty if nothing is."""
        kinds = [message["type"] for message in messages]
        if kinds != ["http.response.start", "http.response.body"]:
            return f"it is in parts: {kinds}"
        status, body = messages[0]["status"], messages[1].get("body", b"")
        headers = dict(messages[0]["headers"])
        self.statuses[_name(mutant.path), status] += 1
        if status >= 500 and not (status == 504 and mutant.has(_TIMEOUT)):
            return f"status {status}"
        if status >= 400:
            return "" if _is_problem(status, headers, body) else "no problem"
        if mutant.path in {"/predict", "/classify"}:
            return _find_difference(mutant, body)
        return ""


def _name(path: str) -> str:
    return re.sub(r"^(/v2/models/)[^/]+", r"\1M", path) if len(path) < 60 else "long"


def _is_problem(status: int, headers: dict[bytes, bytes], body: bytes) -> bool:
    if MARKER.encode() in body:
        return False
    content = json.loads(body)
    if headers[b"content-type"] == b"application/json":  # the form of the protocol below /v2
        return isinstance(content["error"], str)
    return (
        headers[b"content-type"] == b"application/problem+json"
        and content["status"] == status
        and content["request_id"] == headers[b"x-request-id"].decode()
    )


def _find_difference(mutant: Mutant, answer: bytes) -> str:
    """Compare an answer with what another parser of JSON makes of the request."""
    content = json.loads(mutant.body, parse_constant=_refuse)
    if mutant.path == "/predict":
        PredictResponse.model_validate_json(answer)
        texts = content
    else:
        texts = content.pop("texts")
        if content:
            return f"more was taken: {content}"
        if len(ClassifyResponse.model_validate_json(answer).predictions) != len(texts):
            return "not as many predictions as texts"
    most = 1 if mutant.path == "/predict" else MAX_TEXTS
    if not 1 <= len(texts) <= most or not all(isinstance(t, str) and t.strip() for t in texts):
        return "it had to be refused"
    return ""


def _refuse(constant: str) -> Any:
    raise AssertionError(f"{constant} was taken")


@pytest.fixture(scope="module")
def door(classifier_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """A front door before a tiny model and an application that answers everything."""
    log = logging.getLogger("textclf")
    level = log.level
    log.setLevel(logging.ERROR)
    configured = Settings(model=str(classifier_folder), max_body_bytes=_MOST_BYTES)
    lifecycle = Lifecycle(configured)
    with asyncio.Runner() as runner, pytest.MonkeyPatch.context() as patch:
        # Where a server keeps its workers' numbers, which /metrics reads.
        patch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path_factory.mktemp("metrics")))
        runner.run(lifecycle.load())
        front = FrontDoor(PlainTextResponse("behind"), lifecycle, configured)
        yield Door(front, lifecycle, runner)
        runner.run(lifecycle.close())
    log.setLevel(level)


@settings(
    max_examples=REQUESTS // TOGETHER,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
@given(value=VALUES, seed=st.integers(0, 1 << 32))
def test_no_request_is_a_fault_of_ours(door: Door, value: Any, seed: int) -> None:
    """Each is answered, wrong ones with a problem that does not repeat them, none with a 5xx."""
    breeder = Breeder(door.lifecycle.tag.partition(":")[0], value, seed)

    door.ask_all([breeder.breed() for _ in range(TOGETHER)])


def test_the_fuzzing_reached_every_answer(door: Door) -> None:
    """Among what was sent was enough of each kind, and nothing of it is left in the queue."""
    assert sum(door.statuses.values()) >= REQUESTS * 0.98
    for path in ("/predict", "/classify", "/v2/models/M/infer"):
        for status in (200, 400, 405, 415, 499):
            assert door.statuses[path, status] > REQUESTS // 10_000, (path, status)
    assert door.statuses["/predict", 413] > 0
    assert door.statuses["/predict", 422] > REQUESTS // 200
    classifier = door.lifecycle.require_ready()
    assert len(classifier._engine._queue) == 0
