"""What a graph answers on texts of all lengths, and what it consists of."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import ModelProto

from tests.tiny_models import PAD_ID

SHAPES = [(1, 1), (1, 9), (3, 17), (2, 150)]


def roles(model: ModelProto) -> Any:
    """Return each input under its own name."""
    return {value.name: value.name for value in model.graph.input}


def feeds(model: ModelProto, batch: int, length: int) -> dict[str, NDArray[np.int64]]:
    """Return texts of several lengths where there is a mask, and texts with a pad id inside."""
    random = np.random.default_rng(batch * length)
    ids = random.integers(2, 128, (batch, length))
    mask = np.ones_like(ids)
    if "attention_mask" in roles(model):
        mask = (np.arange(length) < random.integers(1, length + 1, (batch, 1))).astype(np.int64)
    ids[(mask == 0) | (random.random(ids.shape) < 0.1)] = PAD_ID
    arrays = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    return {name: arrays.get(name, ids) for name in roles(model)}


def logits(model: ModelProto, inputs: dict[str, NDArray[np.int64]]) -> NDArray[np.float32]:
    """Return what the graph answers."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    output: NDArray[np.float32] = session.run(["logits"], inputs)[0]
    return output


def assert_same_answers(fused: ModelProto, model: ModelProto) -> None:
    """Compare both graphs on texts of several numbers and lengths; both have to be valid ONNX."""
    onnx.checker.check_model(fused, full_check=True)
    assert fused.graph.input == model.graph.input
    assert fused.graph.output == model.graph.output
    for batch, length in SHAPES:
        inputs = feeds(model, batch, length)
        np.testing.assert_allclose(logits(fused, inputs), logits(model, inputs), atol=1e-4)


def operators(model: ModelProto) -> Counter[str]:
    """Return how many nodes of each type a graph has."""
    return Counter(node.op_type for node in model.graph.node)


def run(
    model: onnx.ModelProto, inputs: dict[str, NDArray[np.generic]], *, exact: str = "0"
) -> NDArray[np.float32]:
    """Return ``y``, with or without onnxruntime's remedy against saturation."""
    onnx.checker.check_model(model, full_check=True)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.x64quantprecision", exact)
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    output: NDArray[np.float32] = session.run(["y"], inputs)[0]
    return output
