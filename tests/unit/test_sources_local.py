"""Finding a model on this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tiny_models import TinyModel
from textclf.errors import SourceNotFoundError
from textclf.sources import SOURCES, LocalSource
from textclf.sources.source import model_name


def test_local_is_a_source() -> None:
    """The local source is found under its name."""
    assert SOURCES["local"] is LocalSource


@pytest.mark.parametrize("part", ["folder", "graph"])
def test_graph_is_found_with_its_tokenizer(
    part: str, roberta_model: TinyModel, tmp_path: Path
) -> None:
    """A graph and a folder with one graph are the same model."""
    fetched = LocalSource(getattr(roberta_model, part)).fetch(tmp_path)

    assert fetched.path == roberta_model.graph
    assert fetched.tokenizer == roberta_model.folder
    assert (fetched.name, fetched.version, fetched.source) == ("tiny", "1", "local")
    assert fetched.uri == roberta_model.graph.as_uri()
    assert not list(tmp_path.iterdir())


def test_graph_without_tokenizer(tmp_path: Path) -> None:
    """A graph that stands alone has no tokenizer."""
    graph = tmp_path / "alone.onnx"
    graph.touch()

    assert LocalSource(graph).fetch(tmp_path).tokenizer is None


def test_classifier_folder_is_found_as_a_whole(classifier_folder: Path, tmp_path: Path) -> None:
    """A folder with classifier.json is taken as it is."""
    assert LocalSource(classifier_folder).fetch(tmp_path).path == classifier_folder


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("sst2/model.onnx", "sst2"),
        ("sst2/RoBERTa Base (v2).onnx", "roberta-base-v2"),
        ("sst2/___.onnx", "model"),
        (f"sst2/{'a' * 39}-{'b' * 30}.onnx", "a" * 39),
    ],
    ids=["model takes its folder's name", "cleaned", "nothing left", "cut to length"],
)
def test_name_comes_from_the_file(file: str, name: str, tmp_path: Path) -> None:
    """The default name fits a store tag."""
    graph = tmp_path / file
    graph.parent.mkdir()
    graph.touch()

    assert LocalSource(graph).fetch(tmp_path).name == name


def test_name_keeps_what_a_tag_allows() -> None:
    """Dots, dashes and underscores stay."""
    assert model_name("a_b-c.d") == "a_b-c.d"


def _nothing(folder: Path) -> Path:
    return folder / "absent.onnx"


def _no_graph(folder: Path) -> Path:
    return folder


def _two_graphs(folder: Path) -> Path:
    (folder / "one.onnx").touch()
    (folder / "two.onnx").touch()
    return folder


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (_nothing, "no file or folder .*absent.onnx; check the path"),
        (_no_graph, "neither a classifier.json nor an .onnx file"),
        (_two_graphs, r"several graphs \(one.onnx, two.onnx\); name one"),
    ],
    ids=["no file", "no graph", "two graphs"],
)
def test_model_that_is_not_there(
    place: Callable[[Path], Path], message: str, tmp_path: Path
) -> None:
    """The message says what was looked for, and what to do."""
    with pytest.raises(SourceNotFoundError, match=message):
        LocalSource(place(tmp_path)).fetch(tmp_path)
