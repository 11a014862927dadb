"""The time, and how it passes; tests make their own."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """The time, and how it passes."""

    def now(self) -> float:
        """Return seconds since 1970, which a controller that was killed shares with the next."""
        ...

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        ...


class WallClock:
    """The time of this machine."""

    def now(self) -> float:
        """Return seconds since 1970."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)
