"""Where models come from: one module each, and one entry in ``SOURCES``."""

from __future__ import annotations

from textclf.sources.azureml import AzureMLSource, AzureMLV2Source
from textclf.sources.huggingface import HuggingFaceSource
from textclf.sources.local import LocalSource
from textclf.sources.source import FetchedModel, Source
from textclf.sources.url import UrlSource

__all__ = [
    "SOURCES",
    "AzureMLSource",
    "AzureMLV2Source",
    "FetchedModel",
    "HuggingFaceSource",
    "LocalSource",
    "Source",
    "UrlSource",
]

SOURCES: dict[str, type[Source]] = {
    "local": LocalSource,
    "azureml": AzureMLSource,
    "azureml-v2": AzureMLV2Source,
    "huggingface": HuggingFaceSource,
    "url": UrlSource,
}
