"""int8 graphs whose answers do not depend on the texts that share their batch.

Stock dynamic quantisation takes one activation scale for a whole tensor, so a text's score moves
with its neighbours. Here each token has a scale of its own, in standard ONNX operators alone:

    x ── Abs ── ReduceMax ── Max(tiny) ─┬─ largest ── Div(127) ── token scale
    x ── Div(largest) ── QuantizeLinear(1/127, zero point 128) ── uint8
    uint8 ── MatMulInteger(int8 weights) ── Cast ── Mul(channel scales) ── Mul(token scale) ── y

Needed at import only: serving never imports this module, nor ``onnx``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from textclf.errors import QuantizationError
from textclf.optimization.graph_walk import attributes, constants, names, opset_of, read_names

# Below this a matrix saves less than the passes over its input cost; a classifier's last product
# stays exact for the same reason.
MIN_ELEMENTS = 32_768
MIN_OPSET = 10  # the first with MatMulInteger and QuantizeLinear
REDUCE_AXES_INPUT_OPSET = 18  # from here on ReduceMax takes its axes as an input

_TOKEN_LEVELS = 127
_ZERO_POINT = 128
_WEIGHT_LEVELS = 63  # 2 * 255 * 63 fits in 16 bits, 2 * 255 * 127 does not
_ROW_LEVELS = 127  # rows of a table are not multiplied
_TINY = 1e-9  # a row of zeros must not be divided by zero


def quantize_per_token(
    model: onnx.ModelProto, *, base_dir: Path | None = None, keep_narrowing: bool = False
) -> onnx.ModelProto:
    """Return a copy of ``model`` with int8 weights and one activation scale a token.

    Each MatMul or Gemm with a constant float32 matrix of shape ``(in, out)`` and at least
    ``MIN_ELEMENTS`` elements becomes an integer product with one weight scale an output channel.
    Products that read the same tensor share its quantisation. Each Gather from a constant table
    of at least that size, shape ``(rows, width)``, reads int8 rows with a scale each. Everything
    else, subgraphs included, stays as it was.

    Weights keep to -63..63. On x64 without VNNI a product of uint8 by int8 sums two neighbours in
    16 bits, and more would saturate. onnxruntime's remedy, ``session.x64quantprecision``, turns
    larger weights into uint8 on every x64 CPU, at 0.6 of the speed where there is VNNI; it leaves
    these alone, so the graph is exact and fast with it and without.

    Args:
        model: A graph of opset 10 or later.
        base_dir: Folder of the files that weights lie in, if they lie outside ``model``; one is
            read at a time.
        keep_narrowing: Leave products with more inputs than outputs as they are: the second of a
            feed-forward block, whose inputs have the largest outliers.

    Raises:
        QuantizationError: The opset is too old, a weight is not finite, or there is nothing to
            quantise.

    Source: token-wise activations with per-channel weights, https://arxiv.org/abs/2206.01861
    """
    opset = opset_of(model)
    if opset < MIN_OPSET:
        raise QuantizationError(
            f"the graph has opset {opset}; export it again with opset {MIN_OPSET} or later"
        )
    quantized = onnx.ModelProto()
    quantized.CopyFrom(model)
    _Rewrite(quantized.graph, opset, base_dir, keep_narrowing=keep_narrowing).run()
    return quantized


def has_large_products(model: onnx.ModelProto) -> bool:
    """Say whether some product has a constant matrix of at least ``MIN_ELEMENTS`` elements."""
    large = {
        name
        for name, matrix in constants(model.graph)
        if matrix.dims[0] * matrix.dims[1] >= MIN_ELEMENTS
    }
    products = (node for node in model.graph.node if node.op_type in {"MatMul", "Gemm"})
    return any(node.input[1] in large for node in products)


@dataclass(frozen=True)
class _Tokens:
    """A tensor quantised to uint8, and the scale of each of its tokens."""

    values: str
    scales: str


@dataclass(frozen=True)
class _Constant:
    """A constant quantised to int8, and its scales in the shape that they multiply."""

    values: str
    scales: str


class _Rewrite:
    """One pass over the nodes of a graph, in their order."""

    def __init__(
        self, graph: onnx.GraphProto, opset: int, base_dir: Path | None, *, keep_narrowing: bool
    ) -> None:
        self._graph = graph
        self._opset = opset
        self._base_dir = str(base_dir or "")
        self._keep_narrowing = keep_narrowing
        self._constants = dict(constants(graph))
        self._names = set(names(graph))
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: list[onnx.TensorProto] = []
        self._shared: dict[str, str] = {}
        self._tokens: dict[str, _Tokens] = {}
        self._quantized: dict[tuple[str, str], _Constant] = {}
        self._rewritten = 0

    def run(self) -> None:
        """Replace the graph's nodes and drop the weights that nothing reads any more."""
        for node in self._graph.node:
            if node.op_type == "MatMul" and self._is_quantizable(node.input[1]):
                self._matmul(node)
            elif node.op_type == "Gemm" and self._is_quantizable_gemm(node):
                self._gemm(node)
            elif node.op_type == "Gather" and self._is_table(node):
                self._gather(node)
            else:
                self._nodes.append(node)
        if not self._rewritten:
            raise QuantizationError(
                "the graph has no product with a constant float32 matrix of at least "
                f"{MIN_ELEMENTS} elements; serve it as it is"
            )
        self._replace()

    def _matmul(self, node: onnx.NodeProto) -> None:
        weights = self._quantize_weights(node.input[1])
        self._product(node.input[0], weights, node.output[0])

    def _gemm(self, node: onnx.NodeProto) -> None:
        given = attributes(node)
        transpose = bool(given.get("transB", 0))
        weights = self._quantize_weights(node.input[1], transpose=transpose)
        output = node.output[0]
        bias = node.input[2] if len(node.input) > 2 else ""
        if not bias:
            self._product(node.input[0], weights, output)
            return
        product = self._name(f"{output}_product")
        self._product(node.input[0], weights, product)
        self._nodes.append(helper.make_node("Add", [product, bias], [output]))

    def _gather(self, node: onnx.NodeProto) -> None:
        rows = self._quantize_rows(node.input[0])
        output = node.output[0]
        values = self._node("Gather", [rows.values, node.input[1]], f"{output}_int8")
        scales = self._node("Gather", [rows.scales, node.input[1]], f"{output}_scale")
        floats = self._node("Cast", [values], f"{output}_float", to=onnx.TensorProto.FLOAT)
        self._nodes.append(helper.make_node("Mul", [floats, scales], [output]))
        self._rewritten += 1

    def _product(self, source: str, weights: _Constant, output: str) -> None:
        tokens = self._quantize_tokens(source)
        inputs = [
            tokens.values,
            weights.values,
            self._constant("zero_point_uint8", np.array(_ZERO_POINT, np.uint8)),
            self._constant("zero_point_int8", np.array(0, np.int8)),
        ]
        integers = self._node("MatMulInteger", inputs, f"{output}_int32")
        floats = self._node("Cast", [integers], f"{output}_float", to=onnx.TensorProto.FLOAT)
        # Two Muls rather than one by the product of both scales: that product is as large as the
        # output, and onnxruntime would fuse it into an operator that takes no scale a token.
        scaled = self._node("Mul", [floats, weights.scales], f"{output}_scaled")
        self._nodes.append(helper.make_node("Mul", [scaled, tokens.scales], [output]))
        self._rewritten += 1

    def _quantize_tokens(self, source: str) -> _Tokens:
        if source in self._tokens:
            return self._tokens[source]
        absolute = self._node("Abs", [source], f"{source}_abs")
        largest = self._largest(absolute, f"{source}_max")
        tiny = self._constant("tiny", np.array(_TINY, np.float32))
        largest = self._node("Max", [largest, tiny], f"{source}_largest")
        levels = self._constant("levels", np.array(_TOKEN_LEVELS, np.float32))
        scales = self._node("Div", [largest, levels], f"{source}_token_scale")
        unit = self._node("Div", [source, largest], f"{source}_unit")
        quantization = [
            self._constant("unit_scale", np.array(1 / _TOKEN_LEVELS, np.float32)),
            self._constant("zero_point_uint8", np.array(_ZERO_POINT, np.uint8)),
        ]
        values = self._node("QuantizeLinear", [unit, *quantization], f"{source}_uint8")
        self._tokens[source] = _Tokens(values, scales)
        return self._tokens[source]

    def _largest(self, source: str, name: str) -> str:
        if self._opset < REDUCE_AXES_INPUT_OPSET:
            return self._node("ReduceMax", [source], name, axes=[-1], keepdims=1)
        axes = self._constant("last_axis", np.array([-1], np.int64))
        return self._node("ReduceMax", [source, axes], name, keepdims=1)

    def _quantize_weights(self, name: str, *, transpose: bool = False) -> _Constant:
        """Quantise a matrix of shape ``(in, out)``, or ``(out, in)`` to transpose."""
        form = "columns_transposed" if transpose else "columns"
        return self._quantize_constant(name, form, axis=0, levels=_WEIGHT_LEVELS)

    def _quantize_rows(self, name: str) -> _Constant:
        return self._quantize_constant(name, "rows", axis=1, levels=_ROW_LEVELS)

    def _quantize_constant(self, name: str, form: str, *, axis: int, levels: int) -> _Constant:
        if (name, form) not in self._quantized:
            matrix = numpy_helper.to_array(self._constants[name], self._base_dir)
            matrix = matrix.T if form == "columns_transposed" else matrix
            if not np.isfinite(matrix).all():
                raise QuantizationError(f"{name} is not finite throughout; train the model again")
            scales = np.maximum(np.abs(matrix).max(axis=axis, keepdims=True), _TINY) / levels
            values = np.round(matrix / scales).astype(np.int8)
            shape = (-1, 1) if axis else (-1,)  # a scale a row, or one a column of any rank
            self._quantized[name, form] = _Constant(
                self._initializer(f"{name}_int8", values),
                self._initializer(f"{name}_scale", scales.astype(np.float32).reshape(shape)),
            )
        return self._quantized[name, form]

    def _is_large(self, name: str) -> bool:
        matrix = self._constants.get(name)
        return matrix is not None and matrix.dims[0] * matrix.dims[1] >= MIN_ELEMENTS

    def _is_quantizable(self, name: str, *, transpose: bool = False) -> bool:
        if not self._is_large(name):
            return False
        inputs, outputs = (
            reversed(self._constants[name].dims) if transpose else self._constants[name].dims
        )
        return not (self._keep_narrowing and inputs > outputs)

    def _is_quantizable_gemm(self, node: onnx.NodeProto) -> bool:
        given = attributes(node)
        plain = all(given.get(name, 1.0) == 1.0 for name in ("alpha", "beta"))
        transpose = bool(given.get("transB", 0))
        quantizable = self._is_quantizable(node.input[1], transpose=transpose)
        return plain and not given.get("transA", 0) and quantizable

    def _is_table(self, node: onnx.NodeProto) -> bool:
        return attributes(node).get("axis", 0) == 0 and self._is_large(node.input[0])

    def _node(self, op_type: str, inputs: list[str], output: str, **attributes: Any) -> str:
        name = self._name(output)
        self._nodes.append(helper.make_node(op_type, inputs, [name], **attributes))
        return name

    def _constant(self, name: str, value: NDArray[np.generic]) -> str:
        """Return an initializer that the whole rewrite shares."""
        if name not in self._shared:
            self._shared[name] = self._initializer(f"per_token_{name}", value)
        return self._shared[name]

    def _initializer(self, name: str, value: NDArray[np.generic]) -> str:
        unused = self._name(name)
        self._initializers.append(numpy_helper.from_array(value.copy(order="C"), unused))
        return unused

    def _name(self, wanted: str) -> str:
        name, number = wanted, 1
        while name in self._names:
            number += 1
            name = f"{wanted}_{number}"
        self._names.add(name)
        return name

    def _replace(self) -> None:
        graph = self._graph
        used = set(read_names(self._nodes)) | {output.name for output in graph.output}
        kept = [tensor for tensor in graph.initializer if tensor.name in used]
        del graph.initializer[:]
        graph.initializer.extend(kept + self._initializers)
        del graph.node[:]
        graph.node.extend(
            node for node in self._nodes if node.op_type != "Constant" or node.output[0] in used
        )
        # Shapes of tensors that are gone would contradict those that are inferred.
        del graph.value_info[:]
