"""What a person may decide of an import."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from textclf.description import PrecisionChoice


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """What overrides the source; None leaves it as found.

    Attributes:
        name: Name in the store tag.
        version: Version in the store tag.
        tokenizer: Folder or Hugging Face id.
        labels: In the order of the logits.
        positive_label: The one that ``/predict`` answers ``true`` for.
        max_tokens: Longest input, special tokens included.
        golden_texts: File with one text a line.
        precision: How the graph may be stored; auto unless given.
        evaluate: File of labelled texts, to measure the accuracy of every precision on.
        reference_texts: File of texts like those that will be served, to compare the traffic with.
    """

    name: str | None = None
    version: str | None = None
    tokenizer: str | None = None
    labels: list[str] | None = None
    positive_label: str | None = None
    max_tokens: int | None = None
    golden_texts: Path | None = None
    precision: PrecisionChoice | None = None
    evaluate: Path | None = None
    reference_texts: Path | None = None
