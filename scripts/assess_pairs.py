#!/usr/bin/env python
"""Compare two versions on mirrored requests, and exit with 0 only if the candidate may go on.

It listens for what is mirrored, asks both versions, and judges their answers as a rollout does. An
engine that moves traffic by itself, such as Argo Rollouts, runs it as a Job.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from scripts._command import exit_codes, run_command
from textclf.errors import EvidenceError, PlanError, RolledBackError
from textclf.rollout.paired import compare
from textclf.rollout.plan import default_plan, read_plan
from textclf.rollout.recording import RecorderProcess

_INTERRUPTED = "nothing was decided"


def main(argv: Sequence[str] | None = None) -> int:
    """Compare what ``argv`` names; returns the exit code."""
    arguments = _parser().parse_args(argv)
    return run_command(lambda: _assess(arguments), interrupted=_INTERRUPTED)


def _assess(arguments: argparse.Namespace) -> int:
    plan = (
        read_plan(arguments.plan)
        if arguments.plan
        else default_plan("shadow", mirrors=True, has_baseline=False)
    )
    with tempfile.TemporaryDirectory(prefix="pairs-") as folder:
        versions = {"stable": arguments.stable, "candidate": arguments.candidate}
        found = compare(RecorderProcess(arguments.recorder, versions, Path(folder)), plan)
    print(json.dumps([asdict(finding) for finding in found], indent=2))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=exit_codes(
            "the candidate is within budget",
            [PlanError, EvidenceError, RolledBackError],
            interrupted=_INTERRUPTED,
        ),
    )
    parser.add_argument("--stable", required=True, metavar="URL", help="of the stable version")
    parser.add_argument("--candidate", required=True, metavar="URL", help="of the candidate")
    parser.add_argument(
        "--recorder",
        default="http://127.0.0.1:8090",
        metavar="URL",
        help="where to listen for mirrored requests (default: %(default)s)",
    )
    parser.add_argument(
        "--plan", type=Path, metavar="FILE", help="with a shadow and budgets (default: built in)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
