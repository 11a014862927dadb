"""Faults of clients: those that die, fall silent, send too much, or poison."""

from __future__ import annotations

import contextlib
import resource
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from tests.soak.asking import Asked
from tests.soak.episodes import BrokenError, Fault, Scene, permit
from tests.soak.processes import descriptors
from tests.soak.wire import Connection, LostError

_HEAD = b"POST /predict HTTP/1.1\r\nHost: soak.test\r\nContent-Type: application/json\r\n"
_SILENT = 80
_SPARE_DESCRIPTORS = 15
_WANTED = 60
_CLOSE_ENOUGH = 15  # connections that the other clients have and that come and go
_LET_GO_SECONDS = 30.0  # a few times what the service waits for the rest of a request


def _kill_in_mid_body(scene: Scene) -> str:
    """Send a part of each request, or all of it, and die."""
    killed = 0
    for _ in scene.until_over(every_seconds=0.02):
        asked = scene.draw.choice(
            (scene.questions.good(), scene.questions.slow(4), scene.questions.oversized())
        )
        with contextlib.suppress(LostError):
            connection = Connection(scene.ground.port)
            connection.send(
                asked.data[: scene.draw.randrange(1, min(len(asked.data), 1 << 20) + 1)]
            )
            time.sleep(scene.draw.choice((0, 0, 0.01, 0.1)))
            connection.reset()
            killed += 1
    return f"{killed} clients killed"


def _fall_silent(scene: Scene) -> str:
    """Open connections, say a part of a request on each, and nothing more.

    Half of them never end: their clients vanish or, where this process may not let them, say
    nothing until the service has closed, which is the same to it until it speaks.
    """
    worker = scene.ground.worker()
    before = descriptors(worker)
    beginnings = (b"", b"POST /pre", _HEAD, _HEAD + b'Content-Length: 9\r\n\r\n["', _chunked())
    silent = []
    for number in range(_SILENT):
        connection = Connection(scene.ground.port)
        connection.send(beginnings[number % len(beginnings)])
        silent.append(connection)
    list(scene.until_over())
    endless = silent[::2]
    kept = [connection for connection in endless if not connection.vanish()]
    for connection in silent[1::2]:
        connection.close()
    try:
        _wait_for_descriptors(worker, before + _CLOSE_ENOUGH)
    finally:
        for connection in kept:
            connection.close()
    how = "never closed" if kept else "vanished without a word"
    return f"{_SILENT} silent clients, {len(endless)} of whom {how}"


def _chunked() -> bytes:
    return _HEAD + b'Transfer-Encoding: chunked\r\n\r\n2\r\n["\r\n'


def _send_too_much(scene: Scene) -> str:
    return _send_all(scene, scene.questions.oversized, "bodies of 10 MB", clients=2)


def _send_poison(scene: Scene) -> str:
    return _send_all(scene, scene.questions.poisoned, "poisoned bodies", clients=2)


def _send_garbage(scene: Scene) -> str:
    return _send_all(scene, scene.questions.garbage, "streams that are no HTTP", clients=2)


def _pipeline(scene: Scene) -> str:
    """Send many requests of all kinds at once on one connection, and read the answers later."""
    sent = 0
    for _ in scene.until_over(every_seconds=0.05):
        makers = (scene.questions.good, scene.questions.good, scene.questions.bad)
        asked = [scene.draw.choice(makers)() for _ in range(scene.draw.randint(8, 40))]
        sent += len(scene.traffic.ask("planted", *asked))
    return f"{sent} requests in rows of 8 to 40"


def _exhaust_descriptors(scene: Scene) -> str:
    """Lower the worker's limit, and open more connections than it then can."""
    worker = scene.ground.worker()
    before = descriptors(worker)
    limits = resource.prlimit(worker, resource.RLIMIT_NOFILE)
    resource.prlimit(worker, resource.RLIMIT_NOFILE, (before + _SPARE_DESCRIPTORS, limits[1]))
    hungry: list[Connection] = []
    try:
        for _ in range(_WANTED):
            with contextlib.suppress(LostError):
                connection = Connection(scene.ground.port)
                connection.send(_HEAD)
                hungry.append(connection)
        most = 0
        for _ in scene.until_over():
            most = max(most, descriptors(worker))
        if most < before + _SPARE_DESCRIPTORS - 1:
            raise BrokenError(f"the worker never had more than {most} files and connections")
    finally:
        for connection in hungry:
            connection.close()
        resource.prlimit(worker, resource.RLIMIT_NOFILE, limits)
    _wait_for_descriptors(worker, before + _CLOSE_ENOUGH)
    return f"{_WANTED} connections where {_SPARE_DESCRIPTORS} more could be had"


def _send_all(scene: Scene, make: Callable[[], Asked], what: str, *, clients: int) -> str:
    def send() -> int:
        return sum(
            len(scene.traffic.ask("planted", make())) for _ in scene.until_over(every_seconds=0.01)
        )

    with ThreadPoolExecutor(clients) as pool:
        sent = sum(future.result() for future in [pool.submit(send) for _ in range(clients)])
    return f"{sent} {what}"


def _wait_for_descriptors(worker: int, most: int) -> None:
    deadline = time.monotonic() + _LET_GO_SECONDS
    while (held := descriptors(worker)) > most:
        if time.monotonic() > deadline:
            raise BrokenError(f"the worker still holds {held} files and connections, not {most}")
        time.sleep(0.1)


def _may_limit(scene: Scene) -> str:
    try:
        resource.prlimit(scene.ground.worker(), resource.RLIMIT_NOFILE)
    except PermissionError:
        return "this user may not lower another process' limits"
    return ""


CLIENT_FAULTS = (
    Fault(
        name="clients killed in mid-body",
        promise="nobody else notices",
        plant=_kill_in_mid_body,
    ),
    Fault(
        name="half-open connections",
        promise="nobody else notices; the service gives them up by itself",
        plant=_fall_silent,
        recovery_seconds=_LET_GO_SECONDS,
    ),
    Fault(
        name="10 MB bodies",
        promise="each gets 413, whether its length is declared or not",
        plant=_send_too_much,
    ),
    Fault(
        name="NaN, lone surrogates, 10,000 brackets",
        promise="each gets 400 or 422",
        plant=_send_poison,
    ),
    Fault(
        name="streams that are no HTTP",
        promise="each is refused",
        plant=_send_garbage,
    ),
    Fault(
        name="pipelined requests",
        promise="each gets its own answer, in order",
        plant=_pipeline,
    ),
    Fault(
        name="file descriptors exhausted",
        promise="connections may be refused; those that are there are served",
        plant=_exhaust_descriptors,
        permits=permit("lost", "refused"),
        missing=_may_limit,
    ),
)
