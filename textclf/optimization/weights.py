"""Large weights beside a graph, so that sessions map them and rewrites leave them alone.

A session of a 500 MB graph in one file takes 750 MB; of the same graph with its weights in a file
of their own, 400 MB, of which all but the packed products can be given back to the system.
"""

from __future__ import annotations

from pathlib import Path

import onnx

from textclf.errors import GraphError

WEIGHTS = "weights.bin"
_LARGE_BYTES = 1 << 20


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
    onnx.save_model(
        model,
        target,
        save_as_external_data=True,
        location=WEIGHTS,
        size_threshold=_LARGE_BYTES,
    )


def read_graph(path: Path) -> onnx.ModelProto:
    """Read a graph that was laid aside, without its large tensors."""
    return onnx.load_model(path, load_external_data=False)


def pack(path: Path, target: Path) -> None:
    """Write the graph at ``path`` and what lies beside it into the one file ``target``.

    Raises:
        GraphError: It does not fit: protobuf holds 2 GiB at the most.
    """
    try:
        onnx.save_model(onnx.load_model(path), target)
    except Exception as exc:  # protobuf has kinds of its own
        raise GraphError(
            f"{path.name} and its weights do not fit into one file: {exc}; export a smaller model"
        ) from exc
