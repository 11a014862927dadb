"""A graph at an https address, whose sha256 is known."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Self
from urllib.parse import unquote

import httpx

from textclf.errors import DownloadError
from textclf.sources.contents import GRAPH_SUFFIX
from textclf.sources.download import RemoteFile, download
from textclf.sources.http_faults import place_of, require_https
from textclf.sources.limits import Limits
from textclf.sources.paths import fault
from textclf.sources.source import FetchedModel, model_name

_VERSION_DIGITS = 12


@dataclass(frozen=True)
class UrlSource:
    """An ONNX graph that a web server or an object store gives away.

    Attributes:
        url: Over https; its query may hold a secret.
        sha256: Of the graph, in hexadecimal; its first digits are the version.
        limits: On the download.
    """

    summary: ClassVar[str] = "an ONNX file at an https address"

    url: str = field(repr=False)
    sha256: str
    limits: Limits = field(default_factory=Limits)

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        """Ask for the address and the sha256."""
        parser.add_argument("url", type=_address, help=f"https address of a {GRAPH_SUFFIX} file")
        parser.add_argument(
            "--sha256",
            type=_sha256,
            required=True,
            metavar="HEX",
            help="of the file, from whoever vouches for it",
        )
        Limits.add_arguments(parser)

    @classmethod
    def from_arguments(cls, arguments: argparse.Namespace) -> Self:
        """Build the source that the command line asks for."""
        return cls(arguments.url, arguments.sha256, Limits.from_arguments(arguments))

    def fetch(self, target: Path) -> FetchedModel:
        """Download the graph and check its sha256.

        Raises:
            AccessError: The server wants credentials, or others.
            SourceNotFoundError: There is no such file.
            DownloadError: The server cannot be reached, or sends too much or too slowly.
            UntrustedContentError: It sends another file than the one with the sha256.
        """
        *folders, name = _segments(self.url)
        download([RemoteFile(path=name, url=self.url, sha256=self.sha256)], target, self.limits)
        path = target / name
        stem = folders[-1] if folders and path.stem == "model" else path.stem
        return FetchedModel(
            path=path,
            tokenizer=None,
            source="url",
            uri=place_of(self.url),
            name=model_name(stem) or "model",
            version=self.sha256[:_VERSION_DIGITS],
            sdk=f"httpx {httpx.__version__}",
        )


def _segments(url: str) -> list[str]:
    path = httpx.URL(url).raw_path.partition(b"?")[0].decode("ascii")
    return [unquote(segment) for segment in path.removeprefix("/").split("/")]


def _address(text: str) -> str:
    try:
        require_https(text, "a graph")
    except DownloadError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc
    name = _segments(text)[-1]
    if not name.lower().endswith(GRAPH_SUFFIX) or "/" in name or fault(name):
        raise argparse.ArgumentTypeError(
            f"the path of {place_of(text)} does not end in the name of a {GRAPH_SUFFIX} file; "
            "give the address of the graph itself"
        )
    return text


def _sha256(text: str) -> str:
    if not re.fullmatch("[0-9A-Fa-f]{64}", text):
        raise argparse.ArgumentTypeError("must be 64 hexadecimal digits, as sha256sum prints them")
    return text.lower()
