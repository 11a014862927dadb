"""What the operating system says of this process."""

from __future__ import annotations

import errno
import resource
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_EVERY_SECONDS = 1.0
_STATM = Path("/proc/self/statm")
_FILES = Path("/proc/self/fd")


@dataclass(frozen=True)
class ProcessReading:
    """What a process has used.

    Attributes:
        at: When it was read, in seconds of ``time.monotonic``.
        cpu_seconds: In user and system mode, since its start.
        resident_bytes: Of its memory; 0 where it cannot be told.
        open_files: Sockets included; 0 where it cannot be told.
        open_files_limit: How many it may have.
    """

    at: float = 0.0
    cpu_seconds: float = 0.0
    resident_bytes: int = 0
    open_files: int = 0
    open_files_limit: int = 0


def read_process(before: ProcessReading) -> ProcessReading:
    """Return what this process has used by now; ``before`` itself if that is of just now."""
    now = time.monotonic()
    if before.at and now - before.at < _EVERY_SECONDS:
        return before
    return ProcessReading(
        at=now,
        cpu_seconds=time.process_time(),
        resident_bytes=_resident_bytes(before.resident_bytes),
        open_files=_open_files(),
        open_files_limit=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    )


def _resident_bytes(before: int) -> int:
    with suppress(OSError):  # not Linux, or it may open no more files
        return int(_STATM.read_text("ascii").split()[1]) * resource.getpagesize()
    return before


def _open_files() -> int:
    try:
        return sum(1 for _ in _FILES.iterdir())
    except OSError as exc:  # not Linux, or it has as many open as it may
        full = exc.errno == errno.EMFILE
        return resource.getrlimit(resource.RLIMIT_NOFILE)[0] if full else 0
