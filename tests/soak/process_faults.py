"""Faults of the machine and of the processes: killed, stopped, without a disk, at another time."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from pathlib import Path

from tests.soak.episodes import BrokenError, Episode, Fault, Scene, permit
from tests.soak.ground import DRAIN_SECONDS, START_SECONDS, Ground
from tests.soak.processes import workers
from tests.soak.traffic import Outcome
from textclf.artifact import GRAPH

STOPPED_SECONDS = 5.0
_FAKETIME = Path("/usr/lib") / f"{os.uname().machine}-linux-gnu" / "faketime" / "libfaketimeMT.so.1"
_JUMPS_SECONDS = (3600, -86_400, 0)
_END_SECONDS = 30.0
_LONG_TEXTS = 64  # the other clients hardly ever have as many under way together
_SEEN_SECONDS = 30.0
_MARGIN_SECONDS = 0.5  # between sending a request and its being seen
_BLOCK = bytes(4096)


def _stop_worker(scene: Scene) -> str:
    """Stop the worker as a machine that is frozen and moved does."""
    worker = scene.ground.worker()
    os.kill(worker, signal.SIGSTOP)
    try:
        time.sleep(STOPPED_SECONDS)
    finally:
        os.kill(worker, signal.SIGCONT)
    return f"stopped for {STOPPED_SECONDS:g} s"


def _truncate_graph(scene: Scene) -> str:
    """Cut the graph's file in half while it is served."""
    with _truncated(scene.ground.graph):
        list(scene.until_over())
    return f"{GRAPH} cut in half"


def _restart_on_truncated_graph(scene: Scene) -> str:
    """Let a worker start on a graph that was cut in half, and refuse; then give the file back."""
    with _truncated(scene.ground.graph):
        os.kill(scene.ground.worker(), signal.SIGKILL)
        scene.ground.served.wait_for_log(f"{scene.ground.graph} has another sha256")
        for _ in scene.until_over():
            for outcome in scene.traffic.ask("planted", scene.questions.good()):
                if outcome.verdict not in {"refused", "lost"}:
                    raise BrokenError(f"a spoilt graph was served: {outcome.verdict}")
    os.kill(scene.ground.worker(), signal.SIGKILL)
    return f"{GRAPH} cut in half, worker killed"


@contextlib.contextmanager
def _truncated(path: Path) -> Iterator[None]:
    whole = path.read_bytes()
    os.truncate(path, len(whole) // 2)
    try:
        yield
    finally:
        path.write_bytes(whole)


def _fill_disk(scene: Scene) -> str:
    """Leave no byte on the disk of the log, of temporary files and of the metrics."""
    with _filled(scene.ground):
        for _ in scene.until_over():
            scene.traffic.ask("planted", scene.questions.bad())
            scene.traffic.ask("planted", scene.questions.probe())
    return "the disk of its log, temporary files and metrics"


def _kill_worker_on_full_disk(scene: Scene) -> str:
    """Let a worker start where it can write nothing."""
    with _filled(scene.ground):
        _kill_worker(scene)
        scene.ground.wait_for_status("/readyz", 200)
        list(scene.until_over())
    return "full disk, worker killed"


@contextlib.contextmanager
def _filled(ground: Ground) -> Iterator[None]:
    assert ground.disk is not None
    filler = ground.disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(_BLOCK)
    try:
        yield
    finally:
        filler.unlink()


def _needs_disk(scene: Scene) -> str:
    return "" if scene.ground.disk else "this user may not mount a small disk"


def _kill_worker(scene: Scene) -> str:
    """Kill it as the kernel does when memory is short."""
    worker = scene.ground.worker()
    os.kill(worker, signal.SIGKILL)
    while worker in workers(scene.ground.pid):
        time.sleep(0.01)
    return "SIGKILL"


def _jump(scene: Scene) -> str:
    """Set the clock an hour ahead, a day back, and right again."""
    for jump in _JUMPS_SECONDS:
        set_clock(scene.ground, jump)
        _wait_for_clock(scene.ground, jump)
        list(scene.until_over())
    return "an hour ahead, a day back, and right again"


def clock_environment(folder: Path) -> dict[str, str]:
    """Return what lets the clock of a service be set by ``set_clock``; empty if nothing can."""
    if not _FAKETIME.exists():
        return {}
    file = folder / "clock"
    file.write_text("+0")
    return {
        "LD_PRELOAD": str(_FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",  # a step of NTP moves only the time of day
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_RESET": "1",
    }


def set_clock(ground: Ground, offset_seconds: int) -> None:
    """Set a service's time of day."""
    file = ground.model.parent / "clock"
    following = file.with_suffix(".next")
    following.write_text(f"{offset_seconds:+d}")
    following.replace(file)


def _wait_for_clock(ground: Ground, offset_seconds: int) -> None:
    deadline = time.monotonic() + 10
    while True:
        said = parsedate_to_datetime(ground.get("/livez").headers["date"]).timestamp()
        if abs(said - time.time() - offset_seconds) < 60:
            return
        if time.monotonic() > deadline:
            raise BrokenError(f"the clock never moved by {offset_seconds} s")
        time.sleep(0.1)


def _needs_faketime(_scene: Scene) -> str:
    return "" if _FAKETIME.exists() else f"there is no {_FAKETIME}; run `make parts`"


def _terminate(scene: Scene) -> str:
    """Send SIGTERM while requests are under way, short ones and a long one."""
    with ThreadPoolExecutor(1) as pool:
        long = _ask_long(scene, pool)
        scene.marks["sigterm"] = time.monotonic()
        scene.ground.served.terminate()
        (outcome,) = long.result()
    try:
        code = scene.ground.served.process.wait(timeout=_END_SECONDS)
    except subprocess.TimeoutExpired:
        raise BrokenError(f"it had not ended {_END_SECONDS:g} s after SIGTERM") from None
    took = time.monotonic() - scene.marks["sigterm"]
    if code:
        raise BrokenError(f"it ended with {code}")
    if outcome.verdict != "right":
        raise BrokenError(f"the long request under way at SIGTERM is {outcome.verdict}")
    return f"ended with 0 after {took:.1f} s"


def _ask_long(scene: Scene, pool: ThreadPoolExecutor) -> Future[list[Outcome]]:
    """Send a request that takes long, and return once the service is at work on it."""
    deadline = time.monotonic() + _SEEN_SECONDS
    long = pool.submit(scene.traffic.ask, "planted", scene.questions.slow(_LONG_TEXTS))
    while scene.ground.metric("textclf_queue_texts") < _LONG_TEXTS:
        if time.monotonic() > deadline:
            raise BrokenError(f"no request of {_LONG_TEXTS} texts was seen under way")
        if long.done():  # it was over between two looks
            long = pool.submit(scene.traffic.ask, "planted", scene.questions.slow(_LONG_TEXTS))
    return long


def _permits_after_sigterm(outcome: Outcome, episode: Episode) -> bool:
    """Let none be lost that came before the drain period's end, and none be refused before it."""
    sigterm = episode.marks.get("sigterm", math.inf)
    if outcome.verdict == "refused":
        return outcome.ended >= sigterm
    owed_until = sigterm + DRAIN_SECONDS - _MARGIN_SECONDS
    return outcome.verdict == "lost" and outcome.began >= owed_until


MACHINE_FAULTS = (
    Fault(
        name="worker stopped for 5 s",
        promise="everybody waits, nobody is turned away",
        plant=_stop_worker,
    ),
    Fault(
        name="graph truncated while serving",
        promise="answers stay right: the graph is in memory",
        plant=_truncate_graph,
    ),
    Fault(
        name="disk full",
        promise="nobody notices; only log lines are lost",
        plant=_fill_disk,
        missing=_needs_disk,
    ),
)
KILLED = Fault(
    name="worker killed",
    promise="requests under way are lost, then it is there again",
    plant=_kill_worker,
    permits=permit("lost", "refused"),
    recovery_seconds=START_SECONDS,
)
KILLED_ON_FULL_DISK = Fault(
    name="worker killed while the disk is full",
    promise="it is there again although nothing can be written",
    plant=_kill_worker_on_full_disk,
    permits=permit("lost", "refused"),
    missing=_needs_disk,
)
RESTARTED_ON_TRUNCATED = Fault(
    name="worker restarted on a truncated graph",
    promise="it refuses until the file is whole again",
    plant=_restart_on_truncated_graph,
    permits=permit("lost", "refused"),
    recovery_seconds=START_SECONDS,
)
TERMINATED = Fault(
    name="SIGTERM under load",
    promise=f"every request is answered, or refused with 503 for {DRAIN_SECONDS:g} s",
    plant=_terminate,
    permits=_permits_after_sigterm,
    ends=True,
)
CLOCK_JUMPED = Fault(
    name="clock jumps",
    promise="nobody notices",
    plant=_jump,
    missing=_needs_faketime,
)
