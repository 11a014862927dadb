"""A graph whose nodes are replaced one by one, under names that are not taken yet."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from textclf.optimization.graph_walk import names, opset_of, read_names

MICROSOFT = "com.microsoft"


class GraphEdit:
    """Nodes and tensors that take the place of those that a graph has.

    Attributes:
        nodes: Those that the graph will have, in their order.
        opset: Version of ONNX's own operators that the graph is written in.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.opset = opset_of(model)
        self._model = model
        self._names = set(names(model.graph))
        self._initializers: list[onnx.TensorProto] = []
        self._shared: dict[str, str] = {}

    def node(self, op_type: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Append a node; return what its output is called, if need be another name."""
        name = self.unused(output)
        self.nodes.append(helper.make_node(op_type, inputs, [name], **attributes))
        return name

    def shared(self, name: str, value: NDArray[np.generic]) -> str:
        """Return an initializer that the whole edit shares."""
        if name not in self._shared:
            self._shared[name] = self.initializer(f"per_token_{name}", value)
        return self._shared[name]

    def initializer(self, name: str, value: NDArray[np.generic]) -> str:
        """Add a tensor; return what it is called."""
        unused = self.unused(name)
        self._initializers.append(numpy_helper.from_array(value.copy(order="C"), unused))
        return unused

    def unused(self, wanted: str) -> str:
        """Return a name like ``wanted`` and take it."""
        name, number = wanted, 1
        while name in self._names:
            number += 1
            name = f"{wanted}_{number}"
        self._names.add(name)
        return name

    def apply(self) -> None:
        """Replace the graph's nodes and drop the weights that nothing reads any more."""
        graph = self._model.graph
        used = set(read_names(self.nodes)) | {output.name for output in graph.output}
        kept = [tensor for tensor in graph.initializer if tensor.name in used]
        del graph.initializer[:]
        graph.initializer.extend(kept + self._initializers)
        del graph.node[:]
        graph.node.extend(
            node for node in self.nodes if node.op_type != "Constant" or node.output[0] in used
        )
        # Shapes of tensors that are gone would contradict those that are inferred.
        del graph.value_info[:]
        domains = {opset.domain for opset in self._model.opset_import}
        if MICROSOFT not in domains and any(node.domain == MICROSOFT for node in graph.node):
            self._model.opset_import.append(helper.make_opsetid(MICROSOFT, 1))
