"""Finding the model in what was fetched."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from textclf.artifact import DESCRIPTION
from textclf.errors import SourceNotFoundError, UntrustedContentError
from textclf.sources.contents import check_sha256, find_model


def place(folder: Path, *paths: str) -> None:
    """Write these files, not empty."""
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(b"content")


@pytest.mark.parametrize(
    ("paths", "model_path", "found"),
    [
        (["model.onnx", "vocab.json"], None, "model.onnx"),
        (["INPUT/a/b/Model.ONNX", "README.md"], None, "INPUT/a/b/Model.ONNX"),
        ([DESCRIPTION, "model.onnx", "other.onnx"], None, ""),
        (["INPUT/a/" + DESCRIPTION, "INPUT/a/model.onnx"], None, "INPUT/a"),
        (["a.onnx", "onnx/b.onnx"], "onnx/b.onnx", "onnx/b.onnx"),
        (["a.onnx", "onnx/b.onnx"], "onnx", "onnx/b.onnx"),
        (["a.onnx", "onnx/b.onnx"], "onnx/", "onnx/b.onnx"),
        (["a.onnx", "c/" + DESCRIPTION, "c/model.onnx"], "c", "c"),
        ([DESCRIPTION, "model.onnx"], "model.onnx", "model.onnx"),
    ],
    ids=[
        "graph on top",
        "graph further down",
        "classifier on top",
        "classifier in the folder that holds everything",
        "named graph",
        "graph in a named folder",
        "graph in a named folder with a slash",
        "named classifier",
        "graph of a classifier",
    ],
)
def test_model_is_found(
    paths: list[str], model_path: str | None, found: str, tmp_path: Path
) -> None:
    """A classifier folder goes before a graph, and what is named before both."""
    place(tmp_path, *paths)

    assert find_model(tmp_path, model_path) == tmp_path / found


@pytest.mark.parametrize(
    ("paths", "model_path", "message"),
    [
        (["b.onnx", "a/c.onnx"], None, "the model holds several graphs (a/c.onnx, b.onnx); name "),
        (["a/b.onnx", "a/c.onnx"], "a", "'a' in the model holds several graphs (a/b.onnx, a/c.on"),
        (["a.pkl", "MLmodel"], None, f"neither a {DESCRIPTION} nor an .onnx file, only MLmodel, "),
        ([], None, "nor an .onnx file, nothing at all; give the path of one"),
        ([f"{n:02}.bin" for n in range(12)], None, "08.bin, 09.bin, 2 more; give the path of one"),
        (["m.zip"], None, "no .onnx file but m.zip, and archives are not unpacked; give the files"),
        (["m.tar"], None, "no .onnx file but m.tar, and archives are not unpacked; give the files"),
        (["m.tar.gz"], None, "no .onnx file but m.tar.gz, and archives are not unpacked; give"),
        (["m.TGZ"], None, "no .onnx file but m.TGZ, and archives are not unpacked; give the fil"),
        (["m.onnx"], "n.onnx", "there is no 'n.onnx' in the model; it holds m.onnx"),
        (["m.onnx", "a.txt"], "a.txt", "--model-path 'a.txt' is no .onnx file; the model holds a"),
        (["m.onnx"], "../m.onnx", "--model-path '../m.onnx' leads out of its folder; give a path"),
        (["m.onnx"], "/etc/m.onnx", "--model-path '/etc/m.onnx' is absolute; give a path"),
        (["m.onnx"], "", "--model-path '' has an empty part; give a path as the model has it"),
        (["a\nb.bin"], None, r"only 'a\nb.bin'; give the path of one"),
    ],
    ids=[
        "several graphs",
        "several graphs in a folder",
        "no graph",
        "nothing",
        "many files",
        "zip",
        "tar",
        "tar.gz",
        "tgz",
        "nothing there",
        "no graph there",
        "way out",
        "absolute",
        "no path",
        "name with a line break",
    ],
)
def test_model_that_is_not_found(
    paths: list[str], model_path: str | None, message: str, tmp_path: Path
) -> None:
    """The message says what there is and what to do."""
    place(tmp_path, *paths)

    with pytest.raises(SourceNotFoundError) as caught:
        find_model(tmp_path, model_path)

    assert message in str(caught.value)


def _link_to(target: str) -> Callable[[Path], None]:
    return lambda folder: (folder / "a/link").symlink_to(target)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_link_to("/etc/passwd"), "a/link is a symbolic link; register the file itself"),
        (_link_to("/absent"), "a/link is a symbolic link; register the file itself"),
        (_link_to(".."), "a/link is a symbolic link; register the file itself"),
        (lambda folder: os.mkfifo(folder / "a/pipe"), "a/pipe is no regular file; register"),
        (lambda folder: (folder / "model.onnx").write_bytes(b""), "model.onnx is empty; register"),
    ],
    ids=["link to a file", "broken link", "link to a folder", "pipe", "empty graph"],
)
@pytest.mark.parametrize("model_path", [None, "model.onnx"], ids=["found", "named"])
def test_content_that_could_do_harm(
    spoil: Callable[[Path], object], message: str, model_path: str | None, tmp_path: Path
) -> None:
    """It is refused even where it lies beside the model."""
    place(tmp_path, "model.onnx", "a/file")
    spoil(tmp_path)

    with pytest.raises(UntrustedContentError, match=message):
        find_model(tmp_path, model_path)


def test_sha256(tmp_path: Path) -> None:
    """Case does not matter; a difference names both hashes and who states which."""
    place(tmp_path, "model.onnx")
    actual = hashlib.sha256(b"content").hexdigest()
    expected = "F" * 64

    check_sha256(tmp_path / "model.onnx", actual.upper(), said_by="the registry")
    with pytest.raises(UntrustedContentError) as caught:
        check_sha256(tmp_path / "model.onnx", expected, said_by="the registry")

    said = f"model.onnx has the sha256 {actual}, but the registry says {expected.lower()}; find out"
    assert str(caught.value).startswith(said)
