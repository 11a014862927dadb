#!/usr/bin/env python
"""Measure a model as it is served: accuracy, and whether company changes an answer."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from scripts._command import INTERRUPTED, exit_codes
from textclf.artifact import Artifact, read_artifact
from textclf.errors import (
    ArtifactChangedError,
    ArtifactError,
    DataFileError,
    InferenceError,
    ModelLoadError,
    TextClassifierError,
)
from textclf.evaluation import Measurement, measure, read_labelled
from textclf.inference import Graph
from textclf.store import resolve
from textclf.tokenization import Tokenizer

REFERENCE = Path(__file__).resolve().parents[1] / "models" / "reference"
_ERRORS: tuple[type[TextClassifierError], ...] = (
    ArtifactError,
    ArtifactChangedError,
    ModelLoadError,
    DataFileError,
    InferenceError,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the model that ``argv`` names and return the exit code."""
    arguments = _parser().parse_args(argv)
    try:
        artifact = read_artifact(resolve(arguments.model))
        measurement = _measure(artifact, arguments.tsv)
    except TextClassifierError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return exc.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    if arguments.json:
        print(json.dumps({"model": artifact.tag} | asdict(measurement), indent=2))
    else:
        print(_as_text(artifact, measurement))
    return 0


def _measure(artifact: Artifact, path: Path) -> Measurement:
    description = artifact.description
    texts = read_labelled(path, labels=len(description.labels))
    return measure(
        Graph(artifact.graph_path, description),
        Tokenizer(artifact.tokenizer_path, max_tokens=description.max_tokens),
        texts,
        positive=description.labels.index(description.positive_label),
    )


def _as_text(artifact: Artifact, measurement: Measurement) -> str:
    rows = [
        ("model", artifact.tag),
        ("texts", f"{measurement.texts}"),
        ("accuracy", f"{measurement.accuracy:.4f}"),
        (f"precision of {artifact.description.positive_label}", f"{measurement.precision:.4f}"),
        (f"recall of {artifact.description.positive_label}", f"{measurement.recall:.4f}"),
        ("largest score shift in a batch", f"{measurement.largest_score_shift:.6f}"),
        ("labels flipped in a batch", f"{measurement.labels_flipped}"),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=exit_codes("measured", _ERRORS),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "tsv",
        type=Path,
        metavar="TSV",
        help="lines of sentence TAB label under that header; a label is the index of a logit",
    )
    parser.add_argument(
        "--model",
        default=str(REFERENCE),
        metavar="FOLDER_OR_TAG",
        help="classifier folder or store tag (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
