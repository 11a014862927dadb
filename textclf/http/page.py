"""/ui: the page from which people try the model, and what it asks of the service besides.

Its files are in ``ui/``: static, without a framework, and with addresses below /ui alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Annotated

from pydantic import BaseModel, Field

from textclf.description import BatchInvariance, ClassifierDescription, Evaluation
from textclf.http.exchange import Exchange
from textclf.http.lifecycle import Lifecycle
from textclf.http.routing import Answer, Route
from textclf.model_card import render_card
from textclf.schema import MAX_TEXT_CHARACTERS, MAX_TEXTS

FOLDER = Path(__file__).with_name("ui")
PATH = "/ui"
_INDEX = "index.html"
_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# Nothing from elsewhere, nothing inline, and no text that becomes HTML or code.
# Source: https://www.w3.org/TR/CSP3/ and https://www.w3.org/TR/trusted-types/
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS = MappingProxyType(
    {
        "Cache-Control": "no-cache",  # files of two versions never meet in a browser
        "Content-Security-Policy": _POLICY,
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
    }
)


class ModelFigures(BaseModel):
    """What the page tells of the model that serves."""

    tag: str
    labels: list[str]
    positive_label: str
    max_tokens: int
    weights: Annotated[str, Field(description="Such as fp32 or int8.")]
    evaluations: list[Evaluation]
    batch_invariance: BatchInvariance
    source: str
    imported_at: str
    card: Annotated[str, Field(description="The model card, in Markdown.")]
    max_texts: int = MAX_TEXTS
    max_text_characters: int = MAX_TEXT_CHARACTERS


def page_routes(lifecycle: Lifecycle) -> Iterator[Route]:
    """Yield the page with its files, and what it is told of the model.

    The model's card says who registered it and where, so that it asks for a key where predictions
    do; the files are the same everywhere.
    """
    files = dict(_read_files())

    async def page(exchange: Exchange, _body: bytes) -> Answer:
        return files[exchange.path]

    async def model(_exchange: Exchange, _body: bytes) -> Answer:
        return Answer.of(_describe(lifecycle))

    yield Route(name=PATH, handler=page, pattern=re.compile("|".join(map(re.escape, files))))
    yield Route(name=f"{PATH}/model", handler=model, predicts=True)


def _read_files() -> Iterator[tuple[str, Answer]]:
    for file in FOLDER.iterdir():
        path = PATH if file.name == _INDEX else f"{PATH}/{file.name}"
        yield path, Answer(_MEDIA_TYPES[file.suffix], file.read_bytes(), _HEADERS)


def _card(description: ClassifierDescription) -> str:
    """Return the model card but for its title, which the page has, and how to edit it."""
    _, begin, sections = render_card(description).partition("## ")
    return begin + sections


def _describe(lifecycle: Lifecycle) -> ModelFigures:
    description = lifecycle.require_ready().artifact.description
    return ModelFigures(
        tag=description.tag,
        labels=description.labels,
        positive_label=description.positive_label,
        max_tokens=description.max_tokens,
        weights=description.precision.weights,
        evaluations=description.evaluations,
        batch_invariance=description.batch_invariance,
        source=description.lineage.source,
        imported_at=description.lineage.imported_at,
        card=_card(description),
    )
