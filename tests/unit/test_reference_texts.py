"""An import records what the traffic is to be compared with, or says that it cannot be."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.http.serving import PROJECT
from tests.tiny_models import TinyModel
from textclf import store
from textclf.artifact import DRIFT, read_artifact, write_description
from textclf.drafting.reference import MOST_REFERENCE_TEXTS, read_reference_texts
from textclf.drift import Reference
from textclf.errors import DataFileError, TagTakenError
from textclf.importing import ImportOptions, import_model
from textclf.sources import LocalSource

TEXTS = [f"The {word} film was {end}." for word in "abcdefgh" for end in "ijklmnopq"]


def write(folder: Path, lines: list[str], name: str = "texts.txt") -> Path:
    """Write a file of lines."""
    (folder / name).write_text("\n".join(lines) + "\n", "utf-8")
    return folder / name


def import_graph(model: TinyModel, **options: object) -> tuple[Reference | None, list[str]]:
    """Import a graph, and return its reference and the warnings that speak of drift."""
    report = import_model(LocalSource(model.graph), ImportOptions(**options))  # type: ignore[arg-type]
    warnings = [warning for warning in report.warnings if "drift" in warning]
    return read_artifact(store.locate(report.tag)).reference, warnings


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([*TEXTS, "", "  "], TEXTS),
        (["sentence\tlabel", *(f"{text} \t1" for text in TEXTS)], TEXTS),
        ([*TEXTS, *TEXTS], [*TEXTS, *TEXTS]),
        ([*TEXTS, "long " * 2_000], TEXTS),
    ],
    ids=["lines", "sentences with labels", "repeated", "longer than a request may hold"],
)
def test_reference_texts_are_read(tmp_path: Path, lines: list[str], expected: list[str]) -> None:
    """One a line or the form of labelled data; a text that comes often counts as often."""
    assert read_reference_texts(write(tmp_path, lines)) == expected


def test_of_many_texts_some_are_taken_from_all_over_the_file(tmp_path: Path) -> None:
    """The first and the last are among them."""
    texts = [f"text {number}" for number in range(10_000)]

    taken = read_reference_texts(write(tmp_path, texts))

    assert len(taken) == len(set(taken)) == MOST_REFERENCE_TEXTS
    assert (taken[0], taken[1000], taken[-1]) == ("text 0", "text 5002", "text 9999")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"fine\n" * 49, "holds 49 texts .* give at least 50"), (b"\xff", "cannot read .*UTF-8")],
    ids=["too few", "no text"],
)
def test_a_file_that_is_no_reference(tmp_path: Path, content: bytes, message: str) -> None:
    """The message says what to give."""
    (tmp_path / "texts.txt").write_bytes(content)

    with pytest.raises(DataFileError, match=message):
        read_reference_texts(tmp_path / "texts.txt")


@pytest.mark.usefixtures("bentoml_home")
def test_given_texts_are_the_reference(bert_model: TinyModel, tmp_path: Path) -> None:
    """Their distribution is stored, not one of them is, and other texts make another model."""
    file = write(tmp_path, [*TEXTS, "ünknöwn 😀"])

    found, warnings = import_graph(bert_model, reference_texts=file)

    assert found
    assert (found.origin, found.texts, warnings) == ("given", 73, [])
    features = {feature.name: feature for feature in found.features}
    assert sum(features["unknown_tokens"].counts[1:]) == 1
    assert "film" not in (store.locate("sentiment:latest") / DRIFT).read_text("utf-8")
    with pytest.raises(TagTakenError, match="differs in reference_texts_sha256"):
        import_graph(bert_model, reference_texts=write(tmp_path, TEXTS))


@pytest.mark.usefixtures("bentoml_home")
def test_golden_texts_stand_in(roberta_model: TinyModel, tmp_path: Path) -> None:
    """They are taken for want of better, and that is said with their number; few are none."""
    found, warnings = import_graph(roberta_model)
    none, too_few = import_graph(
        roberta_model, version="2", golden_texts=write(tmp_path, TEXTS[:9])
    )

    assert found
    assert (found.origin, found.texts) == ("golden", 176)
    assert "compared with the 176 golden texts, which may be unlike it" in warnings[0]
    assert none is None
    assert "drift of the traffic will not be measured: 9 golden texts are too few" in too_few[0]


@pytest.fixture
def older_folder(masked_classifier_folder: Path, tmp_path: Path) -> Path:
    """Return a classifier folder as it was before there was a reference."""
    folder = Path(shutil.copytree(masked_classifier_folder, tmp_path / "older"))
    (folder / DRIFT).unlink()
    write_description(folder, read_artifact(masked_classifier_folder).description)
    return folder


@pytest.mark.usefixtures("bentoml_home")
def test_an_older_folder_is_taken_as_it_is(older_folder: Path) -> None:
    """It has no reference and gets none by itself, so that it stays the model that it was."""
    report = import_model(LocalSource(older_folder), ImportOptions())

    assert read_artifact(store.locate(report.tag)).reference is None
    assert DRIFT not in report.description.files
    assert f"has no {DRIFT}, so drift of its traffic will not be measured" in report.warnings[-1]
    with pytest.raises(TagTakenError, match="differs in files"):
        import_model(LocalSource(older_folder), with_texts(older_folder.parent))


@pytest.mark.usefixtures("bentoml_home")
@pytest.mark.parametrize("kind", ["older", "newer"])
def test_a_folder_takes_other_reference_texts(
    older_folder: Path, masked_classifier_folder: Path, kind: str
) -> None:
    """Whoever serves a model knows its traffic better than whoever made it."""
    folder = older_folder if kind == "older" else masked_classifier_folder
    report = import_model(LocalSource(folder), with_texts(older_folder.parent, version="9"))

    found = read_artifact(store.locate(report.tag)).reference
    assert found
    assert (found.origin, found.texts, report.warnings) == ("given", 72, [])


def with_texts(folder: Path, **options: str) -> ImportOptions:
    """Return options that name reference texts."""
    return ImportOptions(reference_texts=write(folder, TEXTS), **options)  # type: ignore[arg-type]


@pytest.mark.usefixtures("bentoml_home")
def test_a_model_imported_before_is_left_alone(
    bert_model: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same import finds it there, and says how to have drift measured."""
    with monkeypatch.context() as before:
        before.setattr("textclf.drafting.reference.write_reference", lambda *_: None)
        import_graph(bert_model)

    found, warnings = import_graph(bert_model)

    assert found is None
    assert "was imported before drift was measured" in warnings[0]


def test_the_reference_model_has_its_own() -> None:
    """It is of the sentences that it has not learned from."""
    found = read_artifact(PROJECT / "models" / "reference").reference

    assert found
    assert (found.origin, found.texts) == ("given", 872)
    assert all(feature.texts == 872 for feature in found.features)
