"""Whether a variant of a graph may stand in for it: pure decisions on figures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from textclf.description import BatchInvariance
from textclf.golden import LEAST_MARGIN

LEAST_AGREEMENT = 0.99
LEAST_GOLDEN_AGREEMENT = 0.97  # of some 170 texts two near-ties may flip
SURE_MARGIN = 0.2  # twice what a sound int8 graph moves a score by
MOST_REWRITTEN_SHIFT = 0.01  # of a graph whose numbers were not rounded
MOST_ACCURACY_LOST = 0.005
MOST_SCORE_SHIFT = 0.25
MOST_MEAN_SCORE_SHIFT = 0.02


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What a graph answers to texts.

    Attributes:
        golden: Scores of the golden texts, each alone, of shape ``(texts, labels)``.
        labelled: Scores of the labelled texts, each alone, of shape ``(texts, labels)``.
        longest: Scores of some texts repeated to the longest input, of shape ``(texts, labels)``.
        batch_invariance: How far all of them move in batches.
    """

    golden: NDArray[np.float32]
    labelled: NDArray[np.float32]
    longest: NDArray[np.float32]
    batch_invariance: BatchInvariance

    def accuracy(self, expected: NDArray[np.int64]) -> float:
        """Return the share of the labelled texts with the expected label."""
        return float((self.labelled.argmax(axis=1) == expected).mean())


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How the answers of a variant compare with those of the graph it was made from.

    Attributes:
        agreement: Share of the texts with the same label; golden texts that the graph has no
            clear answer to are left out.
        golden_agreement: The same of the golden texts alone.
        sure_labels_flipped: Golden texts with another label although the two best scores of the
            graph are ``SURE_MARGIN`` apart.
        mean_score_shift: Mean difference of a score, over all texts.
        largest_score_shift: Largest difference of a score.
        accuracy: Of the variant on the labelled texts; None without any.
        accuracy_lost: Against the graph, negative if it gained; None without labelled texts.
    """

    agreement: float
    golden_agreement: float
    sure_labels_flipped: int
    mean_score_shift: float
    largest_score_shift: float
    accuracy: float | None
    accuracy_lost: float | None


def compare(answers: Answers, exact: Answers, expected: NDArray[np.int64]) -> Comparison:
    """Compare the answers of a variant with those of the graph it was made from.

    Args:
        answers: Of the variant.
        exact: Of the graph.
        expected: Labels of the labelled texts, of shape ``(texts,)``, as indices of logits.
    """
    ranked = np.sort(exact.golden, axis=1)
    margins = ranked[:, -1] - ranked[:, -2]
    found, exactly = answers.labelled.argmax(axis=1), exact.labelled.argmax(axis=1)
    same = answers.golden.argmax(axis=1) == exact.golden.argmax(axis=1)
    clear = same[margins >= LEAST_MARGIN]
    alike = np.concatenate([clear, found == exactly])
    shifts = np.concatenate(
        [
            np.abs(answers.golden - exact.golden),
            np.abs(answers.labelled - exact.labelled),
            np.abs(answers.longest - exact.longest),
        ]
    )
    accuracy = answers.accuracy(expected) if len(expected) else None
    return Comparison(
        agreement=float(alike.mean()) if len(alike) else 1.0,
        golden_agreement=float(clear.mean()) if len(clear) else 1.0,
        sure_labels_flipped=int((~same[margins >= SURE_MARGIN]).sum()),
        mean_score_shift=float(shifts.mean()),
        largest_score_shift=float(shifts.max()),
        accuracy=accuracy,
        accuracy_lost=None if accuracy is None else exact.accuracy(expected) - accuracy,
    )


def refusals(
    comparison: Comparison, batch_invariance: BatchInvariance, *, rounded: bool
) -> list[str]:
    """Return why a variant may not be served, with the figures; nothing if it may.

    Args:
        comparison: With the graph it was made from.
        batch_invariance: Of the variant.
        rounded: Whether its numbers were; else it has to give the same scores.

    Source:
        The bounds are this project's own: a point of agreement, half a point of accuracy, and
        scores that move by a small part of what separates two labels.
    """
    invariance, found = batch_invariance, []
    if not invariance.invariant:
        found.append(
            f"in batches a score moves by {invariance.largest_score_shift:.4f} and "
            f"{invariance.labels_flipped} of {invariance.texts} labels flip"
        )
    if comparison.sure_labels_flipped:
        found.append(f"flips {comparison.sure_labels_flipped} golden labels that are sure")
    # Turned round, so that a figure that is no number is refused too.
    if not comparison.golden_agreement >= LEAST_GOLDEN_AGREEMENT:
        found.append(f"agrees on {comparison.golden_agreement:.2%} of the golden texts")
    if not comparison.agreement >= LEAST_AGREEMENT:
        found.append(f"agrees on {comparison.agreement:.2%} of the texts")
    if comparison.accuracy_lost is not None and not comparison.accuracy_lost <= MOST_ACCURACY_LOST:
        found.append(f"loses {100 * comparison.accuracy_lost:.2f} points of accuracy")
    if not comparison.mean_score_shift <= MOST_MEAN_SCORE_SHIFT:
        found.append(f"scores move by {comparison.mean_score_shift:.4f} on average")
    most = MOST_SCORE_SHIFT if rounded else MOST_REWRITTEN_SHIFT
    if not comparison.largest_score_shift <= most:
        found.append(f"a score moves by {comparison.largest_score_shift:.4f}")
    return found
