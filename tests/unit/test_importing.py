"""From a source to a model in the store."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import cast

import bentoml
import onnx
import pytest

from tests.conftest import require
from tests.tiny_models import TinyModel, write_bert
from textclf import store
from textclf.artifact import DESCRIPTION, GOLDEN, read_artifact, write_description, write_golden
from textclf.description import BatchInvariance
from textclf.errors import (
    ArtifactChangedError,
    GoldenMismatchError,
    GraphError,
    ModelImportError,
    TextClassifierError,
    TokenizerError,
)
from textclf.importing import ImportOptions, import_model
from textclf.sources import LocalSource

NOTHING = ImportOptions()
REFERENCE = Path(__file__).resolve().parents[2] / "models" / "reference"


@pytest.fixture
def texts_file(tmp_path: Path) -> Path:
    """A file with a few golden texts."""
    file = tmp_path / "texts.txt"
    file.write_text("espresso is too strong\na quiet film\nnot bad at all\n", "utf-8")
    return file


@pytest.mark.usefixtures("bentoml_home")
def test_bare_graph_becomes_a_classifier(roberta_model: TinyModel, texts_file: Path) -> None:
    """Everything the graph and its tokenizer say is written down, and golden texts are recorded."""
    options = ImportOptions(version="7", max_tokens=32, golden_texts=texts_file)

    report = import_model(LocalSource(roberta_model.graph), options)

    artifact = read_artifact(store.locate("sentiment:tiny-7"))
    description = artifact.description
    assert report.tag == artifact.tag == "sentiment:tiny-7"
    assert report.description == description
    assert (description.labels, description.positive_label) == (
        ["negative", "positive"],
        "positive",
    )
    assert description.inputs == {"input_ids": "input_ids"}
    assert (description.pad_token_id, description.max_tokens) == (1, 32)
    assert (description.precision.weights, description.precision.method) == ("fp32", "as found")
    assert description.lineage.uri == roberta_model.graph.as_uri()
    assert description.lineage.importer.startswith("textclf ")
    assert {example.text for example in artifact.golden} <= set(
        texts_file.read_text("utf-8").splitlines()
    )


@pytest.mark.usefixtures("bentoml_home")
def test_labels_beside_the_graph(bert_model: TinyModel, tmp_path: Path, texts_file: Path) -> None:
    """id2label of a config.json is taken, and then nothing has to be said of labels."""
    folder = Path(shutil.copytree(bert_model.folder, tmp_path / "named"))
    config = {"model_type": "bert", "id2label": {"0": "POSITIVE", "1": "NEGATIVE"}}
    (folder / "config.json").write_text(json.dumps(config), "utf-8")

    report = import_model(LocalSource(folder), ImportOptions(golden_texts=texts_file))

    assert report.description.labels == ["POSITIVE", "NEGATIVE"]
    assert report.description.positive_label == "POSITIVE"
    assert not any("nothing names the labels" in warning for warning in report.warnings)


@pytest.mark.usefixtures("bentoml_home")
def test_defaults_are_said(roberta_model: TinyModel, texts_file: Path) -> None:
    """Labels that nobody named and too few golden texts are warned of."""
    report = import_model(LocalSource(roberta_model.graph), ImportOptions(golden_texts=texts_file))

    assert any("taken to be negative, positive" in warning for warning in report.warnings)
    assert any("of 3 golden texts have a clear answer" in warning for warning in report.warnings)


@pytest.mark.usefixtures("bentoml_home")
def test_graph_that_depends_on_its_batch(tmp_path: Path) -> None:
    """It is imported, described as what it is, and warned of with the figures."""
    model = write_bert(tmp_path / "uneven", scale_of_batch=True)

    report = import_model(LocalSource(model.graph), NOTHING)

    measured = read_artifact(store.locate(report.tag)).description.batch_invariance
    assert not measured.invariant
    (warning,) = [text for text in report.warnings if "share its batch" in text]
    assert f"{measured.largest_score_shift:.4f}; the model is served one text at a time" in warning


@pytest.mark.usefixtures("bentoml_home")
def test_external_weights_are_brought_in(roberta_model: TinyModel, tmp_path: Path) -> None:
    """A graph in two files is one file in the store."""
    folder = Path(shutil.copytree(roberta_model.folder, tmp_path / "split"))
    graph = onnx.load_model(roberta_model.graph)
    onnx.save_model(graph, folder / "tiny.onnx", save_as_external_data=True, size_threshold=0)

    report = import_model(LocalSource(folder), NOTHING)
    shutil.rmtree(folder)

    assert read_artifact(store.locate(report.tag)).graph_path.stat().st_size > 50_000


@pytest.mark.usefixtures("bentoml_home")
def test_classifier_folder_is_taken_as_it_is(classifier_folder: Path) -> None:
    """Not a byte of a classifier folder changes on its way into the store."""
    report = import_model(LocalSource(classifier_folder), NOTHING)

    for name in (
        "model.onnx",
        "tokenizer.json",
        "golden.jsonl",
        "drift.json",
        "classifier.json",
        "MODEL_CARD.md",
    ):
        held = store.locate(report.tag) / name
        assert held.read_bytes() == (classifier_folder / name).read_bytes()
    assert report.warnings == []


@pytest.mark.usefixtures("bentoml_home")
def test_classifier_folder_under_another_tag(classifier_folder: Path) -> None:
    """Name and version can be chosen anew; the rest of the lineage stays."""
    report = import_model(LocalSource(classifier_folder), ImportOptions(name="b", version="2"))

    assert report.tag == "sentiment:b-2"
    before = read_artifact(classifier_folder).description.lineage
    assert report.description.lineage == before.model_copy(update={"name": "b", "version": "2"})


@pytest.mark.usefixtures("bentoml_home")
def test_claim_of_invariance_is_measured(tmp_path: Path) -> None:
    """A folder whose classifier.json promises too much is corrected, with a warning."""
    model = write_bert(tmp_path / "uneven", scale_of_batch=True)
    folder = Path(
        shutil.copytree(
            store.locate(import_model(LocalSource(model.graph), NOTHING).tag), tmp_path / "claimed"
        )
    )
    promise = BatchInvariance(invariant=True, texts=1, largest_score_shift=0, labels_flipped=0)
    description = read_artifact(folder).description
    write_description(folder, description.model_copy(update={"batch_invariance": promise}))

    report = import_model(LocalSource(folder), ImportOptions(version="2"))

    assert not report.description.batch_invariance.invariant
    assert "classifier.json says that batches do not change an answer, but" in report.warnings[0]


def test_dry_run_writes_nothing(classifier_folder: Path, bentoml_home: Path) -> None:
    """It tells what would happen."""
    report = import_model(LocalSource(classifier_folder), NOTHING, dry_run=True)

    assert (report.dry_run, report.already_there) == (True, False)
    assert not list((bentoml_home / "models").iterdir())
    import_model(LocalSource(classifier_folder), NOTHING)
    assert import_model(LocalSource(classifier_folder), NOTHING, dry_run=True).already_there


@pytest.mark.usefixtures("bentoml_home")
def test_reference_model() -> None:
    """The model that comes with the project can be imported."""
    require((REFERENCE / DESCRIPTION).is_file(), "the reference model is not there")

    report = import_model(LocalSource(REFERENCE), NOTHING)

    assert report.tag == read_artifact(REFERENCE).tag
    metadata = bentoml.models.get(report.tag).info.metadata
    recorded = cast("dict[str, str]", metadata["files"])
    assert recorded.items() > report.description.files.items()


def _change_golden(folder: Path) -> None:
    artifact = read_artifact(folder)
    first = artifact.golden[0]
    other = first.model_copy(update={"score": first.score - 0.2})
    write_golden(folder / GOLDEN, [other, *artifact.golden[1:]])
    write_description(folder, artifact.description)


def _change_inputs(folder: Path) -> None:
    description = read_artifact(folder).description
    write_description(folder, description.model_copy(update={"inputs": {"input_ids": "other"}}))


def _change_graph(folder: Path) -> None:
    with (folder / "model.onnx").open("ab") as file:
        file.write(b"\x00")


def _split_graph(folder: Path) -> None:
    description = read_artifact(folder).description
    graph = onnx.load_model(folder / "model.onnx")
    onnx.save_model(graph, folder / "model.onnx", save_as_external_data=True, size_threshold=0)
    write_description(folder, description)


@pytest.mark.usefixtures("bentoml_home")
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (_change_golden, GoldenMismatchError, r"sentiment:tiny-1 .*: recorded .*, got "),
        (_change_inputs, GraphError, "other inputs or outputs than classifier.json"),
        (_change_graph, ArtifactChangedError, r"model.onnx has another sha256"),
        (_split_graph, GraphError, "keeps weights in other files"),
    ],
    ids=["other answers", "other inputs", "other graph", "split graph"],
)
def test_classifier_folder_that_is_not_sound(
    change: Callable[[Path], None],
    error: type[TextClassifierError],
    message: str,
    classifier_folder: Path,
    tmp_path: Path,
) -> None:
    """What the folder says of itself is checked before anything is written."""
    folder = Path(shutil.copytree(classifier_folder, tmp_path / "changed"))
    change(folder)

    with pytest.raises(error, match=message):
        import_model(LocalSource(folder), NOTHING)
    assert bentoml.models.list() == []


@pytest.mark.usefixtures("bentoml_home")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (ImportOptions(labels=["a", "b"], max_tokens=8), "leave out --labels, --max-tokens"),
        (ImportOptions(name="not a name"), "'not a name' and version '1' make no store tag"),
        (ImportOptions(version="1-"), "'tiny' and version '1-' make no store tag"),
        (ImportOptions(name="n" * 40, version="v" * 30), "at most 62 characters"),
    ],
    ids=["overrides", "name", "version", "too long"],
)
def test_options_that_cannot_be_met(
    options: ImportOptions, message: str, classifier_folder: Path
) -> None:
    """The message names the option."""
    with pytest.raises(ModelImportError, match=message):
        import_model(LocalSource(classifier_folder), options)


@pytest.mark.usefixtures("bentoml_home")
def test_graph_without_a_tokenizer(roberta_model: TinyModel, tmp_path: Path) -> None:
    """A graph that stands alone needs --tokenizer, and then it goes."""
    graph = Path(shutil.copy(roberta_model.graph, tmp_path / "alone.onnx"))

    with pytest.raises(TokenizerError, match=r"no tokenizer beside .*alone.onnx; .* --tokenizer"):
        import_model(LocalSource(graph), NOTHING)
    options = ImportOptions(tokenizer=str(roberta_model.folder))
    assert import_model(LocalSource(graph), options).tag == "sentiment:alone-1"


@pytest.mark.usefixtures("bentoml_home")
def test_scratch_folder_that_cannot_be_written(
    classifier_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the folder and the variable that moves it."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "absent"))

    with pytest.raises(ModelImportError, match=r"below .*absent: .* set TMPDIR"):
        import_model(LocalSource(classifier_folder), NOTHING)
