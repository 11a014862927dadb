"""Transformer encoders as exporters spell them out: nodes of torch, seeded random weights.

Each style repeats the nodes of a real export of transformers' classifiers, name by name only where
it matters:

    script-eager    torch.onnx.export(dynamo=False), attention in plain operators
    script-sdpa     the same with scaled_dot_product_attention
    script-where    DistilBERT before transformers 4.48, which masks with Where
    dynamo-eager    torch.onnx.export(dynamo=True), attention in plain operators
    dynamo-sdpa     the same with scaled_dot_product_attention
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from tests.tiny_models import (
    BERT_TOKENS,
    PAD_ID,
    ROBERTA_TOKENS,
    TinyModel,
    token_ids,
    write_bert,
    write_roberta,
)

Style = Literal["script-eager", "script-sdpa", "script-where", "dynamo-eager", "dynamo-sdpa"]
OPSETS: dict[Style, int] = {
    "script-eager": 14,
    "script-sdpa": 17,
    "script-where": 13,
    "dynamo-eager": 18,
    "dynamo-sdpa": 20,
}
STYLES = tuple(OPSETS)
_LOWEST = float(np.finfo(np.float32).min)


@dataclass(frozen=True, kw_only=True)
class EncoderShape:
    """What an encoder's graph looks like.

    Attributes:
        layers: Blocks of attention and feed-forward.
        width: Of a hidden state; a multiple of ``heads``.
        heads: Of each attention.
        tokens: Rows of the token embedding.
        positions: Rows of the position embedding.
        masked: Whether the graph takes ``attention_mask``. Without it, script styles still add a
            mask of ones, made from the shape of ``input_ids``, as transformers does.
        pad_positions: Count positions as RoBERTa does, from what is not padding.
        labels: Logits of each text.
        style: Who exported it.
        seed: Of the weights.
    """

    layers: int = 2
    width: int = 64
    heads: int = 4
    tokens: int = ROBERTA_TOKENS
    positions: int = 514
    masked: bool = False
    pad_positions: bool = True
    labels: int = 2
    style: Style = "script-eager"
    seed: int = 0


def write_roberta_encoder(folder: Path, **shape: Any) -> TinyModel:
    """Write an encoder that counts positions from padding, vocab.json and merges.txt.

    Args:
        folder: Made if need be.
        **shape: Fields of ``EncoderShape``.
    """
    model = write_roberta(folder)
    onnx.save_model(encoder_graph(EncoderShape(**shape)), model.graph)
    return model


def write_bert_encoder(folder: Path, **shape: Any) -> TinyModel:
    """Write an encoder with ``attention_mask``, and vocab.txt.

    Args:
        folder: Made if need be.
        **shape: Fields of ``EncoderShape``.
    """
    model = write_bert(folder)
    fields = {"tokens": BERT_TOKENS, "masked": True, "pad_positions": False, **shape}
    onnx.save_model(encoder_graph(EncoderShape(**fields)), model.graph)
    return model


def encoder_graph(shape: EncoderShape) -> ModelProto:
    """Return embeddings, the encoder, and a classifier of the first hidden state."""
    return _Encoder(shape).model()


@dataclass
class _Encoder:
    shape: EncoderShape
    nodes: list[NodeProto] = field(default_factory=list)
    tensors: dict[str, NDArray[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.shape.seed)
        self.opset = OPSETS[self.shape.style]
        self.is_dynamo = self.shape.style.startswith("dynamo")
        self.is_sdpa = self.shape.style.endswith("sdpa")
        self.head_size = self.shape.width // self.shape.heads

    def model(self) -> ModelProto:
        states = self.embeddings()
        mask = self.mask(states)
        for _ in range(self.shape.layers):
            attention = self.linear(self.attention(states, mask), self.shape.width, gain=2)
            states = self.layer_norm(self.op("Add", attention, states))
            wide = self.gelu(self.linear(states, 4 * self.shape.width))
            states = self.layer_norm(self.op("Add", self.linear(wide, self.shape.width), states))
        first = self.op("Gather", states, self.constant(np.array(0)), axis=1)
        pooled = self.op("Tanh", self.gemm(first, self.shape.width))
        self.gemm(pooled, self.shape.labels, gain=6, output="logits")
        names = ["input_ids", "attention_mask"] if self.shape.masked else ["input_ids"]
        logits = ("batch", self.shape.labels)
        graph = helper.make_graph(
            self.nodes,
            "encoder",
            [token_ids(name) for name in names],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, logits)],
            [numpy_helper.from_array(value, name) for name, value in self.tensors.items()],
        )
        opsets = [helper.make_opsetid("", self.opset)]
        return helper.make_model(graph, ir_version=8, opset_imports=opsets, producer_name="pytorch")

    def embeddings(self) -> str:
        shape = self.shape
        tokens = self.op("Gather", self.weights(shape.tokens, shape.width, gain=1), "input_ids")
        positions = self.pad_positions() if shape.pad_positions else self.plain_positions()
        table = self.weights(shape.positions, shape.width, gain=0.3)
        return self.layer_norm(self.op("Add", tokens, self.op("Gather", table, positions)))

    def pad_positions(self) -> str:
        pad, axis = self.constant(np.array(PAD_ID)), self.constant(np.array(1))
        is_text = self.op("Not", self.op("Equal", "input_ids", pad))
        mask = self.op("Cast", is_text, to=TensorProto.INT32)
        count = self.op("Mul", self.op("CumSum", mask, axis), mask)
        return self.op("Add", self.op("Cast", count, to=TensorProto.INT64), pad)

    def plain_positions(self) -> str:
        rows = self.constant(np.arange(self.shape.positions)[None])
        start, end = self.constant(np.array([0])), self.size("input_ids", 1)
        return self.op("Slice", rows, start, end, self.constant(np.array([1])))

    def mask(self, states: str) -> str:
        """Return what attention masks with; empty where the exporter leaves it out."""
        if not self.shape.masked and (self.is_sdpa or self.shape.style == "script-where"):
            return ""
        if self.shape.masked:
            mask = "attention_mask"
        else:
            ones = numpy_helper.from_array(np.array([1]))
            mask = self.op("ConstantOfShape", self.op("Shape", "input_ids"), value=ones)
        if self.shape.style == "script-where":
            return self.op("Equal", mask, self.constant(np.array(0)))
        wide = self.op("Unsqueeze", mask, self.constant(np.array([1, 2])))
        if self.shape.style == "script-eager":
            floats = self.op("Cast", wide, to=TensorProto.FLOAT)
            masked = self.op("Sub", self.scalar(1), floats)
            return self.op("Mul", masked, self.scalar(_LOWEST))
        size = self.size(states, 1)
        one = self.constant(np.array([1]))
        square = self.op("Concat", self.size(states, 0), one, size, size, axis=0)
        allowed = self.op("Expand", self.op("Cast", wide, to=TensorProto.BOOL), square)
        if self.shape.style == "script-sdpa":
            return allowed
        return self.op("Where", allowed, self.scalar(0), self.scalar(_LOWEST))

    def attention(self, states: str, mask: str) -> str:
        query, key, value = (self.linear(states, self.shape.width) for _ in range(3))
        heads = [self.split_heads(states, part) for part in (query, key, value)]
        probabilities = self.op("Softmax", self.scores(heads[0], heads[1], mask), axis=-1)
        if self.is_sdpa and mask:
            is_nan = self.op("IsNaN", probabilities)
            probabilities = self.op("Where", is_nan, self.scalar(0), probabilities)
        values = self.op("Transpose", heads[2], perm=[0, 2, 1, 3])
        context = self.op("MatMul", probabilities, values)
        joined = self.op("Transpose", context, perm=[0, 2, 1, 3])
        source = states if self.is_dynamo else joined
        sizes = [self.size(source, 0), self.size(source, 1), self.constant(np.array([-1]))]
        return self.op("Reshape", joined, self.op("Concat", *sizes, axis=0))

    def scores(self, query: str, key: str, mask: str) -> str:
        query = self.op("Transpose", query, perm=[0, 2, 1, 3])
        key = self.transposed_key(key)
        scale = 1 / math.sqrt(self.head_size)
        if self.shape.style == "script-where":
            query = self.op("Div", query, self.scalar(1 / scale))
            scores = self.op("MatMul", query, key)
            return self.where_scores(scores, mask) if mask else scores
        if not self.is_sdpa:
            scores = self.op("Mul", self.op("MatMul", query, key), self.scalar(scale))
            return self.op("Add", scores, mask)
        root = self.scalar(math.sqrt(scale))
        scores = self.op("MatMul", self.op("Mul", query, root), self.op("Mul", key, root))
        if not mask:
            return scores
        if self.shape.style == "script-sdpa":
            mask = self.op("Where", mask, self.scalar(0), self.scalar(-math.inf))
        return self.op("Add", scores, mask)

    def where_scores(self, scores: str, masked: str) -> str:
        one = self.constant(np.array([1]))
        sizes = [self.size(masked, 0), one, one, self.size(masked, 1)]
        wide = self.op("Reshape", masked, self.op("Concat", *sizes, axis=0))
        expanded = self.op("Expand", wide, self.op("Shape", scores))
        return self.op("Where", expanded, self.scalar(_LOWEST), scores)

    def transposed_key(self, key: str) -> str:
        if self.shape.style != "dynamo-sdpa":
            return self.op("Transpose", key, perm=[0, 2, 3, 1])
        key = self.op("Transpose", key, perm=[0, 2, 1, 3])
        whole, flat = self.op("Shape", key), self.constant(np.array([-1]))
        sizes = [self.op("Gather", whole, self.constant(np.array([axis]))) for axis in range(4)]
        rows = self.op("Reshape", key, self.op("Concat", flat, sizes[2], sizes[3], axis=0))
        turned = self.op("Transpose", rows, perm=[0, 2, 1])
        order = [sizes[0], sizes[1], sizes[3], sizes[2]]
        return self.op("Reshape", turned, self.op("Concat", *order, axis=0))

    def split_heads(self, states: str, part: str) -> str:
        sizes = [self.size(states, 0), self.size(states, 1)]
        heads = [self.constant(np.array([-1])), self.constant(np.array([self.head_size]))]
        return self.op("Reshape", part, self.op("Concat", *sizes, *heads, axis=0))

    def size(self, tensor: str, axis: int) -> str:
        if self.is_dynamo:
            return self.op("Shape", tensor, start=axis, end=axis + 1)
        size = self.op("Gather", self.op("Shape", tensor), self.constant(np.array(axis)), axis=0)
        return self.op("Unsqueeze", size, self.constant(np.array([0])))

    def linear(self, states: str, width: int, gain: float = 1) -> str:
        matrix, bias = self.matrix(states, width, gain)
        return self.op("Add", self.op("MatMul", states, matrix), bias)

    def gemm(self, states: str, width: int, gain: float = 1, output: str = "") -> str:
        matrix, bias = self.matrix(states, width, gain)
        return self.op("Gemm", states, matrix, bias, output=output)

    def matrix(self, states: str, width: int, gain: float) -> tuple[str, str]:
        size = self.shape.width * (4 if "Gelu" in states else 1)
        bias = self.weights(width, gain=0.1)
        return self.weights(size, width, gain=gain / math.sqrt(size)), bias

    def layer_norm(self, states: str) -> str:
        scale = self.constant(np.ones(self.shape.width, np.float32))
        bias = self.weights(self.shape.width, gain=0.1)
        if self.opset >= 17:
            return self.op("LayerNormalization", states, scale, bias, axis=-1, epsilon=1e-5)
        centred = self.op("Sub", states, self.op("ReduceMean", states, axes=[-1]))
        square = self.op("Pow", centred, self.scalar(2))
        variance = self.op("ReduceMean", square, axes=[-1])
        deviation = self.op("Sqrt", self.op("Add", variance, self.scalar(1e-5)))
        unit = self.op("Div", centred, deviation)
        return self.op("Add", self.op("Mul", unit, scale), bias)

    def gelu(self, states: str) -> str:
        if self.opset >= 20:
            return self.op("Gelu", states)
        erf = self.op("Erf", self.op("Div", states, self.scalar(math.sqrt(2))))
        wide = self.op("Mul", states, self.op("Add", erf, self.scalar(1)))
        return self.op("Mul", wide, self.scalar(0.5), output=f"Gelu_{len(self.nodes)}")

    def op(self, op_type: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        output = output or f"{op_type}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, inputs, [output], name=output, **attributes))
        return output

    def weights(self, *sizes: int, gain: float) -> str:
        values = self.random.standard_normal(sizes, dtype=np.float32)
        values *= gain
        return self.constant(values)

    def scalar(self, value: float) -> str:
        return self.constant(np.array(value, np.float32))

    def constant(self, value: NDArray[Any] | Sequence[int]) -> str:
        name = f"constant_{len(self.tensors)}"
        self.tensors[name] = np.asarray(value)
        return name
