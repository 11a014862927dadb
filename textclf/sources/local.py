"""Models that lie on this machine already."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from textclf.artifact import DESCRIPTION
from textclf.errors import SourceNotFoundError
from textclf.sources.contents import choose_graph
from textclf.sources.source import FetchedModel, model_name
from textclf.tokenizer_conversion import has_tokenizer


@dataclass(frozen=True)
class LocalSource:
    """A classifier folder, an ONNX graph, or a folder with exactly one graph."""

    summary: ClassVar[str] = "a classifier folder or an ONNX file on this machine"

    path: Path

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        """Ask for the path."""
        parser.add_argument(
            "path", type=Path, help="classifier folder, .onnx file, or folder with one .onnx file"
        )

    @classmethod
    def from_arguments(cls, arguments: argparse.Namespace) -> Self:
        """Build the source that the command line asks for."""
        return cls(arguments.path)

    def fetch(self, target: Path) -> FetchedModel:  # noqa: ARG002 - nothing has to be copied
        """Find the model; nothing is copied.

        Raises:
            SourceNotFoundError: There is no model at the path, or more than one.
        """
        path = self._find().resolve()
        stem = path.parent.name if path.stem == "model" and path.is_file() else path.stem
        return FetchedModel(
            path=path,
            tokenizer=path.parent if path.is_file() and has_tokenizer(path.parent) else None,
            source="local",
            uri=path.as_uri(),
            name=model_name(stem) or "model",
            version="1",
        )

    def _find(self) -> Path:
        if self.path.is_file() or (self.path / DESCRIPTION).is_file():
            return self.path
        if not self.path.is_dir():
            raise SourceNotFoundError(f"there is no file or folder {self.path}; check the path")
        files = [entry.name for entry in self.path.iterdir() if entry.is_file()]
        return self.path / choose_graph(files, str(self.path), "name one")
