"""A page of metrics is made for all who wait for one."""

from __future__ import annotations

import asyncio
import threading

import pytest

from textclf.http.scrapes import Page, Scrapes


def test_many_who_ask_share_a_page_that_was_begun_after_they_did() -> None:
    """One that is being made may lack what happened since, so it is not theirs."""
    began, goes_on = threading.Event(), threading.Event()
    made: list[int] = []

    def render() -> Page:
        made.append(len(made))
        began.set()
        assert goes_on.wait(10)
        return "text/plain", b"%d" % made[-1]

    async def ask() -> list[bytes]:
        scrapes = Scrapes(render)
        first = asyncio.create_task(scrapes.page())
        assert await asyncio.to_thread(began.wait, 10)
        others = [asyncio.create_task(scrapes.page()) for _ in range(50)]
        await asyncio.sleep(0)
        others.pop().cancel()  # whoever leaves takes nobody's page away
        goes_on.set()
        last = [await task for task in [first, *others]]
        return [page for _, page in [*last, await scrapes.page()]]

    assert asyncio.run(ask()) == [b"0", *[b"1"] * 49, b"2"]


def test_a_page_that_cannot_be_made_is_no_end() -> None:
    """Whoever asked learns it; the next page is made."""
    faults = [OSError("no file may be opened"), None]

    def render() -> Page:
        if fault := faults.pop(0):
            raise fault
        return "text/plain", b"fine"

    async def ask() -> Page:
        scrapes = Scrapes(render)
        with pytest.raises(OSError, match="no file"):
            await scrapes.page()
        return await scrapes.page()

    assert asyncio.run(ask()) == ("text/plain", b"fine")
