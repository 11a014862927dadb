"""Programs that are not trusted to end: their whole process group does, whatever happens here."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO

from tqdm import tqdm

from textclf.settings import environment_without_secrets

_QUIET_SECONDS = 2.0
_TICK_SECONDS = 1.0
_CHUNK_BYTES = 64 * 1024
_MOST_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A program that ended by itself.

    Attributes:
        code: Its exit code; negative for a signal.
        output: What it wrote to standard output.
        errors: What it wrote to standard error; it may hold secrets.
    """

    code: int
    output: str
    errors: str


class StillRunningError(Exception):
    """A program did not end in time and was killed."""


def supervise(
    command: Sequence[str], *, timeout_seconds: float, doing: str, request: str = ""
) -> Finished:
    """Run a program in a session of its own, with no secret in its environment.

    Args:
        command: Program and arguments; nothing secret, since every user of the machine sees them.
        timeout_seconds: When it is killed.
        doing: What it does, for the line that shows the seconds on a terminal.
        request: What it gets on standard input, which stays open until it ends: a program that
            reads on notices there when this process is killed.

    Raises:
        OSError: It cannot be started.
        StillRunningError: It was killed.
    """
    deadline = time.monotonic() + timeout_seconds
    process = subprocess.Popen(  # noqa: S603 - the callers' own programs
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment_without_secrets(),
        start_new_session=True,
    )
    assert process.stdin  # noqa: S101 - for mypy, as PIPE makes it
    output, errors = _Reader(process.stdout), _Reader(process.stderr)
    try:
        with suppress(BrokenPipeError):  # it ended without reading
            process.stdin.write(request.encode())
            process.stdin.flush()
        _wait(process, deadline, doing)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
        with suppress(BrokenPipeError):
            process.stdin.close()
    return Finished(code=code, output=output.text(), errors=errors.text())


def _wait(process: subprocess.Popen[bytes], deadline: float, doing: str) -> None:
    seconds = tqdm(
        desc=doing,
        bar_format="{desc}: {elapsed}",
        delay=_QUIET_SECONDS,
        miniters=1,
        disable=None,
        leave=False,
    )
    with seconds:
        while (left := deadline - time.monotonic()) > 0:
            with suppress(subprocess.TimeoutExpired):
                process.wait(min(_TICK_SECONDS, left))
                return
            seconds.update()
    raise StillRunningError


class _Reader:
    """Takes in what a program writes, so that it never waits for us to read."""

    def __init__(self, pipe: IO[bytes] | None) -> None:
        assert pipe  # noqa: S101 - for mypy, as PIPE makes it
        self._pipe = pipe
        self._content = bytearray()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with self._pipe:
            while chunk := os.read(self._pipe.fileno(), _CHUNK_BYTES):
                if len(self._content) < _MOST_BYTES:
                    self._content += chunk

    def text(self) -> str:
        self._thread.join(timeout=_TICK_SECONDS)  # a process that left the group may hold the pipe
        return bytes(self._content).decode("utf-8", errors="replace")
