"""How well a classifier does on labelled texts, and whether company changes its answers."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from textclf.errors import DataFileError
from textclf.inference import Graph
from textclf.tokenization import Tokenizer

_HEADER = "sentence\tlabel"
_SEED = 20


@dataclass(frozen=True, slots=True)
class LabelledText:
    """A text and the index of its label in the order of the logits."""

    text: str
    label: int


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Figures of one classifier on one file of labelled texts.

    Attributes:
        texts: How many were measured.
        accuracy: Share with the right label, each text alone.
        precision: Share of the texts answered with the positive label that have it.
        recall: Share of the texts with the positive label that were answered with it.
        largest_score_shift: Largest difference of a score alone and in a batch of random company.
        labels_flipped: Texts with another label there.
    """

    texts: int
    accuracy: float
    precision: float
    recall: float
    largest_score_shift: float
    labels_flipped: int


def read_labelled(path: Path, *, labels: int) -> list[LabelledText]:
    """Read a file of ``sentence TAB label`` lines under exactly that header.

    Args:
        path: UTF-8; a label is the index of a logit.
        labels: How many labels there are.

    Raises:
        DataFileError: The file cannot be read; names the line that is not as it should be.
    """
    try:
        lines = path.read_text("utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as exc:
        raise DataFileError(f"cannot read {path}: {exc}; give a UTF-8 TSV file") from exc
    if lines[0].strip() != _HEADER:
        raise DataFileError(f"{path}, line 1 is not the header {_HEADER!r}; add it")
    if lines[-1] == "":
        lines.pop()
    texts = [
        _parse(line, labels=labels, where=f"{path}, line {number}")
        for number, line in enumerate(lines[1:], start=2)
    ]
    if not texts:
        raise DataFileError(f"{path} holds no sentence; give one with at least one line of data")
    return texts


def measure(
    graph: Graph,
    tokenizer: Tokenizer,
    texts: Sequence[LabelledText],
    *,
    positive: int,
    batch_texts: int = 8,
) -> Measurement:
    """Score each text alone and again in padded batches of random company.

    Random company is worse than what is served: batches there hold texts of like length. A graph
    without a mask takes no padding, so company of the same length has to do.

    Args:
        graph: Of the classifier.
        tokenizer: Of the classifier.
        texts: At least one.
        positive: Index of the positive label.
        batch_texts: Texts in a batch.

    Raises:
        InferenceError: The graph fails on a text.
    """
    ids = [encoded.input_ids for encoded in tokenizer.encode([text.text for text in texts])]
    alone = np.concatenate([graph.scores([row]) for row in ids])
    batched = _scores_in_company(graph, ids, batch_texts, like=alone)
    expected = np.array([text.label for text in texts])
    found = alone.argmax(axis=1)
    both = int(((found == positive) & (expected == positive)).sum())
    return Measurement(
        texts=len(texts),
        accuracy=float((found == expected).mean()),
        precision=both / max(int((found == positive).sum()), 1),
        recall=both / max(int((expected == positive).sum()), 1),
        largest_score_shift=float(np.abs(batched - alone).max()),
        labels_flipped=int((batched.argmax(axis=1) != found).sum()),
    )


def _scores_in_company(
    graph: Graph, ids: Sequence[Sequence[int]], batch_texts: int, *, like: NDArray[np.float32]
) -> NDArray[np.float32]:
    scores = np.empty_like(like)
    for batch in random_batches(
        [len(row) for row in ids], batch_texts, mixed_lengths=graph.has_mask
    ):
        scores[batch] = graph.scores([ids[index] for index in batch])
    return scores


def random_batches(
    lengths: Sequence[int], batch_texts: int, *, mixed_lengths: bool
) -> Iterator[list[int]]:
    """Yield each index once, in batches of random company, the same on every call."""
    order = list(range(len(lengths)))
    random.Random(_SEED).shuffle(order)  # noqa: S311  # the order is no secret
    groups = [order]
    if not mixed_lengths:
        groups = [[i for i in order if lengths[i] == length] for length in sorted(set(lengths))]
    for group in groups:
        for start in range(0, len(group), batch_texts):
            yield group[start : start + batch_texts]


def _parse(line: str, *, labels: int, where: str) -> LabelledText:
    columns = line.split("\t")
    if len(columns) != 2:
        raise DataFileError(f"{where} has {len(columns)} columns, not a sentence and a label")
    sentence, label = columns[0].strip(), columns[1].strip()
    if not sentence:
        raise DataFileError(f"{where} has a blank sentence; remove the line")
    if not (label.isascii() and label.isdigit() and int(label) < labels):
        raise DataFileError(
            f"{where} has label {label!r}; give the index of a logit below {labels}"
        )
    return LabelledText(sentence, int(label))
