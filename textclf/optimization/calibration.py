"""One fixed scale for what a product reads, from what it held while texts ran.

A tensor behind a layer normalisation has a few channels tens of times as wide as the others, which
one scale for all would drown. Where that costs too much, each channel is divided by a factor of its
own and the rows of the weights are multiplied by it: the product stays the same.

Source: SmoothQuant, https://arxiv.org/abs/2211.10438
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from textclf.description import ClassifierDescription
from textclf.errors import QuantizationError
from textclf.inference import open_session, pad
from textclf.optimization.weights import read_graph

Feeds = Mapping[str, NDArray[np.int64]]
Floats = NDArray[np.float32]

_CALIBRATION_TEXTS = 128
LEVELS = 255
_MARGIN = 1.05  # other texts reach a little further
_SMOOTHING = 0.5  # share of a channel's spread that moves into the weights
_LEAST_SPREAD = 0.05  # of the median channel's
_LEAST_GAIN = 4.0  # half the error, as an amplitude; less is not worth a pass over the tensor
_TINY = 1e-5


@dataclass(frozen=True)
class Range:
    """What a tensor held: its least and largest value, each of shape ``(channels,)``."""

    lowest: Floats
    highest: Floats


@dataclass(frozen=True)
class FixedScale:
    """How a tensor becomes uint8.

    Attributes:
        scale: Of a level.
        zero_point: Level of 0.
        factors: What each channel is divided by before, of shape ``(channels,)``; None if by
            nothing.
    """

    scale: float
    zero_point: int
    factors: Floats | None


def calibration_feeds(
    ids: Sequence[Sequence[int]], description: ClassifierDescription
) -> list[Feeds]:
    """Return the inputs to calibrate with, each of one text: the first of ``ids``, unpadded."""
    return [
        pad([text], inputs=description.inputs, pad_token_id=description.pad_token_id)
        for text in ids[:_CALIBRATION_TEXTS]
    ]


def observe(source: Path, names: Sequence[str], texts: Sequence[Feeds]) -> dict[str, Range]:
    """Run texts and return what tensors held, by name.

    Args:
        source: The graph; its large weights may lie beside it.
        names: Of float32 tensors of shape ``(..., channels)`` that nodes compute.
        texts: Inputs of the graph, without padding: what is padded is no text.

    Raises:
        QuantizationError: There are no texts, the graph fails on one, or a value is not finite.
    """
    model = read_graph(source)
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    path = source.with_name(f"observed-{source.name}")
    onnx.save_model(model, path)
    try:
        session = open_session(path)
        lowest, highest = zip(*(_extremes(session.run(names, dict(t))) for t in texts), strict=True)
    except Exception as exc:  # ORT run errors share no narrower base
        raise QuantizationError(f"calibration fails: {str(exc).splitlines()[0]}") from exc
    finally:
        path.unlink()
    ranges = {
        name: Range(np.min(least, axis=0), np.max(most, axis=0))
        for name, least, most in zip(
            names, zip(*lowest, strict=True), zip(*highest, strict=True), strict=True
        )
    }
    for name, found in ranges.items():
        if not np.isfinite([found.lowest, found.highest]).all():
            raise QuantizationError(f"{name} is not finite on the golden texts")
    return ranges


def fix_scale(found: Range, matrices: Sequence[Floats], *, smooth: bool) -> FixedScale:
    """Return how a tensor becomes uint8, and whether its channels are balanced before.

    Args:
        found: What the tensor held.
        matrices: What it is multiplied with, each of shape ``(channels, outputs)``.
        smooth: Whether its channels may be balanced.
    """
    plain = _scale_of(found, None)
    if not smooth:
        return plain
    largest = np.max([np.abs(matrix).max(axis=1) for matrix in matrices], axis=0)
    squares = np.sum([np.square(matrix).sum(axis=1) for matrix in matrices], axis=0)
    spread = np.maximum(np.maximum(-found.lowest, found.highest), _TINY)
    # A channel that no text excited here may be excited by one that is served.
    spread = np.maximum(spread, _LEAST_SPREAD * np.median(spread))
    factors = spread**_SMOOTHING / np.maximum(largest, _TINY) ** (1 - _SMOOTHING)
    factors = (factors / np.exp(np.log(factors).mean())).astype(np.float32)
    balanced = _scale_of(found, factors)
    # Rounding adds the same noise to each channel; the weights say how much of it comes through.
    noise = plain.scale**2 * squares.sum()
    noise_left = balanced.scale**2 * (factors**2 * squares).sum()
    return balanced if noise >= _LEAST_GAIN * noise_left else plain


def _scale_of(found: Range, factors: Floats | None) -> FixedScale:
    lowest, highest = found.lowest, found.highest
    if factors is not None:
        lowest, highest = lowest / factors, highest / factors
    # 0 has a level of its own, and a tensor of zeros has a scale.
    least, most = min(_MARGIN * float(lowest.min()), 0), max(_MARGIN * float(highest.max()), _TINY)
    scale = (most - least) / LEVELS
    return FixedScale(scale, round(-least / scale), factors)


def _extremes(values: Sequence[Floats]) -> tuple[list[Floats], list[Floats]]:
    rows = [value.reshape(-1, value.shape[-1]) for value in values]
    return [row.min(axis=0) for row in rows], [row.max(axis=0) for row in rows]
