"""Files of metrics that a full disk does no harm to.

prometheus_client maps a file for each worker and kind of metric, and leaves it to the first write
to a page whether the disk has room for it. Where it has none, that write ends the process with
SIGBUS, and no other worker can start. Here room is taken beforehand; where there is none, a worker
counts in memory, which no scrape sees, and goes on answering.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from prometheus_client import values
from prometheus_client.mmap_dict import MmapedDict

_FIRST_BYTES = 1 << 16
_LOGGER = logging.getLogger("textclf.metrics")


class _RoomyFile:
    """What ``MmapedDict`` does with its file; growing it takes the room on the disk at once."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def fileno(self) -> int:
        return self._file.fileno()

    def close(self) -> None:
        self._file.close()

    def truncate(self, size: int) -> None:
        try:
            os.posix_fallocate(self.fileno(), 0, size)
        except OSError as exc:
            _tell(exc)
            self._move_to_memory(size)

    def _move_to_memory(self, size: int) -> None:
        content = os.pread(self.fileno(), size, 0)
        self._file.close()
        self._file = os.fdopen(_memory(), "r+b")
        os.ftruncate(self.fileno(), size)
        os.pwrite(self.fileno(), content, 0)


class RoomyDict(MmapedDict):
    """The values of one kind of metric, in a file that has room for them, or in memory."""

    def __init__(self, filename: str, read_mode: bool = False) -> None:
        memory = None if read_mode or _takes_room(filename) else _memory()
        path = filename if memory is None else f"/proc/self/fd/{memory}"
        super().__init__(path, read_mode)  # type: ignore[no-untyped-call]
        if memory is not None:
            os.close(memory)  # it is open a second time now
        self._f: Any = _RoomyFile(self._f)


def take_room_for_metrics() -> None:
    """Let every metric that is made from now on have a file with room for it.

    Source: https://github.com/prometheus/client_python/blob/v0.23.1/prometheus_client/values.py
    """
    values.MmapedDict = RoomyDict  # type: ignore[attr-defined]


def _takes_room(filename: str) -> bool:
    """Make a file with room for the first values, and say whether there was any."""
    size = 0
    try:
        with Path(filename).open("a+b") as file:
            size = os.fstat(file.fileno()).st_size
            os.posix_fallocate(file.fileno(), 0, max(_FIRST_BYTES, size))
    except OSError as exc:
        _tell(exc)
        with suppress(OSError):
            if not size:  # one that is empty is no file of metrics to whoever reads them
                Path(filename).unlink()
        return False
    return True


def _memory() -> int:
    return os.memfd_create("metrics")


def _tell(exc: OSError) -> None:
    _LOGGER.error("this worker's metrics are not seen any more: no room for their file: %s", exc)
