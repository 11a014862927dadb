"""A served process survives any bytes, and goes on answering."""

from __future__ import annotations

import random
import re
import select
import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from tests.fuzz.mutants import Breeder, Mutant
from tests.http.serving import PROJECT, Served, serve
from tests.soak.processes import workers
from textclf.artifact import read_artifact

STREAMS = 4_000
CLIENTS = 16
_READ_SECONDS = 0.05  # after the last byte that came
_HONEST = {429, 503, 504}
_ANSWER = re.compile(rb"HTTP/1\.1 (\d{3}) ")
_TOKENS = (
    b"\r\n", b"\n", b"\r", b"\x00", b" ", b"\t", b":", b"\r\n\r\n", b"\xff",
    b"Content-Length: 5\r\n", b"Content-Length: -5\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip\r\n",
    b"Connection: Upgrade\r\nUpgrade: websocket\r\n", b"HTTP/9.9", b"HTTP/1.0", b"HTTP/0.9",
    b"Expect: 100-continue\r\n", b"ffffffffffffffff\r\n", b"0\r\n\r\n", b"5;x=y\r\nabcde\r\n",
    b"A: " + b"b" * 40_000 + b"\r\n", b"A: b\r\n" * 200, b"/" * 9000, b"%", b"%zz", b"?x=%ff",
    b"http://[::1", b" folded\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
)  # fmt: skip


class Streams:
    """Makes streams of bytes that have something of HTTP."""

    def __init__(self, seed: int) -> None:
        self._draw = random.Random(seed)  # noqa: S311 - an order
        self._breeder = Breeder("sentiment", ["fine", 1e308, {"a": None}], seed)

    def make(self) -> bytes:
        """Return one to four requests in a row, mutated in their heads, or cut off."""
        draw = self._draw
        stream = b"".join(_encode(self._breeder.breed()) for _ in range(draw.choice((1, 1, 2, 4))))
        for _ in range(draw.choice((0, 1, 1, 2, 4))):
            at = draw.randint(0, min(len(stream), 400))
            to = at + draw.choice((0, 0, 1, 2, 30))
            stream = stream[:at] + draw.choice((*_TOKENS, draw.randbytes(8), b"")) + stream[to:]
        if draw.random() < 0.2:
            stream = stream[: draw.randint(0, len(stream))]
        return stream if draw.random() < 0.95 else draw.randbytes(draw.randint(1, 2000))


def _encode(mutant: Mutant) -> bytes:
    path = mutant.path.encode("utf-8", "surrogatepass")
    lines = [b"%s %s HTTP/1.1" % (mutant.method.encode(), path)]
    lines += [b"%s: %s" % field for field in mutant.headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + mutant.body


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Serve the reference model."""
    with serve(
        tmp_path_factory.mktemp("fuzzed"), MODEL=str(PROJECT / "models" / "reference")
    ) as service:
        yield service


def test_no_bytes_are_a_fault_of_ours(served: Served) -> None:
    """Each answer is one of the contract, the same worker lives, and answers right afterwards."""
    port = int(served.url.rpartition(":")[2])
    before = workers(served.process.pid)

    def play(seed: int) -> list[tuple[bytes, bytes]]:
        streams = Streams(seed)
        made = [streams.make() for _ in range(STREAMS // CLIENTS)]
        return [(stream, _exchange(port, stream)) for stream in made]

    began = random.randrange(1 << 32)  # noqa: S311 - no secret
    with ThreadPoolExecutor(CLIENTS) as pool:
        played = [pair for pairs in pool.map(play, range(began, began + CLIENTS)) for pair in pairs]

    statuses: Counter[int] = Counter()
    for stream, answers in played:
        found = [int(status) for status in _ANSWER.findall(answers)]
        statuses.update(found)
        faults = [status for status in found if status >= 500 and status not in _HONEST]
        assert not faults, f"{stream[:3000]!r}\n{answers[-2000:]!r}"
    assert min(statuses[status] for status in (200, 400, 404, 422)) > STREAMS // 200, statuses
    assert workers(served.process.pid) == before
    assert "fault of ours" not in served.log.read_text()
    assert "Traceback" not in served.log.read_text()
    _check_answers(served)


def _check_answers(served: Served) -> None:
    golden = read_artifact(Path(PROJECT / "models" / "reference")).golden[:32]
    with served.client() as client:
        answer = client.post("/classify", json={"texts": [example.text for example in golden]})
    for example, prediction in zip(golden, answer.json()["predictions"], strict=True):
        assert prediction["label"] == example.label
        assert prediction["score"] == pytest.approx(example.score, abs=0.01)


def _exchange(port: int, stream: bytes) -> bytes:
    """Send a stream and return what came until the server closed or fell silent."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        with suppress(OSError):  # refused and closed before its end
            connection.sendall(stream)
        deadline = time.monotonic() + 5
        with suppress(OSError):
            while time.monotonic() < deadline:
                readable, _, _ = select.select([connection], [], [], _READ_SECONDS)
                data = connection.recv(65_536) if readable else b""
                if not data:
                    break
                received += data
    return received
