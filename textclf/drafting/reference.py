"""What the traffic of a model is to be compared with, made while it is imported."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from textclf.artifact import DRIFT, GRAPH, TOKENIZER, write_reference
from textclf.description import ClassifierDescription
from textclf.drift import Observation, Reference, describe_texts
from textclf.drift.reference import LEAST_REFERENCE_TEXTS
from textclf.errors import DataFileError
from textclf.inference import Graph
from textclf.schema import Text
from textclf.tokenization import Tokenizer
from textclf.verification import score_alone

MOST_REFERENCE_TEXTS = 2_000  # more make the comparison no sharper, and the import longer
_HEADER = "sentence\tlabel"

_LOGGER = logging.getLogger(__name__)
_text: TypeAdapter[str] = TypeAdapter(Text)


def read_reference_texts(path: Path) -> list[str]:
    """Return texts like those that will be served: one a line, or ``sentence TAB label`` lines.

    Repeated texts count as often as they are there. Of more than 2,000 texts so many are taken,
    spread over the whole file.

    Raises:
        DataFileError: The file cannot be read, or holds too few texts that a request may hold.
    """
    try:
        lines = path.read_text("utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as exc:
        raise DataFileError(
            f"cannot read {path}: {exc}; give a UTF-8 file with one text a line as "
            "--reference-texts"
        ) from exc
    if lines[0].strip() == _HEADER:
        lines = [line.partition("\t")[0] for line in lines[1:]]
    lines = [line for line in lines if line.strip()]
    texts = [text for text in map(_acceptable, lines) if text is not None]
    if len(texts) < len(lines):
        _LOGGER.info(
            "left out %d texts of %s that no request may hold", len(lines) - len(texts), path
        )
    if len(texts) < LEAST_REFERENCE_TEXTS:
        raise DataFileError(
            f"{path} holds {len(texts)} texts that a request may hold; give at least "
            f"{LEAST_REFERENCE_TEXTS} as --reference-texts, better some hundred"
        )
    taken = np.linspace(0, len(texts) - 1, min(len(texts), MOST_REFERENCE_TEXTS)).astype(int)
    return [texts[index] for index in taken]


def draft_reference(draft: Path, description: ClassifierDescription, texts: Sequence[str]) -> None:
    """Write drift.json of texts that were given as a reference.

    Args:
        draft: Holds model.onnx and tokenizer.json.
        description: Of that classifier.
        texts: As ``read_reference_texts`` returns them.

    Raises:
        GraphError: The graph fails on a text.
    """
    _LOGGER.info("asking for the answers to %d reference texts", len(texts))
    tokenizer = Tokenizer(draft / TOKENIZER, max_tokens=description.max_tokens)
    ids = [text.input_ids for text in tokenizer.encode(texts)]
    scores = score_alone(Graph(draft / GRAPH, description), ids)
    reference = describe_texts(
        _observe(tokenizer, texts, scores, description.labels), description.labels, "given"
    )
    if reference is not None:
        write_reference(draft, reference)


def draft_golden_reference(
    draft: Path,
    description: ClassifierDescription,
    texts: Sequence[str],
    scores: NDArray[np.float32],
) -> str:
    """Write drift.json of the golden texts, for want of better, and return what that means.

    Args:
        draft: Holds tokenizer.json.
        description: Of the classifier.
        texts: The golden texts.
        scores: Of each of them, of shape ``(texts, labels)``.
    """
    tokenizer = Tokenizer(draft / TOKENIZER, max_tokens=description.max_tokens)
    observations = _observe(tokenizer, texts, scores, description.labels)
    reference = describe_texts(observations, description.labels, "golden")
    advice = "give texts like those that will be served as --reference-texts"
    if reference is None:
        return (
            f"drift of the traffic will not be measured: {len(texts)} golden texts are too few to "
            f"compare it with; {advice}"
        )
    write_reference(draft, reference)
    return (
        f"the traffic will be compared with the {len(texts)} golden texts, which may be unlike it: "
        f"drift is measured, but alerts no one; {advice}"
    )


def keep_reference(draft: Path, folder: Path, reference: Reference | None) -> list[str]:
    """Take over drift.json of a classifier folder, and return what it means if there is none."""
    if reference is not None:
        (draft / DRIFT).symlink_to(folder / DRIFT)
        return []
    warning = (
        f"{folder} has no {DRIFT}, so drift of its traffic will not be measured; give texts like "
        "those that will be served as --reference-texts"
    )
    return [warning]


def _observe(
    tokenizer: Tokenizer,
    texts: Sequence[str],
    scores: NDArray[np.float32],
    labels: Sequence[str],
) -> list[Observation]:
    return [
        Observation(
            label=labels[int(row.argmax())],
            score=min(round(float(row.max()), 6), 1.0),
            tokens=len(tokenized.input_ids),
            characters=len(text),
            unknown=tokenizer.count_unknown(tokenized.input_ids),
            truncated=tokenized.truncated,
        )
        for text, tokenized, row in zip(texts, tokenizer.encode(texts), scores, strict=True)
    ]


def _acceptable(line: str) -> str | None:
    try:
        return _text.validate_python(line)
    except ValidationError:
        return None
