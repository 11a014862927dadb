"""The texts whose answers become a model's golden snapshot."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from textclf.description import GoldenExample
from textclf.errors import DataFileError
from textclf.schema import Text

BUILT_IN_TEXTS = Path(__file__).with_name("golden_texts.json")
LEAST_MARGIN = 0.05  # two scores closer than that may change places on another CPU

_LOGGER = logging.getLogger(__name__)
_text: TypeAdapter[str] = TypeAdapter(Text)


def read_texts(path: Path | None) -> list[str]:
    """Return the texts of a file, one a line, or the built-in ones.

    Blank lines, repeated texts and those that a request may not hold are left out.

    Raises:
        DataFileError: The file cannot be read, or holds no text.
    """
    source = path or BUILT_IN_TEXTS
    try:
        content = source.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise DataFileError(
            f"cannot read {source}: {exc}; give a UTF-8 file with one text a line as --golden-texts"
        ) from exc
    lines = content.split("\n") if path else json.loads(content)
    texts = list(dict.fromkeys(filter(None, map(_acceptable, lines))))
    left_out = sum(bool(line.strip()) for line in lines) - len(texts)
    if left_out:
        _LOGGER.info(
            "left out %d texts of %s: repeated, or no request may hold them", left_out, source
        )
    if not texts:
        raise DataFileError(f"{source} holds no text that a request may hold; give one text a line")
    return texts


def record_golden(
    texts: Sequence[str], scores: NDArray[np.float32], labels: Sequence[str]
) -> list[GoldenExample]:
    """Return the texts with a clear answer as golden examples.

    Args:
        texts: At least one.
        scores: Of each text alone, of shape ``(texts, labels)``.
        labels: In the order of the scores.

    Raises:
        DataFileError: The model has a clear answer to none of them.
    """
    ranked = np.sort(scores, axis=1)
    clear = ranked[:, -1] - ranked[:, -2] >= LEAST_MARGIN
    if not clear.any():
        raise DataFileError(
            f"the model is undecided on all {len(texts)} golden texts (its two best scores differ "
            f"by less than {LEAST_MARGIN}); check the tokenizer and the graph, or give texts of "
            "its domain as --golden-texts"
        )
    return [
        GoldenExample(
            text=texts[index],
            label=labels[int(scores[index].argmax())],
            score=min(round(float(scores[index].max()), 6), 1.0),
        )
        for index in map(int, np.flatnonzero(clear))
    ]


def _acceptable(line: str) -> str | None:
    try:
        return _text.validate_python(line)
    except ValidationError:
        return None
