"""uint8 in place of what a product reads: with a scale a token, or with one that is fixed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from textclf.optimization.calibration import LEVELS, FixedScale
from textclf.optimization.graph_edit import MICROSOFT, GraphEdit

REDUCE_AXES_INPUT_OPSET = 18  # from here on ReduceMax takes its axes as an input
_ROW_SCALES_OPSET = 13  # the first whose QuantizeLinear takes a scale a row
_ZERO_POINT = 128
_LEVELS = 127  # on either side of the zero point
_TINY = 1e-9  # a token of zeros must not be divided by zero

_GELUS = {"Gelu", "FastGelu"}
_LEAST_GELU = 0.1701  # none gives less than the negative of it
_GELU_ZERO_POINT = 24  # below it the few levels that negative values need


@dataclass(frozen=True)
class Activation:
    """A tensor that was quantised, each field but the last the name of another one.

    Attributes:
        values: uint8, of the tensor's shape.
        scale: Of each value, a number.
        zero_point: Level of 0.
        token_scales: Of shape ``(..., 1)``, to multiply what comes of it; empty if fixed.
        factors: What each channel was divided by, of shape ``(channels,)``.
    """

    values: str
    scale: str
    zero_point: str
    token_scales: str = ""
    factors: NDArray[np.float32] | None = None


class Activations:
    """Quantises tensors, each once however many products read it."""

    def __init__(self, edit: GraphEdit, nodes: Iterable[onnx.NodeProto]) -> None:
        self._edit = edit
        self._gelus = {node.output[0] for node in nodes if node.op_type in _GELUS}
        self._done: dict[str, Activation] = {}

    def known(self, source: str) -> Activation | None:
        """Return the quantised tensor if there is one already."""
        return self._done.get(source)

    def by_token(self, source: str, width: int) -> Activation:
        """Quantise a tensor of shape ``(..., width)`` with a scale a token.

        What a Gelu gives is hardly negative, so nearly all levels lie above its zero point.
        """
        edit = self._edit
        is_gelu = source in self._gelus
        zero_point = np.array(_GELU_ZERO_POINT if is_gelu else _ZERO_POINT, np.uint8)
        name = f"zero_point_{zero_point}"
        scales = self._gelu_scales(source) if is_gelu else self._symmetric_scales(source)
        rows = edit.shared(f"rows_of_{width}", np.array([-1, width], np.int64))
        flat = edit.shared("flat", np.array([-1], np.int64))
        matrix = edit.node("Reshape", [source, rows], f"{source}_rows")
        row_scales = edit.node("Reshape", [scales, flat], f"{source}_row_scales")
        count = edit.node("Shape", [row_scales], f"{source}_row_count")
        row_zeros = edit.node(
            "ConstantOfShape",
            [count],
            f"{source}_row_zero_points",
            value=numpy_helper.from_array(zero_point.reshape(1)),
        )
        # Before there were scales a row in ONNX, onnxruntime had an operator of its own for them.
        domain = "" if edit.opset >= _ROW_SCALES_OPSET else MICROSOFT
        levels = edit.node(
            "QuantizeLinear", [matrix, row_scales, row_zeros], f"{source}_uint8_rows",
            axis=0, domain=domain,
        )  # fmt: skip
        shape = edit.node("Shape", [source], f"{source}_shape")
        values = edit.node("Reshape", [levels, shape], f"{source}_uint8")
        unit = edit.shared("one", np.array(1, np.float32))
        return self._keep(source, Activation(values, unit, edit.shared(name, zero_point), scales))

    def fixed(self, source: str, fixed: FixedScale) -> Activation:
        """Quantise a tensor with one scale, its channels balanced before if that is wanted."""
        edit, balanced = self._edit, source
        if fixed.factors is not None:
            inverse = edit.initializer(f"{source}_balance", 1 / fixed.factors)
            balanced = edit.node("Mul", [source, inverse], f"{source}_balanced")
        scale = edit.initializer(f"{source}_fixed_scale", np.array(fixed.scale, np.float32))
        zero_point = edit.initializer(
            f"{source}_fixed_zero_point", np.array(fixed.zero_point, np.uint8)
        )
        values = edit.node("QuantizeLinear", [balanced, scale, zero_point], f"{source}_uint8")
        return self._keep(source, Activation(values, scale, zero_point, "", fixed.factors))

    def _keep(self, source: str, activation: Activation) -> Activation:
        self._done[source] = activation
        return activation

    def _gelu_scales(self, source: str) -> str:
        largest = self._largest(source, source)
        least_scale = _LEAST_GELU / _GELU_ZERO_POINT
        return self._scales(source, largest, LEVELS - _GELU_ZERO_POINT, least_scale)

    def _symmetric_scales(self, source: str) -> str:
        absolute = self._edit.node("Abs", [source], f"{source}_abs")
        return self._scales(source, self._largest(absolute, source), _LEVELS, _TINY)

    def _scales(self, source: str, largest: str, levels: int, least_scale: float) -> str:
        edit = self._edit
        share = edit.shared(f"share_{levels}", np.array(1 / levels, np.float32))
        least = edit.shared(f"least_{levels}", np.array(least_scale, np.float32))
        scales = edit.node("Mul", [largest, share], f"{source}_largest_scaled")
        return edit.node("Max", [scales, least], f"{source}_token_scale")

    def _largest(self, source: str, name: str) -> str:
        edit = self._edit
        if edit.opset < REDUCE_AXES_INPUT_OPSET:
            return edit.node("ReduceMax", [source], f"{name}_max", axes=[-1], keepdims=1)
        axes = edit.shared("last_axis", np.array([-1], np.int64))
        return edit.node("ReduceMax", [source, axes], f"{name}_max", keepdims=1)
