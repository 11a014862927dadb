"""A classifier folder is read whole or refused with the file that is wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from textclf.artifact import (
    CARD,
    DESCRIPTION,
    DRIFT,
    GOLDEN,
    GRAPH,
    TOKENIZER,
    hash_file,
    read_artifact,
    read_golden,
    write_description,
    write_golden,
)
from textclf.description import ClassifierDescription, Evaluation, GoldenExample
from textclf.errors import ArtifactChangedError, ArtifactError
from textclf.model_card import render_card


@pytest.fixture
def folder(masked_classifier_folder: Path, tmp_path: Path) -> Path:
    """Return a classifier folder that a test may spoil."""
    return Path(shutil.copytree(masked_classifier_folder, tmp_path / "classifier"))


def test_what_was_written_is_read(folder: Path) -> None:
    """Hashes of the files are recorded in the description."""
    artifact = read_artifact(folder)

    assert artifact.graph_path == folder / GRAPH
    assert artifact.tag == "sentiment:masked-1"
    assert artifact.description.files == {
        name: hash_file(folder / name) for name in (GRAPH, TOKENIZER, GOLDEN, DRIFT)
    }


@pytest.mark.parametrize("name", [GRAPH, TOKENIZER, GOLDEN, DRIFT, DESCRIPTION])
def test_missing_file_is_named(folder: Path, name: str) -> None:
    """A folder without one of its files is no classifier."""
    (folder / name).unlink()

    with pytest.raises(ArtifactError, match=name):
        read_artifact(folder)


@pytest.mark.parametrize("name", [GRAPH, TOKENIZER, GOLDEN, DRIFT])
def test_changed_file_is_named(folder: Path, name: str) -> None:
    """One byte more is another file."""
    with (folder / name).open("ab") as file:
        file.write(b" ")

    with pytest.raises(ArtifactChangedError, match=name):
        read_artifact(folder)


def drop_positive_label(description: dict[str, object]) -> None:
    """Name a positive label that is not among the labels."""
    description["positive_label"] = "grumpy"


def repeat_label(description: dict[str, object]) -> None:
    """Give two logits the same label."""
    description["labels"] = ["positive", "positive"]


def forget_input_ids(description: dict[str, object]) -> None:
    """Name only the mask among the inputs."""
    description["inputs"] = {"attention_mask": "attention_mask"}


def add_member(description: dict[str, object]) -> None:
    """Add a member of a later format."""
    description["colour"] = "green"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (drop_positive_label, "'grumpy' is not among"),
        (repeat_label, "not distinct"),
        (forget_input_ids, "no input_ids"),
        (add_member, "colour"),
    ],
)
def test_inconsistent_description_is_refused(
    folder: Path, spoil: Callable[[dict[str, object]], None], message: str
) -> None:
    """The message says which member is wrong."""
    description = json.loads((folder / DESCRIPTION).read_text())
    spoil(description)
    (folder / DESCRIPTION).write_text(json.dumps(description))

    with pytest.raises(ArtifactError, match=message):
        read_artifact(folder)


def test_golden_label_that_the_classifier_lacks_is_refused(folder: Path) -> None:
    """Such a snapshot is another model's."""
    write_golden(folder / GOLDEN, [GoldenExample(text="x", label="grumpy", score=0.9)])
    write_description(folder, read_artifact_description(folder))

    with pytest.raises(ArtifactError, match="grumpy"):
        read_artifact(folder)


def read_artifact_description(folder: Path) -> ClassifierDescription:
    """Return the description alone, whatever the other files are."""
    return ClassifierDescription.model_validate_json((folder / DESCRIPTION).read_bytes())


@pytest.mark.parametrize(
    "text",
    [
        "a\nb",
        "line\u2028separator",
        "tab\tbell\x07",
        "\U0001f600 zero\u200bwidth",
        'quote " back\\',
    ],
)
def test_golden_texts_survive_writing(tmp_path: Path, text: str) -> None:
    """Whatever a text holds, it stays on its line."""
    golden = (GoldenExample(text=text, label="positive", score=0.75),) * 2

    write_golden(tmp_path / GOLDEN, golden)

    assert read_golden(tmp_path / GOLDEN) == golden


@pytest.mark.parametrize(
    ("content", "message"),
    [("", "no example"), ('{"text": "x"}', "line 1"), ("nonsense", "line 1")],
    ids=["empty", "incomplete", "no JSON"],
)
def test_unreadable_golden_snapshot_is_refused(tmp_path: Path, content: str, message: str) -> None:
    """The message names the line."""
    (tmp_path / GOLDEN).write_text(content)

    with pytest.raises(ArtifactError, match=message):
        read_golden(tmp_path / GOLDEN)


def test_model_card_is_rendered_from_the_description(folder: Path) -> None:
    """The card in the folder says no more and no less than classifier.json."""
    assert (folder / CARD).read_text() == render_card(read_artifact(folder).description)


def test_model_card_shows_figures_and_training(folder: Path) -> None:
    """Every figure and every paragraph on training stands in the card."""
    figure = Evaluation(dataset="SST-2", sentences=872, precision="int8", accuracy=0.9025)
    description = read_artifact(folder).description.model_copy(
        update={"evaluations": [figure], "training": {"Recipe": "Four epochs."}}
    )

    card = render_card(description)

    assert "| SST-2 | 872 | int8 | 0.9025 |" in card
    assert "## Recipe\n\nFour epochs." in card
