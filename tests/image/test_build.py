"""Images built for real, from a clone."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import require
from tests.image.built import base_image, docker_answers
from tests.image.registry import Registry, registry_is_installed, write_login
from tests.repo.conftest import origin, visitor_environment
from textclf.errors import BuildError, SourceStateError
from textclf.image.docker import inspect_image, run_docker

__all__ = ["origin"]
PLANTED = "PLANTED-3f9c"
AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")


@dataclass(frozen=True)
class Clone:
    """A clone of this repository, and a BentoML home of its own."""

    folder: Path
    environment: dict[str, str]

    def git(self, *arguments: str) -> None:
        """Run git in the clone."""
        subprocess.run(
            ["git", *arguments], cwd=self.folder, env=self.environment, check=True,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip

    def build(self, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run scripts/build_image.py, on the base and with the authorities that suit here."""
        given = ["--json", "--base-image", base_image()]
        given += ["--ca-bundle", str(AUTHORITIES)] if AUTHORITIES.is_file() else []
        return subprocess.run(
            [sys.executable, "scripts/build_image.py", *given, *options],
            cwd=self.folder, env=self.environment | variables, check=False,
            stdin=subprocess.DEVNULL, capture_output=True, text=True,
        )  # fmt: skip

    def built(self, *options: str, **variables: str) -> dict[str, Any]:
        """Build, and return the record of the image."""
        done = self.build(*options, **variables)
        assert done.returncode == 0, done.stdout + done.stderr
        assert json.loads((self.folder / "dist" / "image.json").read_text()) == json.loads(
            done.stdout
        )
        return dict(json.loads(done.stdout))


@pytest.fixture(scope="module")
def clone(origin: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """A clone whose model store is empty, and which is tidied away with its images."""
    require(docker_answers(), "Docker does not answer")
    folder = tmp_path_factory.mktemp("build")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = visitor_environment() | {
        "AZURE_CREDENTIALS": PLANTED,
        "BENTOML_DO_NOT_TRACK": "True",
        "BENTOML_HOME": str(folder / "bentoml"),
        "PATH": path,
        "PYTHONPATH": str(folder / "textclf"),
    }
    subprocess.run(["git", "clone", "--quiet", str(origin), str(folder / "textclf")], check=True)
    clone = Clone(folder / "textclf", environment)
    clone.git("tag", "v9.9.9")
    before = set(images())
    yield clone
    for image in set(images()) - before:
        run_docker("rmi", "--force", image)


def images() -> list[str]:
    """Return the images of ours that have a name."""
    names = run_docker("images", "--format", "{{.Repository}}:{{.Tag}}", "textclf")
    return names.split()


@pytest.fixture(scope="module")
def record(clone: Clone) -> dict[str, Any]:
    """The record of the image of the clone as it is, with the reference model."""
    return clone.built()


def test_the_image_is_named_after_code_and_model(record: dict[str, Any]) -> None:
    """An empty store gets the reference model, and the labels say what the record says."""
    described = inspect_image(record["reference"])
    labels = described["Config"]["Labels"]
    base = inspect_image(record["base"])

    assert record["reference"] == "textclf:9.9.9_reference-2"
    assert record["id"] == described["Id"]
    assert labels["org.opencontainers.image.version"] == record["version"]
    assert labels["org.opencontainers.image.source"].startswith("file:///")
    assert labels["textclf.model.tag"] == "sentiment:reference-2"
    assert (
        described["RootFS"]["Layers"][: len(base["RootFS"]["Layers"])] == (base["RootFS"]["Layers"])
    )
    assert (
        sum(record["size_bytes"].values()) == record["size_bytes"]["base"] + (record["added_bytes"])
    )
    assert 100_000_000 < record["added_bytes"] < 250_000_000


def test_the_bill_is_written_at_build_time(clone: Clone, record: dict[str, Any]) -> None:
    """What the image is made of lies beside its record."""
    bill = json.loads((clone.folder / "dist" / "sbom.cdx.json").read_text())
    names = {component["name"] for component in bill["components"]}

    assert record["model"] == "sentiment:reference-2"
    assert {"bentoml", "onnxruntime", "tokenizers"} <= names
    assert not {"transformers", "azureml-core", "torch"} & names
    assert "onnxruntime" in (clone.folder / "dist" / "licences.md").read_text()


def test_the_same_built_again_is_the_same(
    clone: Clone, record: dict[str, Any], tmp_path: Path
) -> None:
    """Every step run again, with an index of one's own: each layer has its digest.

    Nothing of the index's configuration or of the environment is in a layer, in the configuration
    or in the history.
    """
    config = tmp_path / "pip.conf"
    config.write_text(f"# {PLANTED}\n[global]\nretries = 5\n")
    again = clone.built("--no-cache", "--pip-config", str(config))
    content = saved(again["reference"])

    assert again["layers"] == record["layers"]
    assert f"src={config}" in again["commands"]
    assert [name for name, data in content.items() if PLANTED.encode() in data] == []
    assert len(content) > 1_000


def test_the_time_can_be_given(clone: Clone, record: dict[str, Any]) -> None:
    """SOURCE_DATE_EPOCH is what the image claims, and no layer but the code's knows it."""
    dated = clone.built(SOURCE_DATE_EPOCH="1700000000")
    labels = inspect_image(dated["reference"])["Config"]["Labels"]

    assert labels["org.opencontainers.image.created"] == "2023-11-14T22:13:20Z"
    assert dated["layers"][:-2] == record["layers"][:-2]


def saved(image: str) -> dict[str, bytes]:
    """Return every file of every layer of an image, and what docker saves beside them."""
    process = subprocess.run(["docker", "save", image], check=True, capture_output=True)
    with tarfile.open(fileobj=io.BytesIO(process.stdout)) as archive:
        beside = files(archive)
    (manifest,) = json.loads(beside["manifest.json"])
    found = dict(beside)
    for name in manifest["Layers"]:
        with tarfile.open(fileobj=io.BytesIO(found.pop(name)), mode="r:*") as layer:
            found |= {f"{name}:{path}": content for path, content in files(layer).items()}
    return found


def files(archive: tarfile.TarFile) -> dict[str, bytes]:
    """Return the content of each file of an archive."""
    held = {member.name: archive.extractfile(member) for member in archive if member.isfile()}
    return {name: file.read() for name, file in held.items() if file}


def test_the_printed_commands_make_the_image(clone: Clone, record: dict[str, Any]) -> None:
    """Whoever runs them by hand, in a clone, gets the same layers."""
    script = f"bentoml delete --yes {record['reference']}\n{record['commands']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], cwd=clone.folder, env=clone.environment,
        check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    assert inspect_image(record["reference"])["RootFS"]["Layers"] == record["layers"]


def test_a_change_of_the_code_pushes_kilobytes(
    clone: Clone, record: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Packages and model are layers that the registry has already."""
    require(registry_is_installed(), "docker-registry is not installed")
    service = clone.folder / "service.py"
    service.write_text(service.read_text() + "# one line more\n")
    clone.git("commit", "--quiet", "--all", "--message=one line more")
    with Registry(tmp_path / "registry") as registry:
        write_login(tmp_path / "docker", registry.host)
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
        first = pushed_bytes(registry, record["reference"])
        changed = clone.built()
        more = pushed_bytes(registry, changed["reference"])

    print(f"pushed {first} bytes, then {more}")  # noqa: T201 - shown with pytest -s
    assert changed["layers"][:-2] == record["layers"][:-2]
    assert changed["layers"] != record["layers"]
    assert first > 50_000_000
    assert 0 < more < 500_000


def pushed_bytes(registry: Registry, image: str) -> int:
    """Push an image and return by how much the registry's storage has grown."""
    before = stored_bytes(registry)
    name = f"{registry.host}/textclf:{image.partition(':')[2]}"
    run_docker("tag", image, name)
    try:
        run_docker("push", "--quiet", name)
    finally:
        run_docker("rmi", name)
    return stored_bytes(registry) - before


def stored_bytes(registry: Registry) -> int:
    """Return how much a registry holds."""
    return sum(file.stat().st_size for file in registry.storage.rglob("*") if file.is_file())


def test_what_cannot_be_built_from_is_refused(clone: Clone) -> None:
    """Changes that no commit holds, and a base that is nowhere, are named, with the next step."""
    (clone.folder / "stray.py").write_text("")
    dirty = clone.build()
    (clone.folder / "stray.py").unlink()
    nowhere = clone.build("--base-image", "127.0.0.1:9/nowhere:1")

    assert dirty.returncode == SourceStateError.exit_code
    assert "no commit holds: stray.py; commit them" in dirty.stderr
    assert nowhere.returncode == BuildError.exit_code
    assert "127.0.0.1:9/nowhere:1 is neither here nor can it be pulled" in nowhere.stderr
