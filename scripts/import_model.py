#!/usr/bin/env python
"""Import a model into the BentoML model store."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from scripts._command import exit_codes, run_command
from textclf.description import PrecisionChoice
from textclf.errors import (
    AccessError,
    ArtifactChangedError,
    ArtifactError,
    DataFileError,
    DownloadError,
    GoldenMismatchError,
    GraphError,
    InferenceError,
    LabelError,
    ModelImportError,
    ModelLoadError,
    PrecisionError,
    SourceNotFoundError,
    StoreError,
    TagTakenError,
    TextClassifierError,
    TokenizerError,
    UntrustedContentError,
)
from textclf.importing import ImportOptions, ImportReport, import_model
from textclf.sources import SOURCES

_ERRORS: tuple[type[TextClassifierError], ...] = (
    ArtifactError,
    ArtifactChangedError,
    ModelLoadError,
    GoldenMismatchError,
    DataFileError,
    InferenceError,
    ModelImportError,
    SourceNotFoundError,
    GraphError,
    TokenizerError,
    LabelError,
    TagTakenError,
    StoreError,
    AccessError,
    DownloadError,
    UntrustedContentError,
    PrecisionError,
)
_EXIT_CODES = exit_codes(
    "imported, or already there", _ERRORS, interrupted="interrupted; nothing was written"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Import the model that ``argv`` names and return the exit code."""
    arguments = _parser().parse_args(argv)
    return run_command(
        lambda: _run(arguments), interrupted="nothing was written to the model store"
    )


def _run(arguments: argparse.Namespace) -> int:
    options = ImportOptions(
        **{
            field.name: getattr(arguments, field.name)
            for field in dataclasses.fields(ImportOptions)
        }
    )
    source = SOURCES[arguments.source].from_arguments(arguments)
    report = import_model(source, options, dry_run=arguments.dry_run)
    for warning in report.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(_as_json(report) if arguments.json else _as_text(report))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sources = parser.add_subparsers(dest="source", required=True, metavar="SOURCE")
    for name, source in SOURCES.items():
        subparser = sources.add_parser(
            name,
            help=source.summary,
            description=f"Import {source.summary}.",
            epilog=_EXIT_CODES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        source.add_arguments(subparser)
        _add_options(subparser)
    return parser


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", help="name in the store tag (default: what the source says)")
    parser.add_argument("--version", help="version in the store tag (default: as the source says)")
    parser.add_argument(
        "--tokenizer",
        metavar="ID_OR_FOLDER",
        help="Hugging Face id or folder (default: the files beside the graph)",
    )
    parser.add_argument(
        "--labels",
        type=_labels,
        metavar="A,B",
        help="labels in the order of the logits (default: id2label of a config.json beside the "
        "graph or the tokenizer, else negative,positive)",
    )
    parser.add_argument(
        "--positive-label",
        metavar="LABEL",
        help="the label that /predict answers true for (default: positive)",
    )
    parser.add_argument(
        "--max-tokens",
        type=_max_tokens,
        metavar="N",
        help="longest input, special tokens included (default: as the tokenizer says, at most 512)",
    )
    parser.add_argument(
        "--golden-texts",
        type=Path,
        metavar="FILE",
        help="texts to record the answers to, one a line (default: built in)",
    )
    _add_precision(parser)
    parser.add_argument(
        "--reference-texts",
        type=Path,
        metavar="FILE",
        help="texts like those that will be served, to compare the traffic with: one a line, or "
        "lines of sentence TAB label under that header (default: the golden texts)",
    )
    parser.add_argument("--dry-run", action="store_true", help="write nothing to the store")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def _add_precision(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--precision",
        choices=get_args(PrecisionChoice),
        help="fp32, int8, or auto: the fastest that answers alike (default: auto)",
    )
    parser.add_argument(
        "--evaluate",
        type=Path,
        metavar="FILE",
        help="lines of sentence TAB label under that header, to measure accuracy on",
    )


def _labels(text: str) -> list[str]:
    return [label.strip() for label in text.split(",")]


def _max_tokens(text: str) -> int:
    number = int(text)
    if number < 2:
        raise argparse.ArgumentTypeError(f"must be at least 2, got {number}")
    return number


def _as_json(report: ImportReport) -> str:
    description = report.description
    return json.dumps(
        {
            "tag": report.tag,
            "already_there": report.already_there,
            "dry_run": report.dry_run,
            "labels": description.labels,
            "positive_label": description.positive_label,
            "files": description.files,
            "batch_invariance": description.batch_invariance.model_dump(),
            "precision": description.precision.model_dump(),
            "evaluations": [figure.model_dump() for figure in description.evaluations],
            "warnings": report.warnings,
        },
        indent=2,
    )


def _as_text(report: ImportReport) -> str:
    if report.already_there:
        return f"{report.tag} is already there"
    return f"{report.tag} can be imported" if report.dry_run else f"imported {report.tag}"


if __name__ == "__main__":
    sys.exit(main())
