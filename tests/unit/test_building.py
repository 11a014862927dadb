"""The commands that make an image."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from pathlib import Path

import pytest

from textclf.artifact import read_artifact
from textclf.errors import BuildError
from textclf.image.building import Base, BuildOptions, BuildPlan, _own_digest, plan_build, run_build
from textclf.image.record import read_record
from textclf.image.source_state import SourceState

WHEN = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
SOURCE = SourceState("0.3.1", "a" * 40, "https://example.com/textclf", WHEN)
BASE = Base(reference="python:3.11-slim", digest="sha256:" + "b" * 64, size_bytes=1)


def plan(folder: Path, options: BuildOptions) -> BuildPlan:
    """Plan a build of a classifier folder."""
    return plan_build(SOURCE, read_artifact(folder), BASE, options, WHEN)


def test_the_commands_name_what_they_build(classifier_folder: Path) -> None:
    """Version, model and commit of the image stand in commands that a shell takes."""
    planned = plan(classifier_folder, BuildOptions())
    build, containerize = planned.as_shell().splitlines()
    words = shlex.split(containerize.strip("()"))

    assert build == "bentoml build --version 0.3.1_tiny-1"
    assert words[3] == "BUILDX_NO_DEFAULT_ATTESTATIONS=1"
    assert words[4:8] == ["bentoml", "containerize", planned.image, "--image-tag"]
    assert planned.image == "textclf:0.3.1_tiny-1"
    assert {
        "build-arg=CREATED=2026-02-03T04:05:06Z",
        "build-arg=MODEL_TAG=sentiment:tiny-1",
        f"build-arg=REVISION={'a' * 40}",
        f"build-arg=SOURCE_DATE_EPOCH={int(WHEN.timestamp())}",
    } <= set(words)
    assert "no-cache" not in words


def test_files_with_credentials_are_mounted(classifier_folder: Path, tmp_path: Path) -> None:
    """The commands name the files, by paths that hold in any folder, and not what is in them."""
    config = tmp_path / "pip.conf"
    config.write_text("[global]\nindex-url = https://user:PLANTED@example.com/simple\n")
    shown = plan(classifier_folder, BuildOptions(pip_config=config, no_cache=True)).as_shell()

    assert f"secret=id=pip-config,src={config}" in shown
    assert "--opt no-cache" in shown
    assert "PLANTED" not in shown


def test_a_missing_file_is_named(classifier_folder: Path, tmp_path: Path) -> None:
    """It is noticed before anything is built."""
    with pytest.raises(BuildError, match=r"ca\.pem is no file"):
        plan(classifier_folder, BuildOptions(ca_bundle=tmp_path / "ca.pem"))


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("python:3.11-slim", "sha256:a"),
        ("python:3.11-slim@sha256:a", "sha256:a"),
        ("mirror.example.com:5000/python:3.11-slim", "sha256:b"),
        ("team/python", ""),
    ],
    ids=["tag", "digest", "another registry", "never pulled"],
)
def test_a_base_has_the_digest_of_its_own_name(name: str, digest: str) -> None:
    """One image may have names in several registries, and a digest in each."""
    digests = ["python@sha256:a", "mirror.example.com:5000/python@sha256:b"]

    assert _own_digest(name, digests) == digest


def test_a_failing_command_is_quoted(bentoml_home: Path, tmp_path: Path) -> None:
    """What BentoML says last is what a person needs."""
    assert bentoml_home.is_dir()
    failing = BuildPlan(
        version="1",
        image="textclf:1",
        build=("bentoml", "build", "--version", "1"),
        containerize=("bentoml", "containerize", "textclf:1"),
        containerize_folder=tmp_path,
    )
    with pytest.raises(BuildError, match=r"(?s)bentoml build failed with exit code 1.*bentofile"):
        run_build(failing, tmp_path)


@pytest.mark.parametrize("content", [None, "{"], ids=["missing", "cut short"])
def test_a_record_that_cannot_be_read(tmp_path: Path, content: str | None) -> None:
    """The next step is to build."""
    if content:
        (tmp_path / "image.json").write_text(content)

    with pytest.raises(BuildError, match="run make image"):
        read_record(tmp_path)
