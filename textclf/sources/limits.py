"""How much a download may take."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

_N = TypeVar("_N", int, float)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much a download may take, all files together.

    Attributes:
        max_bytes: On disk.
        timeout_seconds: From the first connection to the last byte, retries included.
    """

    max_bytes: int = 4 * 1024**3
    timeout_seconds: float = 600.0

    def __post_init__(self) -> None:
        """Refuse limits that nothing can keep."""
        if self.max_bytes < 1 or not self.timeout_seconds > 0:
            raise ValueError(f"limits must be positive, got {self}")

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Add ``--max-bytes`` and ``--timeout-seconds``."""
        parser.add_argument(
            "--max-bytes",
            type=_positive(int),
            default=cls.max_bytes,
            metavar="N",
            help="most bytes to download (default: %(default)s)",
        )
        parser.add_argument(
            "--timeout-seconds",
            type=_positive(float),
            default=cls.timeout_seconds,
            metavar="S",
            help="longest time for the download, retries included (default: %(default)s)",
        )

    @classmethod
    def from_arguments(cls, arguments: argparse.Namespace) -> Limits:
        """Return the limits that the command line sets."""
        return cls(max_bytes=arguments.max_bytes, timeout_seconds=arguments.timeout_seconds)


def _positive(number: Callable[[str], _N]) -> Callable[[str], _N]:
    def _read(text: str) -> _N:
        value = number(text)
        if not value > 0:
            raise argparse.ArgumentTypeError(f"must be positive, got {text}")
        return value

    _read.__name__ = "number"
    return _read
