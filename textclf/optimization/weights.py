"""Large weights beside a graph, so that sessions map them and rewrites leave them alone.

A session of a 500 MB graph in one file takes 750 MB; of the same graph with its weights in a file
of their own, 400 MB, of which all but the packed products can be given back to the system.
"""

from __future__ import annotations

import os
from pathlib import Path

import onnx
from onnx.external_data_helper import (
    load_external_data_for_tensor,
    set_external_data,
    uses_external_data,
)

from textclf.errors import GraphError

WEIGHTS = "weights.bin"
_LARGE_BYTES = 1 << 20
_PAGE_BYTES = 4096
_MOST_BYTES = (1 << 31) - 1
_FIRST_WITH_FIXED_WEIGHTS = 4  # IR version


def lay_aside(path: Path, target: Path) -> None:
    """Write the graph at ``path`` to ``target``, its tensors of 1 MiB or more beside it.

    Args:
        path: An ONNX file, with or without external data.
        target: Where the graph goes; its large tensors go to ``WEIGHTS`` in the same folder.

    Raises:
        GraphError: The file or its external data cannot be read.
    """
    try:
        model = onnx.load_model(path)
    except Exception as exc:  # protobuf's DecodeError, or any OSError
        raise GraphError(f"cannot read {path} and its data: {exc}; export it again") from exc
    _fix_weights(model)
    large = [t for t in model.graph.initializer if len(t.raw_data) >= _LARGE_BYTES]
    if large:
        with (target.parent / WEIGHTS).open("wb") as file:
            for tensor in large:
                file.seek(-file.tell() % _PAGE_BYTES, os.SEEK_CUR)  # so that it can be mapped
                set_external_data(tensor, WEIGHTS, file.tell(), len(tensor.raw_data))
                file.write(tensor.raw_data)
                tensor.ClearField("raw_data")
    onnx.save_model(model, target)


def _fix_weights(model: onnx.ModelProto) -> None:
    """Take weights off the inputs, where exports of IR version 3 list them as replaceable."""
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    if len(inputs) < len(model.graph.input):
        del model.graph.input[:]
        model.graph.input.extend(inputs)
        model.ir_version = max(model.ir_version, _FIRST_WITH_FIXED_WEIGHTS)


def read_graph(path: Path) -> onnx.ModelProto:
    """Read a graph that was laid aside, without its large tensors."""
    return onnx.load_model(path, load_external_data=False)


def pack(path: Path, target: Path) -> None:
    """Write the graph at ``path`` and what lies beside it into the one file ``target``.

    Large tensors are copied one at a time: messages that are written one after the other are read
    as one, with their lists joined.

    Raises:
        GraphError: It does not fit: protobuf holds 2 GiB at the most.

    Source: https://protobuf.dev/programming-guides/encoding/#last-one-wins
    """
    model = read_graph(path)
    if graph_bytes(path) > _MOST_BYTES:
        raise GraphError(
            f"the graph and its weights have {graph_bytes(path):,} bytes, and one file holds "
            f"{_MOST_BYTES:,} at the most; import a smaller model"
        )
    aside = [tensor for tensor in model.graph.initializer if uses_external_data(tensor)]
    beside = [tensor for tensor in model.graph.initializer if not uses_external_data(tensor)]
    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    del whole.graph.initializer[:]
    whole.graph.initializer.extend(beside)
    with target.open("wb") as file:
        file.write(whole.SerializeToString())
        for tensor in aside:
            load_external_data_for_tensor(tensor, str(path.parent))
            part = onnx.ModelProto(graph=onnx.GraphProto(initializer=[tensor]))
            file.write(part.SerializeToString())
            tensor.ClearField("raw_data")


def graph_bytes(path: Path) -> int:
    """Return the bytes of a graph and of the weights that it reads from beside itself."""
    lengths = (
        int(entry.value)
        for tensor in read_graph(path).graph.initializer
        for entry in tensor.external_data
        if entry.key == "length"
    )
    return path.stat().st_size + sum(lengths)
