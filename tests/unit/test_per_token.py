"""int8 graphs: what is rewritten, how close it stays, and that company changes nothing."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tests.graph_answers import operators, run
from textclf.errors import QuantizationError
from textclf.optimization.per_token import quantize_per_token
from textclf.optimization.products import MIN_ELEMENTS

WIDTH = 192  # WIDTH * WIDTH is over MIN_ELEMENTS
ROWS = 300
LABELS = 2
RELATIVE_ERROR = 0.05  # a product with 7 bits a weight and 8 an activation adds about 0.02


def weights(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    """Return a constant of roughly the spread that trained weights have."""
    return np.random.default_rng(seed).normal(0, 0.05, shape).astype(np.float32)


def build(
    nodes: list[onnx.NodeProto],
    constants: dict[str, NDArray[np.float32]],
    *,
    opset: int = 20,
    rank: int = 3,
) -> onnx.ModelProto:
    """Return a graph from float ``x`` of shape ``(batch, tokens, WIDTH)`` to ``y`` of ``rank``."""
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, None, WIDTH])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * rank)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


@pytest.fixture
def attention_like() -> onnx.ModelProto:
    """Two products that read one input, one that reads theirs, and a small last one."""
    nodes = [
        helper.make_node("MatMul", ["x", "query"], ["q"]),
        helper.make_node("MatMul", ["x", "key"], ["k"]),
        helper.make_node("Add", ["q", "k"], ["sum"]),
        helper.make_node("Tanh", ["sum"], ["hidden"]),
        helper.make_node("MatMul", ["hidden", "output"], ["projected"]),
        helper.make_node("MatMul", ["projected", "head"], ["y"]),
    ]
    constants = {
        name: weights(WIDTH, WIDTH, seed=seed)
        for seed, name in enumerate(("query", "key", "output"))
    }
    return build(nodes, constants | {"head": weights(WIDTH, LABELS)})


@pytest.fixture
def embedding() -> onnx.ModelProto:
    """A table read by ids of shape ``(batch, tokens)``, then one product."""
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["embedded"]),
        helper.make_node("MatMul", ["embedded", "dense"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, [None, None])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, None, WIDTH])],
        [
            numpy_helper.from_array(weights(ROWS, WIDTH), "table"),
            numpy_helper.from_array(weights(WIDTH, WIDTH), "dense"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def inputs(*shape: int) -> NDArray[np.float32]:
    """Return activations whose tokens differ a thousandfold in size, as real ones do."""
    random = np.random.default_rng(7)
    sizes = 10 ** random.uniform(-2, 1, (*shape, 1))
    return (sizes * random.normal(size=(*shape, WIDTH))).astype(np.float32)


def relative_error(answers: NDArray[np.float32], exact: NDArray[np.float32]) -> float:
    """Return the largest error of a token, as a share of the length of its exact answer."""
    lengths = np.linalg.norm(exact, axis=-1)
    return float((np.linalg.norm(answers - exact, axis=-1) / lengths).max())


def test_answers_do_not_depend_on_company(attention_like: onnx.ModelProto) -> None:
    """A text gets the very same numbers alone and beside texts of a thousand times its size."""
    quantized = quantize_per_token(attention_like)
    x = inputs(6, 5)

    batched = run(quantized, {"x": x})

    for index in range(len(x)):
        np.testing.assert_array_equal(
            run(quantized, {"x": x[index : index + 1]})[0], batched[index]
        )


def test_answers_stay_close_to_fp32(attention_like: onnx.ModelProto) -> None:
    """No token's answer is off by more than a few percent, however small its activations."""
    del attention_like.graph.node[-1]  # the small product, whose two numbers may cancel out
    attention_like.graph.node[-1].output[0] = "y"
    del attention_like.graph.initializer[-1]
    x = inputs(8, 4)

    answers = run(quantize_per_token(attention_like), {"x": x})

    assert relative_error(answers, run(attention_like, {"x": x})) < RELATIVE_ERROR


def test_the_remedy_against_saturation_changes_nothing(attention_like: onnx.ModelProto) -> None:
    """Weights small enough for x64 without VNNI are left alone, so both sessions agree exactly."""
    quantized = quantize_per_token(attention_like)
    x = inputs(2, 3)

    np.testing.assert_array_equal(
        run(quantized, {"x": x}, exact="0"), run(quantized, {"x": x}, exact="1")
    )
    for tensor in quantized.graph.initializer:
        if tensor.data_type == TensorProto.INT8:
            assert np.abs(numpy_helper.to_array(tensor).astype(int)).max() <= 63


def test_products_of_one_input_share_its_quantisation(attention_like: onnx.ModelProto) -> None:
    """Three large products read two tensors, each of which is quantised once."""
    count = operators(quantize_per_token(attention_like))

    assert count["MatMulIntegerToFloat"] == 3
    assert count["QuantizeLinear"] == 2


def test_small_products_stay_exact(attention_like: onnx.ModelProto) -> None:
    """A last product below the threshold keeps its fp32 weights, and nothing else does."""
    quantized = quantize_per_token(attention_like)

    assert operators(quantized)["MatMul"] == 1
    kept = {
        tensor.name
        for tensor in quantized.graph.initializer
        if tensor.data_type == TensorProto.FLOAT and len(tensor.dims) == 2
    }
    assert kept == {"head"}
    assert WIDTH * LABELS < MIN_ELEMENTS


def test_tables_become_int8_rows(embedding: onnx.ModelProto) -> None:
    """Each row of a table has its own scale, so a row of small numbers keeps its digits."""
    table = numpy_helper.to_array(embedding.graph.initializer[0]).copy()
    table[0] *= 1000
    embedding.graph.initializer[0].CopyFrom(numpy_helper.from_array(table, "table"))
    ids = np.array([[0, 1, 2], [299, 0, 7]])
    exact = run(embedding, {"ids": ids})

    quantized = quantize_per_token(embedding)

    assert quantized.ByteSize() < 0.3 * embedding.ByteSize()
    assert relative_error(run(quantized, {"ids": ids}), exact) < RELATIVE_ERROR


@pytest.mark.parametrize("transposed", [0, 1], ids=["in-out", "out-in"])
@pytest.mark.parametrize("with_bias", [True, False], ids=["bias", "no bias"])
def test_gemm_is_a_product_too(transposed: int, *, with_bias: bool) -> None:
    """Gemm is rewritten whichever way its matrix lies, with a bias or without."""
    bias = ["bias"] if with_bias else []
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"], axis=2),
        helper.make_node("Gemm", ["flat", "dense", *bias], ["y"], transB=transposed),
    ]
    shape = (256, WIDTH) if transposed else (WIDTH, 256)
    model = build(nodes, {"dense": weights(*shape), "bias": weights(256)}, rank=2)
    x = inputs(3, 2)

    quantized = quantize_per_token(model)

    assert operators(quantized)["MatMulIntegerToFloat"] == 1
    assert relative_error(run(quantized, {"x": x}), run(model, {"x": x})) < RELATIVE_ERROR


def test_a_weight_may_be_a_constant_node() -> None:
    """Exporters that write weights as Constant nodes are served as well, without the fp32 copy."""
    value = numpy_helper.from_array(weights(WIDTH, WIDTH), "w")
    nodes = [
        helper.make_node("Constant", [], ["w"], value=value),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]

    quantized = quantize_per_token(build(nodes, {}))

    assert operators(quantized)["MatMulIntegerToFloat"] == 1
    assert operators(quantized)["Constant"] == 0


@pytest.mark.parametrize("opset", [11, 13, 18])
def test_older_opsets_work(opset: int) -> None:
    """ReduceMax takes its axes as an attribute before opset 18 and as an input from there on."""
    model = build(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": weights(WIDTH, WIDTH)}, opset=opset
    )
    x = inputs(2, 2)

    answers = run(quantize_per_token(model), {"x": x})

    assert relative_error(answers, run(model, {"x": x})) < RELATIVE_ERROR


def test_a_token_of_zeros_gives_zeros(attention_like: onnx.ModelProto) -> None:
    """A token without any activation has no scale of its own, and is not divided by zero."""
    x = np.zeros((1, 1, WIDTH), np.float32)

    assert (run(quantize_per_token(attention_like), {"x": x}) == 0).all()


def test_the_given_model_is_left_alone(attention_like: onnx.ModelProto) -> None:
    """The rewrite works on a copy."""
    before = attention_like.SerializeToString()

    quantize_per_token(attention_like)

    assert attention_like.SerializeToString() == before


@pytest.mark.parametrize(
    ("opset", "columns", "fill", "message"),
    [
        (9, WIDTH, 0.1, "opset 9"),
        (20, LABELS, 0.1, "no product"),
        (20, WIDTH, np.nan, "w is not finite"),
    ],
    ids=["opset without integer products", "nothing large enough", "weights that are no numbers"],
)
def test_what_cannot_be_quantised_is_refused(
    opset: int, columns: int, fill: float, message: str
) -> None:
    """A graph that would gain nothing, or come out wrong, is refused with the reason."""
    matrix = np.full((WIDTH, columns), fill, np.float32)
    model = build([helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": matrix}, opset=opset)

    with pytest.raises(QuantizationError, match=message):
        quantize_per_token(model)
