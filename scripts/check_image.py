#!/usr/bin/env python
"""Check an image, or a running service, against everything that is promised of it."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scripts._command import exit_codes, positive_number, run_command
from textclf import store
from textclf.artifact import read_artifact
from textclf.errors import (
    ArtifactChangedError,
    ArtifactError,
    ArtifactMissingError,
    CheckFailedError,
    DockerError,
    TextClassifierError,
)
from textclf.image.checks.check import ORDER, Check
from textclf.image.checks.pulling import find_image
from textclf.image.checks.report import Report, list_checks, write_reports
from textclf.image.checks.running import Expected, check_image, check_url, select
from textclf.image.checks.subject import Limits
from textclf.image.docker import load_image

_RECORD = Path("dist/image.json")
_OPENAPI = Path(__file__).resolve().parents[1] / "openapi.json"
_ERRORS: tuple[type[TextClassifierError], ...] = (
    ArtifactError,
    ArtifactChangedError,
    ArtifactMissingError,
    DockerError,
    CheckFailedError,
    *ORDER,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Check what ``argv`` names and return the exit code."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.image and arguments.url:
        parser.error("name either an IMAGE or a --url")
    return run_command(
        lambda: _run(arguments),
        interrupted="nothing is known of the image; its containers are removed",
        level=logging.WARNING,
    )


def _run(arguments: argparse.Namespace) -> int:
    checks = select(arguments.only)
    if arguments.list:
        print(list_checks(checks))
        return 0
    report = _check(arguments, checks)
    write_reports(report, arguments.report_folder)
    print(json.dumps(report.as_json(), indent=2) if arguments.json else report.as_text())
    return report.error.exit_code if report.error else 0


def _check(arguments: argparse.Namespace, checks: Sequence[Check]) -> Report:
    started_at, began = datetime.now(UTC), time.monotonic()
    expected = Expected(
        model=read_artifact(store.resolve(arguments.model)),
        openapi=_read_openapi(arguments.openapi),
        base=arguments.base,
        limits=Limits(
            size_budget_mb=arguments.size_budget_mb,
            start_limit_seconds=arguments.start_limit_seconds,
            memory_limit_mb=arguments.memory_limit_mb,
        ),
    )
    described: dict[str, Any] = {}
    image = arguments.url
    if image:
        results = check_url(arguments.url, expected, checks)
    else:
        image = arguments.image or _built_last()
        described = find_image(load_image(image))
        results = check_image(described, expected, checks)
    return Report(
        image=image,
        image_id=described.get("Id"),
        repo_digests=described.get("RepoDigests") or [],
        model=expected.model.tag,
        whole=not arguments.only,
        started_at=started_at,
        seconds=time.monotonic() - began,
        limits=expected.limits,
        results=results,
    )


def _built_last() -> str:
    try:
        return str(json.loads(_RECORD.read_text("utf-8"))["reference"])
    except (OSError, ValueError, KeyError) as exc:
        raise CheckFailedError(
            f"no IMAGE was named, and {_RECORD} names none: {exc}; name one, or run `make image`"
        ) from exc


def _read_openapi(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as exc:
        raise CheckFailedError(
            f"{path} is no OpenAPI document: {exc}; name the one that was committed with --openapi"
        ) from exc


def _parser() -> argparse.ArgumentParser:
    order = ", ".join(str(kind.exit_code) for kind in ORDER)
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="If checks of several classes fail, the first in this order names the exit code, "
        "since each\npresupposes those before it: "
        f"{order}.\n\n" + exit_codes("every check that was made passed", _ERRORS),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "image",
        nargs="?",
        metavar="IMAGE[@DIGEST]",
        help="or an archive of `docker save` (default: the one that was built last)",
    )
    parser.add_argument("--url", help="of a running service, in place of an image")
    _add_expectations(parser)
    _add_limits(parser)
    parser.add_argument(
        "--report-folder",
        type=Path,
        default=Path("dist"),
        metavar="DIR",
        help="where check.json and check.xml are written (default: %(default)s)",
    )
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="NAME",
        help="make this check alone; repeatable; such a report is never complete",
    )
    parser.add_argument("--list", action="store_true", help="list the checks, and stop")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    return parser


def _add_expectations(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        default="",
        metavar="TAG_OR_FOLDER",
        help="the model that has to be served (default: what `bentoml serve` would serve)",
    )
    parser.add_argument(
        "--openapi",
        type=Path,
        default=_OPENAPI,
        metavar="FILE",
        help="the document that /docs.json has to be (default: the committed one)",
    )
    parser.add_argument("--base", metavar="IMAGE", help="default: the one that its label names")


def _add_limits(parser: argparse.ArgumentParser) -> None:
    limits = (
        ("--size-budget-mb", Limits.size_budget_mb, "most that it may add to its base"),
        ("--start-limit-seconds", Limits.start_limit_seconds, "longest time until it is ready"),
        ("--memory-limit-mb", Limits.memory_limit_mb, "memory that has to suffice"),
    )
    for name, default, meaning in limits:
        parser.add_argument(
            name,
            type=positive_number,
            default=default,
            metavar="N",
            help=f"{meaning} (default: {default:g})",
        )


if __name__ == "__main__":
    sys.exit(main())
