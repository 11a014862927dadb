"""Whether a classifier can be served, found out by running it.

Sources:
    Why a batch can change an answer: stock dynamic int8 has one activation scale a tensor,
    https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from textclf.artifact import GRAPH, TOKENIZER
from textclf.batching import BatchLimits, BatchQueue
from textclf.description import SCORE_TOLERANCE, BatchInvariance, ClassifierDescription
from textclf.errors import GraphError, InferenceError, LabelError, ModelLoadError, TokenizerError
from textclf.evaluation import random_batches
from textclf.golden import read_texts
from textclf.inference import Graph
from textclf.tokenization import Tokenizer, stretch
from textclf.tokenizer_conversion import vocabulary_ids

_SERVED_TEXTS = 64  # the most that TEXTCLF_MAX_BATCH_TEXTS can be set to
_SERVED_TOKENS = 8_192
_RANDOM_TEXTS = 8
_COMPANY_TEXTS = 48
_EVENED_TEXTS = 64
_SPARE_ROWS = 1.1  # embeddings are padded to a multiple of 64 or so, hardly ever by a tenth
_TEXT = "It was a good day, said nobody, and yet the coffee was fine."


@dataclass(frozen=True)
class Verified:
    """What running a classifier on texts showed.

    Attributes:
        scores: Of each text alone, of shape ``(texts, labels)``.
        batch_invariance: How far they move in batches as they are served.
        warnings: What may be wrong although everything runs.
    """

    scores: NDArray[np.float32]
    batch_invariance: BatchInvariance
    warnings: list[str]


@dataclass(frozen=True)
class Tried:
    """A classifier that runs.

    Attributes:
        graph: Its graph.
        tokenizer: Its tokenizer.
        warnings: What may be wrong although everything runs.
    """

    graph: Graph
    tokenizer: Tokenizer
    warnings: list[str]


def verify(
    folder: Path,
    description: ClassifierDescription,
    texts: Sequence[str],
    *,
    embedding_rows: int | None,
) -> Verified:
    """Run the classifier in ``folder`` on its limits and on ``texts``, alone and in batches.

    Args and errors are those of ``try_out``; ``texts`` are at least one.
    """
    tried = try_out(folder, description, embedding_rows=embedding_rows)
    ids = [text.input_ids for text in tried.tokenizer.encode([*texts, *company(texts)])]
    alone = score_alone(tried.graph, ids)
    invariance = measure_batch_invariance(tried.graph, ids, alone)
    return Verified(alone[: len(texts)], invariance, tried.warnings)


def try_out(
    folder: Path, description: ClassifierDescription, *, embedding_rows: int | None
) -> Tried:
    """Run the classifier in ``folder`` on its limits.

    Args:
        folder: Holds model.onnx and tokenizer.json.
        description: Of that classifier; its batch invariance is not read.
        embedding_rows: Ids that the graph has an embedding for, where that is known.

    Raises:
        GraphError: The graph cannot be loaded, or fails on an input that would be served.
        LabelError: The graph has more or fewer logits than the description has labels.
        TokenizerError: The tokenizer gives ids that the graph does not take.
    """
    ids_in_use = vocabulary_ids(folder / TOKENIZER)
    if embedding_rows is not None and max(ids_in_use) >= embedding_rows:
        raise TokenizerError(
            f"the tokenizer has {len(ids_in_use)} tokens with ids up to {max(ids_in_use)}, the "
            f"embedding of the graph has {embedding_rows} rows; give the tokenizer that the model "
            "was trained with as --tokenizer"
        )
    try:
        graph = Graph(folder / GRAPH, description)
    except ModelLoadError as exc:
        raise GraphError(f"{exc}; export it with operators that onnxruntime runs") from exc
    tokenizer = Tokenizer(folder / TOKENIZER, max_tokens=description.max_tokens)
    _try_labels(graph, description.labels)
    _try_highest_id(graph, max(ids_in_use))
    _try_longest(graph, tokenizer, description.max_tokens)
    return Tried(graph, tokenizer, _suspicions(len(ids_in_use), embedding_rows))


def company(texts: Sequence[str]) -> list[str]:
    """Return built-in texts that keep others company, so that no text is alone in its batch."""
    return [text for text in read_texts(None)[:_COMPANY_TEXTS] if text not in texts]


def score_alone(graph: Graph, ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
    """Return the scores of each text alone, of shape ``(texts, labels)``.

    Args:
        graph: The graph to ask.
        ids: The input_ids of each text; at least one.

    Raises:
        GraphError: The graph fails on a text.
    """
    progress = tqdm(ids, "scoring alone", disable=None, delay=2)
    return np.concatenate([_scores(graph, [row]) for row in progress])


def measure_batch_invariance(
    graph: Graph, ids: Sequence[Sequence[int]], alone: NDArray[np.float32]
) -> BatchInvariance:
    """Compare the scores of texts alone with those in batches: as served, and of random company.

    Args:
        graph: The graph to measure.
        ids: The input_ids of each text.
        alone: Scores of each text alone, of shape ``(texts, labels)``.

    Raises:
        GraphError: The graph fails on a batch.
    """
    lengths = [len(row) for row in ids]
    batches = [
        *_served_batches(lengths, equal_lengths=not graph.has_mask),
        *random_batches(lengths, _RANDOM_TEXTS, mixed_lengths=graph.has_mask),
    ]
    moved = [_moves(graph, ids, alone, batches)]
    if not graph.has_mask:  # texts of like length may be too few to share a batch
        length = sorted(lengths)[len(lengths) // 2]
        evened = [stretch(row, length) for row in ids[:_EVENED_TEXTS]]
        alike = random_batches([length] * len(evened), _RANDOM_TEXTS, mixed_lengths=True)
        moved.append(_moves(graph, evened, score_alone(graph, evened), alike))
    shift, flips = max(shift for shift, _ in moved), sum(flips for _, flips in moved)
    return BatchInvariance(
        invariant=shift <= SCORE_TOLERANCE and not flips,
        texts=len(ids),
        largest_score_shift=min(round(shift, 6), 1.0),
        labels_flipped=flips,
    )


def _served_batches(lengths: Sequence[int], *, equal_lengths: bool) -> Iterator[list[int]]:
    """Yield each index once, in the batches that are served when all the texts come at once."""
    limits = BatchLimits(texts=_SERVED_TEXTS, tokens=_SERVED_TOKENS, equal_lengths=equal_lengths)
    queue: BatchQueue[int] = BatchQueue(limits)
    for index, length in enumerate(lengths):
        queue.put(length, index)
    while batch := queue.take():
        yield batch


def _moves(
    graph: Graph,
    ids: Sequence[Sequence[int]],
    alone: NDArray[np.float32],
    batches: Iterable[Sequence[int]],
) -> tuple[float, int]:
    """Return how far a score moves in batches, and how many labels flip."""
    shift, flipped = 0.0, np.zeros(len(ids), dtype=bool)
    for batch in tqdm(list(batches), "scoring in batches", disable=None, delay=2):
        scores = _scores(graph, [ids[index] for index in batch])
        shift = max(shift, float(np.abs(scores - alone[batch]).max()))
        flipped[batch] |= scores.argmax(axis=1) != alone[batch].argmax(axis=1)
    return shift, int(flipped.sum())


def _suspicions(vocabulary_size: int, embedding_rows: int | None) -> list[str]:
    if embedding_rows is None or embedding_rows <= _SPARE_ROWS * vocabulary_size:
        return []
    warning = (
        f"the embedding of the graph has {embedding_rows} rows, the tokenizer only "
        f"{vocabulary_size} tokens: check that they belong together"
    )
    return [warning]


def _try_labels(graph: Graph, labels: Sequence[str]) -> None:
    count = _scores(graph, [[0, 0]]).shape[1]
    if count != len(labels):
        raise LabelError(
            f"the graph has {count} logits, but there are {len(labels)} labels "
            f"({', '.join(labels)}); name all {count} in the order of the logits with --labels"
        )


def _try_highest_id(graph: Graph, highest_id: int) -> None:
    try:
        _scores(graph, [[0, highest_id]])
    except GraphError as exc:
        raise TokenizerError(
            f"the graph runs on id 0, but not on {highest_id}, the highest id of the tokenizer; "
            "give the tokenizer that the model was trained with as --tokenizer"
        ) from exc


def _try_longest(graph: Graph, tokenizer: Tokenizer, max_tokens: int) -> None:
    (text,) = tokenizer.encode([_TEXT])
    longest = stretch(text.input_ids, max_tokens)
    shorter = longest if not graph.has_mask else longest[: max_tokens // 2]
    try:
        _scores(graph, [longest])
    except GraphError as exc:
        runs = _longest_that_runs(graph, longest)
        if runs < 2:
            raise GraphError(f"the graph fails on every text: {exc}") from exc
        raise GraphError(
            f"the graph fails on {len(longest)} tokens, and runs on {runs} at the most; import it "
            f"with --max-tokens {runs}"
        ) from exc
    _scores(graph, [longest, shorter])


def _longest_that_runs(graph: Graph, ids: Sequence[int]) -> int:
    runs, fails = 0, len(ids)
    while fails - runs > 1:
        middle = (runs + fails) // 2
        try:
            _scores(graph, [ids[:middle]])
        except GraphError:
            fails = middle
        else:
            runs = middle
    return runs


def _scores(graph: Graph, batch: Sequence[Sequence[int]]) -> NDArray[np.float32]:
    try:
        scores = graph.scores(batch)
    except InferenceError as exc:
        raise GraphError(f"{str(exc).splitlines()[0]}; export the model again and retry") from exc
    if scores.shape[0] != len(batch):
        raise GraphError(
            f"the graph gave {scores.shape[0]} rows of logits for {len(batch)} texts; export it "
            "with a dynamic batch axis"
        )
    return scores
