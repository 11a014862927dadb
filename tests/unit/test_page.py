"""/ui is served as it should be: to whom, with which header fields, and out of which files."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest
from starlette.responses import PlainTextResponse

from textclf.http.front import FrontDoor
from textclf.http.keys_file import KeysFile
from textclf.http.lifecycle import Lifecycle
from textclf.http.page import FOLDER
from textclf.settings import Settings

FILES = sorted(file.name for file in FOLDER.iterdir())
PATHS = ["/ui" if name == "index.html" else f"/ui/{name}" for name in FILES]
# Whatever makes HTML or code of a text, or sends it elsewhere than fetch.
FORBIDDEN = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|DOMParser|"
    r"createContextualFragment|srcdoc|XMLHttpRequest|sendBeacon|WebSocket|EventSource|"
    r"(local|session)Storage|indexedDB|\.cookie|https?://(?!www\.w3\.org/2000/svg)"
)
Ask = Callable[..., httpx.Response]


@pytest.fixture
def ask(classifier_folder: Path) -> Ask:
    """Return a function that asks a front door, whose model is loaded if it has to be."""

    def ask(
        method: str,
        path: str,
        *,
        ready: bool = False,
        keys: KeysFile | None = None,
        headers: dict[str, str] | None = None,
        **changes: bool,
    ) -> httpx.Response:
        settings = Settings(model=str(classifier_folder)).model_copy(update=changes)

        async def run() -> httpx.Response:
            lifecycle = Lifecycle(settings)
            if ready:
                await lifecycle.load()
            front = FrontDoor(PlainTextResponse("BentoML"), lifecycle, settings, keys)
            transport = httpx.ASGITransport(front)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                response = await client.request(method, path, headers=headers)
            await lifecycle.close()
            return response

        return asyncio.run(run())

    return ask


class Elements(HTMLParser):
    """Collects the elements of a page with their attributes, and the text of its scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.inline: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.found.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        """Note what stands in a script or a style sheet."""
        if self.found and self.found[-1][0] in {"script", "style"} and data.strip():
            self.inline.append(data)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", PATHS)
def test_files_are_served(ask: Ask, method: str, path: str) -> None:
    """Each comes with its type, is asked for again each time, and may run nothing but its own."""
    response = ask(method, path)

    file = FOLDER / (path.removeprefix("/ui/") if path != "/ui" else "index.html")
    types = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
    assert response.status_code == 200
    assert response.headers["content-type"].startswith(types.get(file.suffix, "image/svg+xml"))
    assert response.headers["content-length"] == str(file.stat().st_size)
    assert response.headers["cache-control"] == "no-cache"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"] == "no-referrer"
    assert response.headers["cross-origin-opener-policy"] == "same-origin"
    policy = dict(
        directive.strip().split(" ", 1)
        for directive in response.headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == policy["style-src"] == "'self'"
    assert policy["require-trusted-types-for"] == "'script'"
    if method == "GET":
        assert response.content == file.read_bytes()


@pytest.mark.parametrize("path", ["/ui", "/ui/page.css", "/ui/model"])
def test_nothing_can_be_sent_there(ask: Ask, path: str) -> None:
    """Every other method is refused, with those that there are."""
    response = ask("POST", path)

    assert response.status_code == 405
    assert response.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    "path", ["/ui/", "/ui/index.html", "/ui/nothing.js", "/ui/%2e%2e/page.py", "/ui/pageXcss"]
)
def test_nothing_else_is_there(ask: Ask, path: str) -> None:
    """A path is one of those of the files, or there is none."""
    assert ask("GET", path).status_code == 404


@pytest.mark.parametrize("path", [*PATHS, "/ui/model"])
def test_the_page_can_be_switched_off(ask: Ask, path: str) -> None:
    """Then nothing of it is there."""
    response = ask("GET", path, ui=False)

    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"


def test_the_model_is_described(ask: Ask) -> None:
    """What the page tells of the model is in its classifier.json; no cache keeps it."""
    response = ask("GET", "/ui/model", ready=True)

    figures = response.json()
    assert figures["tag"] == response.headers["x-model"] == "sentiment:tiny-1"
    assert figures["positive_label"] in figures["labels"]
    assert figures["card"].startswith("## Input and output\n")
    assert "classifier.json`; edit" not in figures["card"]
    assert (figures["max_texts"], figures["max_text_characters"]) == (64, 8192)
    assert response.headers["cache-control"] == "no-store"


def test_the_model_is_described_once_it_is_ready(ask: Ask) -> None:
    """Until then the page is told when to ask again."""
    response = ask("GET", "/ui/model")

    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"


def test_the_card_asks_for_a_key_where_predictions_do(ask: Ask, tmp_path: Path) -> None:
    """It names who registered the model and where; the page's own files are the same for all."""
    path = tmp_path / "keys"
    path.write_text(f"web:{hashlib.sha256(b'open sesame').hexdigest()}\n")
    keys = KeysFile(path)

    assert ask("GET", "/ui/model", keys=keys).status_code == 401
    assert ask("GET", "/ui", keys=keys).status_code == 200
    right = {"Authorization": "Bearer open sesame"}
    assert ask("GET", "/ui/model", ready=True, keys=keys, headers=right).status_code == 200


def test_the_page_needs_its_own_files_alone() -> None:
    """Every address in it is that of a file or of the API, relative, and nothing is inline."""
    page = Elements((FOLDER / "index.html").read_text("utf-8"))

    addresses = {
        value
        for _, attributes in page.found
        for name, value in attributes.items()
        if name in {"src", "href", "action", "srcset", "data"}
    }
    modules = {
        name
        for file in FOLDER.glob("*.js")
        for name in re.findall(r'from "\./(.+)"', file.read_text("utf-8"))
    }
    assert addresses - {"."} <= {f"ui/{name}" for name in FILES}
    assert modules | {address[3:] for address in addresses - {"."}} | {"index.html"} == {*FILES}
    assert page.inline == []
    names = {name for _, attributes in page.found for name in attributes}
    assert [name for name in names if name.startswith("on") or name == "style"] == []


@pytest.mark.parametrize("name", FILES)
def test_no_text_becomes_html_or_leaves_the_page(name: str) -> None:
    """What could do either is used nowhere: texts, labels and cards stay text."""
    assert FORBIDDEN.findall((FOLDER / name).read_text("utf-8")) == []
