"""Classifiers of a few kilobytes: real tokenizers, real ONNX graphs, seeded random weights."""

from __future__ import annotations

import re
import string
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, ValueInfoProto, helper, numpy_helper
from tokenizers import ByteLevelBPETokenizer

from textclf.artifact import (
    GOLDEN,
    GRAPH,
    TOKENIZER,
    Artifact,
    read_artifact,
    write_description,
    write_golden,
)
from textclf.description import ClassifierDescription, GoldenExample

WIDTH = 16
ROBERTA_TOKENS = 300
BERT_TOKENS = 128
PAD_ID = 1  # RoBERTa's
_CORPUS = (
    "MLOps is critical for robustness",
    "Containers are more or less interesting",
    "espresso is too strong",
    "I love this place and will come back soon.",
    "The worst film of the year, dull from the first scene to the last.",
    "A quiet, clever and moving story with a wonderful cast!",
    "Delivery took three weeks and the box arrived broken.",
    "Not bad at all; I would buy it again.",
)


@dataclass(frozen=True)
class TinyModel:
    """A bare graph with its tokenizer's files beside it, as a model registry has them.

    Attributes:
        folder: Holds the graph and the tokenizer.
        graph: The .onnx file.
    """

    folder: Path
    graph: Path


def write_roberta(folder: Path, **options: Any) -> TinyModel:
    """Write a graph with ``input_ids`` alone, vocab.json and merges.txt."""
    model = _write(folder, roberta_graph(**options))
    tokenizer = ByteLevelBPETokenizer()
    tokens = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer.train_from_iterator(
        _CORPUS, vocab_size=ROBERTA_TOKENS, special_tokens=tokens, show_progress=False
    )
    tokenizer.save_model(str(folder))
    return model


def write_bert(folder: Path, **options: Any) -> TinyModel:
    """Write a graph with ``input_ids`` and ``attention_mask``, and vocab.txt."""
    model = _write(folder, bert_graph(**options))
    # Spelled out: the WordPiece trainer gives another vocabulary on each run.
    words = sorted(set(re.findall("[a-z]+", " ".join(_CORPUS).lower())))
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = [*string.ascii_lowercase, *(f"##{letter}" for letter in string.ascii_lowercase)]
    tokens = dict.fromkeys([*special, *".,;!?'", *pieces, *words])
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n", "utf-8")
    return model


def token_ids(
    name: str = "input_ids",
    kind: int = TensorProto.INT64,
    shape: tuple[int | str, int | str] = ("batch", "sequence"),
) -> ValueInfoProto:
    """Return the declaration of an input."""
    return helper.make_tensor_value_info(name, kind, shape)


def roberta_graph(
    *,
    labels: int = 2,
    rows: int = ROBERTA_TOKENS,
    positions: int = 514,
    ids: ValueInfoProto | None = None,
) -> ModelProto:
    """Return token and position embeddings, a mean over all positions, and a linear layer.

    Args:
        labels: Logits of each text.
        rows: Rows of the token embedding.
        positions: Rows of the position embedding; two more than tokens that fit.
        ids: The only input.
    """
    ids = ids or token_ids()
    nodes = [
        helper.make_node("Cast", [ids.name], ["ids"], to=TensorProto.INT64),
        helper.make_node("Equal", ["ids", "pad"], ["is_pad"]),
        helper.make_node("Not", ["is_pad"], ["is_text"]),
        helper.make_node("Cast", ["is_text"], ["mask"], to=TensorProto.INT64),
        helper.make_node("CumSum", ["mask", "axis"], ["count"]),
        helper.make_node("Mul", ["count", "mask"], ["text_count"]),
        helper.make_node("Add", ["text_count", "pad"], ["positions"]),
        helper.make_node("Gather", ["position_table", "positions"], ["position_vectors"]),
        helper.make_node("Gather", ["token_table", "ids"], ["token_vectors"]),
        helper.make_node("Add", ["token_vectors", "position_vectors"], ["vectors"]),
        helper.make_node("ReduceMean", ["vectors"], ["pooled"], axes=[1], keepdims=0),
        helper.make_node("Gemm", ["pooled", "weights", "bias"], ["logits"]),
    ]
    tables = _tables(rows, labels) | {
        "position_table": _random(4, positions, WIDTH) * 0.1,
        "pad": np.array(PAD_ID),
        "axis": np.array(1),
    }
    return _model(nodes, [ids], tables, labels)


def bert_graph(*, mask_name: str = "attention_mask", scale_of_batch: bool = False) -> ModelProto:
    """Return token embeddings, a mean over what is not masked, and a linear layer.

    Args:
        mask_name: Name of the second input.
        scale_of_batch: Divide by the largest value of the whole batch, as one scale a tensor does.
    """
    pooled = "scaled" if scale_of_batch else "mean"
    nodes = [
        helper.make_node("Gather", ["token_table", "input_ids"], ["vectors"]),
        helper.make_node("Cast", [mask_name], ["float_mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["float_mask", "last_axis"], ["wide_mask"]),
        helper.make_node("Mul", ["vectors", "wide_mask"], ["text_vectors"]),
        helper.make_node("ReduceSum", ["text_vectors", "sequence_axis"], ["sum"], keepdims=0),
        helper.make_node("ReduceSum", ["float_mask", "sequence_axis"], ["length"]),
        helper.make_node("Div", ["sum", "length"], ["mean"]),
        helper.make_node("ReduceMax", ["mean"], ["largest"]),
        helper.make_node("Div", ["mean", "largest"], ["scaled"]),
        helper.make_node("Gemm", [pooled, "weights", "bias"], ["logits"]),
    ]
    tables = _tables(BERT_TOKENS, labels=2)
    tables |= {"last_axis": np.array([2]), "sequence_axis": np.array([1])}
    return _model(nodes, [token_ids(), token_ids(mask_name)], tables, labels=2)


def _tables(rows: int, labels: int) -> dict[str, NDArray[Any]]:
    return {
        "token_table": _random(1, rows, WIDTH),
        "weights": _random(3, WIDTH, labels) * 6,  # so that most texts get a clear answer
        "bias": np.zeros(labels, dtype=np.float32),
    }


def _random(seed: int, *shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def _model(
    nodes: list[Any],
    inputs: list[ValueInfoProto],
    tables: dict[str, NDArray[Any]],
    labels: int,
) -> ModelProto:
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ("batch", labels))]
    initializers = [numpy_helper.from_array(table, name) for name, table in tables.items()]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, initializers)
    return helper.make_model(
        graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)], producer_name="tests"
    )


def _write(folder: Path, graph: ModelProto) -> TinyModel:
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save_model(graph, folder / "tiny.onnx")
    return TinyModel(folder, folder / "tiny.onnx")


def write_classifier(
    folder: Path,
    *,
    version: str,
    graph: bytes = b"graph",
    imported_at: str = "2026-01-01T00:00:00Z",
) -> Artifact:
    """Write a classifier folder whose graph and tokenizer are no more than bytes."""
    folder.mkdir(parents=True)
    (folder / GRAPH).write_bytes(graph)
    (folder / TOKENIZER).write_text("{}", "utf-8")
    write_golden(folder / GOLDEN, [GoldenExample(text="fine", label="positive", score=0.9)])
    description = ClassifierDescription.model_validate(
        {
            "labels": ["negative", "positive"],
            "positive_label": "positive",
            "inputs": {"input_ids": "input_ids"},
            "output": "logits",
            "pad_token_id": PAD_ID,
            "max_tokens": 512,
            "batch_invariance": {
                "invariant": True,
                "texts": 1,
                "largest_score_shift": 0,
                "labels_flipped": 0,
            },
            "lineage": {
                "source": "local",
                "uri": "file:///tiny.onnx",
                "name": "tiny",
                "version": version,
                "imported_at": imported_at,
                "importer": "textclf",
            },
            "precision": {"weights": "fp32"},
        }
    )
    write_description(folder, description)
    return read_artifact(folder)
