"""What the model answers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

from textclf.description import SCORE_TOLERANCE, GoldenExample
from textclf.errors import AnswerCheckError
from textclf.image.checks.check import Flaw, check
from textclf.image.checks.subject import Subject
from textclf.schema import MAX_TEXTS

_CLIENTS = 16
_REQUESTS = 320


@check(AnswerCheckError)
def golden(subject: Subject) -> str:
    """Every golden text gets the label that was recorded, and its score within 0.01."""
    examples = subject.expected.golden
    worst = 0.0
    for some in _calls(examples):
        predictions = subject.service.classify(*(example.text for example in some))
        for example, prediction in zip(some, predictions, strict=True):
            worst = max(worst, _require_same(example, prediction, "recorded"))
    return f"{len(examples)} texts, scores within {worst:.4f}"


@check(AnswerCheckError)
def ranges(subject: Subject) -> str:
    """Labels are the classifier's own, scores are numbers of at least 1/labels and at most 1."""
    labels = subject.expected.description.labels
    least = 1 / len(labels) - 1e-6  # the winner of a softmax
    texts = [example.text for example in subject.expected.golden[:MAX_TEXTS]]
    scores = []
    for prediction in subject.service.classify(*texts):
        label, score = prediction.get("label"), prediction.get("score")
        if label not in labels:
            raise Flaw(f"POST /classify: label {label!r} is not among {', '.join(labels)}")
        if not isinstance(score, (int, float)) or not math.isfinite(score):
            raise Flaw(f"POST /classify: score {score!r} is no number")
        if not least <= score <= 1:
            raise Flaw(f"POST /classify: score {score} is not within {least:.3f} and 1")
        scores.append(score)
    return f"scores from {min(scores):.3f} to {max(scores):.3f}"


@check(AnswerCheckError)
def batch(subject: Subject) -> str:
    """64 texts in one call get what 64 calls of one get: the same labels, scores within 0.01."""
    golden_texts = [example.text for example in subject.expected.golden]
    texts = (golden_texts * MAX_TEXTS)[:MAX_TEXTS]
    together = subject.service.classify(*texts)
    worst = 0.0
    for text, prediction in zip(texts, together, strict=True):
        (alone,) = subject.service.classify(text)
        example = GoldenExample(text=text, label=alone["label"], score=alone["score"])
        worst = max(worst, _require_same(example, prediction, "alone"))
    return f"scores within {worst:.4f}"


@check(AnswerCheckError)
def predict_agrees(subject: Subject) -> str:
    """/predict answers true exactly where /classify gives the positive label."""
    positive_label = subject.expected.description.positive_label
    examples = _some_of_each_label(subject.expected.golden)
    for example in examples:
        positive = subject.service.predict(example.text)
        (prediction,) = subject.service.classify(example.text)
        if positive != (prediction["label"] == positive_label):
            raise Flaw(
                f"{example.text!r}: /predict says {str(positive).lower()}, "
                f"/classify {prediction['label']!r}"
            )
    return f"{len(examples)} texts"


@check(AnswerCheckError)
def concurrent_clients(subject: Subject) -> str:
    """Clients that ask at the same time each get their own answer."""
    examples = subject.expected.golden
    asked = [examples[i % len(examples)] for i in range(_REQUESTS)]

    def ask(example: GoldenExample) -> float:
        (prediction,) = subject.service.classify(example.text)
        return _require_same(example, prediction, "recorded")

    with ThreadPoolExecutor(_CLIENTS) as pool:
        worst = max(pool.map(ask, asked))
    return f"{_REQUESTS} requests of {_CLIENTS} clients, scores within {worst:.4f}"


def _calls(examples: Sequence[GoldenExample]) -> Iterator[list[GoldenExample]]:
    remaining = iter(examples)
    while some := list(islice(remaining, MAX_TEXTS)):
        yield some


def _some_of_each_label(examples: Sequence[GoldenExample]) -> list[GoldenExample]:
    by_label: dict[str, list[GoldenExample]] = {}
    for example in examples:
        by_label.setdefault(example.label, []).append(example)
    return [example for some in by_label.values() for example in some[:10]]


def _require_same(example: GoldenExample, prediction: dict[str, Any], how: str) -> float:
    """Return how far the score is from what it was elsewhere."""
    label, score = prediction.get("label"), prediction.get("score")
    shift = abs(score - example.score) if isinstance(score, (int, float)) else math.inf
    if label != example.label or not shift <= SCORE_TOLERANCE:
        raise Flaw(
            f"{example.text!r}: {how} {example.label} {example.score:.4f}, got {label} {score}"
        )
    return shift
