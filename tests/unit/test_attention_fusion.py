"""Attention that is fused, and all that only looks like it."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from tests.encoder_graphs import EncoderShape, encoder_graph
from tests.graph_answers import assert_same_answers, operators, roles
from tests.tiny_models import token_ids
from textclf.optimization.fusion import fuse

LOWEST = float(np.finfo(np.float32).min)


def distance_bias(op_type: str, limit: int) -> list[NodeProto]:
    """Return nodes that mask by the distance between two tokens."""
    return [
        helper.make_node("Shape", ["input_ids"], ["bias_size"], start=1, end=2),
        helper.make_node("Squeeze", ["bias_size"], ["bias_length"]),
        helper.make_node("Range", ["bias_zero", "bias_length", "bias_one"], ["bias_places"]),
        helper.make_node("Unsqueeze", ["bias_places", "bias_one_axis"], ["bias_rows"]),
        helper.make_node("Sub", ["bias_places", "bias_rows"], ["bias_signed"]),
        helper.make_node(op_type, ["bias_signed"], ["bias_distance"]),
        helper.make_node("Constant", [], ["bias_limit"], value_int=limit),
        helper.make_node("Greater", ["bias_distance", "bias_limit"], ["bias_far"]),
        helper.make_node("Cast", ["bias_far"], ["bias_floats"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["bias_floats", "bias_lowest"], ["bias"]),
    ]


PAD_BIAS = [
    helper.make_node("Equal", ["input_ids", "bias_pad"], ["bias_is_pad"]),
    helper.make_node("Unsqueeze", ["bias_is_pad", "bias_two_axes"], ["bias_wide"]),
    helper.make_node("Cast", ["bias_wide"], ["bias_floats"], to=TensorProto.FLOAT),
    helper.make_node("Mul", ["bias_floats", "bias_lowest"], ["bias"]),
]
POSITION_BIAS = [
    helper.make_node("Gather", ["bias_table", "input_ids"], ["bias_by_id"]),
    helper.make_node("Shape", ["input_ids"], ["bias_size"], start=1, end=2),
    helper.make_node("Slice", ["bias_table", "bias_start", "bias_size"], ["bias_rows"]),
    helper.make_node("Transpose", ["bias_rows"], ["bias_heads"], perm=[1, 0]),
    helper.make_node("Unsqueeze", ["bias_heads", "bias_edges"], ["bias"]),
]
BIAS_TENSORS = {
    "bias_zero": np.array(0),
    "bias_one": np.array(1),
    "bias_start": np.array([0]),
    "bias_one_axis": np.array([1]),
    "bias_two_axes": np.array([1, 2]),
    "bias_edges": np.array([0, 2]),
    "bias_pad": np.array(100),
    "bias_lowest": np.array(LOWEST, np.float32),
    "bias_table": np.random.default_rng(5).standard_normal((514, 4), dtype=np.float32),
}


def biased_encoder(nodes: list[NodeProto]) -> ModelProto:
    """Return an encoder whose scores are masked by the tensor ``bias`` of these nodes."""
    model = encoder_graph(EncoderShape(layers=1, style="dynamo-eager"))
    softmax = next(node for node in model.graph.node if node.op_type == "Softmax")
    add = next(node for node in model.graph.node if softmax.input[0] in node.output)
    add.input[1] = "bias"
    rest = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *rest])
    tensors = [numpy_helper.from_array(value, name) for name, value in BIAS_TENSORS.items()]
    model.graph.initializer.extend(tensors)
    return model


@pytest.mark.parametrize(
    "nodes",
    [
        distance_bias("Identity", limit=0),
        distance_bias("Abs", limit=100),
        PAD_BIAS,
        POSITION_BIAS,
    ],
    ids=["causal", "a window that short texts fit in", "by id", "a bias of positions"],
)
def test_other_attention_stays(nodes: list[NodeProto]) -> None:
    """Attention that leaves out or weighs anything but padding is not taken for plain attention."""
    model = biased_encoder(nodes)
    fused = fuse(model, inputs=roles(model))

    assert operators(fused)["MultiHeadAttention"] == 0
    assert operators(fused)["Softmax"] == operators(fused)["Gelu"] == 1
    assert_same_answers(fused, model)


@pytest.mark.parametrize("scale", [1.0, 0.24], ids=["none", "nearly that of attention"])
def test_another_scale_stays(scale: float) -> None:
    """Only scores over the root of a head's size are fused."""
    model = encoder_graph(EncoderShape(layers=1, style="dynamo-eager"))
    (tensor,) = [
        item
        for item in model.graph.initializer
        if not item.dims and numpy_helper.to_array(item).item() == 0.25
    ]
    tensor.CopyFrom(numpy_helper.from_array(np.array(scale, np.float32), tensor.name))
    fused = fuse(model, inputs=roles(model))

    assert operators(fused)["Softmax"] == 1
    assert_same_answers(fused, model)


@pytest.mark.parametrize(
    ("positions", "fused"), [(64, 1), (16, 0)], ids=["a short text", "too short a text"]
)
def test_attention_is_tried_on_a_long_text(positions: int, fused: int) -> None:
    """A graph that takes only short texts is tried on one of those, not on a few tokens alone."""
    model = encoder_graph(EncoderShape(layers=1, positions=positions))

    assert operators(fuse(model, inputs=roles(model)))["MultiHeadAttention"] == fused


def states_graph(nodes: list[NodeProto], *, width: int = 32) -> ModelProto:
    """Return a graph from embeddings ``states`` by way of ``context`` to the mean's logits."""
    random = np.random.default_rng(0)
    shapes = {"table": (128, width), "weights": (width, 2), "query_weights": (width, width)}
    shapes |= {"key_weights": (width, width // 4), "pool_weights": (width, 1)}
    tensors: dict[str, NDArray[np.generic]] = {
        name: random.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()
    }
    tensors |= {"heads": np.array([0, 0, 4, width // 4]), "joined": np.array([0, 0, width])}
    tensors |= {"axis": np.array([1]), "root": np.array((width / 4) ** 0.5, np.float32)}
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["table", "input_ids"], ["states"]),
            *nodes,
            helper.make_node("ReduceMean", ["context"], ["mean"], axes=[1], keepdims=0),
            helper.make_node("MatMul", ["mean", "weights"], ["logits"]),
        ],
        "states",
        [token_ids()],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ("batch", 2))],
        [numpy_helper.from_array(value, name) for name, value in tensors.items()],
    )
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])


POOLING = [
    helper.make_node("MatMul", ["states", "pool_weights"], ["scores"]),
    helper.make_node("Softmax", ["scores"], ["shares"], axis=1),
    helper.make_node("Mul", ["shares", "states"], ["context"]),
]
GATE = [
    helper.make_node("Softmax", ["states"], ["gate"], axis=-1),
    helper.make_node("Mul", ["gate", "states"], ["context"]),
]
UNSPLIT = [
    helper.make_node("Transpose", ["states"], ["turned"], perm=[0, 2, 1]),
    helper.make_node("MatMul", ["states", "turned"], ["scores"]),
    helper.make_node("Softmax", ["scores"], ["shares"], axis=-1),
    helper.make_node("MatMul", ["shares", "states"], ["context"]),
]
SHARED_KEY = [
    helper.make_node("MatMul", ["states", "query_weights"], ["query"]),
    helper.make_node("Reshape", ["query", "heads"], ["split"]),
    helper.make_node("Transpose", ["split"], ["queries"], perm=[0, 2, 1, 3]),
    helper.make_node("MatMul", ["states", "key_weights"], ["key"]),
    helper.make_node("Unsqueeze", ["key", "axis"], ["keys"]),
    helper.make_node("Transpose", ["keys"], ["turned"], perm=[0, 1, 3, 2]),
    helper.make_node("MatMul", ["queries", "turned"], ["products"]),
    helper.make_node("Div", ["products", "root"], ["scores"]),
    helper.make_node("Softmax", ["scores"], ["shares"], axis=-1),
    helper.make_node("MatMul", ["shares", "keys"], ["parts"]),
    helper.make_node("Transpose", ["parts"], ["ordered"], perm=[0, 2, 1, 3]),
    helper.make_node("Reshape", ["ordered", "joined"], ["context"]),
]
CONSTANT_QUERY = [
    helper.make_node("Transpose", ["states"], ["turned"], perm=[0, 2, 1]),
    helper.make_node("Unsqueeze", ["turned", "axis"], ["keys"]),
    helper.make_node("MatMul", ["query_weights", "keys"], ["scores"]),
    helper.make_node("Softmax", ["scores"], ["shares"], axis=-1),
    helper.make_node("Unsqueeze", ["states", "axis"], ["values"]),
    helper.make_node("MatMul", ["shares", "values"], ["wide"]),
    helper.make_node("Squeeze", ["wide", "axis"], ["parts"]),
    helper.make_node("MatMul", ["states", "parts"], ["context"]),
]


@pytest.mark.parametrize(
    "nodes",
    [POOLING, GATE, UNSPLIT, SHARED_KEY, CONSTANT_QUERY],
    ids=["pooling", "a gate", "no heads", "one key for all heads", "a constant query"],
)
def test_another_softmax_stays(nodes: list[NodeProto]) -> None:
    """A Softmax is not enough: what is around it has to be attention of several heads."""
    model = states_graph(nodes)
    fused = fuse(model, inputs=roles(model))

    assert operators(fused) == operators(model)
    assert_same_answers(fused, model)


def test_names_that_are_taken() -> None:
    """The mask's copy in int32 takes the name of no other tensor."""
    model = encoder_graph(EncoderShape(layers=1, masked=True))
    old = model.graph.initializer[0].name
    model.graph.initializer[0].name = "attention_mask_int32"
    for node in model.graph.node:
        node.input[:] = ["attention_mask_int32" if name == old else name for name in node.input]
    fused = fuse(model, inputs=roles(model))

    assert operators(fused)["MultiHeadAttention"] == 1
    assert_same_answers(fused, model)
