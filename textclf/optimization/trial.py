"""What a variant of a graph is asked, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from textclf.description import TriedVariant
from textclf.inference import Graph
from textclf.optimization.gate import Answers, Comparison, refusals
from textclf.optimization.timing import Times
from textclf.optimization.variants import Variant
from textclf.optimization.weights import graph_bytes
from textclf.tokenization import stretch
from textclf.verification import measure_batch_invariance, score_alone

_LONGEST_TEXTS = 4


@dataclass(frozen=True, kw_only=True)
class Texts:
    """What variants are asked.

    Attributes:
        golden: The input_ids of each golden text; at least one.
        labelled: The input_ids of each labelled text.
        company: The input_ids of texts that only keep the others company in batches.
        expected: Labels of those as indices of logits, of shape ``(texts,)``.
    """

    golden: Sequence[Sequence[int]]
    labelled: Sequence[Sequence[int]]
    company: Sequence[Sequence[int]]
    expected: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A variant that was built, with all that was measured of it.

    Attributes:
        variant: What it is.
        path: Its graph.
        answers: What it answers.
        comparison: With what the graph as found answers.
        times: Milliseconds of a run, by texts and tokens.
        speedup: Against the graph as found, which was run in turns with it.
    """

    variant: Variant
    path: Path
    answers: Answers
    comparison: Comparison
    times: Times
    speedup: float

    @property
    def refusals(self) -> list[str]:
        """Why it may not be served."""
        rounded = self.variant.weights != "fp32"
        return refusals(self.comparison, self.answers.batch_invariance, rounded=rounded)


def ask(graph: Graph, texts: Texts, max_tokens: int) -> Answers:
    """Ask a graph all texts, alone and in batches.

    Raises:
        GraphError: It fails on one.
    """
    ids = [*texts.golden, *texts.labelled, *texts.company]
    scores = score_alone(graph, ids)
    golden, labelled, _ = np.split(
        scores, [len(texts.golden), len(texts.golden) + len(texts.labelled)]
    )
    longest = [stretch(text, max_tokens) for text in ids[:_LONGEST_TEXTS]]
    return Answers(
        golden=golden,
        labelled=labelled,
        longest=score_alone(graph, longest),
        batch_invariance=measure_batch_invariance(graph, ids, scores),
    )


def describe_trial(trial: Trial, *, is_chosen: bool) -> TriedVariant:
    """Return what the table of variants says of a trial."""
    comparison, invariance = trial.comparison, trial.answers.batch_invariance
    verdict = "refused: " + ", ".join(trial.refusals) if trial.refusals else "held"
    return TriedVariant(
        name=trial.variant.name,
        verdict="chosen" if is_chosen else verdict,
        size_bytes=graph_bytes(trial.path),
        milliseconds={
            f"{texts}x{tokens}": round(milliseconds, 3)
            for (texts, tokens), milliseconds in trial.times.items()
        },
        speedup=round(trial.speedup, 3),
        agreement=round(comparison.agreement, 6),
        accuracy=None if comparison.accuracy is None else round(comparison.accuracy, 6),
        largest_score_shift=min(round(comparison.largest_score_shift, 6), 1.0),
        batch_score_shift=invariance.largest_score_shift,
        batch_labels_flipped=invariance.labels_flipped,
    )
