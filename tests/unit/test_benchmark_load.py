"""The load generator against servers that answer as they are told to."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from benchmarks.connections import Answer, Exchange, parse_answer
from benchmarks.load import Job, rank, run_load, summarise
from benchmarks.systems import Route

_ROUTE = Route(
    path="/ask",
    encode=lambda texts: json.dumps(list(texts)).encode(),
    accepts=lambda body, texts: body == b"good" * texts,
)
_STALL_SECONDS = 0.3


def _answer(status: int, body: bytes, *head: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *head]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@contextmanager
def _server(script: Callable[[int], bytes]) -> Iterator[int]:
    """Serve the n-th request with ``script(n)``; nothing closes its connection. Gives the port."""
    numbers = count()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
                await reader.readexactly(length)
                told = script(next(numbers))
                writer.write(told)
                if not told or b"Connection: close" in told:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    started = threading.Event()
    port: list[int] = []

    async def serve() -> None:
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        port.append(server.sockets[0].getsockname()[1])
        loops.append((asyncio.get_running_loop(), stop := asyncio.Event()))
        started.set()
        async with server:
            await stop.wait()

    loops: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    started.wait(10)
    try:
        yield port[0]
    finally:
        loop, stop = loops[0]
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)


@pytest.fixture
def corpus(tmp_path: Path) -> str:
    """Return a file of three texts."""
    path = tmp_path / "corpus.txt"
    path.write_text("one\ntwo words\nand three words\n", "utf-8")
    return str(path)


def _load(corpus: str, script: Callable[[int], bytes], **job: Any) -> dict[str, Any]:
    fields = {"seconds": 0.3, "warm_up_seconds": 0.0, "corpus": corpus, "connections": 2, **job}
    with _server(script) as port:
        return run_load(Job(port=port, **fields), _ROUTE)


@pytest.mark.parametrize(
    ("answer", "answers", "errors"),
    [
        (_answer(200, b"good"), {"200"}, set()),
        (_answer(200, b"bad"), {"200"}, {"wrong body"}),
        (_answer(500, b"good"), {"500"}, set()),
        (_answer(429, b"", "Retry-After: 1"), {"429"}, set()),
        (b"", set(), {"closed without an answer"}),
        (b"nonsense\r\n\r\n", set(), {"no HTTP"}),
        (_answer(200, b"good", "Connection: close"), {"200"}, set()),
    ],
    ids=["good", "wrong body", "500", "429", "closed", "no HTTP", "closed after each answer"],
)
def test_only_accepted_answers_of_200_are_goodput(
    corpus: str, answer: bytes, answers: set[str], errors: set[str]
) -> None:
    """Whatever else a server does is counted under its name, and is no goodput."""
    result = _load(corpus, lambda _: answer)

    is_good = answers == {"200"} and not errors
    assert set(result["answers"]) == answers
    assert set(result["errors"]) == errors
    assert (result["goodput_per_second"] > 0) is is_good
    assert bool(result["latency_ms"]) is is_good
    assert result["requests"] > 0


def test_an_answer_in_pieces_and_in_chunks_is_read(corpus: str) -> None:
    """Chunked answers are joined."""
    chunked = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\ngo\r\n2\r\nod\r\n0\r\n\r\n"
    )

    result = _load(corpus, lambda _: chunked)

    assert result["accepted"] == result["requests"] > 0


def test_mixed_answers_are_counted_one_by_one(corpus: str) -> None:
    """Every second answer is a 503: half of the requests fail."""
    good, busy = _answer(200, b"good"), _answer(503, b"")

    result = _load(corpus, lambda number: busy if number % 2 else good, connections=1)

    assert abs(result["answers"]["200"] - result["answers"]["503"]) <= 1
    assert result["accepted"] == result["answers"]["200"]


def test_several_texts_a_request_are_counted_as_texts(corpus: str) -> None:
    """Two texts a request make twice as many texts as requests."""
    result = _load(corpus, lambda _: _answer(200, b"goodgood"), texts_per_request=2)

    assert result["accepted"] == result["requests"] > 0
    assert result["texts_per_second"] == pytest.approx(2 * result["goodput_per_second"], abs=0.01)


def test_an_open_loop_counts_latency_from_the_schedule(corpus: str) -> None:
    """A server that stalls once delays every request that was scheduled meanwhile."""

    def stall_once(number: int) -> bytes:
        if number == 20:
            time.sleep(_STALL_SECONDS)  # all of the server, as a garbage collection would
        return _answer(200, b"good")

    result = _load(corpus, stall_once, rate=200.0, seconds=0.8)

    # Of 160 requests 60 fall into the stall. Counted from when they are sent, 2 would be late.
    assert result["loop"] == "open"
    assert result["accepted"] == result["requests"] > 100
    assert result["latency_ms"]["p90"] > _STALL_SECONDS * 1000 / 3


def test_an_overload_drops_what_was_never_sent(corpus: str) -> None:
    """What still waits for a connection at the end is no failure of the server."""

    def slow(_number: int) -> bytes:
        time.sleep(0.02)
        return _answer(200, b"good")

    result = _load(corpus, slow, rate=500.0, connections=1, drops_backlog=True)

    assert result["unsent"] > 50
    assert result["errors"] == {}


def test_a_refused_connection_is_an_error(corpus: str) -> None:
    """Nothing listens: every request fails, and the generator ends all the same."""
    with _server(lambda _: b"") as port:
        pass
    job = Job(port=port, corpus=corpus, seconds=0.1, warm_up_seconds=0.0)

    assert set(run_load(job, _ROUTE)["errors"]) == {"ConnectionRefusedError"}


def test_percentiles_are_nearest_rank() -> None:
    """Of 1000 latencies the 500th, 900th, 990th and 999th are the percentiles."""
    ranked = rank([number / 1000 for number in range(1000, 0, -1)])

    assert ranked == {"p50": 500, "p90": 900, "p99": 990, "p99.9": 999, "max": 1000, "mean": 500.5}
    assert rank([]) == {}


def test_only_the_measured_time_counts() -> None:
    """Answers of the warm-up and after the end are left out."""
    ended = [Exchange(at - 0.5, at, 200, b"good", "") for at in (0.9, 1.0, 1.5, 2.0)]

    result = summarise(Job(port=1, seconds=1.0), ended, lambda _: True, (1.0, 2.0))

    assert result["accepted"] == 2
    assert result["goodput_per_second"] == 2


@pytest.mark.parametrize(
    ("received", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Le", None),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngo", None),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\ngo", Answer(200, b"go", closes=False)),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\ngo", Answer(200, b"go", closes=True)),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\ngo\r\n", None),
    ],
    ids=["half a head", "half a body", "whole", "HTTP/1.0 closes", "no last chunk"],
)
def test_parse_answer(received: bytes, expected: Answer | None) -> None:
    """An answer is one only when all of it is there."""
    assert parse_answer(received) == expected


def test_a_body_without_a_length_ends_with_the_connection() -> None:
    """Only the close says that the body is whole."""
    received = b"HTTP/1.1 200 OK\r\n\r\ngood"

    assert parse_answer(received) is None
    assert parse_answer(received, at_end=True) == Answer(200, b"good", closes=True)
