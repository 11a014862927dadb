"""The encoder with its classification head, and the ONNX graph it becomes."""

from __future__ import annotations

import logging
import warnings

import onnx
import torch
from torch import nn
from transformers import AutoModel

from textclf.errors import GraphError

OPSET = 20  # the first with Gelu, which others spell out in five operators


class TextEncoderClassifier(nn.Module):  # type: ignore[misc]  # torch is not there to be checked
    """An encoder, the mean of its last hidden states over the tokens, and one product."""

    def __init__(self, encoder: str, *, labels: int, dropout: float) -> None:
        super().__init__()
        self.encoder = AutoModel.from_pretrained(
            encoder,
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
        )
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(self.encoder.config.hidden_size, labels)
        nn.init.normal_(self.output.weight, std=0.02)
        nn.init.zeros_(self.output.bias)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Return logits of shape ``(texts, labels)`` for ids and mask of ``(texts, tokens)``."""
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(states.dtype)
        mean = (states * mask).sum(dim=1) / mask.sum(dim=1)
        logits: torch.Tensor = self.output(self.dropout(mean))
        return logits


def export(model: TextEncoderClassifier) -> onnx.ModelProto:
    """Return the graph of a model: input_ids and attention_mask in, logits out.

    Both inputs are int64 of shape ``(batch, sequence)``, both dynamic.

    Raises:
        GraphError: torch exported nothing.
    """
    # Scaled dot product attention would become operators that no fusion of onnxruntime knows.
    model.encoder.set_attn_implementation("eager")
    ids = torch.tensor([[101, 2023, 2003, 102], [101, 102, 0, 0]])
    axes = {0: "batch", 1: "sequence"}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it misses torchvision, in vain
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # both inputs share their axes, which it finds remarkable
        program = torch.onnx.export(
            model,
            (ids, (ids > 0).long()),
            input_names=["input_ids", "attention_mask"],
            output_names=["logits"],
            dynamic_shapes={"input_ids": axes, "attention_mask": axes},
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    if program is None:
        raise GraphError("torch exported nothing; install the versions at the top of this script")
    graph: onnx.ModelProto = program.model_proto
    for part in (graph, graph.graph, *graph.graph.node, *graph.graph.value_info):
        part.ClearField("metadata_props")  # stack traces with the folders of this machine
    return graph
