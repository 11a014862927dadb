#!/usr/bin/env python
"""Build the image of this clone and the newest model: bentoml build, bentoml containerize."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from scripts._command import exit_codes, run_command
from textclf import store
from textclf.artifact import Artifact, read_artifact
from textclf.errors import (
    ArtifactError,
    ArtifactMissingError,
    BuildError,
    DockerError,
    ImageError,
    SettingsError,
    SourceStateError,
    TextClassifierError,
)
from textclf.image.bill_of_materials import LICENCES, SBOM, write_bill
from textclf.image.building import BuildOptions, find_base, plan_build, run_build
from textclf.image.docker import run_docker
from textclf.image.record import RECORD, BuildRecord, make_record
from textclf.image.source_state import SourceState, read_source_state
from textclf.importing import ImportOptions, import_model
from textclf.settings import read_source_date_epoch
from textclf.sources import LocalSource

_PROJECT = Path(__file__).resolve().parents[1]
_REFERENCE = _PROJECT / "models" / "reference"
_ARCHIVE = "image.tar"
_OUTPUTS = (RECORD, SBOM, LICENCES, _ARCHIVE, "check.json", "check.xml", "publish.json")
_ERRORS: tuple[type[TextClassifierError], ...] = (
    SettingsError,
    ArtifactError,
    ImageError,
    SourceStateError,
    BuildError,
    DockerError,
)
_LOGGER = logging.getLogger("build_image")


def main(argv: Sequence[str] | None = None) -> int:
    """Build the image that ``argv`` asks for and return the exit code."""
    arguments = _parser().parse_args(argv)
    return run_command(lambda: _run(arguments), interrupted="there is no image of this build")


def _run(arguments: argparse.Namespace) -> int:
    source = read_source_state(_PROJECT, allow_dirty=arguments.allow_dirty)
    record = _build(arguments, source)
    print(record.as_json() if arguments.json else record.as_table())
    return 0


def _build(arguments: argparse.Namespace, source: SourceState) -> BuildRecord:
    options = BuildOptions(
        base_image=arguments.base_image,
        ca_bundle=arguments.ca_bundle,
        pip_config=arguments.pip_config,
        no_cache=arguments.no_cache,
    )
    epoch = read_source_date_epoch()
    created = source.committed_at if epoch is None else datetime.fromtimestamp(epoch, UTC)
    base = find_base(options, _PROJECT)
    plan = plan_build(source, _stored_model(), base, options, created)
    _LOGGER.info("%s", plan.as_shell())
    folder: Path = arguments.output
    folder.mkdir(parents=True, exist_ok=True)
    for name in _OUTPUTS:  # what is there is of another image
        (folder / name).unlink(missing_ok=True)
    record = make_record(plan, base, run_build(plan, _PROJECT))
    bill = write_bill(record.reference, folder, created=created)
    _LOGGER.info("%d components, %d of unknown licence", bill.components, bill.unknown_licences)
    (folder / RECORD).write_text(record.as_json(), "utf-8")
    if arguments.save:
        run_docker("save", "--output", str(folder / _ARCHIVE), record.reference)
    return record


def _stored_model() -> Artifact:
    """Return what bentofile.yaml packs, after importing the reference model into an empty store."""
    try:
        folder = store.locate(store.LATEST)
    except ArtifactMissingError:
        _LOGGER.info("the store has no model: importing %s", _REFERENCE)
        folder = store.locate(import_model(LocalSource(_REFERENCE), ImportOptions()).tag)
    return read_artifact(folder)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=exit_codes("built", _ERRORS),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--base-image",
        default="",
        metavar="IMAGE",
        help="with Python 3.11 and pip (default: the one in bentofile.yaml)",
    )
    parser.add_argument(
        "--ca-bundle",
        type=Path,
        metavar="FILE",
        help="PEM file of the authorities that pip trusts; no layer holds it",
    )
    parser.add_argument(
        "--pip-config",
        type=Path,
        metavar="FILE",
        help="pip.conf that names the package index, with its credentials; no layer holds it",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=_PROJECT / "dist",
        metavar="FOLDER",
        help="for image.json, sbom.cdx.json and licences.md (default: dist)",
    )
    parser.add_argument("--save", action="store_true", help="write image.tar there too")
    parser.add_argument("--no-cache", action="store_true", help="run every step again")
    parser.add_argument(
        "--allow-dirty", action="store_true", help="build what no commit holds, and name it so"
    )
    parser.add_argument("--json", action="store_true", help="print the record as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
