"""int8 graphs whose answers do not depend on the texts that share their batch.

Stock dynamic quantisation takes one activation scale for a whole tensor, so a text's score moves
with its neighbours. Here each token has a scale of its own, or a tensor has one that is fixed:

    x ── ReduceMax(Abs) ── token scale ─┬─ QuantizeLinear(a scale a row) ── uint8
    uint8 ── MatMulIntegerToFloat(int8 weights, channel scales) ── Mul(token scale) ── y

    x ── QuantizeLinear(fixed scale) ── MatMulIntegerToFloat(int8 weights, scales, bias) ── y

The second passes over nothing more than once, and is used where ranges are given.
MatMulIntegerToFloat is onnxruntime's own, and scales while the sums are still in the cache:
https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md

Needed at import only: serving never imports this module, nor ``onnx``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from textclf.errors import QuantizationError
from textclf.optimization.activations import Activation, Activations
from textclf.optimization.calibration import Range, fix_scale
from textclf.optimization.graph_edit import MICROSOFT, GraphEdit
from textclf.optimization.graph_walk import attributes, constants, opset_of
from textclf.optimization.products import MIN_ELEMENTS, Product, find_products

MIN_OPSET = 10  # the first with QuantizeLinear

_WEIGHT_LEVELS = 63  # 2 * 255 * 63 fits in 16 bits, 2 * 255 * 127 does not
_ROW_LEVELS = 127  # rows of a table are not multiplied
_TINY = 1e-9  # a row of zeros must not be divided by zero


def quantize_per_token(
    model: onnx.ModelProto,
    *,
    base_dir: Path | None = None,
    keep_narrowing: bool = False,
    ranges: Mapping[str, Range] | None = None,
) -> onnx.ModelProto:
    """Return a copy of ``model`` with int8 weights, and no scale that a neighbour has a say in.

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
        base_dir: Folder of the files that weights lie in, if they lie outside ``model``; those
            that read one tensor are read at a time.
        keep_narrowing: Leave products with more inputs than outputs as they are: the second of a
            feed-forward block, whose inputs have the largest outliers.
        ranges: Name of each tensor that gets one fixed scale to what it holds; the others that
            products read get a scale a token.

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
    _Rewrite(quantized, base_dir, keep_narrowing=keep_narrowing, ranges=ranges or {}).run()
    return quantized


@dataclass(frozen=True)
class _Constant:
    """A constant quantised to int8, and its scales in the shape that they multiply."""

    values: str
    scales: str


class _Rewrite:
    """One pass over the nodes of a graph, in their order."""

    def __init__(
        self,
        model: onnx.ModelProto,
        base_dir: Path | None,
        *,
        keep_narrowing: bool,
        ranges: Mapping[str, Range],
    ) -> None:
        self._graph = model.graph
        self._base_dir = str(base_dir or "")
        self._ranges = ranges
        self._constants = dict(constants(model.graph))
        self._edit = GraphEdit(model)
        self._activations = Activations(self._edit, model.graph.node)
        self._quantized: dict[tuple[str, str], _Constant] = {}
        self._products = [
            product
            for product in find_products(model.graph)
            if not (keep_narrowing and product.inputs > product.outputs)
        ]

    def run(self) -> None:
        """Replace the graph's nodes and drop the weights that nothing reads any more."""
        products = {product.node: product for product in self._products}
        added = {product.output for product in self._products} - set(products)
        tables = [node for node in self._graph.node if self._is_table(node)]
        if not products and not tables:
            raise QuantizationError(
                "the graph has no product with a constant float32 matrix of at least "
                f"{MIN_ELEMENTS} elements; serve it as it is"
            )
        for node in self._graph.node:
            output = node.output[0] if node.output else ""
            if output in products:
                self._multiply(products[output])
            elif self._is_table(node):
                self._gather(node)
            elif output not in added:
                self._edit.nodes.append(node)
        self._edit.apply()

    def _multiply(self, product: Product) -> None:
        activation = self._activation(product)
        weights = self._quantize_weights(product, activation)
        inputs = [
            activation.values,
            weights.values,
            activation.scale,
            weights.scales,
            activation.zero_point,
            self._edit.shared("zero_point_int8", np.array(0, np.int8)),
        ]
        factors, bias = activation.token_scales, product.bias
        if bias and product.is_bias_row and not factors:
            inputs, bias = [*inputs, bias], ""
        # What comes last takes the name that the graph reads.
        last = "Add" if bias else "Mul" if factors else ""
        name = self._append("MatMulIntegerToFloat", inputs, product.output, is_last=not last)
        if factors:
            name = self._append("Mul", [name, factors], product.output, is_last=last == "Mul")
        if bias:
            self._append("Add", [name, bias], product.output, is_last=True)

    def _append(self, op_type: str, inputs: list[str], output: str, *, is_last: bool) -> str:
        name = output if is_last else self._edit.unused(f"{output}_{op_type}")
        domain = MICROSOFT if op_type == "MatMulIntegerToFloat" else ""
        self._edit.nodes.append(helper.make_node(op_type, inputs, [name], domain=domain))
        return name

    def _activation(self, product: Product) -> Activation:
        source = product.source
        known = self._activations.known(source)
        if known is not None:
            return known
        if source not in self._ranges:
            return self._activations.by_token(source, product.inputs)
        readers = [other for other in self._products if other.source == source]
        times = Counter(other.matrix for other in self._products)
        # A matrix that several tensors are multiplied with is stored once, so it suits them all.
        is_own = all(times[other.matrix] == 1 for other in readers)
        matrices = [self._matrix(other) for other in readers]
        return self._activations.fixed(
            source, fix_scale(self._ranges[source], matrices, smooth=is_own)
        )

    def _gather(self, node: onnx.NodeProto) -> None:
        edit, output = self._edit, node.output[0]
        rows = self._quantize_rows(node.input[0])
        values = edit.node("Gather", [rows.values, node.input[1]], f"{output}_int8")
        scales = edit.node("Gather", [rows.scales, node.input[1]], f"{output}_scale")
        floats = edit.node("Cast", [values], f"{output}_float", to=onnx.TensorProto.FLOAT)
        edit.nodes.append(helper.make_node("Mul", [floats, scales], [output]))

    def _matrix(self, product: Product) -> NDArray[np.float32]:
        """Return weights of shape ``(inputs, outputs)``."""
        matrix = self._read(product.matrix)
        return matrix.T if product.transpose else matrix

    def _read(self, name: str) -> NDArray[np.float32]:
        matrix: NDArray[np.float32] = numpy_helper.to_array(self._constants[name], self._base_dir)
        if not np.isfinite(matrix).all():
            raise QuantizationError(f"{name} is not finite throughout; train the model again")
        return matrix

    def _quantize_weights(self, product: Product, activation: Activation) -> _Constant:
        form = "columns_transposed" if product.transpose else "columns"
        if (product.matrix, form) not in self._quantized:
            matrix = self._matrix(product)
            if activation.factors is not None:
                matrix = matrix * activation.factors[:, None]
            self._quantize(product.matrix, form, matrix, axis=0, levels=_WEIGHT_LEVELS)
        return self._quantized[product.matrix, form]

    def _quantize_rows(self, name: str) -> _Constant:
        if (name, "rows") not in self._quantized:
            self._quantize(name, "rows", self._read(name), axis=1, levels=_ROW_LEVELS)
        return self._quantized[name, "rows"]

    def _quantize(
        self, name: str, form: str, matrix: NDArray[np.float32], *, axis: int, levels: int
    ) -> None:
        scales = np.maximum(np.abs(matrix).max(axis=axis, keepdims=True), _TINY) / levels
        values = np.round(matrix / scales).astype(np.int8)
        shape = (-1, 1) if axis else (-1,)  # a scale a row, or one a column of any rank
        self._quantized[name, form] = _Constant(
            self._edit.initializer(f"{name}_int8", values),
            self._edit.initializer(f"{name}_scale", scales.astype(np.float32).reshape(shape)),
        )

    def _is_table(self, node: onnx.NodeProto) -> bool:
        if node.op_type != "Gather" or attributes(node).get("axis", 0) != 0:
            return False
        table = self._constants.get(node.input[0])
        return table is not None and table.dims[0] * table.dims[1] >= MIN_ELEMENTS
