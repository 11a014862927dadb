"""What the nodes of a graph read and hold, those of its subgraphs included."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import onnx
from onnx import helper


def opset_of(model: onnx.ModelProto) -> int:
    """Return the version of ONNX's own operators that a graph is written in; 0 for none."""
    return next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)


def constants(graph: onnx.GraphProto) -> Iterator[tuple[str, onnx.TensorProto]]:
    """Yield the float32 matrices that cannot change: no graph input overrides them."""
    overridable = {value.name for value in graph.input}
    values = [(tensor.name, tensor) for tensor in graph.initializer]
    values += [
        (node.output[0], attribute.t)
        for node in graph.node
        if node.op_type == "Constant"
        for attribute in node.attribute
        if attribute.name == "value"
    ]
    for name, tensor in values:
        is_matrix = tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) == 2
        if is_matrix and name not in overridable:
            yield name, tensor


def attributes(node: onnx.NodeProto) -> dict[str, object]:
    """Return the attributes of a node by name."""
    return {item.name: helper.get_attribute_value(item) for item in node.attribute}


def names(graph: onnx.GraphProto) -> Iterator[str]:
    """Yield each name that is taken, those of subgraphs included."""
    yield from (value.name for value in (*graph.input, *graph.initializer))
    for node in graph.node:
        yield from (*node.input, *node.output)
        for subgraph in _subgraphs(node):
            yield from names(subgraph)


def read_names(nodes: Iterable[onnx.NodeProto]) -> Iterator[str]:
    """Yield what the nodes read, those of subgraphs included, and what these give."""
    for node in nodes:
        yield from node.input
        for subgraph in _subgraphs(node):
            yield from read_names(subgraph.node)
            yield from (output.name for output in subgraph.output)


def _subgraphs(node: onnx.NodeProto) -> Iterable[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs
