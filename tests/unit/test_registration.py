"""What a registration shows, what it writes, and what it refuses; the registry is a dictionary."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from textclf.artifact import Artifact, read_artifact, write_description
from textclf.errors import (
    AccessError,
    ArtifactChangedError,
    ArtifactError,
    DownloadError,
    RegistrationError,
)
from textclf.registration import plan_registration, record, register, render_plan
from textclf.version_tags import read_evaluations, read_tag

_FILES = [
    "MODEL_CARD.md",
    "classifier.json",
    "drift.json",
    "golden.jsonl",
    "model.onnx",
    "tokenizer.json",
]


class _Registry:
    """Versions by the name of their model, newest last."""

    def __init__(self) -> None:
        self.models: dict[str, list[dict[str, Any]]] = {}

    def latest(self, name: str) -> dict[str, Any] | None:
        return self.models[name][-1] if name in self.models else None

    def fetch(self, name: str, version: str | None) -> dict[str, Any]:
        return self.models[name][int(version or 0) - 1]

    def register(
        self,
        folder: Path,
        name: str,
        *,
        tags: dict[str, str],
        properties: dict[str, str],
        description: str,
    ) -> dict[str, Any]:
        versions = self.models.setdefault(name, [])
        versions.append(
            {
                "name": name,
                "version": str(len(versions) + 1),
                "tags": tags,
                "properties": properties,
                "description": description,
                "uri": f"registry:{name}",
                "created_at": "2026-01-01T00:00:00+00:00",
                "created_by": "someone",
                "sdk": "none",
                "files": [{"path": f"x/{path.name}"} for path in sorted(folder.iterdir())],
            }
        )
        return versions[-1]


@pytest.fixture
def folder(classifier_folder: Path, tmp_path: Path) -> Path:
    """A copy of a classifier folder, to change."""
    return Path(shutil.copytree(classifier_folder, tmp_path / "classifier"))


def _describe(folder: Path, **changes: Any) -> Artifact:
    description = read_artifact(folder).description
    write_description(folder, type(description).model_validate(description.model_dump() | changes))
    return read_artifact(folder)


def _figure(accuracy: float, *, dataset: str = "SST-2, test", precision: str = "fp32") -> Any:
    return {
        "dataset": dataset,
        "sentences": 872,
        "precision": precision,
        "accuracy": accuracy,
    }


def test_the_first_version(folder: Path) -> None:
    """Where nothing is registered, every file is new and the version is 1."""
    plan = plan_registration(read_artifact(folder), "demo", None)

    assert {file.status for file in plan.files} == {"new"}
    assert (plan.next_version, plan.unchanged) == ("1", False)


def test_the_same_again(folder: Path) -> None:
    """A folder whose files are all registered is unchanged, wherever else they lie."""
    registry = _Registry()
    register(plan_registration(read_artifact(folder), "demo", None), registry)

    again = plan_registration(read_artifact(folder), "demo", registry.latest("demo"))

    assert again.unchanged


def test_what_changed_is_shown(folder: Path) -> None:
    """A new figure changes the description and its card, and nothing else."""
    registry = _Registry()
    before = _describe(folder, evaluations=[_figure(0.9), _figure(0.8, dataset="IMDB")])
    register(plan_registration(before, "demo", None), registry)
    now = _describe(folder, evaluations=[_figure(0.9125), _figure(0.7, precision="int8")])

    plan = plan_registration(now, "demo", registry.latest("demo"))

    assert {file.name: file.status for file in plan.files} == {
        "model.onnx": "same",
        "tokenizer.json": "same",
        "classifier.json": "changed",
        "golden.jsonl": "same",
        "drift.json": "same",
        "MODEL_CARD.md": "changed",
    }
    assert [(f.dataset, f.precision, f.accuracy, f.registered) for f in plan.figures] == [
        ("SST-2, test", "fp32", 0.9125, 0.9),
        ("SST-2, test", "int8", 0.7, None),
        ("IMDB", "fp32", None, 0.8),
    ]
    shown = [" ".join(line.split()) for line in render_plan(plan).splitlines()]
    assert "accuracy, fp32, SST-2, test 0.9125 0.9000" in shown
    assert "accuracy, fp32, IMDB 0.8000" in shown


@pytest.mark.parametrize(
    ("version", "expected"), [("3", "4"), ("9", "10"), ("blue", None)], ids=["3", "9", "a word"]
)
def test_the_next_version(folder: Path, version: str, expected: str | None) -> None:
    """Only a number has a next one."""
    registered = {"version": version, "tags": {}}

    assert plan_registration(read_artifact(folder), "demo", registered).next_version == expected


def test_long_values_are_split_and_read_back(folder: Path) -> None:
    """No tag is longer than 256 characters, and none loses any."""
    uri = "azureml://" + "/".join(map(str, range(200)))
    figure = _figure(0.9, dataset="é" * 300)
    artifact = read_artifact(folder)
    lineage = artifact.description.lineage.model_copy(update={"uri": uri})
    artifact = _describe(folder, lineage=lineage.model_dump(), evaluations=[figure])

    tags = plan_registration(artifact, "demo", None).tags

    assert max(map(len, tags.values())) == 256
    assert read_tag(tags, "source_uri") == uri
    assert [one.model_dump() for one in read_evaluations(tags)] == [figure]


def test_more_figures_than_tags(folder: Path) -> None:
    """What Azure would refuse is refused before anything is uploaded."""
    artifact = _describe(folder, evaluations=[_figure(0.9, dataset=str(n)) for n in range(60)])

    with pytest.raises(RegistrationError, match="71 tags, and Azure allows 50"):
        plan_registration(artifact, "demo", None)


def test_tags_of_others(folder: Path) -> None:
    """What somebody else wrote neither fails nor reaches the terminal as it is."""
    tags = {"precision": "\x1b[2Jfp32", "evaluation_1": "{", "sha256": "unknown"}

    plan = plan_registration(read_artifact(folder), "demo", {"version": "1", "tags": tags})

    assert "\x1b" not in render_plan(plan)
    assert plan.figures == ()
    assert [file.status for file in plan.files] == ["changed", *["new"] * 5]


def test_a_missing_card(folder: Path) -> None:
    """The card is one of the files."""
    (folder / "MODEL_CARD.md").unlink()

    with pytest.raises(ArtifactError, match=r"MODEL_CARD\.md is missing"):
        plan_registration(read_artifact(folder), "demo", None)


def test_only_the_files_of_a_classifier_go_up(folder: Path) -> None:
    """What else lies in the folder stays there."""
    (folder / "key.pem").write_text("secret", "utf-8")
    registry = _Registry()

    register(plan_registration(read_artifact(folder), "demo", None), registry)

    (version,) = registry.models["demo"]
    assert [Path(file["path"]).name for file in version["files"]] == _FILES
    assert version["description"] == "Text classifier: negative, positive"


def test_a_file_that_changes_after_the_question(folder: Path) -> None:
    """What was shown is what is registered, or nothing is."""
    registry = _Registry()
    plan = plan_registration(read_artifact(folder), "demo", None)
    (folder / "model.onnx").write_bytes(b"another")

    with pytest.raises(ArtifactChangedError, match=r"model\.onnx was changed"):
        register(plan, registry)
    assert not registry.models


def test_a_file_that_vanishes_after_the_question(folder: Path) -> None:
    """What cannot be copied is not registered."""
    registry = _Registry()
    plan = plan_registration(read_artifact(folder), "demo", None)
    (folder / "golden.jsonl").unlink()

    with pytest.raises(RegistrationError, match=r"cannot copy .*golden\.jsonl"):
        register(plan, registry)
    assert not registry.models


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tags": {}}, "other values for its tags sha256, "),
        ({"files": [{"path": "x/model.onnx"}]}, "lists the files model.onnx;"),
    ],
    ids=["tags", "files"],
)
def test_a_registry_that_keeps_something_else(
    folder: Path, change: dict[str, Any], message: str
) -> None:
    """Success is what the registry says afterwards, not that it said nothing."""

    class _Forgetful(_Registry):
        def fetch(self, name: str, version: str | None) -> dict[str, Any]:
            return super().fetch(name, version) | change

    with pytest.raises(RegistrationError, match="demo:1 was registered, but") as raised:
        register(plan_registration(read_artifact(folder), "demo", None), _Forgetful())
    assert message in str(raised.value)


def test_an_upload_without_an_answer(folder: Path) -> None:
    """Where it is not known what was registered, the message says how to find out."""

    class _Silent(_Registry):
        def register(self, *_arguments: Any, **_options: Any) -> dict[str, Any]:
            raise DownloadError("no answer")

    with pytest.raises(DownloadError, match="no answer; whether demo has a new version is not"):
        register(plan_registration(read_artifact(folder), "demo", None), _Silent())


def test_a_version_that_cannot_be_read(folder: Path) -> None:
    """A refusal after the upload does not hide that there is a new version."""

    class _WriteOnly(_Registry):
        def fetch(self, *_arguments: Any) -> dict[str, Any]:
            raise AccessError("refused")

    with pytest.raises(RegistrationError, match=r"demo:1 was registered, but .*: refused"):
        register(plan_registration(read_artifact(folder), "demo", None), _WriteOnly())


def test_the_record(folder: Path) -> None:
    """The record has what, where, when, by which SDK, and instead of what."""
    registry = _Registry()
    register(plan_registration(read_artifact(folder), "demo", None), registry)
    artifact = _describe(folder, evaluations=[_figure(0.9)])
    plan = plan_registration(artifact, "demo", registry.latest("demo"))

    content = json.loads(record(plan, register(plan, registry), "here"))

    assert (content["name"], content["version"], content["replaces"]) == ("demo", "2", "1")
    assert (content["workspace"], content["sdk"]) == ("here", "none")
    assert content["registered_at"] == "2026-01-01T00:00:00+00:00"
    assert sorted(content["files"]) == _FILES
    assert content["files"]["model.onnx"]["sha256"] == artifact.description.files["model.onnx"]
    assert content["evaluations"] == [_figure(0.9)]
