"""scripts/show_model.py."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from scripts.show_model import main
from textclf.artifact import read_artifact
from textclf.importing import ImportOptions, import_model
from textclf.sources import LocalSource


def test_a_folder_for_a_person(classifier_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the model comes from, what goes in and out, and the hash of each file are there."""
    assert main([str(classifier_folder)]) == 0

    shown = dict(
        line.split("  ", 1) for line in capsys.readouterr().out.split("\n\n")[0].splitlines()
    )
    description = read_artifact(classifier_folder).description
    assert shown["model"].strip() == "sentiment:tiny-1"
    assert shown["uri"].strip() == description.lineage.uri
    assert shown["graph input"].strip() == "input_ids: int64 (texts, tokens), at most 512 tokens"
    assert shown["labels"].strip() == "negative, positive (positive: positive)"
    assert {shown[f"sha256 of {name}"].strip() for name in description.files} == set(
        description.files.values()
    )


def test_a_folder_for_a_machine(
    classifier_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--json prints the tag and everything that classifier.json holds."""
    assert main([str(classifier_folder), "--json"]) == 0

    shown = json.loads(capsys.readouterr().out)
    written = json.loads((classifier_folder / "classifier.json").read_text("utf-8"))
    assert shown == {"tag": "sentiment:tiny-1"} | written


@pytest.mark.usefixtures("bentoml_home")
def test_what_would_be_served(classifier_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without an argument it is the newest model of the store."""
    import_model(LocalSource(classifier_folder), ImportOptions(version="9"))

    assert main([]) == 0
    assert capsys.readouterr().out.splitlines()[0].split() == ["model", "sentiment:tiny-9"]


@pytest.mark.usefixtures("bentoml_home")
def test_no_such_tag(capsys: pytest.CaptureFixture[str]) -> None:
    """A tag that the store does not have ends in one line and the exit code of the error."""
    assert main(["sentiment:nothing-1"]) == 18
    assert capsys.readouterr().err.startswith("error: the store has no model sentiment:nothing-1")


def test_a_changed_file_is_named(
    classifier_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A model that is not what it was is not shown as if it were."""
    folder = Path(shutil.copytree(classifier_folder, tmp_path / "changed"))
    (folder / "golden.jsonl").write_text("{}\n", "utf-8")

    assert main([str(folder)]) == 12
    assert f"{folder / 'golden.jsonl'} has another sha256" in capsys.readouterr().err
