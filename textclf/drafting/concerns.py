"""What the user should know of a model that can be imported all the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from textclf.description import BatchInvariance, GoldenExample

_FEW_GOLDEN_TEXTS = 20


def of_golden(golden: Sequence[GoldenExample], texts: int) -> Iterator[str]:
    """Yield what may be wrong with a golden snapshot that was made of so many texts."""
    if len(golden) < _FEW_GOLDEN_TEXTS:
        yield (
            f"only {len(golden)} of {texts} golden texts have a clear answer; give more texts of "
            "the model's domain as --golden-texts"
        )
    if len({example.label for example in golden}) == 1:
        yield (
            f"every golden text gets the label {golden[0].label}; check the tokenizer and the "
            "labels"
        )


def of_batches(measured: BatchInvariance) -> Iterator[str]:
    """Yield what it means that an answer depends on its batch, if it does."""
    if not measured.invariant:
        yield (
            "an answer depends on the texts that share its batch: of "
            f"{measured.texts} texts {measured.labels_flipped} labels flip, and a score moves by "
            f"up to {measured.largest_score_shift:.4f}; the model is served one text at a time"
        )
