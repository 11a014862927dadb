"""The recorder: takes mirrored requests, asks two versions the same, and writes what both answered.

``python -m textclf.rollout.recorder --port 8090 --stable URL --candidate URL --output pairs.jsonl``

Whoever mirrors has its answer, 204, before any version is asked: nginx reads the next request of a
client's connection only when the mirrored one is done. The same URL given twice, or that of a fresh
copy of the stable version, measures how far two equal versions differ. ``GET /`` counts what was
taken, dropped and written.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import random
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TextIO

import httpx

from textclf.errors import EvidenceError
from textclf.rollout.answers import encode_pair, read_answer, read_pairs
from textclf.rollout.mirrored import MirrorConnection, Mirrored
from textclf.rollout.observation import Answer, Pair

__all__ = ["Counts", "Options", "Recorder", "read_pairs", "record"]

_GRACE_SECONDS = 5.0
_GREETING_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a recorder does.

    Attributes:
        port: To listen on.
        stable: URL of the version whose answers count as the stable one's.
        candidate: URL of the other.
        output: File that pairs are appended to.
        queue_requests: Most that wait; what comes beyond is dropped, and counted.
        concurrency: Requests that are asked at a time, of both versions each.
        timeout_seconds: Longest wait for an answer, which counts as none then.
        sample_percent: Of requests whose body is written too; texts are kept nowhere else.
        host: Address to listen on; what mirrors from elsewhere needs another than loopback.
    """

    port: int
    stable: str
    candidate: str
    output: Path
    queue_requests: int = 100
    concurrency: int = 4
    timeout_seconds: float = 10.0
    sample_percent: float = 0.0
    host: str = "127.0.0.1"


@dataclass
class Counts:
    """What came of mirrored requests so far.

    Attributes:
        taken: That wait, are asked, or were.
        dropped: That found the queue full, or waited at the end.
        written: Pairs in the file.
    """

    taken: int = 0
    dropped: int = 0
    written: int = 0


@dataclass
class Recorder:
    """Requests on their way to both versions, and from there to a file.

    Attributes:
        options: What it does.
        output: The file.
        counts: What came of requests so far.
        ready: Set once it can ask without delay.
    """

    options: Options
    output: TextIO
    counts: Counts = field(default_factory=Counts)

    def __post_init__(self) -> None:
        """Make room for what waits."""
        self._waiting: asyncio.Queue[Mirrored] = asyncio.Queue(self.options.queue_requests)
        self._draw = random.Random()  # noqa: S311 - nobody gains by guessing it
        self.ready = asyncio.Event()

    def take(self, request: Mirrored) -> None:
        """Let a request wait, or drop it if too many do."""
        try:
            self._waiting.put_nowait(request)
        except asyncio.QueueFull:
            self.counts.dropped += 1
        else:
            self.counts.taken += 1

    async def work(self) -> None:
        """Ask and write until cancelled."""
        async with (
            self._client(self.options.stable) as stable,
            self._client(self.options.candidate) as candidate,
        ):
            # The first request of a client takes the time of many, in which no other is answered.
            await asyncio.gather(_greet(stable), _greet(candidate))
            self.ready.set()
            asking = (self._work(stable, candidate) for _ in range(self.options.concurrency))
            await asyncio.gather(*asking)

    async def finish(self) -> None:
        """Drop what waits, since no version should be asked later, and end what is being asked."""
        while not self._waiting.empty():
            self._waiting.get_nowait()
            self._waiting.task_done()
            self.counts.dropped += 1
            self.counts.taken -= 1
        await self._waiting.join()

    def _client(self, url: str) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=url,
            timeout=self.options.timeout_seconds,
            limits=httpx.Limits(keepalive_expiry=2.0),  # before the service closes the connection
            trust_env=False,
        )

    async def _work(self, stable: httpx.AsyncClient, candidate: httpx.AsyncClient) -> None:
        while True:
            request = await self._waiting.get()
            try:
                self._write(request, await self._ask_both(request, stable, candidate))
            finally:
                self._waiting.task_done()

    async def _ask_both(
        self, request: Mirrored, stable: httpx.AsyncClient, candidate: httpx.AsyncClient
    ) -> Pair:
        clients = [stable, candidate]
        swapped = self._draw.random() < 0.5  # who is asked first is answered a little sooner
        if swapped:
            clients.reverse()
        answers = await asyncio.gather(*(self._ask(client, request) for client in clients))
        if swapped:
            answers.reverse()
        return Pair(
            request_id=request.request_id,
            texts_sha256=hashlib.sha256(request.body).hexdigest(),
            stable=answers[0],
            candidate=answers[1],
        )

    async def _ask(self, client: httpx.AsyncClient, request: Mirrored) -> Answer:
        began = time.perf_counter()
        try:
            async with asyncio.timeout(self.options.timeout_seconds):
                response = await client.post(
                    request.path, content=request.body, headers=request.headers
                )
        except (httpx.HTTPError, TimeoutError):
            return Answer(status=0, seconds=time.perf_counter() - began)
        seconds = time.perf_counter() - began
        return read_answer(response.status_code, seconds, response.content)

    def _write(self, request: Mirrored, pair: Pair) -> None:
        sampled = self._draw.random() * 100 < self.options.sample_percent
        body = request.body.decode(errors="replace") if sampled else None
        self.output.write(encode_pair(pair, body=body) + "\n")
        self.output.flush()  # who reads the file follows it
        self.counts.written += 1


async def _greet(client: httpx.AsyncClient) -> None:
    with contextlib.suppress(httpx.HTTPError):
        await client.get("/livez", timeout=_GREETING_SECONDS)


async def record(options: Options) -> None:
    """Record until SIGTERM or Ctrl-C; what is being asked then still has some seconds.

    Raises:
        EvidenceError: The file cannot be written, or the port is taken.
    """
    try:
        with options.output.open("a", encoding="utf-8") as output:
            await _record(options, Recorder(options, output))
    except OSError as exc:
        raise EvidenceError(
            f"cannot record from port {options.port} to {options.output}: {exc}; name others"
        ) from exc


async def _record(options: Options, recorder: Recorder) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    working = loop.create_task(recorder.work())
    await recorder.ready.wait()
    server = await loop.create_server(
        lambda: MirrorConnection(recorder.take, lambda: asdict(recorder.counts)),
        options.host,
        options.port,
    )
    stopping = loop.create_task(stop.wait())
    await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
    server.close()
    finishing = loop.create_task(recorder.finish())
    await asyncio.wait(
        [working, finishing], timeout=_GRACE_SECONDS, return_when=asyncio.FIRST_COMPLETED
    )
    for task in (stopping, finishing, working):
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await working  # raises what ended it, unless that was the signal


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, required=True, metavar="N", help="to listen on")
    parser.add_argument(
        "--host", default=Options.host, help="address to listen on (default: %(default)s)"
    )
    parser.add_argument("--stable", required=True, metavar="URL", help="of the stable version")
    parser.add_argument(
        "--candidate", required=True, metavar="URL", help="of what it is paired with"
    )
    parser.add_argument(
        "--output", type=Path, required=True, metavar="FILE", help="that pairs are appended to"
    )
    for name, meaning in (
        ("queue_requests", "most requests that wait; those beyond are dropped, and counted"),
        ("concurrency", "requests that are asked at a time"),
        ("timeout_seconds", "longest wait for an answer"),
        ("sample_percent", "requests whose texts are written too"),
    ):
        default = getattr(Options, name)
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=type(default),
            default=default,
            metavar="N",
            help=f"{meaning} (default: {default:g})",
        )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Record what ``argv`` names, until a signal ends it."""
    options = Options(**vars(_parser().parse_args(argv)))
    try:
        asyncio.run(record(options))
    except EvidenceError as exc:
        print(f"error: {exc}", file=sys.stderr)  # noqa: T201 - it has no log
        return exc.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
