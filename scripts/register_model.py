#!/usr/bin/env python
"""Register a classifier folder as a new version of a model in Azure ML."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from scripts._command import exit_codes, positive_number, run_command
from textclf.artifact import read_artifact
from textclf.azureml.arguments import (
    NAME,
    add_workspace_arguments,
    matching,
    read_workspace,
)
from textclf.azureml.client import DEFAULT_TIMEOUT_SECONDS, SdkClient
from textclf.azureml.credentials import parse_credentials
from textclf.azureml.environment import V1, V2
from textclf.azureml.failures import Workspace
from textclf.errors import (
    AccessError,
    ArtifactChangedError,
    ArtifactError,
    DownloadError,
    ModelImportError,
    RegistrationError,
    SourceNotFoundError,
    TextClassifierError,
)
from textclf.registration import Plan, plan_registration, record, register, render_plan
from textclf.settings import read_azure_credentials

_SDKS = {"azureml": V1, "azureml-v2": V2}
_DECLINED = 1
_ERRORS: tuple[type[TextClassifierError], ...] = (
    ArtifactError,
    ArtifactChangedError,
    ModelImportError,
    SourceNotFoundError,
    AccessError,
    DownloadError,
    RegistrationError,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Register the folder that ``argv`` names and return the exit code."""
    arguments = _parser().parse_args(argv)
    return run_command(
        lambda: _run(arguments),
        interrupted="if it was registering, run it again to see what became of it; a version that "
        "is there already is not registered twice",
    )


def _run(arguments: argparse.Namespace) -> int:
    credentials = parse_credentials(read_azure_credentials())
    workspace = read_workspace(arguments, credentials)
    connect = partial(
        SdkClient,
        _SDKS[arguments.registry],
        workspace,
        credentials,
        timeout_seconds=arguments.timeout_seconds,
    )
    artifact = read_artifact(arguments.folder)
    plan = plan_registration(artifact, arguments.name, connect().latest(arguments.name))
    print(render_plan(plan) + "\n", file=sys.stderr if arguments.json else sys.stdout, flush=True)
    if plan.unchanged or arguments.dry_run:
        _print_result(arguments, plan, None)
        return 0
    _check_record_folder(arguments.record)
    if not arguments.yes and not _confirm(plan, arguments.workspace):
        print("nothing was registered", file=sys.stderr)
        return _DECLINED
    made = register(plan, connect())  # a client of its own: the question takes no time from it
    _write_record(arguments, plan, made, workspace)
    _print_result(arguments, plan, made)
    return 0


def _confirm(plan: Plan, workspace: str) -> bool:
    if not sys.stdin.isatty():
        raise RegistrationError(
            f"nobody can be asked whether to register {plan.name}, since standard input is no "
            "terminal; check with --dry-run, then give --yes"
        )
    version = f"version {plan.next_version}" if plan.next_version else "a new version"
    question = f"Register {plan.artifact.tag} as {plan.name} {version} in workspace {workspace}?"
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _check_record_folder(path: Path | None) -> None:
    folder = path.parent if path else Path.cwd()
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise RegistrationError(
            f"no record can be written to {folder}; make the folder, or name a file with --record"
        )


def _write_record(
    arguments: argparse.Namespace, plan: Plan, made: dict[str, Any], workspace: Workspace
) -> None:
    if plan.next_version not in {None, made["version"]}:
        print(
            f"warning: someone else registered {plan.name}:{plan.next_version} in the meantime",
            file=sys.stderr,
        )
    path = arguments.record or Path(f"{plan.name}-{made['version']}.registration.json")
    content = record(plan, made, str(workspace))
    try:
        path.write_text(content, "utf-8")
    except OSError as exc:
        print(content, file=sys.stderr)
        raise RegistrationError(
            f"{plan.name}:{made['version']} was registered, but its record cannot be written: "
            f"{exc}; save what stands above"
        ) from exc
    print(f"recorded in {path}", file=sys.stderr)


def _print_result(arguments: argparse.Namespace, plan: Plan, made: dict[str, Any] | None) -> None:
    version = made["version"] if made else plan.registered and plan.registered["version"]
    if arguments.json:
        result = {
            "name": plan.name,
            "version": version,
            "registered": made is not None,
            "already_there": plan.unchanged,
            "dry_run": arguments.dry_run,
            "uri": made["uri"] if made else plan.registered and plan.registered["uri"],
            "files": [asdict(file) for file in plan.files],
            "tags": plan.tags,
        }
        print(json.dumps(result, indent=2))
    elif plan.unchanged:
        print(f"{plan.name}:{version} holds these very files already; nothing was registered")
    elif made is None:
        print(f"{plan.artifact.tag} can be registered as a new version of {plan.name}")
    else:
        print(f"registered {plan.name}:{version}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=exit_codes(
            "registered, or already there",
            _ERRORS,
            refused="the answer was no; nothing was registered",
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("registry", choices=_SDKS, help="Azure ML through SDK v1 or v2")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="classifier folder")
    parser.add_argument(
        "name", type=matching(NAME, "a model's name"), metavar="NAME", help="of the model"
    )
    add_workspace_arguments(parser)
    _add_options(parser)
    return parser


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--yes", action="store_true", help="register without asking")
    parser.add_argument("--dry-run", action="store_true", help="show what would be, and stop")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument(
        "--record",
        type=Path,
        metavar="FILE",
        help="where to write down what was registered (default: NAME-VERSION.registration.json)",
    )
    parser.add_argument(
        "--timeout-seconds",
        type=positive_number,
        default=DEFAULT_TIMEOUT_SECONDS,
        metavar="S",
        help="longest time to look, and again to register (default: %(default)s)",
    )


if __name__ == "__main__":
    sys.exit(main())
