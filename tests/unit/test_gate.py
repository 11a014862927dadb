"""The gate: pure decisions on what a variant answers."""

from __future__ import annotations

from math import nan
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from textclf.description import BatchInvariance
from textclf.optimization.gate import Answers, Comparison, compare, refusals

INVARIANT = BatchInvariance(invariant=True, texts=100, largest_score_shift=0, labels_flipped=0)
DEPENDENT = BatchInvariance(invariant=False, texts=100, largest_score_shift=0.44, labels_flipped=3)
NO_LABELS = np.zeros(0, dtype=np.int64)


def answers(
    golden: list[float], labelled: list[float] | None = None, longest: list[float] | None = None
) -> Answers:
    """Return answers with these scores of the positive label."""
    return Answers(
        golden=_scores(golden),
        labelled=_scores(labelled or []),
        longest=_scores(longest or []),
        batch_invariance=INVARIANT,
    )


def _scores(positive: list[float]) -> NDArray[np.float32]:
    column = np.array(positive, dtype=np.float32).reshape(-1, 1)
    return np.hstack([1 - column, column])


def comparison(**figures: float) -> Comparison:
    """Return a comparison that holds but for what is given."""
    lost = figures.pop("accuracy_lost", None)
    held: dict[str, Any] = {
        "agreement": 1.0,
        "golden_agreement": 1.0,
        "sure_labels_flipped": 0,
        "mean_score_shift": 0.0,
        "largest_score_shift": 0.0,
        "accuracy": None if lost is None else 0.9 - lost,
        "accuracy_lost": lost,
    }
    return Comparison(**held | figures)


@pytest.mark.parametrize(
    ("figures", "invariance", "expected"),
    [
        (comparison(), INVARIANT, []),
        (
            comparison(),
            DEPENDENT,
            ["in batches a score moves by 0.4400 and 3 of 100 labels flip"],
        ),
        (comparison(agreement=0.99), INVARIANT, []),
        (comparison(sure_labels_flipped=1), INVARIANT, ["flips 1 golden labels that are sure"]),
        (
            comparison(golden_agreement=0.96),
            INVARIANT,
            ["agrees on 96.00% of the golden texts"],
        ),
        (comparison(agreement=0.985), INVARIANT, ["agrees on 98.50% of the texts"]),
        (comparison(accuracy_lost=0.005), INVARIANT, []),
        (comparison(accuracy_lost=-0.02), INVARIANT, []),
        (comparison(accuracy_lost=0.006), INVARIANT, ["loses 0.60 points of accuracy"]),
        (comparison(mean_score_shift=0.03), INVARIANT, ["scores move by 0.0300 on average"]),
        (comparison(largest_score_shift=0.3), INVARIANT, ["a score moves by 0.3000"]),
        (
            comparison(agreement=0.5, accuracy_lost=0.2),
            DEPENDENT,
            [
                "in batches a score moves by 0.4400 and 3 of 100 labels flip",
                "agrees on 50.00% of the texts",
                "loses 20.00 points of accuracy",
            ],
        ),
    ],
    ids=[
        "alike", "batches", "99 % agree", "sure label", "golden texts", "less agree", "half point",
        "a gain", "more lost", "mean shift", "one shift", "several",
    ],
)  # fmt: skip
def test_refusals(figures: Comparison, invariance: BatchInvariance, expected: list[str]) -> None:
    """Each bound that is broken is named with its figure, and nothing else is."""
    assert refusals(figures, invariance, rounded=True) == expected


def test_a_graph_that_was_not_rounded_gives_the_same_scores() -> None:
    """What int8 may move a score by is too much for a graph that was only rewritten."""
    moved = comparison(largest_score_shift=0.02)

    assert refusals(moved, INVARIANT, rounded=True) == []
    assert refusals(moved, INVARIANT, rounded=False) == ["a score moves by 0.0200"]


def test_a_figure_that_is_no_number_is_refused() -> None:
    """NaN compares as neither more nor less than a bound, and holds none."""
    figures = comparison(
        agreement=nan, golden_agreement=nan, mean_score_shift=nan, largest_score_shift=nan,
        accuracy_lost=nan,
    )  # fmt: skip

    assert len(refusals(figures, INVARIANT, rounded=True)) == 5


@pytest.mark.parametrize("labelled", [0, 20_000], ids=["no labelled texts", "many that agree"])
def test_golden_labels_are_held_whatever_else_agrees(labelled: int) -> None:
    """Many labelled texts do not outvote the golden ones, sure of their label or not."""
    rest = [0.9] * labelled
    near = compare(answers([0.45] * 9, rest), answers([0.55] * 9, rest), np.ones(labelled, int))
    sure = compare(
        answers([0.45, 0.9] * 50, rest), answers([0.61, 0.9] * 50, rest), np.ones(labelled, int)
    )

    assert "agrees on 0.00% of the golden texts" in refusals(near, INVARIANT, rounded=True)
    assert "flips 50 golden labels that are sure" in refusals(sure, INVARIANT, rounded=True)


def test_the_longest_input_counts() -> None:
    """A score that moves on the longest input alone is seen."""
    found = compare(answers([0.9], longest=[0.9]), answers([0.9], longest=[0.2]), NO_LABELS)

    assert found.largest_score_shift == pytest.approx(0.7)


def test_compare_counts_golden_and_labelled_texts_alike() -> None:
    """Agreement is over all texts; accuracy over those with a label."""
    exact = answers([0.9, 0.1], [0.8, 0.3])
    variant = answers([0.7, 0.1], [0.45, 0.3])

    found = compare(variant, exact, np.array([0, 0]))

    assert found.agreement == 0.75
    assert (found.accuracy, found.accuracy_lost) == (1.0, -0.5)
    assert found.largest_score_shift == pytest.approx(0.35)
    assert found.mean_score_shift == pytest.approx((0.2 + 0.35) / 4)


def test_undecided_golden_texts_do_not_count() -> None:
    """A golden text that the graph has no clear answer to may get either label."""
    found = compare(answers([0.49, 0.9]), answers([0.51, 0.9]), NO_LABELS)

    assert found.agreement == 1.0
    assert (found.accuracy, found.accuracy_lost) == (None, None)


def test_a_graph_without_any_clear_answer_agrees() -> None:
    """Without a text that counts there is nothing to disagree on."""
    assert compare(answers([0.49]), answers([0.51]), NO_LABELS).agreement == 1.0
