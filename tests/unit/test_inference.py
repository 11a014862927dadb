"""Ids become scores, or an error that says why not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.tiny_models import TinyModel, roberta_graph
from textclf.artifact import read_artifact
from textclf.errors import InferenceError, ModelLoadError
from textclf.inference import Graph, open_session, pad, softmax


def test_padding_names_each_array_as_the_graph_does() -> None:
    """Ids are padded on the right; the mask tells which are text."""
    feeds = pad(
        [[5, 6, 7], [8]],
        inputs={"input_ids": "ids", "attention_mask": "mask", "token_type_ids": "types"},
        pad_token_id=1,
    )

    assert feeds["ids"].tolist() == [[5, 6, 7], [8, 1, 1]]
    assert feeds["mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert feeds["types"].tolist() == [[0, 0, 0], [0, 0, 0]]
    assert all(array.dtype == np.int64 for array in feeds.values())


@given(arrays(np.float32, (3, 4), elements=st.floats(-1e4, 1e4, width=32)))
def test_softmax_gives_rows_that_sum_to_one(logits: np.ndarray) -> None:
    """Also where the exponential of a logit alone would overflow."""
    scores = softmax(logits)

    np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-5)
    assert (scores >= 0).all()
    assert (scores.max(axis=1) == scores[np.arange(3), logits.argmax(axis=1)]).all()


def test_file_that_is_no_graph_is_refused(tmp_path: Path) -> None:
    """The message names the file."""
    path = tmp_path / "model.onnx"
    path.write_bytes(b"no graph")

    with pytest.raises(ModelLoadError, match=str(path)):
        open_session(path)


def test_ids_that_the_graph_cannot_take_are_refused(classifier_folder: Path) -> None:
    """An id beyond the embedding is an error, never an answer."""
    artifact = read_artifact(classifier_folder)

    with pytest.raises(InferenceError, match=r"shape \(1, 2\)"):
        Graph(artifact.graph_path, artifact.description).scores([[1, 1_000_000]])


def test_logits_that_are_not_finite_are_refused(classifier_folder: Path, tmp_path: Path) -> None:
    """NaN has no label."""
    model = roberta_graph()
    for tensor in model.graph.initializer:
        if tensor.name == "bias":
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.full(2, np.nan, np.float32), "bias"))
    onnx.save_model(model, tmp_path / "nan.onnx")
    description = read_artifact(classifier_folder).description

    with pytest.raises(InferenceError, match="not finite"):
        Graph(tmp_path / "nan.onnx", description).scores([[5, 6]])


def test_graph_without_a_mask_says_so(
    classifier_folder: Path, masked_classifier_folder: Path
) -> None:
    """The batches depend on it."""
    bare, masked = (read_artifact(f) for f in (classifier_folder, masked_classifier_folder))

    assert not Graph(bare.graph_path, bare.description).has_mask
    assert Graph(masked.graph_path, masked.description).has_mask


def test_tiny_model_is_a_sound_graph(roberta_model: TinyModel) -> None:
    """The tests' own graph passes the ONNX checker."""
    onnx.checker.check_model(onnx.load(roberta_model.graph), full_check=True)
