"""Graphs of fewer, larger operators that give the same answers.

onnxruntime fuses layer normalisation and Gelu when it opens a graph, and attention in some graphs
with a mask, whose projections it then merges into one product. Here attention is fused whoever
exported it, with and without a mask, and its projections stay products of their own, which can
become integer products afterwards.

Needed at import only: serving never imports this module, nor ``onnx``.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np
import onnx
from onnx import helper
from onnxruntime.transformers.fusion_fastgelu import FusionFastGelu
from onnxruntime.transformers.fusion_gelu import FusionGelu
from onnxruntime.transformers.fusion_layernorm import FusionLayerNormalization
from onnxruntime.transformers.onnx_model import OnnxModel

from textclf.description import InputRole
from textclf.optimization.attention_fusion import MICROSOFT, fuse_attention
from textclf.optimization.graph_walk import opset_of, read_names
from textclf.optimization.probe import make_probe, run_probe

LAYER_NORM_OPSET = 17  # the first with LayerNormalization

_TOLERANCE = 1e-4  # of the largest logit
for _name in ("fusion_base", "onnx_model", "onnxruntime.transformers"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)  # it counts what it fuses


def fuse(
    model: onnx.ModelProto, *, inputs: Mapping[InputRole, str], attention: bool = True
) -> onnx.ModelProto:
    """Return a copy of ``model`` with attention, Gelu and layer normalisation as one operator each.

    Attention becomes MultiHeadAttention, which reads query, key and value; where there is a mask,
    it reads that as well. A mask that leaves nothing out is dropped. Attention of another kind,
    such as one with relative positions, stays as it was, and so does the whole graph where it does
    not run on ids below 32.

    Neither SkipLayerNormalization nor EmbedLayerNormalization is made: the first is slower on a
    CPU than what it replaces, the second hides the tables from quantisation. onnxruntime makes the
    first by itself unless a session disables ``SkipLayerNormFusion``. Below opset 17 it has to
    fuse layer normalisation too, as no valid graph can say it.

    Args:
        model: May lack its external data, which is neither read nor moved.
        inputs: Role of each input to its name in the graph.
        attention: Whether attention is fused too.

    Source: https://onnxruntime.ai/docs/performance/transformers-optimization.html
    """
    attentive = onnx.ModelProto()
    attentive.CopyFrom(model)
    if attention:
        fuse_attention(attentive, inputs)
    _drop_unread(attentive)
    fused = onnx.ModelProto()
    fused.CopyFrom(attentive)
    _fuse_known_patterns(fused)
    _drop_unread(fused)
    # Attention was proven; the library compares names and shapes of a pattern, not what it does.
    return fused if _agree(model, fused, inputs) else attentive


def _fuse_known_patterns(model: onnx.ModelProto) -> None:
    wrapped = OnnxModel(model)
    if opset_of(model) >= LAYER_NORM_OPSET:
        FusionLayerNormalization(wrapped).apply()
    FusionGelu(wrapped).apply()
    FusionFastGelu(wrapped).apply()
    wrapped.topological_sort()
    known = {opset.domain for opset in model.opset_import}
    if MICROSOFT not in known and any(node.domain == MICROSOFT for node in model.graph.node):
        model.opset_import.append(helper.make_opsetid(MICROSOFT, 1))


def _agree(model: onnx.ModelProto, fused: onnx.ModelProto, inputs: Mapping[InputRole, str]) -> bool:
    probe = make_probe(inputs, batch=3, length=7)
    names = [output.name for output in model.graph.output]
    expected, got = (run_probe(graph, probe, names) for graph in (model, fused))
    if expected is None or got is None:
        return False
    return all(
        np.abs(expected[name] - got[name]).max() <= _TOLERANCE * np.abs(expected[name]).max()
        for name in names
    )


def _drop_unread(model: onnx.ModelProto) -> None:
    """Drop nodes and tensors that no output depends on, and shapes of tensors that are gone."""
    graph = model.graph
    read = {output.name for output in graph.output}
    kept = []
    for node in reversed(graph.node):
        if read & set(node.output):
            kept.append(node)
            read.update(read_names([node]))
    kept.reverse()
    tensors = [tensor for tensor in graph.initializer if tensor.name in read]
    gone = {tensor.name for tensor in graph.initializer} - read
    values = [value for value in graph.input if value.name not in gone]
    for field, items in ((graph.node, kept), (graph.initializer, tensors), (graph.input, values)):
        del field[:]
        field.extend(items)
    del graph.value_info[:]
