"""What is refused at the door is refused as anywhere else."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from textclf.admission import Load
from textclf.http.front import FrontDoor
from textclf.http.keys import KeyRing, parse_keys
from textclf.http.lifecycle import Lifecycle
from textclf.http.shedding import Shedder
from textclf.metrics import metrics
from textclf.settings import Settings

OVERLOADED = Load(50, 500, 1e6)
ID = (b"x-request-id", b"mine")


async def nothing(_scope: Scope, _receive: Receive, _send: Send) -> None:
    """Stand behind the front door."""


async def overload(lifecycle: Lifecycle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the queue of a ready model full, and refuse someone for it."""
    await lifecycle.load()
    engine = lifecycle.require_ready()._engine
    engine._admission.learn_text(0.001)
    monkeypatch.setattr(engine, "_load", lambda: OVERLOADED)
    monkeypatch.setattr(engine._admission, "pace", 3e-6)
    engine._admission._full("full", OVERLOADED)


async def ask(front: FrontDoor, path: str) -> tuple[dict[bytes, bytes], dict[str, Any]]:
    """Return the fields and the body of the front door's answer."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b'["fine"]', "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    await front({"type": "http", "method": "POST", "path": path, "headers": [ID]}, receive, send)
    assert sent[0]["status"] == 429
    return dict(sent[0]["headers"]), json.loads(sent[1]["body"])


def read(refusal: tuple[bytes, bytes] | None) -> tuple[dict[bytes, bytes], dict[str, Any]]:
    """Return the fields and the body of a refusal at the door."""
    assert refusal is not None
    return dict(re.findall(rb"(\S+): (.*)\r\n", refusal[0])), json.loads(refusal[1])


def test_refusal_is_the_same_at_the_door(
    classifier_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With the same fields, the same body, the same count; in the log with how many there were."""
    settings = Settings(model=str(classifier_folder))
    monkeypatch.setattr("textclf.http.shedding._LOG_SECONDS", 0.05)
    caplog.set_level(logging.INFO)

    def counted() -> tuple[float, float]:
        count, _ = metrics().answered("/predict", "POST", 429)
        return count._value.get(), metrics().refusal("queue_full")._value.get()

    async def run() -> None:
        lifecycle = Lifecycle(settings)
        shedder = Shedder(lifecycle, ["/predict"])
        assert shedder.refusal(b"/predict", [ID]) is None  # not ready
        await overload(lifecycle, monkeypatch)
        ordinary = await ask(FrontDoor(nothing, lifecycle, settings), "/predict")
        before = counted()
        at_the_door = read(shedder.refusal(b"/predict", [ID]))
        other = read(shedder.refusal(b"/predict", [(b"x-request-id", b"a b")]))
        assert shedder.refusal(b"/metrics", [ID]) is None

        assert at_the_door == ordinary
        assert at_the_door[1]["request_id"] == "mine"
        assert len(other[1]["request_id"]) == 32
        assert other[0][b"x-request-id"].decode() == other[1]["request_id"]
        shedder._count()
        assert [now - then for now, then in zip(counted(), before, strict=True)] == [2, 2]
        await asyncio.sleep(0.1)
        await lifecycle.close()
        assert shedder.refusal(b"/predict", [ID]) is not None
        lifecycle.state = "draining"
        assert shedder.refusal(b"/predict", [ID]) is None

    asyncio.run(run())
    records = [r for r in caplog.records if r.message == "refused at the door"]
    assert sum(vars(record)["requests"] for record in records) == 2


def test_who_has_no_key_is_not_told_of_the_queue(
    classifier_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is heard, to be refused as ever; a key is refused at the door."""
    digest = hashlib.sha256(b"sesame").hexdigest()
    keys = KeyRing(parse_keys(f"web:{digest}\n".encode(), Path("keys")))

    async def run() -> None:
        lifecycle = Lifecycle(Settings(model=str(classifier_folder)))
        shedder = Shedder(lifecycle, ["/predict"], keys)
        await overload(lifecycle, monkeypatch)
        assert shedder.refusal(b"/predict", [ID]) is None
        assert shedder.refusal(b"/predict", [ID, (b"authorization", b"Bearer guess")]) is None
        assert shedder.refusal(b"/predict", [ID, (b"authorization", b"Bearer sesame")])
        await lifecycle.close()

    asyncio.run(run())
