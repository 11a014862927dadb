"""int8 graphs with fixed scales: what they become, how close they stay, what they refuse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tests.encoder_graphs import (
    EncoderShape,
    encoder_graph,
    write_bert_encoder,
    write_roberta_encoder,
)
from tests.graph_answers import operators, run
from textclf.errors import QuantizationError
from textclf.inference import open_session, pad
from textclf.optimization.calibration import Feeds, Range, fix_scale, observe
from textclf.optimization.fusion import fuse
from textclf.optimization.per_token import quantize_per_token
from textclf.optimization.products import find_products, widening_inputs
from textclf.optimization.variants import INT8_VARIANTS

WIDTH = 192
WIDE = 4 * WIDTH
RELATIVE_ERROR = 0.05  # a product with 7 bits a weight and 8 an activation adds about 0.02
MASKED = {"input_ids": "input_ids", "attention_mask": "attention_mask"}
UNMASKED = {"input_ids": "input_ids"}


def weights(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    """Return a constant of roughly the spread that trained weights have."""
    return np.random.default_rng(seed).normal(0, 0.05, shape).astype(np.float32)


def feed_forward(*, opset: int = 20, outlier: float = 1, shared: bool = False) -> onnx.ModelProto:
    """Return a normalisation and a feed-forward block, from ``x`` to ``y``.

    Args:
        opset: Of the graph.
        outlier: How many times as wide as the others one channel of the normalisation is.
        shared: Whether the normalised states are multiplied once more, by a matrix that what the
            block gives is multiplied with too.
    """
    scale = np.ones(WIDTH, np.float32)
    scale[3] = outlier
    constants = {
        "scale": scale,
        "wide": weights(WIDTH, WIDE, seed=1),
        "wide_bias": weights(WIDE, seed=2),
        "narrow": weights(WIDE, WIDTH, seed=3),
        "narrow_bias": weights(WIDTH, seed=4),
        "square": weights(WIDTH, WIDTH, seed=5),
    }
    nodes = [
        helper.make_node("LayerNormalization", ["x", "scale"], ["states"], axis=-1),
        helper.make_node("MatMul", ["states", "wide"], ["widened"]),
        helper.make_node("Add", ["wide_bias", "widened"], ["biased"]),
        helper.make_node("Gelu", ["biased"], ["active"]),
        helper.make_node("MatMul", ["active", "narrow"], ["narrowed"]),
        helper.make_node("Add", ["narrowed", "narrow_bias"], ["block" if shared else "y"]),
    ]
    if shared:
        nodes += [
            helper.make_node("MatMul", ["states", "square"], ["one"]),
            helper.make_node("MatMul", ["block", "square"], ["other"]),
            helper.make_node("Add", ["one", "other"], ["y"]),
        ]
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(
        nodes,
        "block",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, None, WIDTH])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, None, WIDTH])],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def inputs(*shape: int, seed: int = 7) -> NDArray[np.float32]:
    """Return activations of shape ``(*shape, WIDTH)``."""
    return np.random.default_rng(seed).normal(size=(*shape, WIDTH)).astype(np.float32)


def quantize(model: onnx.ModelProto, folder: Path) -> onnx.ModelProto:
    """Calibrate a graph on some inputs and quantise it."""
    path = folder / "model.onnx"
    onnx.save_model(model, path)
    ranges = observe(path, widening_inputs(model), [{"x": inputs(1, 40, seed=1)}])  # type: ignore[dict-item]  # a graph of floats
    return quantize_per_token(model, ranges=ranges)


def relative_error(answers: NDArray[np.float32], exact: NDArray[np.float32]) -> float:
    """Return the largest error of a token, as a share of the length of its exact answer."""
    lengths = np.linalg.norm(exact, axis=-1)
    return float((np.linalg.norm(answers - exact, axis=-1) / lengths).max())


@pytest.mark.parametrize("outlier", [1, 30], ids=["channels alike", "one channel far wider"])
def test_answers_stay_close_to_fp32(outlier: float, tmp_path: Path) -> None:
    """No token's answer is off by more than a few percent, biases and wide channels included."""
    model = feed_forward(outlier=outlier)
    x = inputs(4, 6)

    answers = run(quantize(model, tmp_path), {"x": x})

    assert relative_error(answers, run(model, {"x": x})) < RELATIVE_ERROR


def test_answers_do_not_depend_on_company(tmp_path: Path) -> None:
    """A text gets the very same numbers alone and beside texts of another size."""
    quantized = quantize(feed_forward(), tmp_path)
    x = inputs(6, 5) * np.float32(10.0) ** np.arange(-3, 3)[:, None, None].astype(np.float32)

    batched = run(quantized, {"x": x})

    for index in range(len(x)):
        np.testing.assert_array_equal(
            run(quantized, {"x": x[index : index + 1]})[0], batched[index]
        )


def test_the_remedy_against_saturation_changes_nothing(tmp_path: Path) -> None:
    """Weights small enough for x64 without VNNI are left alone, so both sessions agree exactly."""
    quantized = quantize(feed_forward(outlier=30), tmp_path)
    x = inputs(2, 3)

    np.testing.assert_array_equal(
        run(quantized, {"x": x}, exact="0"), run(quantized, {"x": x}, exact="1")
    )
    for tensor in quantized.graph.initializer:
        if tensor.data_type == TensorProto.INT8:
            assert np.abs(numpy_helper.to_array(tensor).astype(int)).max() <= 63


def test_a_fixed_scale_leaves_one_pass_before_and_none_behind(tmp_path: Path) -> None:
    """The bias is added in the product; only what narrows looks for its largest value."""
    quantized = quantize(feed_forward(), tmp_path)

    (widening,) = (
        node
        for node in quantized.graph.node
        if node.op_type == "MatMulIntegerToFloat" and node.output[0] == "biased"
    )
    assert widening.input[6] == "wide_bias"
    assert operators(quantized)["ReduceMax"] == 1
    assert operators(quantized)["Add"] == 1
    assert {opset.domain for opset in quantized.opset_import} == {"", "com.microsoft"}


@pytest.mark.parametrize(("outlier", "balanced"), [(1, False), (30, True)])
def test_channels_are_balanced_where_that_pays(
    outlier: float, *, balanced: bool, tmp_path: Path
) -> None:
    """One channel thirty times as wide as the others is worth a pass; none is not."""
    quantized = quantize(feed_forward(outlier=outlier), tmp_path)

    reads = {node.input[0] for node in quantized.graph.node if node.op_type == "Mul"}
    assert ("states" in reads) == balanced


def test_a_matrix_of_two_products_is_stored_once(tmp_path: Path) -> None:
    """Channels are not balanced where the matrix multiplies another tensor as well."""
    model = feed_forward(outlier=30, shared=True)
    x = inputs(2, 3)

    quantized = quantize(model, tmp_path)

    copies = [t for t in quantized.graph.initializer if t.name.startswith("square_int8")]
    assert len(copies) == 1
    assert relative_error(run(quantized, {"x": x}), run(model, {"x": x})) < 4 * RELATIVE_ERROR


def test_what_is_read_elsewhere_stays() -> None:
    """A product whose sum with the bias is not its only reader gives both."""
    model = feed_forward()
    model.graph.output.append(helper.make_tensor_value_info("widened", TensorProto.FLOAT, None))

    first, second = find_products(model.graph)

    assert (first.bias, first.output) == ("", "widened")
    assert (second.bias, second.output) == ("narrow_bias", "y")


def test_only_what_widens_has_a_fixed_scale() -> None:
    """What the second product of a feed-forward block reads is left to a scale a token."""
    assert widening_inputs(feed_forward()) == ["states"]


def test_a_tensor_of_zeros_has_a_scale() -> None:
    """Calibration that saw nothing but zeros divides by no zero."""
    zeros = np.zeros(3, np.float32)

    fixed = fix_scale(Range(zeros, zeros), [weights(3, 4)], smooth=True)

    assert fixed.scale > 0
    assert fixed.zero_point == 0


def test_zero_has_a_level_of_its_own() -> None:
    """A range that lies above 0 is widened to it."""
    found = Range(np.full(3, 5, np.float32), np.full(3, 6, np.float32))

    fixed = fix_scale(found, [weights(3, 4)], smooth=False)

    assert fixed.zero_point == 0
    assert fixed.scale * 255 >= 6


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "calibration fails"),
        ([{"z": np.zeros((1, 1), np.int64)}], "calibration fails"),
        ([{"x": np.full((1, 2, WIDTH), np.nan, np.float32)}], "states is not finite"),
    ],
    ids=["no texts", "not the graph's inputs", "values that are no numbers"],
)
def test_calibration_that_says_nothing_is_refused(
    texts: list[Feeds], message: str, tmp_path: Path
) -> None:
    """The reason is given, and no file is left behind."""
    path = tmp_path / "model.onnx"
    onnx.save_model(feed_forward(), path)

    with pytest.raises(QuantizationError, match=message):
        observe(path, ["states"], texts)

    assert list(tmp_path.iterdir()) == [path]


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    """A graph that would come out wrong is refused with the tensor's name."""
    model = feed_forward()
    wide = next(tensor for tensor in model.graph.initializer if tensor.name == "wide")
    ranges = {"states": Range(-np.ones(WIDTH, np.float32), np.ones(WIDTH, np.float32))}
    wide.CopyFrom(numpy_helper.from_array(np.full((WIDTH, WIDE), np.inf, np.float32), "wide"))

    with pytest.raises(QuantizationError, match="wide is not finite"):
        quantize_per_token(model, base_dir=tmp_path, ranges=ranges)


@pytest.mark.parametrize("masked", [True, False], ids=["mask", "no mask"])
@pytest.mark.parametrize("fused", [True, False], ids=["fused", "as exported"])
def test_an_encoder_keeps_its_answers(*, masked: bool, fused: bool, tmp_path: Path) -> None:
    """The variant that imports try gives the logits of fp32, alone and in a batch the same."""
    write = write_bert_encoder if masked else write_roberta_encoder
    source = write(tmp_path / "fp32", width=256, heads=4, style="dynamo-eager").graph
    roles = MASKED if masked else UNMASKED
    random = np.random.default_rng(3)
    texts = [list(random.integers(5, 100, length)) for length in (9, 9, 9, 9)]
    feeds = [pad([text], inputs=roles, pad_token_id=1) for text in texts]  # type: ignore[arg-type]
    if fused:
        onnx.save_model(fuse(onnx.load_model(source), inputs=roles), source)  # type: ignore[arg-type]
    target = tmp_path / "int8.onnx"

    INT8_VARIANTS[0].build(source, target, feeds)

    exact, quantized = open_session(source), open_session(target)
    batch = pad(texts, inputs=roles, pad_token_id=1)  # type: ignore[arg-type]
    (batched,) = quantized.run(None, batch)
    for text, together in zip(feeds, batched, strict=True):
        np.testing.assert_array_equal(quantized.run(None, text)[0][0], together)
    (expected,) = exact.run(None, batch)
    assert np.abs(batched - expected).max() < RELATIVE_ERROR * np.abs(expected).max()


def test_attention_may_stay_as_exported() -> None:
    """All else is fused; a variant starts from there, since a session may run that faster."""
    model = encoder_graph(EncoderShape(width=256, masked=True))

    fused = operators(fuse(model, inputs=MASKED, attention=False))  # type: ignore[arg-type]

    assert fused["MultiHeadAttention"] == 0
    assert fused["Softmax"] == fused["Gelu"] == 2
    assert [v.fused_attention for v in INT8_VARIANTS].count(False) == 1
