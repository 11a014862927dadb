"""A server for the time of a ``with``: started, waited for, weighed and stopped."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.errors import BenchmarkError
from benchmarks.systems import Model, System

_PORTS = range(20_000, 32_768)  # below those that Linux takes for outgoing connections
_READY_SECONDS = 120.0
_STOP_SECONDS = 15.0
_POLL_SECONDS = 0.02
_MARK = "BENCHMARK_LAUNCH"
_PROC = Path("/proc")


@dataclass(frozen=True)
class Server:
    """A system that serves.

    Attributes:
        port: Of 127.0.0.1.
        ready_seconds: From its start until it answered.
        mark: Of its processes.
    """

    port: int
    ready_seconds: float
    mark: str

    def memory_bytes(self) -> int:
        """Return what all its processes keep in memory, with what they share counted once.

        Source: https://docs.kernel.org/filesystems/proc.html, Pss of smaps_rollup
        """
        return sum(map(_pss_bytes, marked(self.mark)))


@contextmanager
def serving(
    system: System, model: Model, log: Path, cpus: Collection[int] = ()
) -> Iterator[Server]:
    """Serve a model, and stop every process of it at the end, whatever happens.

    Args:
        system: That serves.
        model: That is served.
        log: File for what it prints.
        cpus: It stays on these; empty for any.

    Raises:
        BenchmarkError: It did not get ready.
    """
    port = free_port()
    launch = system.launch(model, port)
    mark = uuid.uuid4().hex
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output, _affinity(cpus):
        started = time.perf_counter()
        process = subprocess.Popen(  # noqa: S603  # the catalogue's own
            list(launch.argv),
            cwd=launch.cwd,
            env=os.environ | dict(launch.env) | {_MARK: mark},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_until_ready(f"http://127.0.0.1:{port}{system.ready}", process, system, log)
        yield Server(port, time.perf_counter() - started, mark)
    finally:
        _stop(process, mark)


def free_port() -> int:
    """Return a port of 127.0.0.1 that nothing listens on."""
    for port in random.sample(_PORTS, 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise BenchmarkError("no port of 127.0.0.1 is free; end what listens on them, and retry")


def marked(mark: str) -> list[int]:
    """Return every process whose environment has the mark, whoever its parent is by now."""
    found = []
    for entry in _PROC.iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):
                if f"{_MARK}={mark}".encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
    return found


@contextmanager
def _affinity(cpus: Collection[int]) -> Iterator[None]:
    """Put this process on these CPUs, so that one it starts is on them from its first moment."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus or before)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _wait_until_ready(
    url: str, process: subprocess.Popen[bytes], system: System, log: Path
) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310
            if answer.status == 200:
                return
        time.sleep(_POLL_SECONDS)
    ended = process.poll()
    how = f"did not get ready in {_READY_SECONDS:g} s" if ended is None else f"ended with {ended}"
    raise BenchmarkError(f"{system.name} {how}; read {log}, mend that and retry")


def _stop(process: subprocess.Popen[bytes], mark: str) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_SECONDS)
    while left := {*marked(mark), *([process.pid] if process.poll() is None else [])}:
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_POLL_SECONDS)
        time.sleep(_POLL_SECONDS)
    process.wait()


def _pss_bytes(pid: int) -> int:
    with suppress(OSError):
        for line in (_PROC / str(pid) / "smaps_rollup").read_text("ascii").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0
