"""Servers that are started for a measurement, and stopped whatever happens."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.errors import BenchmarkError
from benchmarks.serving import Server, marked, serving
from benchmarks.systems import Launch, Model, Route, System

_MODEL = Model(name="none", folder=Path(), fp32=Path(), stock=Path())
_ROUTE = Route(path="/", encode=lambda _: b"", accepts=lambda _body, _texts: True)
# A server that ignores SIGTERM, with a child in a session of its own.
_STUBBORN = """
import http.server, signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
subprocess.Popen(sleep, start_new_session=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), http.server.SimpleHTTPRequestHandler
    ).serve_forever()
"""


def _system(program: str) -> System:
    def launch(_model: Model, port: int) -> Launch:
        return Launch(argv=[sys.executable, "-c", program, str(port)])

    return System(name="fake", peer="", launch=launch, ready="/", one=_ROUTE, many=None)


@dataclass
class _Seen:
    pids: Sequence[int] = ()
    affinities: Sequence[set[int]] = ()
    memory_bytes: int = 0

    def look_and_interrupt(self, server: Server) -> None:
        self.pids = marked(server.mark)
        self.affinities = [os.sched_getaffinity(pid) for pid in self.pids]
        self.memory_bytes = server.memory_bytes()
        raise KeyboardInterrupt


def test_every_process_is_weighed_and_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child in its own session counts, and ends with a server that ignores SIGTERM."""
    monkeypatch.setattr("benchmarks.serving._STOP_SECONDS", 0.2)
    cpu = min(os.sched_getaffinity(0))
    seen = _Seen()

    with (
        pytest.raises(KeyboardInterrupt),
        serving(_system(_STUBBORN), _MODEL, tmp_path / "logs" / "a.log", cpus=[cpu]) as server,
    ):
        seen.look_and_interrupt(server)

    assert len(seen.pids) == 2
    assert seen.affinities == [{cpu}, {cpu}]
    assert seen.memory_bytes > 5_000_000
    assert server.ready_seconds > 0
    assert marked(server.mark) == []


def test_a_server_that_ends_is_told_of_with_its_log(tmp_path: Path) -> None:
    """The message names the system, how it ended and where its output is."""
    log = tmp_path / "fake.log"
    program = "import sys; sys.exit('no model')"

    with (
        pytest.raises(BenchmarkError, match=r"fake ended with 1; read .*fake\.log"),
        serving(_system(program), _MODEL, log),
    ):
        pass

    assert log.read_text("utf-8") == "no model\n"
