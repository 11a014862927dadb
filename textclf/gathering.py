"""Counts that wait in this process until they are written to where /metrics reads them.

With several workers prometheus_client keeps every number in a file that all can read, and takes two
microseconds to observe an amount. What a request counts in a dozen metrics is added up here, for
less than the tenth of that, and written a few times a second and before each scrape.
"""

from __future__ import annotations

import asyncio
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable

from prometheus_client import Counter, Histogram

_GATHER_SECONDS = 0.2


class GatheredHistogram:
    """The observations that a histogram has yet to be told of; only under the gathering's lock."""

    def __init__(self, histogram: Histogram) -> None:
        # Its public interface takes observations one at a time.
        self._bounds = histogram._upper_bounds  # noqa: SLF001
        self._buckets = histogram._buckets  # noqa: SLF001
        self._sum = histogram._sum  # noqa: SLF001
        self._counts = [0] * len(self._bounds)
        self._added = 0.0

    def add(self, amount: float) -> None:
        """Observe an amount."""
        self._counts[bisect_left(self._bounds, amount)] += 1
        self._added += amount

    def write(self) -> None:
        """Tell the histogram."""
        if not any(self._counts):
            return
        for bucket, count in zip(self._buckets, self._counts, strict=True):
            if count:
                bucket.inc(count)
        self._sum.inc(self._added)
        self._counts = [0] * len(self._bounds)
        self._added = 0.0


class GatheredCounter:
    """What a counter has yet to be told of; only under the gathering's lock."""

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._added = 0

    def add(self, amount: int) -> None:
        """Count so many."""
        self._added += amount

    def write(self) -> None:
        """Tell the counter."""
        if self._added:
            self._counter.inc(self._added)
            self._added = 0


class GatheredLabels:
    """What a counter by a label has yet to be told of; only under the gathering's lock."""

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._added: dict[str, int] = {}

    def add(self, label: str) -> None:
        """Count one."""
        self._added[label] = self._added.get(label, 0) + 1

    def write(self) -> None:
        """Tell the counter."""
        for label, amount in self._added.items():
            self._counter.labels(label).inc(amount)
        self._added.clear()


class Gathering:
    """Writes what waits, and looks at what changes by itself, before it is read.

    Attributes:
        lock: For whoever adds to what waits.
    """

    def __init__(
        self, waiting: Iterable[GatheredHistogram | GatheredCounter | GatheredLabels]
    ) -> None:
        self.lock = threading.Lock()
        self._waiting = tuple(waiting)
        self._looks: dict[object, Callable[[], None]] = {}
        self._writing = threading.Lock()
        self._scheduled: asyncio.AbstractEventLoop | None = None

    def look(self, owner: object, callback: Callable[[], None]) -> None:
        """Call back before each write, from any thread, until ``owner`` is forgotten."""
        self._looks[owner] = callback

    def forget(self, owner: object) -> None:
        """Look no more."""
        self._looks.pop(owner, None)

    def write_soon(self) -> None:
        """See to it that what waits is written soon; on an event loop."""
        loop = asyncio.get_running_loop()
        if self._scheduled is not loop:
            self._scheduled = loop
            loop.call_later(_GATHER_SECONDS, self._write_now)

    def write(self) -> None:
        """Write what waits; from any thread."""
        with self._writing:
            for callback in list(self._looks.values()):
                callback()
            with self.lock:
                for waiting in self._waiting:
                    waiting.write()

    def _write_now(self) -> None:
        self._scheduled = None
        self.write()
