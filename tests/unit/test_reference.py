"""The model that comes with the project is what its card says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.http.serving import PROJECT
from textclf.artifact import CARD, Artifact, read_artifact
from textclf.evaluation import measure, read_labelled
from textclf.inference import Graph
from textclf.model_card import render_card
from textclf.tokenization import Tokenizer

SENTENCES = 872  # of the development split of SST-2 in GLUE


@pytest.fixture(scope="module")
def reference() -> Artifact:
    """Read it, and so check each file against its sha256."""
    return read_artifact(PROJECT / "models" / "reference")


def test_it_is_small_enough_for_a_clone(reference: Artifact) -> None:
    """All its files together are 25 MB at the most."""
    assert sum(path.stat().st_size for path in reference.folder.iterdir()) <= 25_000_000


def test_its_figures_pass_the_gate(reference: Artifact) -> None:
    """As served: accuracy of 0.90 and half a point less than fp32 at the most, in any company."""
    figures = {f.precision: f for f in reference.description.evaluations}

    assert figures["int8"].sentences == SENTENCES
    assert figures["int8"].accuracy >= 0.90
    assert figures["int8"].accuracy >= figures["fp32"].accuracy - 0.005
    assert reference.description.batch_invariance.invariant
    assert reference.description.batch_invariance.texts == SENTENCES


def test_its_golden_texts_cover_the_book(reference: Artifact) -> None:
    """At least 100 texts, among them those of the original service's documentation."""
    texts = {example.text for example in reference.golden}

    assert len(texts) >= 100
    assert texts >= {
        "Containers are more or less interesting",
        "MLOps is critical for robustness",
        "espresso is too strong",
    }


def test_its_card_is_rendered(reference: Artifact) -> None:
    """The card is classifier.json in words."""
    assert (reference.folder / CARD).read_text("utf-8") == render_card(reference.description)


@pytest.mark.skipif("SST2_DIR" not in os.environ, reason="SST2_DIR names no copy of SST-2")
def test_its_accuracy_is_the_recorded_one(reference: Artifact) -> None:
    """Measured once more, the figure is the card's, and company changes nothing."""
    description = reference.description
    texts = read_labelled(Path(os.environ["SST2_DIR"]) / "test.tsv", labels=2)
    found = measure(
        Graph(reference.graph_path, description),
        Tokenizer(reference.tokenizer_path, max_tokens=description.max_tokens),
        texts,
        positive=description.labels.index(description.positive_label),
    )

    recorded = {figure.precision: figure.accuracy for figure in description.evaluations}
    assert found.texts == SENTENCES
    assert found.accuracy == pytest.approx(recorded["int8"], abs=0.002)
    assert found.largest_score_shift <= 0.01
    assert found.labels_flipped == 0
