"""What is found out by running a graph."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper

from tests.tiny_models import ROBERTA_TOKENS, bert_graph, roberta_graph
from textclf.artifact import read_artifact
from textclf.description import ClassifierDescription
from textclf.errors import GraphError, LabelError, TokenizerError
from textclf.golden import read_texts
from textclf.verification import company, verify

TEXTS = ["a good day", "a bad day indeed", "a bad one", "no", "the longest text of them all here"]


@pytest.fixture
def folder(classifier_folder: Path, tmp_path: Path) -> Path:
    """A copy of a classifier folder, to exchange its graph."""
    return Path(shutil.copytree(classifier_folder, tmp_path / "classifier"))


@pytest.fixture
def description(folder: Path) -> ClassifierDescription:
    """The description in that folder."""
    return read_artifact(folder).description


def test_sound_classifier(folder: Path, description: ClassifierDescription) -> None:
    """Each text gets scores, which do not depend on its batch."""
    verified = verify(folder, description, TEXTS, embedding_rows=ROBERTA_TOKENS)

    assert verified.scores.shape == (len(TEXTS), 2)
    assert np.allclose(verified.scores.sum(axis=1), 1)
    assert verified.batch_invariance.invariant
    assert verified.scores.shape == (len(TEXTS), 2)
    assert verified.batch_invariance.texts == len([*TEXTS, *company(TEXTS)])
    assert verified.batch_invariance.labels_flipped == 0
    assert verified.warnings == []


def test_answers_that_depend_on_the_batch(masked_classifier_folder: Path, tmp_path: Path) -> None:
    """A graph with one scale for the whole batch is found out, with the figures."""
    folder = Path(shutil.copytree(masked_classifier_folder, tmp_path / "classifier"))
    onnx.save_model(bert_graph(scale_of_batch=True), folder / "model.onnx")
    description = read_artifact(masked_classifier_folder).description

    verified = verify(folder, description, read_texts(None), embedding_rows=None)

    assert not verified.batch_invariance.invariant
    assert verified.batch_invariance.largest_score_shift > 0.01


def _with_weights(value: float) -> ModelProto:
    model = roberta_graph()
    weights = next(t for t in model.graph.initializer if t.name == "weights")
    filled = np.full(weights.dims, value, dtype=np.float32)
    weights.CopyFrom(numpy_helper.from_array(filled, "weights"))
    return model


def _baked_batch() -> ModelProto:
    """Return a graph whose declared batch axis is dynamic, while its logits are always one row."""
    model = roberta_graph()
    model.graph.node[-2].output[0] = "all_pooled"
    model.graph.initializer.append(numpy_helper.from_array(np.array([0]), "zero"))
    first = onnx.helper.make_node("Gather", ["all_pooled", "zero"], ["pooled"], axis=0)
    model.graph.node.insert(len(model.graph.node) - 1, first)
    return model


@pytest.mark.parametrize(
    ("graph", "error", "message"),
    [
        (roberta_graph(labels=3), LabelError, "3 logits, but .* 2 labels .negative, positive."),
        (_with_weights(float("nan")), GraphError, "not finite"),
        (_with_weights(float("inf")), GraphError, "not finite"),
        (_baked_batch(), GraphError, "1 rows of logits for 2 texts; .* dynamic batch axis"),
        (
            roberta_graph(positions=66),
            GraphError,
            "fails on 512 tokens, and runs on 64 at the most; import it with --max-tokens 64",
        ),
        (
            roberta_graph(rows=100),
            TokenizerError,
            "not on 299, the highest id of the tokenizer; .* as --tokenizer",
        ),
    ],
    ids=["labels", "NaN", "infinite", "baked batch", "too few positions", "small embedding"],
)
def test_graph_that_fails_when_run(
    graph: ModelProto,
    error: type[Exception],
    message: str,
    folder: Path,
    description: ClassifierDescription,
) -> None:
    """The message says on what it failed, and what to give instead."""
    onnx.save_model(graph, folder / "model.onnx")

    with pytest.raises(error, match=message):
        verify(folder, description, TEXTS, embedding_rows=None)


def test_vocabulary_beyond_the_embedding(folder: Path, description: ClassifierDescription) -> None:
    """Where the embedding is known, the message names both sizes."""
    with pytest.raises(TokenizerError, match=r"tokens with ids up to \d+, .* has 100 rows"):
        verify(folder, description, TEXTS, embedding_rows=100)


def test_embedding_far_beyond_the_vocabulary(
    folder: Path, description: ClassifierDescription
) -> None:
    """Another model's tokenizer may run all the same, so it is warned of."""
    onnx.save_model(roberta_graph(rows=500), folder / "model.onnx")

    verified = verify(folder, description, TEXTS, embedding_rows=500)

    assert "500 rows, the tokenizer only 300 tokens" in verified.warnings[0]


def test_graph_that_cannot_be_loaded(folder: Path, description: ClassifierDescription) -> None:
    """What onnxruntime refuses is a fault of the graph."""
    (folder / "model.onnx").write_bytes(b"rubbish")

    with pytest.raises(GraphError, match=r"cannot load .*model.onnx"):
        verify(folder, description, TEXTS, embedding_rows=None)
