"""The browser that apt installs, without a window."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

# A container gives a browser neither a sandbox of its own nor much shared memory.
_ARGUMENTS = ("--no-sandbox", "--disable-dev-shm-usage")


def executable() -> str | None:
    """Return where a Chromium is, if there is one."""
    return shutil.which("chromium") or shutil.which("google-chrome")


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run it."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable(), args=_ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()
