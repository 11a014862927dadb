"""An answer is written once, whoever sends it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import MutableMapping
from typing import Any

import pytest
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from textclf.http.joined_writes import joined_writes


class Transport:
    """Records what is done to it."""

    def __init__(self) -> None:
        self.done: list[bytes] = []
        self.closing = False

    def is_closing(self) -> bool:
        """Say whether the connection is going."""
        return self.closing

    def write(self, data: bytes) -> None:
        """Record a write, as uvloop takes it."""
        if self.closing:
            raise RuntimeError("the handler is closed")
        self.done.append(data)

    def close(self) -> None:
        """Record the end."""
        self.done.append(b"closed")


class Cycle:
    """Sends as uvicorn does: head and body apart, then the end if the client wants it."""

    def __init__(self, *, keep_alive: bool) -> None:
        self.transport: Any = Transport()
        self.keep_alive = keep_alive

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Write a part of an answer."""
        if message["type"] == "http.response.start":
            self.transport.write(b"head ")
            return
        self.transport.write(message["body"])
        if not self.keep_alive:
            self.transport.close()


@pytest.mark.parametrize(
    ("keep_alive", "expected"), [(True, [b"head body"]), (False, [b"head body", b"closed"])]
)
def test_head_and_body_are_one_write(keep_alive: bool, expected: list[bytes]) -> None:
    """Also before the connection is closed; afterwards the transport is what it was."""
    cycle = Cycle(keep_alive=keep_alive)
    transport = cycle.transport

    async def answer() -> None:
        with joined_writes(cycle.send):
            await cycle.send({"type": "http.response.start"})
            await cycle.send({"type": "http.response.body", "body": b"body"})

    asyncio.run(answer())

    assert transport.done == expected
    assert cycle.transport is transport


def test_uvicorn_sends_through_what_is_joined() -> None:
    """Its cycle sends by a method and keeps its transport in an attribute that may be set."""
    made = inspect.signature(RequestResponseCycle)

    assert "transport" in made.parameters
    assert "self.transport.write(" in inspect.getsource(RequestResponseCycle.send)


def test_what_was_written_before_a_fault_is_sent() -> None:
    """Nothing is kept back when sending fails."""
    cycle = Cycle(keep_alive=True)

    async def answer() -> None:
        with joined_writes(cycle.send):
            await cycle.send({"type": "http.response.start"})
            raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        asyncio.run(answer())

    assert cycle.transport.done == [b"head "]


def test_another_server_sends_as_it_likes() -> None:
    """One that has no transport is left alone."""
    sent = []

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    async def answer() -> None:
        with joined_writes(send):
            await send({"type": "http.response.start"})

    asyncio.run(answer())

    assert sent == [{"type": "http.response.start"}]


def test_an_answer_to_a_client_that_has_just_gone_is_no_fault() -> None:
    """Between the loss of a connection and its being told of, nothing is written."""
    cycle = Cycle(keep_alive=True)
    cycle.transport.closing = True
    transport = cycle.transport

    async def answer() -> None:
        with joined_writes(cycle.send):
            await cycle.send({"type": "http.response.start"})
            await cycle.send({"type": "http.response.body", "body": b"body"})

    asyncio.run(answer())

    assert transport.done == []
