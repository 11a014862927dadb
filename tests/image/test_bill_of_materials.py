"""The bill of materials of a real image, against what the image's own package managers say."""

from __future__ import annotations

import json
import uuid
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tests.conftest import require
from tests.image.built import base_image, docker_answers
from textclf.errors import DockerError, ImageError
from textclf.image.bill_of_materials import Bill, write_bill
from textclf.image.docker import inspect_image, run_docker

BASE_IMAGE = base_image()
CREATED = datetime(2026, 3, 1, tzinfo=UTC)
SHA256 = "5" * 64
DOCKERFILE = f"""\
FROM {BASE_IMAGE}
COPY wheels /wheels
RUN python3 -m venv --without-pip /app/.venv \\
  && python3 -m pip --python /app/.venv/bin/python install --no-index --no-deps /wheels/*.whl
LABEL org.opencontainers.image.title=textclf \\
  org.opencontainers.image.version=0.3.1-5-gabc1234 \\
  org.opencontainers.image.licenses=Apache-2.0 \\
  textclf.model.tag=sentiment:tiny-1 \\
  textclf.model.sha256={SHA256}
USER 1034:1034
"""
BROKEN_DOCKERFILE = f"""\
FROM {BASE_IMAGE}
RUN mkdir -p /app/.venv/bin && ln -s /bin/echo /app/.venv/bin/python
"""
WHEELS = {
    "tiny_root": """\
Metadata-Version: 2.4
Name: Tiny_Root
Version: 1.0
License-Expression: MIT
Requires-Dist: tiny.leaf>=2; python_version >= "3"
Requires-Dist: absent; sys_platform == "win32"
""",
    "tiny_leaf": """\
Metadata-Version: 2.1
Name: tiny-leaf
Version: 2.0
License: Our own terms
Home-page: https://leaf.example
""",
}


def write_wheel(folder: Path, name: str, metadata: str) -> None:
    """Write a wheel that holds one empty module."""
    version = metadata.split("Version: ")[2].split(maxsplit=1)[0]
    info = f"{name}-{version}.dist-info"
    contents = {
        f"{name}.py": "",
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\n"
        "Tag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in [*contents, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for path, content in (contents | {f"{info}/RECORD": record}).items():
            wheel.writestr(path, content)


def build(folder: Path, dockerfile: str) -> Iterator[str]:
    """Yield an image made from a Dockerfile and the folder it is written to; remove it then."""
    require(docker_answers(), "docker does not answer")
    (folder / "Dockerfile").write_text(dockerfile)
    tag = f"textclf-test-bill:{uuid.uuid4().hex[:12]}"
    run_docker("build", "--quiet", "--network", "none", "--tag", tag, str(folder))
    yield tag
    run_docker("image", "rm", "--force", tag)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A small image: Debian, and a virtual environment with two distributions."""
    folder = tmp_path_factory.mktemp("context")
    (folder / "wheels").mkdir()
    for name, metadata in WHEELS.items():
        write_wheel(folder / "wheels", name, metadata)
    yield from build(folder, DOCKERFILE)


@pytest.fixture(scope="module")
def broken_image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An image whose Python repeats its arguments."""
    yield from build(tmp_path_factory.mktemp("broken"), BROKEN_DOCKERFILE)


@pytest.fixture(scope="module")
def written(image: str, tmp_path_factory: pytest.TempPathFactory) -> Bill:
    """The bill of that image."""
    return write_bill(image, tmp_path_factory.mktemp("bill"), created=CREATED)


@pytest.fixture(scope="module")
def bom(written: Bill) -> dict[str, Any]:
    """The bill of that image, read."""
    return dict(json.loads(written.sbom.read_text("utf-8")))


def ask(image: str, *command: str) -> str:
    """Run a command in the image and return what it prints."""
    return run_docker("run", "--rm", "--network", "none", "--entrypoint", command[0], image,
                      *command[1:])  # fmt: skip


def of_kind(bom: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    """Return the components whose package URL is of a kind."""
    return [each for each in bom["components"] if each.get("purl", "").startswith(f"pkg:{kind}/")]


def test_every_package_is_listed(image: str, bom: dict[str, Any]) -> None:
    """The bill has the packages, versions and architectures that dpkg-query prints, no others."""
    form = "${db:Status-Status} ${Package} ${Version} ${Architecture}\n"
    lines = ask(image, "dpkg-query", "--show", "--showformat", form).splitlines()
    expected = {tuple(line.split()[1:]) for line in lines if line.startswith("installed ")}
    listed = {
        (each["name"], each["version"], each["purl"].partition("?arch=")[2].partition("&")[0])
        for each in of_kind(bom, "deb")
    }

    assert len(expected) > 50
    assert listed == expected


def test_sources_are_named(image: str, bom: dict[str, Any]) -> None:
    """A package made from a source of another name or version says so, as dpkg-query does."""
    form = "${Package} ${source:Package}@${source:Version} ${Package}@${Version}\n"
    lines = ask(image, "dpkg-query", "--show", "--showformat", form).splitlines()
    expected = {line.split()[0] for line in lines if line.split()[1] != line.split()[2]}

    assert expected
    assert {e["name"] for e in of_kind(bom, "deb") if "upstream=" in e["purl"]} == expected


def test_every_distribution_is_listed(image: str, bom: dict[str, Any]) -> None:
    """The bill has the distributions and versions that pip lists, no others."""
    command = (
        "python3",
        "-m",
        "pip",
        "--python",
        "/app/.venv/bin/python",
        "list",
        "--format",
        "json",
    )
    listed = json.loads(ask(image, *command))

    assert {(e["name"], e["version"]) for e in of_kind(bom, "pypi")} == {
        (each["name"], each["version"]) for each in listed
    }
    assert len(listed) == len(WHEELS)


def test_licences_are_the_declared_ones(written: Bill, bom: dict[str, Any]) -> None:
    """Of wheels and of a Debian package whose copyright file is known; the rest is counted."""
    licences = {e["name"]: e.get("licenses") for e in bom["components"]}
    (grep,) = [e for e in of_kind(bom, "deb") if e["name"] == "grep"]

    assert licences["Tiny_Root"] == [{"license": {"acknowledgement": "declared", "id": "MIT"}}]
    assert licences["tiny-leaf"][0]["license"]["name"] == "Our own terms"
    assert [each["license"]["id"] for each in grep["licenses"]] == ["GPL-3.0-or-later"]
    assert written.unknown_licences == sum(not e.get("licenses") for e in bom["components"])
    assert 0 < written.unknown_licences < written.components / 3


def test_the_bill_names_the_image(image: str, bom: dict[str, Any]) -> None:
    """It is of this very image, its model and its operating system, and valid CycloneDX."""
    (model,) = [e for e in bom["components"] if e["type"] == "machine-learning-model"]
    (system,) = [e for e in bom["components"] if e["type"] == "operating-system"]

    assert inspect_image(image)["Id"] in bom["metadata"]["component"]["purl"]
    assert (model["name"], model["version"]) == ("sentiment", "tiny-1")
    assert model["hashes"][0]["content"] == SHA256
    assert system["name"] == ask(image, "sh", "-c", ". /etc/os-release; echo $ID").strip()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bom)) is None


def test_requirements_are_in_the_graph(bom: dict[str, Any]) -> None:
    """What a marker leaves out is not needed; what is needed is not the image's own choice."""
    depends = {each["ref"]: each.get("dependsOn", []) for each in bom["dependencies"]}

    assert depends["pkg:pypi/tiny-root@1.0"] == ["pkg:pypi/tiny-leaf@2.0"]
    assert [ref for ref in depends[bom["metadata"]["component"]["bom-ref"]] if "pypi" in ref] == [
        "pkg:pypi/tiny-root@1.0"
    ]


def test_the_same_image_gives_the_same_files(image: str, written: Bill, tmp_path: Path) -> None:
    """By whatever name the image is called, the bytes are the same."""
    again = write_bill(inspect_image(image)["Id"], tmp_path, created=CREATED)

    assert again.sbom.read_bytes() == written.sbom.read_bytes()
    assert again.licences.read_bytes() == written.licences.read_bytes()


def test_an_image_without_our_python_is_refused(tmp_path: Path) -> None:
    """The message names the image and the Python it lacks, and nothing is written."""
    require(docker_answers(), "docker does not answer")
    with pytest.raises(DockerError, match=rf"{BASE_IMAGE} with its /app/\.venv/bin/python"):
        write_bill(BASE_IMAGE, tmp_path, created=CREATED)

    assert list(tmp_path.iterdir()) == []


def test_a_python_that_prints_something_else_is_refused(broken_image: str, tmp_path: Path) -> None:
    """What is no list of things is not written as one."""
    with pytest.raises(ImageError, match=r"did not print a list .* Invalid JSON"):
        write_bill(broken_image, tmp_path, created=CREATED)

    assert list(tmp_path.iterdir()) == []
