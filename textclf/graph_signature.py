"""What an ONNX file says of itself, and whether that can be served. Nothing is run here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import onnx
from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto
from onnx.external_data_helper import uses_external_data

from textclf.description import InputRole
from textclf.errors import GraphError

_ROLES: tuple[InputRole, ...] = get_args(InputRole)
_KEEPS_IDS = {"Cast", "Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze"}
_KEEPS_ROWS = {"Cast", "DequantizeLinear", "Identity"}
_INT8_OPERATORS = {
    "DequantizeLinear",
    "DynamicQuantizeLinear",
    "DynamicQuantizeMatMul",
    "MatMulInteger",
    "MatMulIntegerToFloat",
    "MatMulNBits",
    "QAttention",
    "QGemm",
    "QLinearMatMul",
    "QuantizeLinear",
}
_PRECISIONS = {
    TensorProto.FLOAT: "fp32",
    TensorProto.DOUBLE: "fp64",
    TensorProto.FLOAT16: "fp16",
    TensorProto.BFLOAT16: "bf16",
    TensorProto.INT8: "int8",
    TensorProto.UINT8: "int8",
    TensorProto.INT4: "int4",
    TensorProto.UINT4: "int4",
}


@dataclass(frozen=True, kw_only=True)
class GraphSignature:
    """The inputs and the output of a graph that passed the checks.

    Attributes:
        inputs: Role of each input to its name in the graph.
        output: Name of the logits.
        embedding_rows: Ids that the token embedding has a row for; None if it was not recognised.
        weights: What most of the weights are stored as, such as ``fp32``.
        has_external_data: Whether weights lie in files beside the graph.
    """

    inputs: dict[InputRole, str]
    output: str
    embedding_rows: int | None
    weights: str
    has_external_data: bool


def read_signature(path: Path) -> GraphSignature:
    """Check the ONNX file at ``path`` and return its signature.

    Raises:
        GraphError: It is no ONNX file, or no sequence classifier; the message says what to do.
    """
    signature = _describe(path, _read_model(path))
    # The checker reads the file by itself, so that the model above must be gone by now.
    _require_valid(path)
    return signature


def _describe(path: Path, model: ModelProto) -> GraphSignature:
    inputs = _roles(path, _real_inputs(model))
    return GraphSignature(
        inputs=inputs,
        output=_logits(path, model.graph.output),
        embedding_rows=_embedding_rows(model, inputs["input_ids"]),
        weights=_precision(model),
        has_external_data=bool(_external_files(model)),
    )


def external_files(path: Path) -> list[str]:
    """Return the names of the files that the graph at ``path`` keeps weights in."""
    return _external_files(onnx.load_model(path, load_external_data=False))


def _read_model(path: Path) -> ModelProto:
    try:
        model = onnx.load_model(path, load_external_data=False)
    except Exception as exc:  # protobuf's DecodeError, or any OSError
        raise GraphError(
            f"{path} is no ONNX file or was cut short ({exc}); export or copy it again"
        ) from exc
    if not model.graph.node:
        raise GraphError(f"{path} holds no ONNX graph; export or copy it again")
    outside = [name for name in _external_files(model) if not _is_beside(name)]
    if outside:
        raise GraphError(
            f"{path} wants its weights from {', '.join(map(repr, outside))}, outside its "
            "folder; export it again"
        )
    if any(map(uses_external_data, _tensors_of_nodes(model.graph))):
        raise GraphError(
            f"{path} keeps constants or weights of a subgraph in other files; export it in one file"
        )
    missing = [name for name in _external_files(model) if not (path.parent / name).is_file()]
    if missing:
        raise GraphError(
            f"{path} keeps its weights in {', '.join(missing)}, which is not in {path.parent}; "
            "copy it there too"
        )
    return model


def _require_valid(path: Path) -> None:
    try:
        onnx.checker.check_model(path)
    except onnx.checker.ValidationError as exc:
        raise GraphError(
            f"{path} is not valid ONNX: {str(exc).splitlines()[0]}; export it again, with an opset "
            f"of {onnx.defs.onnx_opset_version()} at the most"
        ) from exc


def _is_beside(name: str) -> bool:
    return not Path(name).is_absolute() and ".." not in Path(name).parts


def _external_files(model: ModelProto) -> list[str]:
    entries = (
        entry
        for tensor in model.graph.initializer
        if uses_external_data(tensor)
        for entry in tensor.external_data
    )
    return sorted({entry.value for entry in entries if entry.key == "location"})


def _tensors_of_nodes(graph: GraphProto) -> Iterator[TensorProto]:
    """Yield what nodes and subgraphs hold, beside the weights of the graph itself."""
    for attribute in (attribute for node in graph.node for attribute in node.attribute):
        yield from (attribute.t, *attribute.tensors)
        for subgraph in (attribute.g, *attribute.graphs):
            yield from subgraph.initializer
            yield from _tensors_of_nodes(subgraph)


def _real_inputs(model: ModelProto) -> list[ValueInfoProto]:
    # Exports of IR version 3 list every weight among the inputs.
    weights = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in weights]


def _roles(path: Path, inputs: Sequence[ValueInfoProto]) -> dict[InputRole, str]:
    for value in inputs:
        _require_int64(path, value)
        _require_dynamic(path, value)
    names = [value.name for value in inputs]
    if len(names) == 1:
        return {"input_ids": names[0]}
    unknown = sorted(set(names) - set(_ROLES))
    if unknown or "input_ids" not in names:
        raise GraphError(
            f"{path} has the inputs {', '.join(names) or 'none'}; export it with input_ids and, "
            "if it uses them, attention_mask and token_type_ids"
        )
    return {role: role for role in _ROLES if role in names}


def _require_int64(path: Path, value: ValueInfoProto) -> None:
    kind = value.type.tensor_type.elem_type
    if kind != TensorProto.INT64:
        raise GraphError(
            f"input {value.name} of {path} is {TensorProto.DataType.Name(kind).lower()}, not "
            "int64; export the graph so that token ids go in"
        )


def _require_dynamic(path: Path, value: ValueInfoProto) -> None:
    dims = value.type.tensor_type.shape.dim
    fixed = [str(dim.dim_value) for dim in dims if dim.HasField("dim_value")]
    if len(dims) != 2 or fixed:
        raise GraphError(
            f"input {value.name} of {path} has shape {_shape(value)}, not (batch, sequence) with "
            "both axes dynamic; export it with dynamic_axes or dynamic_shapes for both"
        )


def _logits(path: Path, outputs: Sequence[ValueInfoProto]) -> str:
    if len(outputs) != 1:
        names = ", ".join(value.name for value in outputs)
        raise GraphError(
            f"{path} has {len(outputs)} outputs ({names}); keep the logits alone, with "
            "onnx.utils.extract_model or by exporting without hidden states and attentions"
        )
    (value,) = outputs
    kind = value.type.tensor_type.elem_type
    if len(value.type.tensor_type.shape.dim) != 2 or kind != TensorProto.FLOAT:
        raise GraphError(
            f"output {value.name} of {path} is {TensorProto.DataType.Name(kind).lower()} of shape "
            f"{_shape(value)}, not float of shape (batch, labels); export the model with its "
            "sequence-classification head"
        )
    return value.name


def _shape(value: ValueInfoProto) -> str:
    dims = value.type.tensor_type.shape.dim
    sizes = [str(d.dim_value) if d.HasField("dim_value") else d.dim_param or "?" for d in dims]
    return f"({', '.join(sizes)})" if sizes else "()"


def _embedding_rows(model: ModelProto, input_ids: str) -> int | None:
    """Return the rows of the smallest table that the ids themselves index."""
    rows = {tensor.name: tensor.dims[0] for tensor in model.graph.initializer if tensor.dims}
    ids = {input_ids}
    found: list[int] = []
    for node in model.graph.node:  # in topological order
        if node.op_type in _KEEPS_IDS and node.input[0] in ids:
            ids.update(node.output)
        elif node.op_type in _KEEPS_ROWS and node.input[0] in rows:
            rows[node.output[0]] = rows[node.input[0]]
        elif node.op_type == "Gather" and node.input[1] in ids and node.input[0] in rows:
            axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
            found += [rows[node.input[0]]] if axis == 0 else []
    return min(found, default=None)


def _precision(model: ModelProto) -> str:
    """Return what most weights are stored as; int8 wherever a product runs in int8."""
    if any(node.op_type in _INT8_OPERATORS for node in model.graph.node):
        return "int8"
    sizes: Counter[str] = Counter()
    for tensor in model.graph.initializer:
        count = 1
        for dim in tensor.dims:
            count *= dim
        sizes[_PRECISIONS.get(tensor.data_type, "other")] += count
    return sizes.most_common(1)[0][0] if sizes else "unknown"
