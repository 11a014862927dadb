"""Registering with the genuine SDKs in a stand-in of a workspace, and importing it again."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

import pytest

from scripts import import_model
from scripts.register_model import main
from tests.azure.standin import AzureStandIn
from textclf.artifact import hash_file, read_artifact

PROJECT = Path(__file__).resolve().parents[2]
_FILES = [
    "MODEL_CARD.md",
    "classifier.json",
    "drift.json",
    "golden.jsonl",
    "model.onnx",
    "tokenizer.json",
]
_PLACE = ["--workspace", AzureStandIn.workspace, "--resource-group", AzureStandIn.resource_group]
_SDKS = pytest.mark.parametrize("sdk", ["azureml", "azureml-v2"])

pytestmark = pytest.mark.usefixtures("sdks")


@pytest.fixture
def folder(classifier_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of a classifier folder, with a file of someone's in it; records go beside it."""
    copy = Path(shutil.copytree(classifier_folder, tmp_path / "classifier"))
    (copy / "notes.txt").write_text("not to be uploaded", "utf-8")
    monkeypatch.chdir(tmp_path)
    return copy


def _contents(azure: AzureStandIn, name: str, version: int) -> dict[str, bytes]:
    model = azure.registry.models[name][version]
    paths = azure.registry.paths_below(model.path)
    return {path.rpartition("/")[2]: azure.registry.blobs[path].content for path in paths}


def _no_secret(azure: AzureStandIn, *texts: str) -> bool:
    return not any(secret in text for secret in azure.secrets for text in texts)


@_SDKS
def test_register_and_import_again(
    sdk: str,
    azure: AzureStandIn,
    folder: Path,
    bentoml_home: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What is registered is what was shown, and an import of it is the same classifier."""
    assert main([sdk, str(folder), "demo", *_PLACE, "--yes", "--json"]) == 0

    output = capsys.readouterr()
    result = json.loads(output.out)
    record = (folder.parent / "demo-1.registration.json").read_text("utf-8")
    contents = _contents(azure, "demo", 1)
    assert (result["version"], result["registered"]) == ("1", True)
    assert contents == {name: (folder / name).read_bytes() for name in _FILES}
    assert azure.registry.models["demo"][1].tags == result["tags"] == json.loads(record)["tags"]
    assert result["tags"]["sha256"] == hash_file(folder / "model.onnx")
    assert _no_secret(azure, output.out, output.err, record)

    assert import_model.main([sdk, "demo:1", *_PLACE]) == 0
    stored = read_artifact(bentoml_home / "models" / "sentiment" / "demo-1")
    assert stored.description.files == read_artifact(folder).description.files
    lineage = stored.description.lineage
    assert (lineage.source, lineage.uri) == (sdk, result["uri"])
    assert lineage.workspace
    assert azure.workspace in lineage.workspace
    assert lineage.origin == read_artifact(folder).description.lineage.uri
    assert lineage.registered_by
    assert lineage.registered_at


@_SDKS
def test_registered_already(
    sdk: str, azure: AzureStandIn, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same files do not become a second version, and no record is left."""
    first = [sdk, str(folder), "demo", *_PLACE, "--yes", "--record", "first.json"]
    assert main(first) == 0

    assert main([sdk, str(folder), "demo", *_PLACE, "--yes"]) == 0

    assert "demo:1 holds these very files already" in capsys.readouterr().out
    assert list(azure.registry.models["demo"]) == [1]
    assert [path.name for path in folder.parent.glob("*.json")] == ["first.json"]


def test_the_other_sdk_sees_what_changed(
    azure: AzureStandIn, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A version that v1 registered is compared, file by file, with what v2 would register."""
    assert main(["azureml", str(folder), "demo", *_PLACE, "--yes"]) == 0
    with (folder / "MODEL_CARD.md").open("a", encoding="utf-8") as card:
        card.write("\nMore is known now.\n")

    assert main(["azureml-v2", str(folder), "demo", *_PLACE, "--yes"]) == 0

    shown = capsys.readouterr().out
    statuses = [line.split()[-1] for line in shown.splitlines() if line.startswith(tuple(_FILES))]
    assert statuses == [*["new"] * 6, *["same"] * 5, "changed"]
    assert "registered demo:2" in shown
    record = json.loads((folder.parent / "demo-2.registration.json").read_text("utf-8"))
    assert (record["replaces"], record["sdk"].split()[0]) == ("1", "azure-ai-ml")
    assert _contents(azure, "demo", 2)["MODEL_CARD.md"].endswith(b"More is known now.\n")


def test_dry_run(azure: AzureStandIn, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A dry run shows what would be, and sends nothing."""
    assert main(["azureml", str(folder), "demo", *_PLACE, "--dry-run"]) == 0

    assert "can be registered as a new version of demo" in capsys.readouterr().out
    assert not azure.registry.models
    assert not azure.registry.blobs


def test_nobody_to_ask(
    azure: AzureStandIn,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without a terminal and without --yes nothing is registered."""
    with Path(os.devnull).open(encoding="utf-8") as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        assert main(["azureml", str(folder), "demo", *_PLACE]) == 43

    assert "check with --dry-run, then give --yes" in capsys.readouterr().err
    assert not azure.registry.models


def test_nowhere_to_write_the_record(
    azure: AzureStandIn, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A record that cannot be written is found out before anything is registered."""
    record = str(folder / "none" / "record.json")

    assert main(["azureml", str(folder), "demo", *_PLACE, "--yes", "--record", record]) == 43

    assert f"no record can be written to {folder / 'none'}" in capsys.readouterr().err
    assert not azure.registry.models


class _Asked:
    """The command on a terminal of its own, up to the question."""

    def __init__(self, *arguments: str, environment: Mapping[str, str], folder: Path) -> None:
        self._terminal, terminal = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "scripts.register_model", *arguments],
            env={**environment, "PYTHONPATH": str(PROJECT)},
            cwd=folder,
            stdin=terminal,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        os.close(terminal)
        assert self.process.stderr
        self.question = _read_until(self.process.stderr, b"[y/N] ")

    def answer(self, text: str) -> tuple[int, str, str]:
        """Answer the question; return exit code, standard output and standard error."""
        os.write(self._terminal, f"{text}\n".encode())
        output, errors = self.process.communicate()
        return self.process.returncode, output.decode(), errors.decode()

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        os.close(self._terminal)


def _read_until(stream: IO[bytes], end: bytes) -> str:
    seen = b""
    while not seen.endswith(end):
        byte = stream.read(1)
        assert byte, f"ended with {seen.decode()!r}"
        seen += byte
    return seen.decode()


@pytest.fixture
def asked(azure: AzureStandIn, folder: Path) -> Iterator[_Asked]:  # noqa: ARG001 - it sets variables
    """The command, waiting for an answer."""
    arguments = ("azureml", str(folder), "demo", *_PLACE)
    one = _Asked(*arguments, environment=os.environ, folder=folder.parent)
    yield one
    one.close()


@pytest.mark.parametrize(
    ("text", "code", "versions"),
    [("y", 0, [1]), ("n", 1, []), ("", 1, [])],
    ids=["yes", "no", "neither"],
)
def test_the_question(
    text: str, code: int, versions: list[int], asked: _Asked, azure: AzureStandIn
) -> None:
    """Only a yes registers, and the question says what, where and as which version."""
    assert "Register sentiment:tiny-1 as demo version 1 in workspace ml-ws?" in asked.question

    assert asked.answer(text)[0] == code

    assert list(azure.registry.models.get("demo", {})) == versions


def test_someone_else_was_faster(asked: _Asked, azure: AzureStandIn, folder: Path) -> None:
    """A version that appears while the question waits is named, and is not overwritten."""
    azure.add_model("demo", {"model.onnx": b"another"})

    code, output, errors = asked.answer("y")

    assert (code, output.splitlines()[-1]) == (0, "registered demo:2")
    assert "warning: someone else registered demo:1 in the meantime" in errors
    assert (folder.parent / "demo-2.registration.json").is_file()
    assert _contents(azure, "demo", 1) == {"model.onnx": b"another"}


@_SDKS
def test_not_allowed_to_register(
    sdk: str, azure: AzureStandIn, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A refusal gives the exit code of access, names the role, and tells no secret."""
    azure.faults.models_status = 403

    assert main([sdk, str(folder), "demo", *_PLACE, "--yes"]) == 27

    output = capsys.readouterr()
    assert "AzureML Data Scientist" in output.err
    assert "Traceback" not in output.err
    assert _no_secret(azure, output.out, output.err)
    assert not list(folder.parent.glob("*.json"))


@_SDKS
def test_not_allowed_to_upload(
    sdk: str, azure: AzureStandIn, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A storage account that refuses is said at once, with the role it takes."""
    azure.faults.upload_status = 403

    arguments = [sdk, str(folder), "demo", *_PLACE, "--yes", "--timeout-seconds", "60"]
    assert main(arguments) == 27

    error = capsys.readouterr().err
    assert "Storage Blob Data Contributor" in error
    assert "AzureML Data Scientist" not in error
    assert not azure.registry.models


def test_a_folder_that_was_changed(
    azure: AzureStandIn, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder that is not whole is refused before Azure is asked."""
    (folder / "model.onnx").write_bytes(b"another")

    assert main(["azureml", str(folder), "demo", *_PLACE, "--yes"]) == 12

    assert "has another sha256" in capsys.readouterr().err
    assert not azure.requests
