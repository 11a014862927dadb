"""The processes of a service, as /proc shows them, and how their memory moves."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from scipy import stats

_PROC = Path("/proc")
_WORKER = "_bentoml_impl.worker"
_EVERY_SECONDS = 1.0
_BINS = 60
_LEAST_BINS = 10


class Sample(NamedTuple):
    """What a service's processes hold at a moment, monotonic.

    What is private is not of files: a page of a library counts less where other programs use it
    too, and so moves when they come and go.
    """

    at: float
    private_mb: float
    rss_mb: float
    descriptors: int
    threads: int


@dataclass(frozen=True)
class Slope:
    """How fast memory grows.

    Attributes:
        mb_per_hour: Least squares.
        uncertainty: Half the width of its 95 % interval, in the same unit.
    """

    mb_per_hour: float
    uncertainty: float


def family(pid: int) -> list[int]:
    """Return a process and all below it."""
    children: dict[int, list[int]] = {}
    for folder in _PROC.glob("[0-9]*"):
        with suppress(OSError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            children.setdefault(int(fields[1]), []).append(int(folder.name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def workers(pid: int) -> list[int]:
    """Return the processes below ``pid`` that answer requests."""
    found = []
    for one in family(pid)[1:]:
        with suppress(OSError):
            if _WORKER in (_PROC / str(one) / "cmdline").read_text().replace("\0", " "):
                found.append(one)
    return found


def descriptors(pid: int) -> int:
    """Return how many files and connections a process has open."""
    return len(list((_PROC / str(pid) / "fd").iterdir()))


def look_at(pid: int) -> Sample:
    """Return what a process and all below it hold."""
    private = rss = files = threads = 0
    for one in family(pid):
        with suppress(OSError):
            for line in (_PROC / str(one) / "smaps_rollup").read_text().splitlines():
                name, _, value = line.partition(":")
                if name == "Pss_Anon":
                    private += int(value.split()[0])
                elif name == "Rss":
                    rss += int(value.split()[0])
            files += descriptors(one)
            threads += len(list((_PROC / str(one) / "task").iterdir()))
    return Sample(time.monotonic(), private / 1024, rss / 1024, files, threads)


class Watch:
    """Looks at a service once a second while the block lasts.

    Attributes:
        samples: In order.
    """

    def __init__(self, pid: Callable[[], int]) -> None:
        self.samples: list[Sample] = []
        self._pid = pid
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(_EVERY_SECONDS):
            self.samples.append(look_at(self._pid()))


def fit_slope(samples: Sequence[Sample]) -> Slope | None:
    """Return the slope of the private memory; None if there are too few samples to tell.

    Neighbouring samples are alike, so the number of independent ones is taken to be n (1 - r) /
    (1 + r), where r is the lag-1 autocorrelation of the residuals.

    Source: Santer et al. (2000), https://doi.org/10.1029/1999JD901105, equations 4 to 6
    """
    if len(samples) < _LEAST_BINS:
        return None
    parts = np.array_split(
        np.array([(s.at, s.private_mb) for s in samples]), min(_BINS, len(samples))
    )
    hours, memory = np.array([part.mean(axis=0) for part in parts]).T
    hours = (hours - hours[0]) / 3600
    fit = stats.linregress(hours, memory)
    residuals = memory - fit.intercept - fit.slope * hours
    if not residuals.any():
        return Slope(float(fit.slope), 0.0)
    r = max(0.0, float((residuals[1:] * residuals[:-1]).sum() / (residuals**2).sum()))
    independent = max(3.0, len(hours) * (1 - r) / (1 + r))
    variance = (residuals**2).sum() / (independent - 2)
    error = math.sqrt(variance / ((hours - hours.mean()) ** 2).sum())
    return Slope(float(fit.slope), float(stats.t.ppf(0.975, independent - 2) * error))
