"""Which products of a graph are worth an integer product, and what surrounds them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import onnx

from textclf.optimization.graph_walk import attributes, constants, read_names

# Below this a matrix saves less than the passes over its input cost; a classifier's last product
# stays exact for the same reason.
MIN_ELEMENTS = 32_768


@dataclass(frozen=True, kw_only=True)
class Product:
    """A MatMul or Gemm with a constant float32 matrix, and the bias behind it.

    Attributes:
        node: Name of what the MatMul or Gemm computes.
        source: What it reads, of shape ``(..., inputs)``.
        matrix: Name of its weights.
        transpose: Whether these are of shape ``(outputs, inputs)``.
        inputs: Length of what it reads.
        outputs: Length of what it gives.
        bias: What is added to it; empty if nothing is.
        is_bias_row: Whether the bias is a constant of shape ``(outputs,)``.
        output: What comes of it and its bias: its own output, or that of an Add.
    """

    node: str
    source: str
    matrix: str
    transpose: bool
    inputs: int
    outputs: int
    bias: str
    is_bias_row: bool
    output: str


def find_products(graph: onnx.GraphProto) -> list[Product]:
    """Return the products whose matrix has at least ``MIN_ELEMENTS`` elements."""
    return list(_Search(graph).run())


def has_large_products(model: onnx.ModelProto) -> bool:
    """Say whether some product has a constant matrix of at least ``MIN_ELEMENTS`` elements."""
    return bool(find_products(model.graph))


def widening_inputs(model: onnx.ModelProto) -> list[str]:
    """Return what large products read, unless one of them has more inputs than outputs.

    It comes out of a normalisation or is an average of what did, so its range is much the same for
    every text. What the second product of a feed-forward block reads has the largest outliers.
    """
    products = find_products(model.graph)
    narrowing = {product.source for product in products if product.inputs > product.outputs}
    computed = {name for node in model.graph.node for name in node.output}
    sources = dict.fromkeys(product.source for product in products)
    return [name for name in sources if name in computed and name not in narrowing]


class _Search:
    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph
        self._large = {
            name: matrix
            for name, matrix in constants(graph)
            if matrix.dims[0] * matrix.dims[1] >= MIN_ELEMENTS
        }
        overridable = {value.name for value in graph.input}
        self._rows = {
            tensor.name: tensor.dims[0]
            for tensor in graph.initializer
            if len(tensor.dims) == 1
            and tensor.data_type == onnx.TensorProto.FLOAT
            and tensor.name not in overridable
        }
        self._adds = {
            name: node for node in graph.node if node.op_type == "Add" for name in node.input
        }
        self._reads = Counter(read_names(graph.node))
        self._reads.update(output.name for output in graph.output)

    def run(self) -> Iterator[Product]:
        for node in self._graph.node:
            if node.op_type not in {"MatMul", "Gemm"} or node.input[1] not in self._large:
                continue
            given = attributes(node)
            plain = all(given.get(name, 1.0) == 1.0 for name in ("alpha", "beta"))
            if plain and not given.get("transA", 0):
                yield self._product(node, transpose=bool(given.get("transB", 0)))

    def _product(self, node: onnx.NodeProto, *, transpose: bool) -> Product:
        inputs, outputs = self._large[node.input[1]].dims
        if transpose:
            inputs, outputs = outputs, inputs
        if node.op_type == "Gemm":
            bias, output = (node.input[2] if len(node.input) > 2 else ""), node.output[0]
        else:
            bias, output = self._bias_behind(node.output[0], outputs)
        return Product(
            node=node.output[0],
            source=node.input[0],
            matrix=node.input[1],
            transpose=transpose,
            inputs=inputs,
            outputs=outputs,
            bias=bias,
            is_bias_row=self._rows.get(bias) == outputs,
            output=output,
        )

    def _bias_behind(self, output: str, outputs: int) -> tuple[str, str]:
        """Return a bias that nothing but one Add puts on a product, and what the Add gives."""
        add = self._adds.get(output)
        if add is None or self._reads[output] != 1:
            return "", output
        (bias,) = (name for name in add.input if name != output)
        return (bias, add.output[0]) if self._rows.get(bias) == outputs else ("", output)
