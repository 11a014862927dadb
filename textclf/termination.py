"""SIGTERM for commands: clear away, then end."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn


@contextmanager
def ending_on_sigterm() -> Iterator[None]:
    """Leave by ``SystemExit`` on SIGTERM, so that programs are ended and folders removed."""
    main_thread = threading.current_thread() is threading.main_thread()
    if not main_thread or signal.getsignal(signal.SIGTERM) is signal.SIG_IGN:
        yield  # no other thread may set a handler, and who ignores the signal means it
        return
    previous = signal.signal(signal.SIGTERM, _exit)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _exit(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001 - a handler's signature
    sys.exit(128 + number)
