"""A real browser, and pages in it that are watched."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, Response

from tests.browser.chromium import chromium, executable
from tests.conftest import require
from tests.http.serving import Served, serve

Visit = Callable[..., Page]


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Serve the reference model from an empty store, as in a fresh clone."""
    with serve(tmp_path_factory.mktemp("service")) as served:
        yield served


@pytest.fixture(scope="module")  # its event loop must end before tests that run one of their own
def browser() -> Iterator[Browser]:
    """Run a headless Chromium."""
    require(executable() is not None, "there is no chromium; make parts installs it")
    with chromium() as browser:
        yield browser


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """Return a function that opens /ui of a service in a new profile; what it does is judged."""
    watches: list[Watch] = []

    def visit(served: Served, *, width: int = 1280, scheme: str = "light") -> Page:
        context = browser.new_context(
            color_scheme="dark" if scheme == "dark" else "light",
            permissions=["clipboard-read", "clipboard-write"],
            viewport={"width": width, "height": 900},
        )
        page = context.new_page()
        page.set_default_timeout(15_000)
        watches.append(Watch(page, served.url))
        page.goto(f"{served.url}/ui")
        return page

    yield visit
    for watch in watches:
        watch.judge()
        watch.page.context.close()


def run(page: Page, text: str) -> None:
    """Put a text in and press the button."""
    page.get_by_label("Texts, one a line").fill(text)
    page.get_by_role("button", name="Classify").click()


class Watch:
    """What a page asks for, and what the browser says of it."""

    def __init__(self, page: Page, origin: str) -> None:
        self.page = page
        self._origin = origin
        self._strange: list[str] = []
        page.context.on("request", self._on_request)
        page.context.on("response", self._on_response)
        page.context.on("console", self._on_console)
        page.on("pageerror", lambda error: self._strange.append(str(error)))

    def judge(self) -> None:
        """See that nothing left the origin, failed in the page, or was against its policy."""
        assert self._strange == []

    def _on_request(self, request: Request) -> None:
        if not request.url.startswith(f"{self._origin}/"):
            self._strange.append(f"asks {request.url}")

    def _on_response(self, response: Response) -> None:
        path = response.url.removeprefix(self._origin)
        if not response.ok and path not in {"/classify", "/ui/model"}:
            self._strange.append(f"{path} answers {response.status}")

    def _on_console(self, message: ConsoleMessage) -> None:
        refused = message.text.startswith("Failed to load resource")  # judged as a response
        if message.type in {"error", "warning"} and not refused:
            self._strange.append(message.text)
