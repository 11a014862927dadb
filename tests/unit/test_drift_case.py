"""Texts in another case are drift to a tokenizer that tells cases apart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.http.test_drift import reviews
from tests.unit.test_drift import Page
from textclf.artifact import GRAPH, TOKENIZER, read_artifact
from textclf.drafting.reference import _observe
from textclf.drift import Observation, describe_texts
from textclf.inference import Graph
from textclf.tokenization import Tokenizer
from textclf.verification import score_alone


def observe(folder: Path, texts: Sequence[str]) -> list[Observation]:
    """Return what is counted of texts, by a classifier's own tokenizer and graph."""
    description = read_artifact(folder).description
    tokenizer = Tokenizer(folder / TOKENIZER, max_tokens=description.max_tokens)
    ids = [text.input_ids for text in tokenizer.encode(texts)]
    scores = score_alone(Graph(folder / GRAPH, description), ids)
    return _observe(tokenizer, texts, scores, description.labels)


@pytest.mark.parametrize(
    ("classifier", "told"),
    [("classifier_folder", True), ("masked_classifier_folder", False)],
    ids=["byte-level BPE", "lower-casing WordPiece"],
)
def test_upper_case_is_told_where_the_model_sees_it(
    request: pytest.FixtureRequest, classifier: str, told: bool
) -> None:
    """Words come apart into more tokens; a tokenizer that lower-cases gives the same ones."""
    folder = request.getfixturevalue(classifier)
    labels = read_artifact(folder).description.labels
    reference = describe_texts(observe(folder, reviews(1, 500)), labels, "given")
    usual, page = reviews(2, 400), Page(reference)
    page.send(observe(folder, usual))
    assert page.over() == set()

    loud = Page(reference)
    loud.send(observe(folder, [text.upper() for text in usual]))

    assert ("characters_per_token" in loud.over()) == told
    assert bool(loud.over()) == told
