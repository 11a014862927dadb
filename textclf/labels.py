"""Which label each logit stands for, and which of them is the positive one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from textclf.errors import LabelError

DEFAULT_LABELS = ("negative", "positive")
_CONFIG = "config.json"


def find_labels(folders: Sequence[Path]) -> list[str] | None:
    """Return the labels of the first config.json in ``folders`` that names any.

    ``LABEL_0``, ``LABEL_1`` and so on are what transformers writes where nobody named them; they
    count as no names.

    Raises:
        LabelError: A config.json cannot be read, or does not number its labels from 0.
    """
    for folder in folders:
        path = folder / _CONFIG
        if path.is_file():
            labels = _read_labels(path)
            if labels and labels != [f"LABEL_{number}" for number in range(len(labels))]:
                return labels
    return None


def choose_positive(labels: Sequence[str], asked: str | None) -> str:
    """Return the label that ``/predict`` answers ``true`` for.

    Args:
        labels: In the order of the logits.
        asked: The one that was asked for, if any.

    Raises:
        LabelError: There are fewer than two labels, two alike, or none that is clearly positive.
    """
    known = ", ".join(labels) or "none"
    if len(labels) < 2 or len(set(labels)) != len(labels) or not all(labels):
        raise LabelError(f"the labels are {known}; name two or more, each once, with --labels")
    if asked is not None:
        if asked not in labels:
            raise LabelError(f"{asked} is not among the labels {known}; give one as they spell it")
        return asked
    positive = [label for label in labels if label.lower() == "positive"]
    if not positive:
        raise LabelError(f"none of the labels {known} is positive; name one with --positive-label")
    return positive[0]


def _read_labels(path: Path) -> list[str]:
    try:
        names: dict[str, Any] = json.loads(path.read_text("utf-8")).get("id2label") or {}
        return [str(names[str(number)]) for number in range(len(names))]
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as exc:
        raise LabelError(
            f"id2label of {path} cannot be read ({exc!r}); name the labels with --labels"
        ) from exc
