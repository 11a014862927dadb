"""Where models come from: one module each, and one entry in ``SOURCES``."""

from __future__ import annotations

from textclf.sources.local import LocalSource
from textclf.sources.source import FetchedModel, Source

__all__ = ["SOURCES", "FetchedModel", "LocalSource", "Source"]

SOURCES: dict[str, type[Source]] = {"local": LocalSource}
