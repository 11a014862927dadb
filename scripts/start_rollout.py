#!/usr/bin/env python
"""Have Argo Rollouts roll out a published image: it moves traffic, and goes back, by itself."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from scripts._command import confirm, exit_codes, run_command
from textclf.errors import RolloutError, TrafficError
from textclf.rollout.traffic.argo_rollout import (
    DIGEST,
    ArgoRollout,
    State,
    add_arguments,
    read_arguments,
)
from textclf.settings import read_kubeconfig

_DECLINED = 1
_INTERRUPTED = "see what there is with kubectl get rollout; running it again does no harm"


def main(argv: Sequence[str] | None = None) -> int:
    """Start the rollout that ``argv`` names; returns the exit code."""
    arguments = _parser().parse_args(argv)
    return run_command(lambda: _run(arguments), interrupted=_INTERRUPTED)


def _run(arguments: argparse.Namespace) -> int:
    with _reach(read_arguments(arguments)) as rollout:
        before = rollout.read()
        print(f"{rollout}: {before.image} -> {arguments.image}", file=sys.stderr, flush=True)
        if arguments.dry_run or before.image == arguments.image:
            return _report(arguments, before)
        if not confirm("Start it?", yes=arguments.yes, refused="nothing was started"):
            return _DECLINED
        rollout.write_image(arguments.image)
        after = rollout.wait(lambda state: state.image == arguments.image, "its first step")
        return _report(arguments, after)


@contextlib.contextmanager
def _reach(rollout: ArgoRollout) -> Iterator[ArgoRollout]:
    """Give kubectl the file that it wants, if its content is in the environment."""
    content = read_kubeconfig()
    if rollout.kubeconfig or not content:
        yield rollout
        return
    with tempfile.NamedTemporaryFile("w", prefix="kubeconfig-") as file:  # for this user alone
        file.write(content)
        file.flush()
        yield replace(rollout, kubeconfig=Path(file.name))


def _report(arguments: argparse.Namespace, state: State) -> int:
    if arguments.json:
        print(json.dumps(asdict(state), indent=2))
    else:
        print(f"{state.phase}: {state.image} {state.message}".rstrip())
    return 0


def _image(text: str) -> str:
    if not DIGEST.fullmatch(text):
        raise argparse.ArgumentTypeError(f"must be NAME@sha256:DIGEST, got {text!r}")
    return text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=exit_codes(
            "it is under way, or was already",
            [RolloutError, TrafficError],
            refused="somebody said no",
            interrupted=_INTERRUPTED,
        ),
    )
    parser.add_argument("image", type=_image, metavar="NAME@sha256:DIGEST", help="to roll out")
    add_arguments(parser)
    parser.add_argument("--yes", action="store_true", help="start without asking")
    parser.add_argument("--dry-run", action="store_true", help="show what would change, and stop")
    parser.add_argument("--json", action="store_true", help="print the state as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
