#!/usr/bin/env python
"""Show what a model is, where it comes from, and what was done to it and measured of it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence

from scripts._command import exit_codes
from textclf.artifact import Artifact, read_artifact
from textclf.errors import (
    ArtifactChangedError,
    ArtifactError,
    ArtifactMissingError,
    TextClassifierError,
)
from textclf.schema import MAX_TEXT_CHARACTERS
from textclf.store import resolve
from textclf.tables import Row, text_table, variant_rows

_ERRORS: tuple[type[TextClassifierError], ...] = (
    ArtifactError,
    ArtifactChangedError,
    ArtifactMissingError,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Show the model that ``argv`` names and return the exit code."""
    arguments = _parser().parse_args(argv)
    try:
        artifact = read_artifact(resolve(arguments.model))
    except TextClassifierError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return exc.exit_code
    if arguments.json:
        content = {"tag": artifact.tag} | artifact.description.model_dump(mode="json")
        print(json.dumps(content, indent=2, ensure_ascii=False))
    else:
        print(_as_text(artifact))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=exit_codes("shown: every file is as it was when it was described", _ERRORS),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "model",
        nargs="?",
        default="",
        metavar="TAG_OR_FOLDER",
        help="store tag or classifier folder (default: what would be served: sentiment:latest, or "
        "the reference model where the store has none)",
    )
    parser.add_argument("--json", action="store_true", help="print the tag and classifier.json")
    return parser


def _as_text(artifact: Artifact) -> str:
    tables = [text_table(_rows(artifact))]
    if variants := artifact.description.precision.variants:
        tables.append(text_table(variant_rows(variants)))
    return "\n\n".join(tables)


def _rows(artifact: Artifact) -> Iterator[Row]:
    description = artifact.description
    batching = description.batch_invariance
    yield "model", artifact.tag
    yield "folder", str(artifact.folder)
    for field, value in description.lineage:
        if value is not None:
            yield field.replace("_", " "), value
    yield "labels", ", ".join(description.labels) + f" (positive: {description.positive_label})"
    inputs = ", ".join(
        name if role == name else f"{role} as {name}" for role, name in description.inputs.items()
    )
    yield "input", f"a text of 1 to {MAX_TEXT_CHARACTERS:,} characters"
    yield "graph input", f"{inputs}: int64 (texts, tokens), at most {description.max_tokens} tokens"
    yield "graph output", f"{description.output}: float32 (texts, {len(description.labels)})"
    yield "precision", f"{description.precision.weights}: {description.precision.method}"
    flips = f"{batching.labels_flipped} of {batching.texts} labels flip"
    yield "in batches", f"a score moves by up to {batching.largest_score_shift:.4f}, {flips}"
    for figure in description.evaluations:
        measured = f"{figure.accuracy:.4f} in {figure.precision}"
        yield "accuracy", f"{measured} on {figure.sentences} sentences of {figure.dataset}"
    yield "golden texts", str(len(artifact.golden))
    for name, sha256 in description.files.items():
        yield f"sha256 of {name}", sha256


if __name__ == "__main__":
    sys.exit(main())
