"""A source is one class and one entry in ``SOURCES``."""

from __future__ import annotations

import argparse
import inspect
import json
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree
from typing import ClassVar, Self

import pytest

from scripts.import_model import main
from tests.tiny_models import TinyModel
from textclf.errors import SourceNotFoundError
from textclf.sources import SOURCES, FetchedModel, Source


@dataclass(frozen=True)
class ShelfSource:
    """Models on a shelf: all that a source has to be."""

    summary: ClassVar[str] = "a model on a shelf"

    shelf: Path
    place: str

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        """Ask for the shelf and the place on it."""
        parser.add_argument("shelf", type=Path)
        parser.add_argument("--place", required=True)

    @classmethod
    def from_arguments(cls, arguments: argparse.Namespace) -> Self:
        """Build the source."""
        return cls(arguments.shelf, arguments.place)

    def fetch(self, target: Path) -> FetchedModel:
        """Copy the model."""
        if not (self.shelf / self.place).is_dir():
            raise SourceNotFoundError(f"{self.place} is empty; look at another place")
        folder = copytree(self.shelf / self.place, target / "model")
        return FetchedModel(
            path=next(folder.glob("*.onnx")),
            tokenizer=folder,
            source="shelf",
            uri=f"shelf://{self.place}",
            name=self.place,
            version="7",
        )


@pytest.fixture
def _shelf(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SOURCES, "shelf", ShelfSource)


@pytest.mark.usefixtures("_shelf", "bentoml_home")
def test_new_source_needs_no_more_than_its_entry(
    roberta_model: TinyModel, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command imports from it, and asks for what it asks for."""
    folder = roberta_model.folder

    assert main(["shelf", str(folder.parent), "--place", folder.name, "--json"]) == 0

    output = capsys.readouterr()
    assert json.loads(output.out)["tag"] == f"sentiment:{folder.name}-7"
    assert f"importing shelf://{folder.name}" in output.err


@pytest.mark.usefixtures("_shelf", "bentoml_home")
def test_error_of_a_new_source(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What it raises becomes an exit code and one line."""
    assert main(["shelf", str(tmp_path), "--place", "top"]) == 21
    assert capsys.readouterr().err == "error: top is empty; look at another place\n"


@pytest.mark.usefixtures("_shelf")
def test_help_names_every_source(capsys: pytest.CaptureFixture[str]) -> None:
    """The command lists each source with its summary."""
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])

    said = " ".join(capsys.readouterr().out.split())
    for name, source in SOURCES.items():
        assert f"{name} {source.summary}" in said


@pytest.mark.parametrize("name", SOURCES)
def test_source_describes_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Its subcommand has a help text of its own, with the options that every source has."""
    with pytest.raises(SystemExit, match="0"):
        main([name, "--help"])

    said = " ".join(capsys.readouterr().out.split())
    assert f"Import {SOURCES[name].summary}." in said
    assert "--tokenizer" in said
    assert "exit codes:" in said


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_source_keeps_to_the_protocol(source: type[Source]) -> None:
    """Each has what the protocol has, with the same parameters."""
    for name in ("add_arguments", "from_arguments", "fetch"):
        ours, theirs = getattr(source, name), getattr(Source, name)
        assert list(inspect.signature(ours).parameters) == list(
            inspect.signature(theirs).parameters
        )
    assert source.summary
    assert not source.summary.endswith(".")
