"""The command line of scripts/rollout.py, whose options depend on the engine."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from scripts._command import exit_codes
from textclf.azureml.credentials import parse_credentials
from textclf.errors import (
    AccessError,
    EvidenceError,
    PlanError,
    PreflightError,
    RolledBackError,
    RolloutBusyError,
    RolloutError,
    RolloutStateError,
    TextClassifierError,
    TrafficError,
)
from textclf.rollout import metrics
from textclf.rollout.engines import ENGINES, load_engine
from textclf.settings import read_azure_credentials
from textclf.store import is_folder

PARTS = ("stable", "candidate", "baseline")
_OF_ONE_RUN = ("command", "yes", "dry_run", "json", "new")
INTERRUPTED = "traffic stays as it is; run the same command to go on, or `rollout.py abort`"
_DESCRIPTION = (
    "Roll a candidate out as long as the evidence holds; go back by itself when it turns."
)
_STRATEGIES = {
    "canary": "raise the candidate's share step by step",
    "bluegreen": "move all traffic at once, and keep the stable version to go back to",
    "shadow": "mirror requests, compare both answers, and move no traffic",
}
_ERRORS: tuple[type[TextClassifierError], ...] = (
    AccessError,
    RolloutError,
    PlanError,
    TrafficError,
    EvidenceError,
    RolloutStateError,
    RolloutBusyError,
    PreflightError,
    RolledBackError,
)


def parse(line: Sequence[str]) -> argparse.Namespace:
    """Read a command line, whose options depend on the engine that it names."""
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--traffic")
    return _parser(finder.parse_known_args(line)[0].traffic).parse_args(line)


def settle(arguments: argparse.Namespace) -> None:
    """Write down what the environment alone says, so that another one means the same.

    Raises:
        AccessError: AZURE_CREDENTIALS are malformed.
    """
    if "subscription_id" in arguments and arguments.subscription_id is None:
        credentials = parse_credentials(read_azure_credentials())
        arguments.subscription_id = credentials.subscription_id if credentials else None


def render(arguments: argparse.Namespace) -> list[str]:
    """Return a command line that means the same from any folder, but for what one run is asked."""
    named = {n: value for n, value in vars(arguments).items() if n not in _OF_ONE_RUN}
    options = [
        f"--{name.replace('_', '-')}={_from_anywhere(name, value)}"
        for name, value in named.items()
        if value is not None
    ]
    return [arguments.command, *options]


def _from_anywhere(name: str, value: object) -> object:
    is_path = (
        isinstance(value, Path)
        or (name == "model" and is_folder(str(value)))
        or (name == "nginx_program" and "/" in str(value))
    )
    return Path(str(value)).absolute() if is_path else value


def read_settings(arguments: argparse.Namespace) -> dict[str, str]:
    """Return where traffic is moved and evidence is read, as it is the same from any folder."""
    own = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    own.add_argument("--model")
    own.add_argument("--recorder")
    metrics.add_arguments(own)
    load_engine(arguments.traffic).add_arguments(own)
    named = vars(own.parse_known_args(render(arguments))[0])
    return {
        name: str(value)
        for name, value in named.items()
        if value is not None and name != "nginx_program" and not name.endswith("_seconds")
    }


def _parser(engine: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=_DESCRIPTION,
        epilog="Options depend on the engine: `rollout.py canary --traffic ENGINE --help`.\n\n"
        + exit_codes(
            "promoted, or passed, or done as asked",
            _ERRORS,
            refused="you said no",
            interrupted=INTERRUPTED,
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, meaning in _STRATEGIES.items():
        command = commands.add_parser(name, help=meaning, description=meaning, allow_abbrev=False)
        _add_common(command)
        _add_parts(command, engine or "nginx", required=True)
        command.add_argument("--plan", type=Path, metavar="FILE", help="default: by the strategy")
        command.add_argument(
            "--new", action="store_true", help="begin anew where a rollout has ended"
        )
    status = commands.add_parser("status", help="say where the rollout stands", allow_abbrev=False)
    _add_state(status)
    for name, meaning in (
        ("promote", "give the candidate all traffic now, whatever the evidence"),
        ("abort", "give the stable version all traffic now"),
    ):
        command = commands.add_parser(name, help=meaning, description=meaning, allow_abbrev=False)
        _add_common(command)
        if engine:
            _add_parts(command, engine, required=True)
        else:
            command.set_defaults(traffic=None)
    return parser


def _add_state(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--state",
        type=Path,
        default=Path(".rollout"),
        metavar="FOLDER",
        help="where the rollout stands, and its records (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print the record as JSON")


def _add_common(parser: argparse.ArgumentParser) -> None:
    _add_state(parser)
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and stop")
    parser.add_argument("--yes", action="store_true", help="do not ask")


def _add_parts(parser: argparse.ArgumentParser, engine: str, *, required: bool) -> None:
    """Add what names the versions, the engine and where evidence is read."""
    for part in PARTS:
        parser.add_argument(
            f"--{part}",
            metavar="URL",
            required=required and part != "baseline",
            help=f"the {part} version, as the engine knows it",
        )
        parser.add_argument(
            f"--{part}-url", metavar="URL", help="where it is asked, if that is no URL"
        )
        parser.add_argument(
            f"--{part}-digest", default="", metavar="SHA256", help="of its image, for the record"
        )
    parser.add_argument(
        "--traffic", choices=ENGINES, default=engine, help="engine (default: %(default)s)"
    )
    parser.add_argument(
        "--model",
        default="",
        metavar="TAG_OR_FOLDER",
        help="that the candidate has to serve (default: the stored one that it says it serves)",
    )
    parser.add_argument(
        "--recorder", metavar="URL", help="of this machine, where pairs of answers are recorded"
    )
    parser.add_argument(
        "--sample-percent",
        type=float,
        default=0.0,
        metavar="N",
        help="of mirrored requests whose texts are kept (default: %(default)g)",
    )
    parser.add_argument(
        "--labels", type=Path, metavar="FILE", help="right labels of mirrored requests"
    )
    metrics.add_arguments(parser)
    if engine in ENGINES:
        load_engine(engine).add_arguments(parser)
