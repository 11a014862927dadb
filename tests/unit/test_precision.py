"""An import that chooses how the graph is stored."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.conftest import use_store
from tests.encoder_graphs import write_roberta_encoder
from tests.tiny_models import ROBERTA_TOKENS, TinyModel, token_ids
from textclf import store
from textclf.artifact import CARD, Artifact, read_artifact
from textclf.description import ClassifierDescription, PrecisionChoice, TriedVariant
from textclf.errors import PrecisionError, TagTakenError
from textclf.golden import read_texts
from textclf.importing import ImportOptions, ImportReport, import_model
from textclf.sources import LocalSource


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    """Two encoder layers with matrices large enough to be worth int8."""
    folder = tmp_path_factory.mktemp("encoder") / "encoder"
    return write_roberta_encoder(folder, width=192, masked=True)


@pytest.fixture(scope="module")
def texts_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Golden texts, few enough to be quick."""
    file = tmp_path_factory.mktemp("texts") / "texts.txt"
    file.write_text("\n".join(read_texts(None)[:40]), "utf-8")
    return file


def bring(model: TinyModel, texts: Path, precision: PrecisionChoice | None) -> ImportReport:
    """Import a model with a precision."""
    options = ImportOptions(golden_texts=texts, precision=precision)
    return import_model(LocalSource(model.graph), options)


def by_name(description: ClassifierDescription) -> dict[str, TriedVariant]:
    """Return what was tried."""
    return {variant.name: variant for variant in description.precision.variants}


@pytest.fixture(scope="module")
def imported(
    encoder: TinyModel, texts_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Artifact]:
    """The encoder, imported with the precision chosen for it."""
    with use_store(tmp_path_factory.mktemp("store") / "bentoml"):
        yield read_artifact(store.locate(bring(encoder, texts_file, None).tag))


def test_the_fastest_that_holds_is_chosen(imported: Artifact) -> None:
    """Every variant is in the table; none that was refused is chosen, nor a slower one."""
    tried = by_name(imported.description)

    (chosen,) = [variant for variant in tried.values() if variant.verdict == "chosen"]
    held = [v.speedup or 0 for v in tried.values() if v.verdict in {"chosen", "held"}]
    assert tried.keys() >= {"fp32", "fp32 fused", "int8 per token", "int8 dynamic"}
    assert tried.keys() >= {"int8 static", "int8 block-wise"}
    assert chosen.speedup == max(held)  # which is well above the margin that noise is granted
    assert imported.description.precision.weights == chosen.name.split()[0]
    assert imported.description.batch_invariance.invariant


def test_stock_dynamic_int8_is_refused(imported: Artifact) -> None:
    """One scale a tensor lets an answer depend on its batch; the verdict has the figures."""
    tried = by_name(imported.description)

    stock, ours = tried["int8 dynamic"], tried["int8 per token"]
    moves = f"refused: in batches a score moves by {stock.batch_score_shift:.4f}"
    assert stock.verdict.startswith(moves)
    assert ours.batch_score_shift is not None
    assert ours.batch_score_shift < 1e-4
    assert ours.batch_labels_flipped == 0


def test_the_table_is_kept(imported: Artifact) -> None:
    """The model card has a row for each variant, and the stored graph is the chosen one."""
    tried = by_name(imported.description)

    card = (imported.folder / CARD).read_text("utf-8")
    chosen = next(variant for variant in tried.values() if variant.verdict == "chosen")
    assert all(f"| {name} |" in card for name in tried)
    assert imported.graph_path.stat().st_size == pytest.approx(chosen.size_bytes, rel=0.01)


@pytest.mark.usefixtures("bentoml_home")
def test_fp32_tries_no_int8(encoder: TinyModel, texts_file: Path) -> None:
    """With --precision fp32 the graph is fused at the most."""
    report = bring(encoder, texts_file, "fp32")

    assert list(by_name(report.description)) == ["fp32", "fp32 fused"]
    assert report.description.precision.weights == "fp32"


@pytest.mark.usefixtures("bentoml_home")
def test_int8_that_does_not_hold(encoder: TinyModel, texts_file: Path, tmp_path: Path) -> None:
    """With --precision int8 no fp32 graph is stored instead, and the figures are said."""
    model = onnx.load_model(encoder.graph)
    (logits,) = model.graph.output
    for node in model.graph.node:
        node.output[:] = ["raw" if name == logits.name else name for name in node.output]
    model.graph.node.append(onnx.helper.make_node("ReduceMax", ["raw"], ["of_the_batch"]))
    model.graph.node.append(onnx.helper.make_node("Div", ["raw", "of_the_batch"], [logits.name]))
    graph = tmp_path / "uneven.onnx"
    onnx.save_model(model, graph)
    options = ImportOptions(
        tokenizer=str(encoder.folder), golden_texts=texts_file, precision="int8"
    )

    with pytest.raises(PrecisionError, match="with --precision fp32") as refused:
        import_model(LocalSource(graph), options)

    assert "int8 per token: in batches a score moves by 0." in str(refused.value)


@pytest.mark.usefixtures("bentoml_home")
def test_int8_of_a_small_graph(roberta_model: TinyModel, texts_file: Path) -> None:
    """A graph without a large product is not quantised, and --precision int8 says so."""
    with pytest.raises(PrecisionError, match="no product that is large enough"):
        bring(roberta_model, texts_file, "int8")


@pytest.mark.usefixtures("bentoml_home")
def test_same_import_is_known_before_anything_is_tried(
    encoder: TinyModel, texts_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The second time nothing is built or timed; another precision is another model."""
    first = bring(encoder, texts_file, "fp32")
    caplog.clear()
    caplog.set_level(logging.INFO)

    second = bring(encoder, texts_file, "fp32")

    assert second.already_there
    assert second.description == first.description
    assert not any("trying" in message for message in caplog.messages)
    with pytest.raises(TagTakenError, match=r"differs in precision\)"):
        bring(encoder, texts_file, "auto")


@pytest.mark.usefixtures("bentoml_home")
def test_accuracy_is_measured_on_the_file_given(
    encoder: TinyModel, texts_file: Path, tmp_path: Path
) -> None:
    """--evaluate records the accuracy of the graph as found and of what is stored."""
    labelled = tmp_path / "labelled.tsv"
    lines = [f"{text}\t{i % 2}" for i, text in enumerate(read_texts(texts_file))]
    labelled.write_text("\n".join(["sentence\tlabel", *lines]), "utf-8")
    options = ImportOptions(golden_texts=texts_file, evaluate=labelled)

    description = import_model(LocalSource(encoder.graph), options).description

    assert {figure.dataset for figure in description.evaluations} == {"labelled.tsv"}
    assert {figure.sentences for figure in description.evaluations} == {len(lines)}
    assert {f.precision for f in description.evaluations} >= {description.precision.weights, "fp32"}
    assert all(v.accuracy is not None for v in description.precision.variants if v.speedup)


@pytest.mark.usefixtures("bentoml_home")
def test_int8_graph_stays_as_it_is(
    imported: Artifact, encoder: TinyModel, texts_file: Path, tmp_path: Path
) -> None:
    """A graph that comes in int8 is not changed, and is not turned into fp32."""
    graph = Path(shutil.copy(imported.graph_path, tmp_path / "ready.onnx"))
    options = ImportOptions(tokenizer=str(encoder.folder), golden_texts=texts_file)

    report = import_model(LocalSource(graph), options)

    precision = report.description.precision
    assert (precision.weights, precision.method) == ("int8", "as found")
    assert (store.locate(report.tag) / "model.onnx").read_bytes() == graph.read_bytes()
    with pytest.raises(PrecisionError, match="int8 weights, of which no fp32 can be made"):
        import_model(LocalSource(graph), replace(options, version="2", precision="fp32"))


@pytest.mark.usefixtures("bentoml_home")
def test_one_golden_text_is_not_alone(encoder: TinyModel, tmp_path: Path) -> None:
    """However few texts are given, batches have others in them, and stock int8 is refused."""
    text = tmp_path / "text.txt"
    text.write_text(read_texts(None)[0], "utf-8")

    report = bring(encoder, text, None)

    stock = by_name(report.description)["int8 dynamic"]
    assert stock.verdict.startswith("refused: in batches a score moves by")
    assert report.description.batch_invariance.texts > 40


def test_int8_is_made_of_the_fused_graph(imported: Artifact) -> None:
    """Layer norms are one operator there, and projections are integer products.

    Attention may have stayed as exported, if that was faster.
    """
    operators = [node.op_type for node in onnx.load_model(imported.graph_path).graph.node]

    assert imported.description.precision.weights == "int8"
    assert operators.count("LayerNormalization") == 5
    assert operators.count("MatMulIntegerToFloat") >= 2 * 6
    assert operators.count("MultiHeadAttention") in {0, 2}


@pytest.mark.usefixtures("bentoml_home")
def test_an_old_opset_is_raised(texts_file: Path, tmp_path: Path, roberta_model: TinyModel) -> None:
    """Opset 9, which has no operators for int8 products, does not keep a graph from int8."""
    graph = tmp_path / "old.onnx"
    onnx.save_model(_opset_9_graph(), graph)
    options = ImportOptions(tokenizer=str(roberta_model.folder), golden_texts=texts_file)

    tried = by_name(import_model(LocalSource(graph), options).description)

    assert tried["int8 per token"].speedup is not None


def _opset_9_graph() -> onnx.ModelProto:
    random = np.random.default_rng(0)
    tables = {
        "table": random.standard_normal((ROBERTA_TOKENS, 256)),
        "product": random.standard_normal((256, 256)) / 16,
        "head": random.standard_normal((256, 2)),
    }
    nodes = [
        onnx.helper.make_node("Gather", ["table", "input_ids"], ["vectors"]),
        onnx.helper.make_node("MatMul", ["vectors", "product"], ["hidden"]),
        onnx.helper.make_node("ReduceMean", ["hidden"], ["pooled"], axes=[1], keepdims=0),
        onnx.helper.make_node("MatMul", ["pooled", "head"], ["logits"]),
    ]
    logits = onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ("batch", 2))
    weights = [
        onnx.numpy_helper.from_array(table.astype(np.float32), name)
        for name, table in tables.items()
    ]
    graph = onnx.helper.make_graph(nodes, "old", [token_ids()], [logits], weights)
    opsets = [onnx.helper.make_opsetid("", 9)]
    return onnx.helper.make_model(graph, ir_version=4, opset_imports=opsets)
