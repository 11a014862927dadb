"""Ways to store a graph that an import tries: each is a name and a function that writes it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.matmul_nbits_quantizer import (
    DefaultWeightOnlyQuantConfig,
    MatMulNBitsQuantizer,
)

from textclf.errors import QuantizationError
from textclf.inference import has_vnni
from textclf.optimization.per_token import quantize_per_token
from textclf.optimization.weights import read_graph

Feeds = Mapping[str, NDArray[np.int64]]
_BLOCK = 128
_INT8_ACCUMULATION = 4  # accuracy_level of MatMulNBits
# Without a type for the tensors that shape inference does not reach, a fused graph is refused.
_UNTYPED_IS_FLOAT = {"DefaultTensorType": onnx.TensorProto.FLOAT, "MatMulConstBOnly": True}


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to store a graph.

    Attributes:
        name: Short, for tables.
        method: What was done, in half a sentence.
        weights: What most of its weights are stored as.
        build: Writes it: the path of the fp32 graph, the path to write, and texts to calibrate
            with. Raises QuantizationError where that cannot be done.
        instead_of: Name of a variant that makes this one needless if the gate lets it pass.
    """

    name: str
    method: str
    build: Callable[[Path, Path, Sequence[Feeds]], None]
    weights: str = "int8"
    instead_of: str = ""


def _per_token(source: Path, target: Path, _texts: Sequence[Feeds]) -> None:
    onnx.save_model(quantize_per_token(read_graph(source), base_dir=source.parent), target)


def _per_token_but_narrowing(source: Path, target: Path, _texts: Sequence[Feeds]) -> None:
    quantized = quantize_per_token(read_graph(source), base_dir=source.parent, keep_narrowing=True)
    onnx.save_model(quantized, target)


def _static(source: Path, target: Path, texts: Sequence[Feeds]) -> None:
    with _library("quantize_static"):
        quantize_static(
            source,
            target,
            _Texts(texts),
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            reduce_range=not has_vnni(),
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            extra_options=_UNTYPED_IS_FLOAT,
        )


def _block_wise(source: Path, target: Path, _texts: Sequence[Feeds]) -> None:
    config = DefaultWeightOnlyQuantConfig(
        block_size=_BLOCK, is_symmetric=True, accuracy_level=_INT8_ACCUMULATION, bits=8
    )
    with _library("MatMulNBits"):
        quantizer = MatMulNBitsQuantizer(onnx.load_model(source), bits=8, algo_config=config)
        quantizer.process()
        onnx.save_model(quantizer.model.model, target)


def _dynamic(source: Path, target: Path, _texts: Sequence[Feeds]) -> None:
    with _library("quantize_dynamic"):
        quantize_dynamic(
            source,
            target,
            per_channel=True,
            reduce_range=not has_vnni(),
            extra_options=_UNTYPED_IS_FLOAT,
        )


INT8_VARIANTS = (
    Variant(
        name="int8 per token",
        method="products int8 within -63..63 with one scale an output channel, their inputs uint8 "
        "with one scale a token, embedding tables int8 with one scale a row",
        build=_per_token,
    ),
    Variant(
        name="int8 per token, narrowing fp32",
        method="as one scale a token, but products with more inputs than outputs stay fp32",
        build=_per_token_but_narrowing,
        instead_of="int8 per token",
    ),
    Variant(
        name="int8 static",
        method="products int8 with one scale an output channel, one fixed scale for the inputs of "
        "each from calibration on the golden texts (onnxruntime's quantize_static)",
        build=_static,
    ),
    Variant(
        name="int8 block-wise",
        method=f"weights of products in 8 bits with one scale for {_BLOCK} of them (onnxruntime's "
        "MatMulNBits)",
        build=_block_wise,
    ),
    Variant(
        name="int8 dynamic",
        method="stock dynamic quantisation, one scale a tensor (onnxruntime's quantize_dynamic)",
        build=_dynamic,
    ),
)


class _Texts(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    def __init__(self, texts: Sequence[Feeds]) -> None:
        self._texts: Iterator[Feeds] = iter(texts)

    def get_next(self) -> dict[str, Any] | None:
        return dict(feeds) if (feeds := next(self._texts, None)) is not None else None


@contextmanager
def _library(what: str) -> Iterator[None]:
    """Hold back advice that onnxruntime gives through the root logger, and name its errors."""
    logging.disable(logging.WARNING)
    try:
        yield
    except Exception as exc:  # onnxruntime's quantisers share no narrower base
        reason = str(exc).splitlines()[0] if str(exc) else type(exc).__name__
        raise QuantizationError(f"onnxruntime's {what} fails: {reason}; leave it out") from exc
    finally:
        logging.disable(logging.NOTSET)
