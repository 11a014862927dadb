"""How many texts a second a key may ask for: a token bucket that all workers share.

A text takes a token, and tokens come back at the rate, up to the burst. A request is let in while
there is a token; what its texts take beyond those there are is waited for.
"""

from __future__ import annotations

import logging
import mmap
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Self

from textclf.errors import RateLimitedError
from textclf.schema import MAX_TEXTS

_FORM = re.compile(r"rate=(?P<rate>\d{1,9}(?:\.\d{1,9})?)(?:,burst=(?P<burst>\d{1,9}))?")
_ROUNDING = 1e-6
_DOUBLE_BYTES = 8
_LOGGER = logging.getLogger("textclf.rates")


@dataclass(frozen=True, kw_only=True)
class Rate:
    """How many texts a key may ask for.

    Attributes:
        texts_per_second: For as long as anyone likes.
        burst_texts: After a pause, at once.
    """

    texts_per_second: float
    burst_texts: float

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read ``rate=50`` or ``rate=50,burst=200``; None if it is neither.

        Without a burst it is what a second brings, and at least one text.
        """
        match = _FORM.fullmatch(text)
        if match is None or not float(match["rate"]):
            return None
        rate = float(match["rate"])
        burst = float(match["burst"]) if match["burst"] else max(rate, 1.0)
        return cls(texts_per_second=rate, burst_texts=burst) if burst >= 1 else None


class TokenBucket:
    """Refuses what exceeds a rate.

    All that is kept is when the bucket will be full again, in seconds of the machine's monotonic
    clock: one number, which the workers share through a file. Nobody waits for a lock; two workers
    that look within the same microsecond may let one request too many in.

    Source: https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm
    """

    def __init__(
        self, rate: Rate, shared: Path | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Open the bucket.

        Args:
            rate: Its own.
            shared: The file; None for a bucket of this process alone.
            clock: Of all who share it.
        """
        self._rate = rate
        self._full_at = _open_number(shared)
        self._clock = clock
        # no request takes it further; more is from before the machine was started anew
        self._longest = (rate.burst_texts + MAX_TEXTS) / rate.texts_per_second

    def let_in(self) -> None:
        """Take a token for a request, whose texts nobody has counted yet.

        Raises:
            RateLimitedError: There is none.
        """
        self._take(1, least=1)

    def charge(self, texts: int) -> None:
        """Take tokens for more texts of a request that was let in.

        Raises:
            RateLimitedError: Others of the same key have taken more than there were.
        """
        self._take(texts, least=0)

    def _take(self, tokens: int, *, least: int) -> None:
        rate, now = self._rate.texts_per_second, self._clock()
        until_full = self._full_at[0] - now
        if not 0 < until_full <= self._longest:
            until_full = 0.0
        missing = least - (self._rate.burst_texts - until_full * rate)
        if missing > _ROUNDING:
            raise self._refusal((missing + 1 - least) / rate)  # until a request is let in
        self._full_at[0] = now + until_full + tokens / rate

    def _refusal(self, wait_seconds: float) -> RateLimitedError:
        after = max(1, ceil(wait_seconds))
        rate, burst = self._rate.texts_per_second, self._rate.burst_texts
        return RateLimitedError(
            f"this key may ask for {rate:g} texts a second; try again in {after} s",
            headers={
                "Retry-After": str(after),
                # Source: https://www.ietf.org/archive/id/draft-ietf-httpapi-ratelimit-headers-10.txt
                "RateLimit-Policy": f'"texts";q={burst:.0f};w={ceil(burst / rate)}',
                "RateLimit": f'"texts";r=0;t={after}',
            },
        )


def _open_number(path: Path | None) -> memoryview[float]:
    """Return a number that starts at 0; processes that open the same file share it."""
    if path is not None:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            try:
                # a page that a full disk cannot back would end the process when it is written
                os.posix_fallocate(descriptor, 0, _DOUBLE_BYTES)
                return memoryview(mmap.mmap(descriptor, _DOUBLE_BYTES)).cast("d")
            finally:
                os.close(descriptor)
        except OSError as exc:
            _LOGGER.warning("each worker counts a key's texts for itself: %s", exc)
    return memoryview(bytearray(_DOUBLE_BYTES)).cast("d")
