"""Attention as one operator, whichever operators an exporter spelled it out in.

onnxruntime's own fusions know the patterns of some exporters, and none of a graph without a mask.
Here a pattern is a guess, and running it is the proof: around a Softmax there are tensors of shape
``(batch, length, width)`` that may be a query, a key, a value and what attention makes of them. If
they are so related on random inputs, a MultiHeadAttention takes the place of what is between.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper

from textclf.description import InputRole
from textclf.optimization.probe import Probe, Values, make_probe, run_probe

MICROSOFT = "com.microsoft"

_BATCH, _LENGTH = 3, 7  # unlike each other, so that shapes tell axes apart
_LONG = (512, 128, 32)  # a window of attention shows in a long text; not each graph takes one
_TOLERANCE = 1e-4  # of the largest value; float32 sums in another order differ by 1e-6
_MASKED = float(np.finfo(np.float32).min)


@dataclass(frozen=True)
class _Attention:
    """Names of the tensors around one attention.

    Attributes:
        query: Of shape ``(batch, length, width)``, as are the others.
        key: Its width is the query's.
        value: Its width is the output's.
        output: What attention makes of them.
        heads: Into which each width is split.
        masked: Whether padding is left out.
    """

    query: str
    key: str
    value: str
    output: str
    heads: int
    masked: bool

    def names(self) -> tuple[str, str, str, str]:
        return self.query, self.key, self.value, self.output


def fuse_attention(model: onnx.ModelProto, inputs: Mapping[InputRole, str]) -> None:
    """Replace each attention of a graph, in place.

    The projections stay products of their own. What nothing reads any more stays too.

    Args:
        model: May lack its external data, which is not read.
        inputs: Role of each input to its name in the graph.

    Source: https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
    """
    probe = make_probe(inputs, batch=_BATCH, length=_LENGTH)
    values = run_probe(model, probe)
    if values is None:
        return
    mask = inputs.get("attention_mask", "")
    search = _Search(model.graph, values, mask)
    found = [attention for attention in search.run() if _holds(attention, probe, values)]
    if found:
        probe, values = _run_long(model, inputs, found)
        found = [attention for attention in found if _holds(attention, probe, values)]
    _replace(model, found, mask)


def _run_long(
    model: onnx.ModelProto, inputs: Mapping[InputRole, str], found: Sequence[_Attention]
) -> tuple[Probe, Values]:
    names = {name for attention in found for name in attention.names()}
    for length in _LONG:
        probe = make_probe(inputs, batch=1, length=length)
        values = run_probe(model, probe, names)
        if values is not None:
            return probe, values
    return probe, {}


class _Search:
    """Looks for tensors that may be an attention's."""

    def __init__(self, graph: onnx.GraphProto, values: Values, mask: str) -> None:
        self._nodes = list(graph.node)
        self._producers = {name: node for node in graph.node for name in node.output}
        self._inputs = {value.name for value in graph.input}
        self._inputs -= {tensor.name for tensor in graph.initializer}
        self._values = values
        self._mask = mask

    def run(self) -> Iterator[_Attention]:
        """Yield what surrounds each Softmax, where all of it is there."""
        for index, node in enumerate(self._nodes):
            if node.op_type == "Softmax":
                attention = self._around(index)
                if attention is not None:
                    yield attention

    def _around(self, index: int) -> _Attention | None:
        products, read = self._before(self._nodes[index].input[0])
        weighted, output = self._after(index)
        # What masks by anything but the mask is not understood.
        if len(products) != 1 or weighted is None or output is None or read - {self._mask}:
            return None
        scores = self._values[products[0].output[0]]
        query, key = (self._states_before(name) for name in products[0].input)
        value = self._states_before(weighted.input[1])
        if query is None or key is None or value is None or scores.ndim != 4:
            return None
        return _Attention(query, key, value, output, scores.shape[1], self._mask in read)

    def _before(self, scores: str) -> tuple[list[NodeProto], set[str]]:
        """Return the products that scores are made of, and the graph's inputs beside them."""
        products, read, seen, waiting = [], set(), set(), [scores]
        while waiting:
            name = waiting.pop()
            node = self._producers.get(name)
            if name in seen:
                continue
            seen.add(name)
            if name in self._inputs:
                read.add(name)
            elif node is not None and node.op_type == "MatMul":
                products.append(node)
            elif node is not None and node.op_type not in {"Shape", "Size"}:
                waiting += node.input
        return products, read

    def _after(self, index: int) -> tuple[NodeProto | None, str | None]:
        """Return the product with the values, and the first states that come of it."""
        reached = set(self._nodes[index].output)
        weighted = None
        for node in self._nodes[index + 1 :]:
            if reached.isdisjoint(node.input):
                continue
            reached.update(node.output)
            if node.op_type == "MatMul" and weighted is None:
                weighted = node
            if weighted is not None and self._is_states(node.output[0]):
                return weighted, node.output[0]
        return weighted, None

    def _states_before(self, name: str) -> str | None:
        """Follow the only tensor of three axes or more that each node reads."""
        while not self._is_states(name):
            node = self._producers.get(name)
            wide = [i for i in node.input if self._axes(i) >= 3] if node is not None else []
            if len(wide) != 1:
                return None
            name = wide[0]
        return name

    def _axes(self, name: str) -> int:
        return self._values[name].ndim if name in self._values else 0

    def _is_states(self, name: str) -> bool:
        return self._axes(name) == 3 and self._values[name].shape[:2] == (_BATCH, _LENGTH)


def _holds(attention: _Attention, probe: Probe, values: Values) -> bool:
    """Whether these tensors are related as attention relates them."""
    if not all(name in values for name in attention.names()):
        return False
    query, key, value, output = (values[name] for name in attention.names())
    widths = {query.shape[-1] % attention.heads, value.shape[-1] % attention.heads}
    if query.shape != key.shape or value.shape != output.shape or widths != {0}:
        return False
    mask = probe.mask if attention.masked else np.ones_like(probe.mask)
    with np.errstate(all="ignore"):  # what is no attention may be infinite
        expected = _attend(query, key, value, heads=attention.heads, mask=mask)
    return bool(np.abs(expected - output).max() <= _TOLERANCE * np.abs(expected).max())


def _attend(
    query: NDArray[np.float32],
    key: NDArray[np.float32],
    value: NDArray[np.float32],
    *,
    heads: int,
    mask: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Return scaled dot product attention of several heads.

    Args:
        query: Of shape ``(batch, length, width)``, as are ``key``, ``value`` and what is returned.
        key: What the query is compared with.
        value: What is averaged.
        heads: Into which the width is split.
        mask: Of shape ``(batch, length)``; 0 where a key is left out.

    Source: https://arxiv.org/abs/1706.03762
    """
    queries, keys, values = (
        states.reshape(*states.shape[:2], heads, -1).transpose(0, 2, 1, 3)
        for states in (query, key, value)
    )
    scores = queries @ keys.transpose(0, 1, 3, 2) / math.sqrt(queries.shape[-1])
    scores = np.where(mask[:, None, None] > 0, scores, _MASKED)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    context: NDArray[np.float32] = (weights @ values).transpose(0, 2, 1, 3).reshape(value.shape)
    return context


def _replace(model: onnx.ModelProto, found: Sequence[_Attention], mask: str) -> None:
    graph = model.graph
    int32_mask = _unused_name(graph, f"{mask}_int32")
    by_output = {attention.output: attention for attention in found}
    nodes = [
        _operator(by_output[output], int32_mask)
        if (output := node.output[0]) in by_output
        else node
        for node in graph.node
    ]
    if any(attention.masked for attention in found):
        cast = helper.make_node("Cast", [mask], [int32_mask], to=TensorProto.INT32)
        nodes.insert(0, cast)
    del graph.node[:]
    graph.node.extend(nodes)
    if found and MICROSOFT not in {opset.domain for opset in model.opset_import}:
        model.opset_import.append(helper.make_opsetid(MICROSOFT, 1))


def _operator(attention: _Attention, int32_mask: str) -> NodeProto:
    inputs = [attention.query, attention.key, attention.value]
    attributes: dict[str, Any] = {"num_heads": attention.heads}
    if attention.masked:
        inputs += ["", int32_mask]  # no bias, it is added before
        attributes["mask_filter_value"] = _MASKED
    return helper.make_node(
        "MultiHeadAttention",
        inputs,
        [attention.output],
        name=f"{attention.output}_attention",
        domain=MICROSOFT,
        **attributes,
    )


def _unused_name(graph: onnx.GraphProto, wanted: str) -> str:
    taken = {name for node in graph.node for name in node.output}
    taken.update(item.name for item in (*graph.input, *graph.initializer))
    while wanted in taken:
        wanted += "_"
    return wanted
