"""Models of the Hugging Face hub, by its genuine client from a server that speaks like it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from scripts.import_model import main
from tests.http.serving import PROJECT
from tests.https_server import Answer, Exchange, HttpsServer, content, redirect, status
from tests.tiny_models import TinyModel
from textclf.errors import (
    AccessError,
    DownloadError,
    SourceNotFoundError,
    TextClassifierError,
    UntrustedContentError,
)
from textclf.sources import SOURCES, HuggingFaceSource
from textclf.sources.limits import Limits

COMMIT = "0123456789abcdef0123456789abcdef01234567"
ID = "acme/Tiny-RoBERTa"
TOKEN = "hf_s3cr3t"  # noqa: S105 - planted, to be looked for


@pytest.fixture
def hub(web: HttpsServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpsServer]:
    """A hub that has no model yet, for the client in this process."""
    template = huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE
    path = template.removeprefix(huggingface_hub.constants.ENDPOINT)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", web.url(""))
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", web.url(path))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    huggingface_hub.close_session()  # its client has read other certificates
    yield web
    huggingface_hub.close_session()


def publish(
    hub: HttpsServer, files: Mapping[str, bytes], *, lfs: Iterable[str] = (), **changes: Any
) -> None:
    """Put a model on the hub; it keeps ``lfs`` on another host, as the real one does."""
    siblings = []
    for path, body in files.items():
        place = f"/{ID}/resolve/{COMMIT}/{path}"
        entry: dict[str, Any] = {"rfilename": path, "size": len(body), "blobId": "0" * 40}
        hub.answers[place] = [content(body)]
        if path in lfs:
            sha256 = hashlib.sha256(body).hexdigest()
            entry["lfs"] = {"sha256": sha256, "size": len(body), "pointerSize": 130}
            hub.answers[place] = [redirect(hub.url(f"/{sha256}", host="localhost", query="?s=1"))]
            hub.answers[f"/{sha256}"] = [content(body)]
        siblings.append(entry)
    listing = {
        "id": ID,
        "sha": COMMIT,
        "author": "acme",
        "lastModified": "2026-01-02T03:04:05.000Z",
        "siblings": siblings,
    }
    answer = content(json.dumps(listing | changes).encode())
    for revision in ("", "/revision/main", "/revision/v1"):
        hub.answers[f"/api/models/{ID}{revision}"] = [answer]


def asked_for(hub: HttpsServer) -> list[str]:
    """Return the files that were asked for."""
    paths = (request.path.partition(f"/resolve/{COMMIT}/")[2] for request in hub.requests)
    return [path for path in paths if path]


def export(model: TinyModel, *, below: str = "") -> dict[str, bytes]:
    """Return the files of an export, the graph in the folder ``below``."""
    tokenizer = {name: (model.folder / name).read_bytes() for name in ("vocab.json", "merges.txt")}
    config = {"id2label": {"0": "bad", "1": "positive"}}
    graph = model.graph.read_bytes()
    return tokenizer | {"config.json": json.dumps(config).encode(), f"{below}model.onnx": graph}


def test_huggingface_is_a_source() -> None:
    """The source is found under its name."""
    assert SOURCES["huggingface"] is HuggingFaceSource


def test_model_of_the_hub(hub: HttpsServer, tmp_path: Path) -> None:
    """Its version is the commit, and where it comes from is told."""
    publish(hub, {"model.onnx": b"graph", "tokenizer.json": b"{}"}, lfs=["model.onnx"])

    fetched = HuggingFaceSource(ID).fetch(tmp_path)

    assert (fetched.path, fetched.tokenizer) == (tmp_path / "model.onnx", tmp_path)
    assert fetched.path.read_bytes() == b"graph"
    assert (fetched.name, fetched.version) == ("tiny-roberta", COMMIT[:12])
    assert fetched.uri == hub.url(f"/{ID}/resolve/{COMMIT}/model.onnx")
    assert (fetched.source, fetched.registered_by) == ("huggingface", "acme")
    assert fetched.registered_at == "2026-01-02T03:04:05+00:00"
    assert fetched.sdk == f"huggingface_hub {huggingface_hub.__version__}"


def test_token_goes_to_the_hub_alone(hub: HttpsServer, tmp_path: Path) -> None:
    """The hub gets it with every request, the host of the large files never."""
    publish(hub, {"model.onnx": b"graph", "tokenizer.json": b"{}"}, lfs=["model.onnx"])

    HuggingFaceSource(ID).fetch(tmp_path)

    given = {request.path: TOKEN in str(request.headers) for request in hub.requests}
    assert given.pop(f"/{hashlib.sha256(b'graph').hexdigest()}?s=1") is False
    assert all(sent for path, sent in given.items() if ID in path)


@pytest.mark.parametrize(
    ("files", "model_path", "graph", "others", "tokenizer"),
    [
        (["m.onnx", "vocab.txt"], None, "m.onnx", ["vocab.txt"], "."),
        (
            ["onnx/model.onnx", "tokenizer.json", "config.json"],
            None,
            "onnx/model.onnx",
            ["tokenizer.json", "config.json"],
            ".",
        ),
        (
            ["onnx/model.onnx", "onnx/tokenizer.json", "tokenizer.json"],
            None,
            "onnx/model.onnx",
            ["onnx/tokenizer.json", "tokenizer.json"],
            "onnx",
        ),
        (
            ["onnx/model.onnx", "onnx/model_int8.onnx", "onnx/model_int8.onnx_data"],
            "onnx/model_int8.onnx",
            "onnx/model_int8.onnx",
            ["onnx/model_int8.onnx_data"],
            None,
        ),
        (["a/model.onnx", "b/model.onnx"], "b", "b/model.onnx", [], None),
        (
            ["model.onnx", "model.onnx_data", "model.onnx.data", "a/model.onnx.data"],
            None,
            "model.onnx",
            ["model.onnx_data", "model.onnx.data"],
            None,
        ),
        (
            ["model.onnx", "README.md", "model.safetensors", "a/vocab.txt", "modeling.py"],
            None,
            "model.onnx",
            [],
            None,
        ),
    ],
    ids=[
        "flat",
        "optimum",
        "tokenizer beside the graph",
        "one of several graphs",
        "one of several folders",
        "external data",
        "what is not needed",
    ],
)
def test_only_what_belongs_to_the_graph_comes_along(  # noqa: PLR0913, PLR0917 - a table
    files: list[str],
    model_path: str | None,
    graph: str,
    others: list[str],
    tokenizer: str | None,
    hub: HttpsServer,
    tmp_path: Path,
) -> None:
    """The graph, its weights, and the tokenizer beside it or on top; no code, no other weights."""
    publish(hub, dict.fromkeys(files, b"content"))

    fetched = HuggingFaceSource(ID, model_path=model_path).fetch(tmp_path)

    assert fetched.path == tmp_path / graph
    assert fetched.tokenizer == (tmp_path / tokenizer if tokenizer else None)
    assert sorted(asked_for(hub)) == sorted([graph, *others])


def test_empty_file_beside_the_graph(hub: HttpsServer, tmp_path: Path) -> None:
    """An empty file that nobody needs stops nothing."""
    publish(hub, {"model.onnx": b"graph", "requirements.txt": b""})

    assert HuggingFaceSource(ID).fetch(tmp_path).path.is_file()


def test_revision(hub: HttpsServer, tmp_path: Path) -> None:
    """The revision that is asked for is resolved, and its commit downloaded."""
    publish(hub, {"model.onnx": b"graph"})

    assert HuggingFaceSource(ID, "v1").fetch(tmp_path).version == COMMIT[:12]
    assert any(request.path.startswith(f"/api/models/{ID}/revision/v1") for request in hub.requests)


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        (status(401), SourceNotFoundError, "no folder {id} here, and at {hub} no such model or"),
        (
            status(404, X_Error_Code="RepoNotFound"),
            SourceNotFoundError,
            "only a private one; check the spelling, or set HF_TOKEN to a token that may read it",
        ),
        (
            status(404, X_Error_Code="RevisionNotFound"),
            SourceNotFoundError,
            "{id} has no revision v1; give a branch, tag or commit that {hub}/{id} shows",
        ),
        (
            status(403, X_Error_Code="GatedRepo"),
            AccessError,
            "{id} is gated; accept its conditions at {hub}/{id}, and set HF_TOKEN to a token",
        ),
        (
            status(401, X_Error_Message="Invalid credentials in Authorization header"),
            AccessError,
            "{hub} answers 401 for {id}; accept its conditions at {hub}/{id}, and set HF_TOKEN",
        ),
        (status(404), SourceNotFoundError, "no folder {id} here, and at {hub} no such model or"),
        (status(403), AccessError, "{hub} answers 403 for {id}; accept its conditions"),
        (status(500), DownloadError, "{hub} answers 500 for {id}; retry later"),
        (content(b"<html>"), DownloadError, "cannot look up {id} at {hub} (JSONDecodeError); ch"),
        (content(b"{}"), DownloadError, "cannot look up {id} at {hub} (KeyError); check the n"),
    ],
    ids=[
        "no such model",
        "no such model, said plainly",
        "no such revision",
        "gated",
        "wrong token",
        "nothing there",
        "forbidden",
        "server fault",
        "no JSON",
        "another JSON",
    ],
)
def test_listing_that_fails(
    answer: Answer,
    kind: type[TextClassifierError],
    message: str,
    hub: HttpsServer,
    tmp_path: Path,
) -> None:
    """The message names the model, the hub and the next step; the token is not in it."""
    hub.answers[f"/api/models/{ID}/revision/v1"] = [answer]

    with pytest.raises(TextClassifierError) as caught:
        HuggingFaceSource(ID, "v1").fetch(tmp_path)

    assert type(caught.value) is kind
    assert message.format(id=ID, hub=hub.url("")) in str(caught.value)
    assert TOKEN not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_gated_files(hub: HttpsServer, tmp_path: Path) -> None:
    """A gated model is listed to anyone; the refusal of its files says where to accept."""
    publish(hub, {"model.onnx": b"graph"})
    hub.answers[f"/{ID}/resolve/{COMMIT}/model.onnx"] = [status(403, X_Error_Code="GatedRepo")]

    with pytest.raises(AccessError, match=r"it answers 403; .*accept its conditions at") as caught:
        HuggingFaceSource(ID).fetch(tmp_path)

    assert TOKEN not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_hub_that_is_not_there(
    hub: HttpsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the settings that lead to it."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"https://u:{TOKEN}@127.0.0.1:1")

    with pytest.raises(
        DownloadError, match="check the network, HF_ENDPOINT, HTTPS_PROXY"
    ) as caught:
        HuggingFaceSource(ID).fetch(tmp_path)

    assert f"cannot look up {ID} at https://127.0.0.1:1 (ConnectError)" in str(caught.value)
    assert TOKEN not in str(caught.value)
    assert hub.requests == []


def test_offline(hub: HttpsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the hub's client may not reach out, the message says which variable forbids it."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    with pytest.raises(DownloadError, match="while HF_HUB_OFFLINE is set; unset it, or give a"):
        HuggingFaceSource(ID).fetch(tmp_path)
    assert hub.requests == []


@pytest.mark.parametrize("model", ["./absent", "a/b/c", "acme/../x", "-"])
@pytest.mark.usefixtures("hub")
def test_neither_folder_nor_id(model: str, tmp_path: Path) -> None:
    """What can be neither is told so."""
    with pytest.raises(SourceNotFoundError, match="neither a folder here nor an id such as"):
        HuggingFaceSource(model).fetch(tmp_path)


@pytest.mark.parametrize(
    ("files", "options", "kind", "message"),
    [
        (["a.onnx", "b.onnx"], {}, SourceNotFoundError, "holds several graphs (a.onnx, b.onnx); n"),
        (["model.bin"], {}, SourceNotFoundError, "nor an .onnx file, only model.bin; give the"),
        ([], {}, SourceNotFoundError, "nor an .onnx file, nothing at all; give the path of one"),
        (
            ["a.onnx"],
            {"model_path": "b.onnx"},
            SourceNotFoundError,
            f"'b.onnx' in {ID} holds neither",
        ),
        (
            ["a.onnx"],
            {"limits": Limits(max_bytes=6)},
            DownloadError,
            f"the files of {ID} have 7 bytes, more than the 6 of --max-bytes; allow more",
        ),
        (["../a.onnx"], {}, UntrustedContentError, "'../a.onnx', which leads out of its folder"),
        (["a.onnx", "a.onnx.A", "a.onnx.a"], {}, UntrustedContentError, "a.onnx.a', which differs"),
    ],
    ids=[
        "several graphs",
        "no graph",
        "nothing",
        "no such path",
        "too large",
        "way out",
        "names that differ by case",
    ],
)
def test_repository_that_is_refused(  # noqa: PLR0913, PLR0917 - a table
    files: list[str],
    options: dict[str, Any],
    kind: type[TextClassifierError],
    message: str,
    hub: HttpsServer,
    tmp_path: Path,
) -> None:
    """It is refused by its listing, before any file is asked for."""
    publish(hub, dict.fromkeys(files, b"content"))

    with pytest.raises(TextClassifierError) as caught:
        HuggingFaceSource(ID, **options).fetch(tmp_path)

    assert type(caught.value) is kind
    assert message in str(caught.value)
    assert asked_for(hub) == []


def test_file_that_is_not_the_one_the_hub_states(hub: HttpsServer, tmp_path: Path) -> None:
    """A file from the other host is checked against the sha256 of the listing."""
    publish(hub, {"model.onnx": b"graph"}, lfs=["model.onnx"])
    sha256 = hashlib.sha256(b"graph").hexdigest()
    hub.answers[f"/{sha256}"] = [content(b"other")]

    with pytest.raises(UntrustedContentError, match=f"not {sha256} as expected"):
        HuggingFaceSource(ID).fetch(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("below", ["", "onnx/"], ids=["flat", "optimum"])
def test_folder(below: str, roberta_model: TinyModel, tmp_path: Path) -> None:
    """A folder with the files of an export is imported as it is, links of the cache too."""
    for path, body in export(roberta_model, below=below).items():
        blob = tmp_path / "blobs" / hashlib.sha256(body).hexdigest()
        link = tmp_path / "Tiny Export" / path
        for file in (blob, link):
            file.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(body)
        link.symlink_to(blob)
    folder = tmp_path / "Tiny Export"

    fetched = HuggingFaceSource(str(folder)).fetch(tmp_path)

    assert fetched.path == folder / f"{below}model.onnx"
    assert fetched.tokenizer == folder
    assert (fetched.name, fetched.version) == ("tiny-export", "1")
    assert fetched.uri == fetched.path.as_uri()


def test_folder_has_no_revision(tmp_path: Path) -> None:
    """A revision of a folder is a mistake."""
    with pytest.raises(SourceNotFoundError, match="is a folder here and has no revisions"):
        HuggingFaceSource(str(tmp_path), "main").fetch(tmp_path)


@pytest.mark.usefixtures("bentoml_home")
def test_import(
    roberta_model: TinyModel, hub: HttpsServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command carries a model from the hub into the store, with the labels of its config."""
    publish(hub, export(roberta_model, below="onnx/"), lfs=["onnx/model.onnx"])

    assert main(["huggingface", ID, "--json"]) == 0

    output = capsys.readouterr()
    result = json.loads(output.out)
    assert result["tag"] == f"sentiment:tiny-roberta-{COMMIT[:12]}"
    assert result["labels"] == ["bad", "positive"]
    assert TOKEN not in output.out + output.err


def test_command(roberta_model: TinyModel, hub: HttpsServer, tmp_path: Path) -> None:
    """The script takes hub, CA and token from the environment, and says when they do not do."""
    publish(hub, export(roberta_model))
    graph = f"/{ID}/resolve/{COMMIT}/model.onnx"
    hub.answers[graph] = [_for("hf_another", hub.answers[graph][0])]
    command = [sys.executable, "scripts/import_model.py", "huggingface", ID]
    places = {"HF_HOME": str(tmp_path / "hf"), "BENTOML_HOME": str(tmp_path / "bentoml")}

    run = subprocess.run(
        command,
        cwd=PROJECT,
        env=os.environ | places | {"HF_ENDPOINT": hub.url("")},
        check=False,
        capture_output=True,
        text=True,
    )

    place = hub.url("")
    assert (run.returncode, run.stdout) == (27, ""), run.stderr
    assert run.stderr == (
        f"error: cannot download 'model.onnx' from {place}{graph}: it answers 403; check the "
        f"credentials, and that they may read this file; accept its conditions at {place}/{ID}, "
        "and set HF_TOKEN to a token that may read it\n"
    )


def _for(token: str, answer: Answer) -> Answer:
    def _answer(exchange: Exchange) -> None:
        allowed = exchange.headers.get("Authorization") == f"Bearer {token}"
        (answer if allowed else status(403))(exchange)

    return _answer
