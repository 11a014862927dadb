"""A model is in the store whole, or not at all."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import cast

import bentoml
import pytest

from tests.tiny_models import write_classifier
from textclf import store
from textclf.artifact import (
    CARD,
    DESCRIPTION,
    GOLDEN,
    GRAPH,
    TOKENIZER,
    Artifact,
    read_artifact,
    write_description,
)
from textclf.errors import ArtifactChangedError, ArtifactError, ArtifactMissingError, TagTakenError

FILES = (GRAPH, TOKENIZER, GOLDEN, DESCRIPTION, CARD)


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    """A classifier folder that nothing has to run."""
    return write_classifier(tmp_path / "drafts" / "first", version="1")


def _latest(home: Path) -> str:
    return (home / "models" / "sentiment" / "latest").read_text("utf-8")


def test_committed_model_is_one_of_bentoml(bentoml_home: Path, artifact: Artifact) -> None:
    """BentoML lists it, reads its labels and gives its folder; the files are the same."""
    committed = store.commit(artifact)

    model = bentoml.models.get("sentiment:tiny-1")
    assert [str(item.tag) for item in bentoml.models.list()] == ["sentiment:tiny-1"]
    assert Path(model.path) == committed.path == bentoml_home / "models" / "sentiment" / "tiny-1"
    assert model.info.labels == {"task": "text-classification", "source": "local"}
    recorded = cast("dict[str, str]", model.info.metadata["files"])
    assert recorded.items() > artifact.description.files.items()
    assert read_artifact(committed.path).description == artifact.description
    assert not committed.already_there


@pytest.mark.usefixtures("bentoml_home")
@pytest.mark.parametrize("tag", ["sentiment:tiny-1", "sentiment:latest", "sentiment"])
def test_model_is_located(tag: str, artifact: Artifact) -> None:
    """A tag, latest and no version at all lead to the folder."""
    store.commit(artifact)

    assert store.locate(tag) == store.commit(artifact).path


@pytest.mark.usefixtures("bentoml_home")
@pytest.mark.parametrize(
    "tag",
    ["sentiment:latest", "sentiment:tiny-1", "sentiment:", "no tag at all", "other:latest"],
    ids=["latest", "version", "no version", "not a tag", "another name"],
)
def test_model_that_is_not_there(tag: str) -> None:
    """An empty store gives one kind of error for whatever is asked."""
    with pytest.raises(ArtifactMissingError, match=rf"no model {tag}.*scripts/import_model.py"):
        store.locate(tag)


@pytest.mark.usefixtures("bentoml_home")
def test_version_is_not_guessed(tmp_path: Path) -> None:
    """BentoML takes tiny-10 for tiny-1 where that is the only match; here it is refused."""
    store.commit(write_classifier(tmp_path / "ten", version="10"))

    assert str(bentoml.models.get("sentiment:tiny-1").tag) == "sentiment:tiny-10"
    with pytest.raises(ArtifactError, match="no model sentiment:tiny-1, only sentiment:tiny-10"):
        store.locate("sentiment:tiny-1")


def test_damaged_model_is_not_located(bentoml_home: Path, artifact: Artifact) -> None:
    """A model that BentoML cannot read is an error that says so."""
    (store.commit(artifact).path / "model.yaml").write_text("{", "utf-8")

    with pytest.raises(ArtifactError, match="cannot give model sentiment:tiny-1: ") as refusal:
        store.locate("sentiment:tiny-1")
    assert not isinstance(refusal.value, ArtifactMissingError)
    assert bentoml_home.is_dir()


def test_same_model_again(bentoml_home: Path, artifact: Artifact, tmp_path: Path) -> None:
    """Another time and place make no other model; the one in the store stays as it is."""
    first = store.commit(artifact)
    before = (first.path / DESCRIPTION).read_bytes()
    again = write_classifier(tmp_path / "again", version="1", imported_at="2030-01-01T00:00:00Z")
    lineage = again.description.lineage.model_copy(update={"uri": "file:///elsewhere"})
    write_description(again.folder, again.description.model_copy(update={"lineage": lineage}))
    again = read_artifact(again.folder)

    assert store.commit(again).already_there
    assert store.find(again.description)
    assert (first.path / DESCRIPTION).read_bytes() == before
    assert _latest(bentoml_home) == "tiny-1"


@pytest.mark.usefixtures("bentoml_home")
@pytest.mark.parametrize(
    ("change", "field"), [("graph", "files"), ("label", "positive_label")], ids=["graph", "label"]
)
def test_other_model_under_the_same_tag(
    change: str, field: str, artifact: Artifact, tmp_path: Path
) -> None:
    """Another graph or another description is refused, and the first model stays."""
    path = store.commit(artifact).path
    graph = b"another graph" if change == "graph" else b"graph"
    other = write_classifier(tmp_path / "other", version="1", graph=graph)
    described = other.description
    if change == "label":
        described = described.model_copy(update={"positive_label": "negative"})
    write_description(other.folder, described)

    with pytest.raises(TagTakenError, match=rf"sentiment:tiny-1 \(it differs in {field}\); .*"):
        store.commit(read_artifact(other.folder))
    assert read_artifact(path).description == artifact.description


@pytest.mark.usefixtures("bentoml_home")
@pytest.mark.parametrize("name", FILES)
def test_a_changed_file_of_a_stored_model_is_named(artifact: Artifact, name: str) -> None:
    """No byte of a model in the store changes unnoticed, the description's included."""
    path = store.commit(artifact).path / name
    path.write_bytes(path.read_bytes() + b"\n")

    with pytest.raises(ArtifactChangedError, match=re.escape(f"{path} has another sha256")):
        read_artifact(store.locate(artifact.tag))


@pytest.mark.usefixtures("bentoml_home")
@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_of_a_stored_model_is_named(artifact: Artifact, name: str) -> None:
    """A model in the store is not served without one of its files."""
    path = store.commit(artifact).path / name
    path.unlink()

    with pytest.raises(ArtifactError, match=re.escape(f"{path} is missing")):
        read_artifact(store.locate(artifact.tag))


@pytest.mark.usefixtures("bentoml_home")
@pytest.mark.parametrize("name", ["model.onnx", "model.yaml"])
def test_damaged_model_under_the_same_tag(artifact: Artifact, name: str) -> None:
    """What BentoML's own import leaves when killed is named, with the command to remove it."""
    (store.commit(artifact).path / name).unlink()

    with pytest.raises(TagTakenError, match=r"damaged .*bentoml models delete sentiment:tiny-1"):
        store.commit(artifact)


def test_latest_is_the_last_import(bentoml_home: Path, tmp_path: Path) -> None:
    """It follows the time of import, not the order of versions; importing again moves nothing."""
    nine = write_classifier(tmp_path / "nine", version="9")
    for artifact in (nine, write_classifier(tmp_path / "ten", version="10"), nine):
        store.commit(artifact)

    assert _latest(bentoml_home) == "tiny-10"
    assert str(bentoml.models.get("sentiment:latest").tag) == "sentiment:tiny-10"


@pytest.mark.parametrize("content", [None, "tiny-0", "tiny-9"], ids=["none", "gone", "stale"])
def test_latest_is_mended(content: str | None, bentoml_home: Path, tmp_path: Path) -> None:
    """An import that was killed before it set latest is made good by the next one."""
    store.commit(write_classifier(tmp_path / "nine", version="9"))
    ten = write_classifier(tmp_path / "ten", version="10")
    store.commit(ten)
    latest = bentoml_home / "models" / "sentiment" / "latest"
    latest.unlink()
    if content:
        latest.write_text(content, "utf-8")

    assert store.commit(ten).already_there
    assert _latest(bentoml_home) == "tiny-10"


def test_damaged_neighbour(bentoml_home: Path, artifact: Artifact, tmp_path: Path) -> None:
    """A model that cannot be read keeps no other one out."""
    neighbour = store.commit(write_classifier(tmp_path / "other", version="0")).path
    (neighbour / "model.yaml").write_text("creation_time: {", "utf-8")

    store.commit(artifact)

    assert _latest(bentoml_home) == "tiny-1"


def test_leftovers_are_removed(bentoml_home: Path, artifact: Artifact) -> None:
    """What a killed import staged goes with the next one, and is never listed."""
    staging = bentoml_home / ".models-staging"
    (staging / "tiny-1").mkdir(parents=True)
    (staging / "tiny-1" / "model.onnx").write_bytes(b"half")
    (staging / "latest").touch()
    assert bentoml.models.list() == []

    store.commit(artifact)

    assert [entry.name for entry in staging.iterdir()] == ["lock"]


def test_file_that_changes_while_it_is_copied(bentoml_home: Path, artifact: Artifact) -> None:
    """Only what was verified gets into the store."""
    artifact.graph_path.write_bytes(b"changed")

    with pytest.raises(ArtifactChangedError, match=r"model.onnx has another sha256"):
        store.commit(artifact)
    assert bentoml.models.list() == []
    assert [entry.name for entry in (bentoml_home / ".models-staging").iterdir()] == ["lock"]


def test_links_are_followed(bentoml_home: Path, artifact: Artifact, tmp_path: Path) -> None:
    """The store gets files of its own, so that the source may go."""
    linked = tmp_path / "linked"
    linked.mkdir()
    for path in artifact.folder.iterdir():
        (linked / path.name).symlink_to(path)

    committed = store.commit(read_artifact(linked))
    shutil.rmtree(artifact.folder)

    assert read_artifact(committed.path).golden == artifact.golden
    assert bentoml_home in committed.path.parents


def test_versions_in_capitals_are_one_tag(bentoml_home: Path, tmp_path: Path) -> None:
    """BentoML writes tags in lower case, and so does the artifact."""
    artifact = write_classifier(tmp_path / "draft", version="RC1")

    assert store.commit(artifact).tag == artifact.tag == "sentiment:tiny-rc1"
    assert store.locate(artifact.tag) == bentoml_home / "models" / "sentiment" / "tiny-rc1"


def test_serving_needs_no_import_tools() -> None:
    """Looking a model up loads neither onnx nor transformers."""
    code = "import sys, textclf.store; print({'onnx', 'transformers', 'tqdm'} & set(sys.modules))"

    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert result.stdout.strip() == "set()"
