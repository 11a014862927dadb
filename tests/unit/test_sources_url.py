"""A graph at an https address."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from scripts.import_model import main
from tests.https_server import HttpsServer, content
from tests.tiny_models import TinyModel
from textclf.errors import UntrustedContentError
from textclf.sources import SOURCES, UrlSource

BODY = b"graph"
SHA256 = hashlib.sha256(BODY).hexdigest()
SECRET = "s3cr3t"  # noqa: S105 - planted, to be looked for


def test_url_is_a_source() -> None:
    """The source is found under its name."""
    assert SOURCES["url"] is UrlSource


@pytest.mark.parametrize(
    ("path", "file", "name"),
    [
        ("/models/tiny.onnx", "tiny.onnx", "tiny"),
        ("/models/sst2/model.onnx", "model.onnx", "sst2"),
        ("/model.onnx", "model.onnx", "model"),
        ("/Tiny%20RoBERTa.ONNX", "Tiny RoBERTa.ONNX", "tiny-roberta"),
        ("/m/___.onnx", "___.onnx", "model"),
    ],
    ids=["stem", "model takes its folder's name", "model alone", "encoded", "nothing left"],
)
def test_graph_is_downloaded(
    path: str, file: str, name: str, web: HttpsServer, tmp_path: Path
) -> None:
    """Name and version come from address and sha256; the URI has nothing that may be secret."""
    web.answers[path] = [content(BODY)]
    url = web.url(path, user=f"user:{SECRET}@", query=f"?sig={SECRET}")

    source = UrlSource(url, SHA256)
    fetched = source.fetch(tmp_path)

    assert fetched.path == tmp_path / file
    assert fetched.path.read_bytes() == BODY
    assert (fetched.name, fetched.version, fetched.source) == (name, SHA256[:12], "url")
    assert fetched.uri == web.url(path)
    assert fetched.tokenizer is None
    assert SECRET not in repr(source) + repr(fetched)


def test_another_file(web: HttpsServer, tmp_path: Path) -> None:
    """A file that is not the one with the sha256 is refused and gone."""
    web.answers["/tiny.onnx"] = [content(b"another graph")]

    with pytest.raises(UntrustedContentError, match=f"not {SHA256} as expected"):
        UrlSource(web.url("/tiny.onnx"), SHA256).fetch(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["https://a.example/m.onnx"], "the following arguments are required: --sha256"),
        (["https://a.example/m.onnx", "--sha256", "abc"], "--sha256: must be 64 hexadecimal digi"),
        (["https://a.example/m.onnx", "--sha256", "g" * 64], "--sha256: must be 64 hexadecimal"),
        ([f"http://u:{SECRET}@a.example/m.onnx?{SECRET}"], "http://a.example/m.onnx is not https"),
        ([f"https://a.example:b/m.onnx?{SECRET}"], "it is no URL; check the address"),
        ([f"https://a.example/m.zip?{SECRET}"], "https://a.example/m.zip does not end in the name"),
        ([f"https://u:{SECRET}@a.example"], "https://a.example/ does not end in the name of a .on"),
        (["https://a.example/a%2Fm.onnx"], "a%2Fm.onnx does not end in the name of a .onnx file"),
        (["https://a.example/a%00m.onnx"], "does not end in the name of a .onnx file; give the ad"),
        (["https://a.example/m.onnx", "--max-bytes", "0"], "--max-bytes: must be positive, got 0"),
        (["https://a.example/m.onnx", "--timeout-seconds", "x"], "invalid number value: 'x'"),
    ],
    ids=[
        "no sha256",
        "short sha256",
        "sha256 that is no number",
        "http",
        "no URL",
        "another kind of file",
        "no path",
        "slash in the name",
        "NUL in the name",
        "no bytes",
        "no time",
    ],
)
def test_wrong_command_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What cannot work is said before anything starts, without what may be secret."""
    with pytest.raises(SystemExit, match="2"):
        main(["url", *arguments])

    said = capsys.readouterr().err
    assert message in said
    assert SECRET not in said


@pytest.mark.usefixtures("bentoml_home")
def test_import(
    roberta_model: TinyModel, web: HttpsServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command carries a graph from its address into the store."""
    graph = roberta_model.graph.read_bytes()
    web.answers["/models/tiny.onnx"] = [content(graph)]
    sha256 = hashlib.sha256(graph).hexdigest()
    url = web.url("/models/tiny.onnx", query=f"?sig={SECRET}")
    options = ["--sha256", sha256.upper(), "--tokenizer", str(roberta_model.folder), "--json"]

    assert main(["url", url, *options]) == 0

    output = capsys.readouterr()
    assert json.loads(output.out)["tag"] == f"sentiment:tiny-{sha256[:12]}"
    assert SECRET not in output.out + output.err


@pytest.mark.usefixtures("bentoml_home")
@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ([], 21, "it answers 404; check the name and the version"),
        (["--max-bytes", "1"], 28, "larger than 1 bytes; allow more with --max-bytes"),
    ],
    ids=["not there", "too large"],
)
def test_exit_code(
    options: list[str],
    code: int,
    message: str,
    web: HttpsServer,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A failure is told in one line."""
    if code != 21:
        web.answers["/tiny.onnx"] = [content(BODY)]

    assert main(["url", web.url("/tiny.onnx"), "--sha256", SHA256, *options]) == code
    assert message in capsys.readouterr().err.splitlines()[-1]
