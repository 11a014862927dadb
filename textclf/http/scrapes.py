"""Pages of metrics for all who ask: one is made at a time, however many do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

Page = tuple[str, bytes]


class Scrapes:
    """Makes a page of what is true once it was asked for, in a thread of its own.

    To read every worker's files takes milliseconds. Whoever asks while a page is being made gets
    the next one, with all the others who did.
    """

    def __init__(self, render: Callable[[], Page]) -> None:
        """Make no page yet.

        Args:
            render: Returns the media type and the page.
        """
        self._render = render
        self._pool = ThreadPoolExecutor(1, "scrapes")
        self._last: asyncio.Task[Page] | None = None
        self._next: asyncio.Task[Page] | None = None

    async def page(self) -> Page:
        """Return the media type and the page; raises what ``render`` does."""
        if self._next is None:
            self._next = asyncio.create_task(self._make(self._last))
        return await asyncio.shield(self._next)

    async def _make(self, before: asyncio.Task[Page] | None) -> Page:
        if before is not None:
            await asyncio.wait([before])
        self._last, self._next = self._next, None
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._render)
