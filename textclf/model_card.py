"""MODEL_CARD.md: a classifier's description in the form that people read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from textclf.description import ClassifierDescription
from textclf.schema import MAX_TEXT_CHARACTERS
from textclf.tables import markdown_table, variant_rows


def render_card(description: ClassifierDescription) -> str:
    """Render a model card in Markdown; the same description always gives the same text."""
    lineage = description.lineage
    sections = [
        f"# {lineage.name} {lineage.version}\n\nRendered from `classifier.json`; edit that.",
        "## Input and output\n\n" + _input_and_output(description),
        "## Evaluation\n\n" + _evaluation(description),
        *_precision(description),
        "## Lineage\n\n" + markdown_table(("field", "value"), _lineage_rows(description)),
        *(f"## {heading}\n\n{text}" for heading, text in description.training.items()),
    ]
    return "\n\n".join(sections) + "\n"


def _input_and_output(description: ClassifierDescription) -> str:
    return (
        f"A text of 1 to {MAX_TEXT_CHARACTERS:,} characters. The graph reads its first "
        f"{description.max_tokens} tokens, special tokens included; a longer text is truncated and "
        "the answer says so.\n\n"
        f"One label of {', '.join(f'`{label}`' for label in description.labels)} with its softmax "
        f"probability. `/predict` answers `positive: true` for `{description.positive_label}`."
    )


def _evaluation(description: ClassifierDescription) -> str:
    batching = description.batch_invariance
    text = (
        f"Alone against batched, {batching.texts} texts: the largest score shift is "
        f"{batching.largest_score_shift:.4f}, {batching.labels_flipped} labels flip"
        + ("." if batching.invariant else "; it is therefore served one text at a time.")
    )
    if not description.evaluations:
        return f"No accuracy was recorded.\n\n{text}"
    rows = [
        (figure.dataset, str(figure.sentences), figure.precision, f"{figure.accuracy:.4f}")
        for figure in description.evaluations
    ]
    return markdown_table(("data set", "sentences", "precision", "accuracy"), rows) + f"\n\n{text}"


def _precision(description: ClassifierDescription) -> Iterator[str]:
    if variants := description.precision.variants:
        header, *rows = variant_rows(variants)
        yield (
            "## Precision\n\n" + markdown_table(header, rows) + "\n\n`ms 8x32` is the median of "
            "one run on 8 texts of 32 tokens, on the machine that imported the model. Agreement "
            "and shift are against the graph as found, shift in batches against each text alone."
        )


def _lineage_rows(description: ClassifierDescription) -> Iterable[tuple[str, str]]:
    for field, value in description.lineage.model_dump().items():
        if value is not None:
            yield field.replace("_", " "), f"`{value}`"
    yield "weights", f"{description.precision.weights}: {description.precision.method}"
    for name, sha256 in description.files.items():
        yield f"sha256 of {name}", f"`{sha256}`"
