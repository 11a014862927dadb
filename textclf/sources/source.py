"""What every source of models has in common."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol, Self

_NOT_IN_A_NAME = re.compile(r"[^a-z0-9._-]+")
_LONGEST_NAME = 40


@dataclass(frozen=True, kw_only=True)
class FetchedModel:
    """A model on this machine, and where it comes from.

    Attributes:
        path: A classifier folder or an ONNX graph.
        tokenizer: Folder with the graph's tokenizer, if it came with one.
        source: Kind of source, such as ``local``.
        uri: Where the model was found, without any secret.
        name: Name at the source, fit for a store tag.
        version: Version at the source.
        sdk: Client library that fetched it, with its version.
        registered_by: Who registered it, as the registry says.
        registered_at: When, in UTC, as ISO 8601.
        workspace: Where in the registry it is.
    """

    path: Path
    tokenizer: Path | None
    source: str
    uri: str
    name: str
    version: str
    sdk: str | None = None
    registered_by: str | None = None
    registered_at: str | None = None
    workspace: str | None = None


class Source(Protocol):
    """A place that models are fetched from; its class also describes its own subcommand."""

    summary: ClassVar[str]

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        """Add what the source must be told on the command line."""

    @classmethod
    def from_arguments(cls, arguments: argparse.Namespace) -> Self:
        """Build the source that the command line asks for."""

    def fetch(self, target: Path) -> FetchedModel:
        """Bring the model to this machine.

        Args:
            target: An empty folder to download into; a source that needs none leaves it empty.

        Raises:
            SourceNotFoundError: There is no such model.
        """


def model_name(text: str) -> str:
    """Return ``text`` as a store tag can have it: lower case, no spaces, not too long."""
    return _NOT_IN_A_NAME.sub("-", text.lower()).strip("-._")[:_LONGEST_NAME].rstrip("-._")
