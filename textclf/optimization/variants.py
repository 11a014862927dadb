"""Ways to store a graph that an import tries: each is a name and a function that writes it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.external_data_helper import uses_external_data
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
from textclf.optimization.calibration import Feeds, observe
from textclf.optimization.per_token import quantize_per_token
from textclf.optimization.products import widening_inputs
from textclf.optimization.weights import read_graph

_BLOCK = 128
_INT8_ACCUMULATION = 4  # accuracy_level of MatMulNBits
# Without a type for the tensors that shape inference does not reach, a fused graph is refused.
_UNTYPED_IS_FLOAT = {"DefaultTensorType": onnx.TensorProto.FLOAT, "MatMulConstBOnly": True}


STATIC_METHOD = (
    "products int8 within -63..63 with one scale an output channel, their inputs uint8 with one "
    "fixed scale from calibration on the golden texts, or with one scale a token where a product "
    "narrows, embedding tables int8 with one scale a row"
)


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to store a graph.

    Attributes:
        name: Short, for tables.
        method: What was done, in half a sentence.
        weights: What most of its weights are stored as.
        build: Writes it: the path of the fp32 graph, the path to write, and texts to calibrate
            with. Raises QuantizationError where that cannot be done.
        memory_factor: How many times the graph building it takes in memory.
        instead_of: Names of variants that make this one needless if the gate lets one pass.
        fused_attention: Whether it starts from attention in one operator, where that holds;
            onnxruntime runs the operators that an exporter spelled it out in faster in some
            graphs, among them those with small heads.
    """

    name: str
    method: str
    build: Callable[[Path, Path, Sequence[Feeds]], None]
    weights: str = "int8"
    memory_factor: float = 1.5
    instead_of: tuple[str, ...] = ()
    fused_attention: bool = True


def build_static_and_per_token(source: Path, target: Path, texts: Sequence[Feeds]) -> None:
    """Write a graph in int8, with fixed scales where what a product reads varies little.

    Args:
        source: The fp32 graph; its large weights may lie beside it.
        target: Where the int8 graph goes.
        texts: To calibrate with, each alone.

    Raises:
        QuantizationError: Calibration fails, or the graph cannot be quantised.
    """
    names = widening_inputs(read_graph(source))
    if not names:
        raise QuantizationError("every product narrows")
    ranges = observe(source, names, texts)
    quantized = quantize_per_token(read_graph(source), base_dir=source.parent, ranges=ranges)
    onnx.save_model(quantized, target)


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
    """Embedding tables stay fp32, and are not even read."""
    config = DefaultWeightOnlyQuantConfig(
        block_size=_BLOCK, is_symmetric=True, accuracy_level=_INT8_ACCUMULATION, bits=8
    )
    with _library("MatMulNBits"), _without_tables(source, target) as bare:
        quantizer = MatMulNBitsQuantizer(onnx.load_model(bare), bits=8, algo_config=config)
        quantizer.process()
        onnx.save_model(quantizer.model.model, target)


def _dynamic(source: Path, target: Path, _texts: Sequence[Feeds]) -> None:
    """Embedding tables stay fp32, and are not even read."""
    with _library("quantize_dynamic"), _without_tables(source, target) as bare:
        quantize_dynamic(
            bare,
            target,
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            reduce_range=not has_vnni(),
            extra_options=_UNTYPED_IS_FLOAT,
        )


_STATIC = "int8 static and per token"
_WITHOUT_TEXTS = "int8 per token"
INT8_VARIANTS = (
    Variant(
        name=_STATIC,
        method=STATIC_METHOD,
        build=build_static_and_per_token,
    ),
    Variant(
        name=f"{_STATIC}, attention as exported",
        method=STATIC_METHOD,
        build=build_static_and_per_token,
        fused_attention=False,
    ),
    Variant(
        name=_WITHOUT_TEXTS,
        method="products int8 within -63..63 with one scale an output channel, their inputs uint8 "
        "with one scale a token, embedding tables int8 with one scale a row",
        build=_per_token,
    ),
    Variant(
        name=f"{_WITHOUT_TEXTS}, narrowing fp32",
        method="as one scale a token, but products with more inputs than outputs stay fp32",
        build=_per_token_but_narrowing,
        instead_of=(_STATIC, _WITHOUT_TEXTS),
    ),
    Variant(
        name="int8 static",
        method="products int8 with one scale an output channel, one fixed scale for the inputs of "
        "each from calibration on the golden texts (onnxruntime's quantize_static)",
        build=_static,
        memory_factor=4,
    ),
    Variant(
        name="int8 block-wise",
        method=f"weights of products in 8 bits with one scale for {_BLOCK} of them (onnxruntime's "
        "MatMulNBits)",
        build=_block_wise,
        memory_factor=2,
    ),
    Variant(
        name="int8 dynamic",
        method="stock dynamic quantisation, one scale a tensor (onnxruntime's quantize_dynamic)",
        build=_dynamic,
        memory_factor=2.3,
    ),
)


class _Texts(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    def __init__(self, texts: Sequence[Feeds]) -> None:
        self._texts: Iterator[Feeds] = iter(texts)

    def get_next(self) -> dict[str, Any] | None:
        return dict(feeds) if (feeds := next(self._texts, None)) is not None else None


@contextmanager
def _without_tables(source: Path, target: Path) -> Iterator[Path]:
    """Give a graph whose embedding tables are one row long; give ``target`` its tables back."""
    graph = read_graph(source)
    gathered = {node.input[0] for node in graph.graph.node if node.op_type == "Gather"}
    tables = [t for t in graph.graph.initializer if t.name in gathered and uses_external_data(t)]
    whole = [onnx.TensorProto.FromString(table.SerializeToString()) for table in tables]
    for table in tables:
        kind = onnx.helper.tensor_dtype_to_np_dtype(table.data_type)
        row = np.zeros((1, *table.dims[1:]), dtype=kind)
        table.CopyFrom(numpy_helper.from_array(row, table.name))
    bare = target.with_name(f"bare-{target.name}")
    onnx.save_model(graph, bare)
    yield bare
    quantized = read_graph(target)
    for table in whole:
        (place,) = (t for t in quantized.graph.initializer if t.name == table.name)
        place.CopyFrom(table)
    onnx.save_model(quantized, target)
    bare.unlink()


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
