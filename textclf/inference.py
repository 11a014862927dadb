"""ONNX sessions: padded ids to logits to scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from textclf.description import ClassifierDescription, InputRole
from textclf.errors import InferenceError, ModelLoadError

_PROVIDER = "CPUExecutionProvider"
# Its operator took up to 17 % longer than the ones it replaces in every graph that was measured.
_SLOWER_FUSIONS = ["SkipLayerNormFusion"]
_CPU_INFO = Path("/proc/cpuinfo")


class Graph:
    """A sequence-classification graph, ready to run; safe to share between threads."""

    def __init__(self, path: Path, description: ClassifierDescription, *, threads: int = 1) -> None:
        """Open the graph at ``path``.

        Args:
            path: Of the graph.
            description: Of its classifier.
            threads: That a run is spread over.

        Raises:
            ModelLoadError: onnxruntime cannot open it.
        """
        self._session = open_session(path, threads=threads)
        self._inputs = description.inputs
        self._output = description.output
        self._pad_token_id = description.pad_token_id

    @property
    def has_mask(self) -> bool:
        """Whether padding can be told from text; without it a batch holds texts of one length."""
        return "attention_mask" in self._inputs

    def scores(self, batch: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Return scores of shape ``(texts, labels)``; each row sums to 1.

        Args:
            batch: The input_ids of each text, unpadded.

        Raises:
            InferenceError: The graph fails on these ids or gives logits that are not finite.
        """
        feeds = pad(batch, inputs=self._inputs, pad_token_id=self._pad_token_id)
        try:
            (logits,) = self._session.run([self._output], feeds)
        except Exception as exc:  # ORT run errors share no narrower base
            shape = next(iter(feeds.values())).shape
            raise InferenceError(f"the graph fails on ids of shape {shape}: {exc}") from exc
        if not np.isfinite(logits).all():
            raise InferenceError("the graph gave logits that are not finite; import a sound model")
        return softmax(logits)


def open_session(path: Path, *, threads: int = 1) -> ort.InferenceSession:
    """Open the graph at ``path`` on the CPU.

    With one thread, batches run side by side instead; with more, they spin only while a run lasts.

    Raises:
        ModelLoadError: onnxruntime cannot open it.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = False  # it keeps a plan for each shape, and no run was faster
    options.log_severity_level = 4  # errors are raised; logged too, they would show twice
    if not has_vnni():
        # x64 without VNNI saturates in uint8 x int8 products unless told to be exact, which costs
        # a third of the speed where there is VNNI:
        # https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
        options.add_session_config_entry("session.x64quantprecision", "1")
    try:
        return ort.InferenceSession(
            path, options, providers=[_PROVIDER], disabled_optimizers=_SLOWER_FUSIONS
        )
    except Exception as exc:  # ORT load errors share no narrower base
        raise ModelLoadError(f"cannot load {path}: {exc}") from exc


@cache
def has_vnni() -> bool:
    """Say whether this CPU sums int8 products in 32 bits; where it cannot be told, it does not."""
    return not {"avx512_vnni", "avx_vnni"}.isdisjoint(_cpu_info().split())


def cpu_model() -> str:
    """Return the name of this CPU; empty where it cannot be told."""
    names = (line for line in _cpu_info().splitlines() if line.startswith("model name"))
    return next(names, "").partition(":")[2].strip()


def _cpu_info() -> str:
    try:
        return _CPU_INFO.read_text("utf-8")
    except OSError:  # not Linux
        return ""


def pad(
    batch: Sequence[Sequence[int]], *, inputs: Mapping[InputRole, str], pad_token_id: int
) -> dict[str, NDArray[np.int64]]:
    """Pad a batch to its longest text and name each array as the graph does.

    Returns:
        Arrays of int64 and shape ``(texts, longest)``.
    """
    lengths = np.array([len(ids) for ids in batch])
    mask = np.arange(lengths.max()) < lengths[:, None]
    input_ids = np.full(mask.shape, pad_token_id, dtype=np.int64)
    input_ids[mask] = np.concatenate([np.asarray(ids, dtype=np.int64) for ids in batch])
    arrays: dict[InputRole, NDArray[np.int64]] = {
        "input_ids": input_ids,
        "attention_mask": mask.astype(np.int64),
        "token_type_ids": np.zeros_like(input_ids),
    }
    return {name: arrays[role] for role, name in inputs.items()}


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Turn logits of shape ``(texts, labels)`` into rows that sum to 1."""
    shifted = logits - logits.max(axis=1, keepdims=True)  # float32 exp overflows above ~88
    exp = np.exp(shifted)
    scores: NDArray[np.float32] = exp / exp.sum(axis=1, keepdims=True)
    return scores
