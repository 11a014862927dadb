"""What is read off an ONNX file without running it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from tests.tiny_models import BERT_TOKENS, ROBERTA_TOKENS, bert_graph, roberta_graph, token_ids
from textclf.errors import GraphError
from textclf.graph_signature import external_files, read_signature


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """Where a graph is written."""
    return tmp_path / "graph.onnx"


def test_signature_with_a_mask(graph: Path) -> None:
    """Inputs are known by their names."""
    onnx.save_model(bert_graph(), graph)

    signature = read_signature(graph)

    assert signature.inputs == {"input_ids": "input_ids", "attention_mask": "attention_mask"}
    assert (signature.output, signature.embedding_rows) == ("logits", BERT_TOKENS)
    assert (signature.weights, signature.has_external_data) == ("fp32", False)


def test_only_input_is_the_ids_whatever_its_name(graph: Path) -> None:
    """Old exports call it input; IR version 3 lists the weights beside it."""
    model = roberta_graph(ids=token_ids("input"))
    model.ir_version = 3
    model.graph.input.extend(
        onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        for tensor in model.graph.initializer
    )
    onnx.save_model(model, graph)

    signature = read_signature(graph)

    assert signature.inputs == {"input_ids": "input"}
    assert signature.embedding_rows == ROBERTA_TOKENS


def test_precision_is_that_of_most_weights(graph: Path) -> None:
    """A quantised graph is known by its weights."""
    model = roberta_graph()
    table = numpy_helper.from_array(np.zeros((90_000,), dtype=np.int8), "unused")
    model.graph.initializer.append(table)
    onnx.save_model(model, graph)

    assert read_signature(graph).weights == "int8"


def test_integer_products_make_a_graph_int8(graph: Path) -> None:
    """However large its fp32 tables are, a graph whose products run in int8 is none of fp32."""
    model = roberta_graph()
    node = helper.make_node("DynamicQuantizeLinear", ["vectors"], ["values", "scale", "zero"])
    model.graph.node.insert(len(model.graph.node) - 1, node)
    onnx.save_model(model, graph)

    assert read_signature(graph).weights == "int8"


def test_external_data_is_named(graph: Path) -> None:
    """Weights in another file are known of, by the name of that file."""
    model = roberta_graph()
    onnx.save_model(
        model, graph, save_as_external_data=True, location="weights.bin", size_threshold=0
    )

    assert read_signature(graph).has_external_data
    assert external_files(graph) == ["weights.bin"]


@pytest.mark.parametrize("location", ["../weights.bin", "/etc/passwd", "a/../../weights.bin"])
def test_external_data_stays_beside_the_graph(graph: Path, location: str) -> None:
    """A graph that reads files outside its folder is refused, whether they exist or not."""
    model = roberta_graph()
    onnx.save_model(
        model, graph, save_as_external_data=True, location="weights.bin", size_threshold=0
    )
    skeleton = onnx.load_model(graph, load_external_data=False)
    for tensor in skeleton.graph.initializer:
        tensor.external_data[0].value = location
    graph.write_bytes(skeleton.SerializeToString())

    with pytest.raises(GraphError, match=re.escape(f"{location!r}, outside its folder")):
        read_signature(graph)


def _two_inputs_swapped() -> ModelProto:
    return bert_graph(mask_name="mask")


def _no_input() -> ModelProto:
    model = roberta_graph()
    del model.graph.input[:]
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((1, 2), np.int64), "input_ids"))
    return model


def _two_outputs() -> ModelProto:
    model = roberta_graph()
    pooled = onnx.helper.make_tensor_value_info("pooled", TensorProto.FLOAT, ("batch", 16))
    model.graph.output.append(pooled)
    return model


def _hidden_states_out() -> ModelProto:
    model = roberta_graph()
    vectors = onnx.helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ("b", "s", 16))
    model.graph.output[0].CopyFrom(vectors)
    return model


def _unknown_operator() -> ModelProto:
    model = roberta_graph()
    model.graph.node[0].op_type = "Kast"
    return model


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (_two_inputs_swapped, "has the inputs input_ids, mask; export it with input_ids and"),
        (_no_input, "has the inputs none"),
        (
            lambda: roberta_graph(ids=token_ids(kind=TensorProto.FLOAT)),
            "input_ids of .* is float, not int64",
        ),
        (lambda: roberta_graph(ids=token_ids(kind=TensorProto.INT32)), "is int32, not int64"),
        (
            lambda: roberta_graph(ids=token_ids(shape=(1, "sequence"))),
            r"shape \(1, sequence\), .* dynamic_axes",
        ),
        (lambda: roberta_graph(ids=token_ids(shape=("batch", 128))), r"shape \(batch, 128\)"),
        (_two_outputs, r"2 outputs \(logits, pooled\); keep"),
        (_hidden_states_out, r"vectors of .* is float of shape \(b, s, 16\), .* head"),
        (_unknown_operator, "is not valid ONNX: .*Kast.*; export it again, with an opset"),
    ],
    ids=[
        "unknown input",
        "no input",
        "float input",
        "int32 input",
        "fixed batch",
        "fixed sequence",
        "two outputs",
        "no logits",
        "unknown operator",
    ],
)
def test_graph_that_cannot_be_served(
    build: Callable[[], ModelProto], message: str, graph: Path
) -> None:
    """The message names the input or output at fault, and how to export it instead."""
    onnx.save_model(build(), graph)

    with pytest.raises(GraphError, match=message):
        read_signature(graph)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x00not a graph", "no ONNX file or was cut short"),
        (b"", "holds no ONNX graph"),
        (roberta_graph().SerializeToString()[:-2000], "no ONNX file or was cut short"),
    ],
    ids=["rubbish", "empty", "truncated"],
)
def test_file_that_is_no_graph(content: bytes, message: str, graph: Path) -> None:
    """A damaged file is told from a graph of the wrong kind."""
    graph.write_bytes(content)

    with pytest.raises(GraphError, match=message):
        read_signature(graph)


def test_external_data_that_is_missing(graph: Path) -> None:
    """The message names the file that was left behind."""
    onnx.save_model(
        roberta_graph(), graph, save_as_external_data=True, location="w.bin", size_threshold=0
    )
    graph.with_name("w.bin").unlink()

    with pytest.raises(GraphError, match=r"keeps its weights in w.bin, .*; copy it there too"):
        read_signature(graph)
