"""What the model answers, recorded from the classifier itself before anything is served."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.corpus import read_corpus
from textclf.artifact import read_artifact
from textclf.classifier import Classifier
from textclf.description import SCORE_TOLERANCE

_CLEAR = 0.53  # a score below may change sides within the tolerance
_ODD_TEXTS = (
    "a fine cup ☕ — très bien, 很好!",
    "\u202eright to left\u202c, zero\u200bwidth, and a \u0000 in between: fine",
    '{"texts": ["not a request but a text"]}',
    "</script><b>bold</b> & brave",
    "I loved every minute of it. " * 250,
    "dull " * 1000,
)


@dataclass(frozen=True)
class Known:
    """A text and its answer."""

    text: str
    label: str
    score: float
    truncated: bool
    positive: bool


@dataclass(frozen=True)
class KnownAnswers:
    """Every text that is asked.

    Attributes:
        model: The tag that each answer has to bear.
        short: Quick to answer.
        long: Slow to answer.
    """

    model: str
    short: Sequence[Known]
    long: Sequence[Known]


def record_answers(folder: Path) -> KnownAnswers:
    """Ask the classifier in ``folder`` for each text alone; texts without a clear answer go."""
    artifact = read_artifact(folder)
    classifier = Classifier(artifact)
    positive = artifact.description.positive_label

    async def ask(text: str) -> Known:
        (answer,) = await classifier.classify([text])
        return Known(text, answer.label, answer.score, answer.truncated, answer.label == positive)

    async def ask_all() -> list[Known]:
        return [await ask(text) for text in (*read_corpus()[::3], *_ODD_TEXTS)]

    try:
        known = [one for one in asyncio.run(ask_all()) if one.score >= _CLEAR]
    finally:
        classifier.close()
    return KnownAnswers(
        artifact.tag,
        [one for one in known if len(one.text) < 400],
        [one for one in known if len(one.text) >= 400],
    )


def find_fault(content: Any, known: Sequence[Known], *, route: str, model: str) -> str:
    """Say what is wrong with the answer to these texts; empty if nothing is."""
    if route == "/predict":
        right = isinstance(content, dict) and content.get("positive") is known[0].positive
        return "" if right and len(content) == 1 else f"said was {content}"
    if not isinstance(content, dict) or content.keys() != {"model", "predictions"}:
        return "another form"
    if content["model"] != model:
        return f"from {content['model']!r}"
    if len(content["predictions"]) != len(known):
        return f"{len(content['predictions'])} predictions for {len(known)} texts"
    faults = (
        f"text {index} is {one.label} ({one.score:.4f}), said was {said}"
        for index, (one, said) in enumerate(zip(known, content["predictions"], strict=True))
        if not _agrees(one, said)
    )
    return next(faults, "")


def _agrees(known: Known, said: Any) -> bool:
    same = said["label"] == known.label and said["truncated"] is known.truncated
    return same and abs(said["score"] - known.score) <= SCORE_TOLERANCE
