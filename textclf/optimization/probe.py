"""Run a graph that has no weights: random numbers take their place.

What a graph computes with any weights, such as attention, it computes with random ones too. So a
rewrite can be checked by running it, even while hundreds of megabytes stay on the disk.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, ValueInfoProto, helper
from onnx.external_data_helper import uses_external_data

from textclf.description import InputRole

Values = Mapping[str, NDArray[Any]]

_MIN_ELEMENTS = 1_024  # smaller tensors are kept: biases, buffers, numbers
_MAX_ROWS = 1_024  # of a table, whose other rows no id of a probe reads
_MAX_ID = 32
_PROVIDER = "CPUExecutionProvider"


@dataclass(frozen=True)
class Probe:
    """Inputs of a graph, int64 of shape ``(batch, length)``.

    Attributes:
        feeds: Name of each input to its values.
        mask: 1 where a text has a token, 0 where it is padded.
    """

    feeds: dict[str, NDArray[np.int64]]
    mask: NDArray[np.int64]


def make_probe(inputs: Mapping[InputRole, str], *, batch: int, length: int) -> Probe:
    """Return random ids and a mask with holes; only the first token is always there."""
    random = np.random.default_rng(length)
    mask = random.integers(0, 2, (batch, length))
    mask[:, 0] = 1
    arrays: dict[InputRole, NDArray[np.int64]] = {
        "input_ids": random.integers(0, _MAX_ID, (batch, length)),
        "attention_mask": mask,
        "token_type_ids": np.zeros_like(mask),
    }
    return Probe({name: arrays[role] for role, name in inputs.items()}, mask)


def run_probe(
    model: onnx.ModelProto, probe: Probe, outputs: Iterable[str] | None = None
) -> Values | None:
    """Return the values of tensors, computed with random weights.

    The weights are the same for each run of graphs that name them alike. No external data is read.

    Args:
        model: May lack its external data.
        probe: What to feed.
        outputs: Names of tensors; all that nodes compute, if None.

    Returns:
        Name of each tensor to its value; None if the graph does not run on this probe.
    """
    names = list(dict.fromkeys(outputs or _computed_names(model.graph.node)))
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4  # errors are raised; logged too, they would show twice
    try:
        session = ort.InferenceSession(
            _without_weights(model, names).SerializeToString(), options, providers=[_PROVIDER]
        )
        values = session.run(names, probe.feeds)
    except Exception:  # noqa: BLE001  # ORT errors share no narrower base
        return None
    pairs = zip(names, values, strict=True)  # a value may be a sequence or a map as well
    return {name: value for name, value in pairs if isinstance(value, np.ndarray)}


def _without_weights(model: onnx.ModelProto, outputs: Sequence[str]) -> onnx.ModelProto:
    graph = model.graph
    tables = _tables(graph)
    stubs = [tensor for tensor in graph.initializer if _is_weight(tensor)]
    replaced = {tensor.name for tensor in stubs}
    return helper.make_model(
        helper.make_graph(
            [*(_random_weight(tensor, tables) for tensor in stubs), *graph.node],
            graph.name or "probe",
            [value for value in graph.input if value.name not in replaced],
            [ValueInfoProto(name=name) for name in outputs],
            [tensor for tensor in graph.initializer if tensor.name not in replaced],
        ),
        opset_imports=model.opset_import,
        functions=model.functions,
        ir_version=model.ir_version,
    )


def _is_weight(tensor: TensorProto) -> bool:
    is_large = len(tensor.dims) == 2 and math.prod(tensor.dims) >= _MIN_ELEMENTS
    return uses_external_data(tensor) or (is_large and tensor.data_type == TensorProto.FLOAT)


def _random_weight(tensor: TensorProto, tables: set[str]) -> NodeProto:
    """Return a node that draws a matrix which keeps the variance of what it multiplies."""
    rows, *columns = tensor.dims
    bound = math.sqrt(3 / rows)
    return helper.make_node(
        "RandomUniform",
        [],
        [tensor.name],
        shape=[min(rows, _MAX_ROWS) if tensor.name in tables else rows, *columns],
        dtype=tensor.data_type,
        low=-bound,
        high=bound,
        seed=float(zlib.crc32(tensor.name.encode()) % 2**20),
    )


def _tables(graph: onnx.GraphProto) -> set[str]:
    """Return what is read by rows and in no other way."""
    gathered: set[str] = set()
    other: set[str] = set()
    for node in graph.node:
        by_rows = node.op_type == "Gather" and not any(item.i for item in node.attribute)
        gathered.update(node.input[:1] if by_rows else [])
        other.update(node.input[1:] if by_rows else node.input)
    return gathered - other


def _computed_names(nodes: Iterable[NodeProto]) -> Iterator[str]:
    for node in nodes:
        if node.op_type != "Constant":
            yield from filter(None, node.output)
