"""Large weights beside a graph, and back in one file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.encoder_graphs import write_roberta_encoder
from tests.graph_answers import feeds, logits
from textclf.errors import GraphError
from textclf.optimization.weights import WEIGHTS, graph_bytes, lay_aside, pack, read_graph


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A graph with matrices of more than 1 MiB, and smaller tensors."""
    folder = tmp_path_factory.mktemp("encoder") / "encoder"
    return write_roberta_encoder(folder, layers=1, width=384, heads=4).graph


def answers(path: Path) -> np.ndarray:
    """Return what the graph answers, wherever its weights lie."""
    model = onnx.load_model(path)
    return logits(model, feeds(model, 2, 9))


def test_there_and_back(graph: Path, tmp_path: Path) -> None:
    """Laid aside and packed again, a graph is as large as it was and answers the same."""
    aside, packed = tmp_path / "aside.onnx", tmp_path / "packed.onnx"

    lay_aside(graph, aside)
    pack(aside, packed)

    assert aside.stat().st_size < graph.stat().st_size * 0.7
    assert (tmp_path / WEIGHTS).stat().st_size > graph.stat().st_size * 0.3
    assert graph_bytes(aside) == pytest.approx(graph_bytes(graph), rel=0.01)
    assert packed.stat().st_size == pytest.approx(graph.stat().st_size, rel=0.001)
    onnx.checker.check_model(packed, full_check=True)
    np.testing.assert_array_equal(answers(packed), answers(graph))


def test_small_graphs_stay_in_one_file(tmp_path: Path) -> None:
    """Tensors below 1 MiB are not worth a file of their own."""
    graph = write_roberta_encoder(tmp_path / "small").graph

    lay_aside(graph, tmp_path / "aside.onnx")

    assert not (tmp_path / WEIGHTS).exists()
    np.testing.assert_array_equal(answers(tmp_path / "aside.onnx"), answers(graph))


def test_weights_are_no_inputs(graph: Path, tmp_path: Path) -> None:
    """Exports of IR version 3 list weights among the inputs; nothing may replace them here."""
    model = onnx.load_model(graph)
    model.ir_version = 3
    for tensor in model.graph.initializer:
        model.graph.input.append(
            helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        )
    old = tmp_path / "old.onnx"
    onnx.save_model(model, old)

    lay_aside(old, tmp_path / "aside.onnx")

    aside = read_graph(tmp_path / "aside.onnx")
    assert [value.name for value in aside.graph.input] == ["input_ids"]
    assert aside.ir_version == 4
    np.testing.assert_array_equal(answers(tmp_path / "aside.onnx"), answers(graph))


def test_what_is_no_graph(tmp_path: Path) -> None:
    """A file that cannot be read is named."""
    (tmp_path / "cut.onnx").write_bytes(b"\x00cut short")

    with pytest.raises(GraphError, match=r"cut\.onnx"):
        lay_aside(tmp_path / "cut.onnx", tmp_path / "aside.onnx")
