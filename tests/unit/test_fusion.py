"""Fused graphs: which operators come of which, and that no answer changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnx.external_data_helper import load_external_data_for_model, uses_external_data

from tests.encoder_graphs import OPSETS, STYLES, EncoderShape, Style, encoder_graph
from tests.graph_answers import assert_same_answers, feeds, logits, operators, roles
from tests.tiny_models import PAD_ID, bert_graph, roberta_graph, token_ids
from textclf.optimization.fusion import LAYER_NORM_OPSET, fuse
from textclf.optimization.per_token import quantize_per_token

LAYERS = 2


def projections(model: ModelProto) -> int:
    """Return how many products have a constant matrix."""
    constants = {tensor.name for tensor in model.graph.initializer}
    products = [node for node in model.graph.node if node.op_type == "MatMul"]
    return sum(node.input[1] in constants for node in products)


@pytest.mark.parametrize("masked", [True, False], ids=["masked", "ids alone"])
@pytest.mark.parametrize("style", STYLES)
def test_each_export_is_fused(style: Style, masked: bool) -> None:
    """Whoever exported an encoder, its attention becomes one operator and answers as before."""
    model = encoder_graph(EncoderShape(layers=LAYERS, style=style, masked=masked))
    fused = fuse(model, inputs=roles(model))

    counts = operators(fused)
    normalised = 2 * LAYERS + 1 if OPSETS[style] >= LAYER_NORM_OPSET else 0
    assert counts["MultiHeadAttention"] == counts["Gelu"] == LAYERS
    assert counts["LayerNormalization"] == normalised
    assert not {"Softmax", "Erf", "SkipLayerNormalization", "Attention"} & set(counts)
    assert projections(fused) == projections(model)
    assert_same_answers(fused, model)


def test_positions_still_follow_padding() -> None:
    """Of a graph without a mask, the mask of ones goes and the positions by pad id stay."""
    model = encoder_graph(EncoderShape(style="script-eager"))
    fused = fuse(model, inputs=roles(model))
    ids = np.array([[0, 9, 8, 7, 2, PAD_ID, PAD_ID]])
    others = np.where(ids == PAD_ID, 50, ids)

    assert operators(fused)["CumSum"] == 1
    assert operators(fused)["ConstantOfShape"] == 0
    assert np.abs(logits(fused, {"input_ids": ids}) - logits(fused, {"input_ids": others})).max()


def test_company_changes_nothing() -> None:
    """A text answers the same alone and padded beside a longer one."""
    model = encoder_graph(EncoderShape(style="dynamo-sdpa", masked=True))
    fused = fuse(model, inputs=roles(model))
    inputs = feeds(model, 2, 12)
    inputs["attention_mask"][0, 5:] = 0
    alone = {name: values[:1, :5] for name, values in inputs.items()}

    np.testing.assert_allclose(logits(fused, alone)[0], logits(fused, inputs)[0], atol=1e-5)


def int8_products(model: ModelProto) -> int:
    """Return how many products are of integers once each token has a scale."""
    return operators(quantize_per_token(model))["MatMulIntegerToFloat"]


def test_projections_can_become_integer_products() -> None:
    """As many products become int8 with attention fused as without, and the tables too."""
    model = encoder_graph(EncoderShape(layers=1, width=192, masked=True))
    fused = fuse(model, inputs=roles(model))
    quantized = quantize_per_token(fused)
    inputs = feeds(model, 3, 17)

    assert int8_products(fused) == int8_products(model) == 6 + 1  # and the pooled state's
    assert operators(quantized)["MultiHeadAttention"] == 1
    np.testing.assert_allclose(logits(quantized, inputs), logits(model, inputs), atol=0.5)


def test_external_weights_are_not_read(tmp_path: Path) -> None:
    """Without the file of its weights a graph is fused the same, and still refers to that file."""
    model = encoder_graph(EncoderShape(layers=1, style="script-sdpa", masked=True))
    onnx.save_model(
        model, tmp_path / "m.onnx", save_as_external_data=True, location="data", size_threshold=4096
    )
    skeleton = onnx.load_model(tmp_path / "m.onnx", load_external_data=False)
    data = (tmp_path / "data").rename(tmp_path / "away")
    fused = fuse(skeleton, inputs=roles(skeleton))
    before, after = (
        {item.name: item for item in graph.graph.initializer if uses_external_data(item)}
        for graph in (skeleton, fused)
    )

    assert operators(fused)["MultiHeadAttention"] == 1
    assert before == after
    assert len(after) >= 6
    data.rename(tmp_path / "data")
    load_external_data_for_model(fused, str(tmp_path))
    load_external_data_for_model(skeleton, str(tmp_path))
    assert_same_answers(fused, skeleton)


def with_weights_as_inputs(model: ModelProto) -> ModelProto:
    """Return the graph as exports of IR version 3 have it."""
    for item in model.graph.initializer:
        value = helper.make_tensor_value_info(item.name, item.data_type, item.dims)
        model.graph.input.append(value)
    return model


def test_weights_among_the_inputs() -> None:
    """A weight that is an input as well stays one, unless nothing reads it any more."""
    plain = encoder_graph(EncoderShape(layers=1))
    fused = fuse(with_weights_as_inputs(plain), inputs={"input_ids": "input_ids"})
    names = [value.name for value in fused.graph.input]

    assert operators(fused)["MultiHeadAttention"] == 1
    assert names == ["input_ids", *(item.name for item in fused.graph.initializer)]


def test_any_name_of_the_ids() -> None:
    """The only input of a graph may have any name."""
    model = encoder_graph(EncoderShape(layers=1))
    model.graph.input[0].CopyFrom(token_ids("tokens"))
    for node in model.graph.node:
        node.input[:] = ["tokens" if name == "input_ids" else name for name in node.input]
    fused = fuse(model, inputs={"input_ids": "tokens"})

    assert operators(fused)["MultiHeadAttention"] == 1
    assert_same_answers(fused, model)


def in_a_subgraph(model: ModelProto) -> ModelProto:
    """Return the graph with its logits passed through the branches of an If."""
    model.graph.node[-1].output[0] = "outer"
    output = helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)
    nodes = [helper.make_node("Identity", ["outer"], ["inner"])]
    branch = helper.make_graph(nodes, "branch", [], [output])
    model.graph.node.append(helper.make_node("Constant", [], ["always"], value_int=1))
    model.graph.node.append(helper.make_node("Cast", ["always"], ["yes"], to=TensorProto.BOOL))
    branches = {"then_branch": branch, "else_branch": branch}
    model.graph.node.append(helper.make_node("If", ["yes"], ["logits"], **branches))
    return model


def test_what_a_subgraph_reads_is_kept() -> None:
    """A tensor that only a branch reads is read."""
    model = in_a_subgraph(encoder_graph(EncoderShape(layers=1)))
    fused = fuse(model, inputs=roles(model))

    assert operators(fused)["MultiHeadAttention"] == 1
    assert_same_answers(fused, model)


def tanh_gelu(model: ModelProto) -> ModelProto:
    """Return the graph with the approximate kind of Gelu, as an attribute says it."""
    for node in model.graph.node:
        if node.op_type == "Gelu":
            node.attribute.append(helper.make_attribute("approximate", "tanh"))
    return model


@pytest.mark.parametrize(
    "model",
    [
        roberta_graph(),
        bert_graph(scale_of_batch=True),
        encoder_graph(EncoderShape(layers=1, positions=5)),
        encoder_graph(EncoderShape(layers=0, style="dynamo-sdpa")),
    ],
    ids=["no encoder", "no encoder, masked", "too few positions to try", "no layer"],
)
def test_what_cannot_be_fused_stays(model: ModelProto) -> None:
    """A graph without attention that can be tried comes back as it was."""
    fused = fuse(model, inputs=roles(model))

    assert [node.name for node in fused.graph.node] == [node.name for node in model.graph.node]
    inputs = feeds(model, 2, 3)
    np.testing.assert_array_equal(logits(fused, inputs), logits(model, inputs))


def test_gelu_by_tanh_stays_approximate() -> None:
    """The exact Gelu does not take the place of its approximation."""
    model = tanh_gelu(encoder_graph(EncoderShape(layers=1, style="dynamo-sdpa")))

    assert_same_answers(fuse(model, inputs=roles(model)), model)


def sequence_norm() -> ModelProto:
    """Return a classifier that normalises over a text's tokens, which looks like a layer norm."""
    names = ["table", "scale", "shift", "weights", "two", "tiny"]
    random = np.random.default_rng(0)
    values = [random.standard_normal(s) for s in [(128, 8), (8,), (8,), (8, 2)]]
    values += [np.array(2.0), np.array(1e-5)]
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["x"]),
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[1]),
        helper.make_node("Sub", ["x", "mean"], ["centred"]),
        helper.make_node("Pow", ["centred", "two"], ["square"]),
        helper.make_node("ReduceMean", ["square"], ["variance"], axes=[1]),
        helper.make_node("Add", ["variance", "tiny"], ["positive"]),
        helper.make_node("Sqrt", ["positive"], ["deviation"]),
        helper.make_node("Div", ["centred", "deviation"], ["unit"]),
        helper.make_node("Mul", ["unit", "scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "shift"], ["normalised"]),
        helper.make_node("ReduceMax", ["normalised"], ["pooled"], axes=[1], keepdims=0),
        helper.make_node("MatMul", ["pooled", "weights"], ["logits"]),
    ]
    output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ("batch", 2))
    tensors = [
        numpy_helper.from_array(value.astype(np.float32), name)
        for name, value in zip(names, values, strict=True)
    ]
    graph = helper.make_graph(nodes, "norm", [token_ids()], [output], tensors)
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])


def test_what_the_library_mistakes_is_undone() -> None:
    """A fusion that changes the answers is left out."""
    model = sequence_norm()
    fused = fuse(model, inputs=roles(model))

    assert operators(fused) == operators(model)
    assert_same_answers(fused, model)


def test_the_given_graph_is_kept_and_nothing_is_said(capfd: pytest.CaptureFixture[str]) -> None:
    """Fusing changes a copy, and writes nothing."""
    model = encoder_graph(EncoderShape(layers=1))
    before = model.SerializeToString()
    fuse(model, inputs=roles(model))

    assert model.SerializeToString() == before
    assert capfd.readouterr() == ("", "")
