"""What every command does the same way: how it ends, and what it says of that."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence

from textclf.errors import RolloutError, TextClassifierError
from textclf.termination import ending_on_sigterm

INTERRUPTED = 130


def run_command(work: Callable[[], int], *, interrupted: str, level: int = logging.INFO) -> int:
    """Do the work of a command and return its exit code; its log goes to stderr.

    Args:
        work: Returns the exit code; an error of ours becomes one line and its own code.
        interrupted: What Ctrl-C leaves.
        level: Least level logged.
    """
    logging.basicConfig(stream=sys.stderr, level=level, format="%(message)s", force=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        with ending_on_sigterm():
            return work()
    except TextClassifierError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return exc.exit_code
    except KeyboardInterrupt:
        print(f"interrupted: {interrupted}", file=sys.stderr)
        return INTERRUPTED


def confirm(question: str, *, yes: bool, refused: str) -> bool:
    """Return whether a person says yes; asked on stderr, since stdout may carry JSON.

    Args:
        question: Of one line.
        yes: Whether the command line says so already.
        refused: What a no comes to.

    Raises:
        RolloutError: Nobody is there to be asked.
    """
    if yes:
        return True
    if not sys.stdin.isatty():
        raise RolloutError(
            "nobody can be asked whether to move traffic, since standard input is no terminal; "
            "check with --dry-run, then give --yes"
        )
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() in {"y", "yes"}:
        return True
    print(refused, file=sys.stderr)
    return False


def exit_codes(
    success: str,
    errors: Sequence[type[TextClassifierError]],
    *,
    refused: str = "",
    interrupted: str = "interrupted",
) -> str:
    """Render the end of a ``--help``: a line for each exit code, with the first line of its error.

    Args:
        success: What exit code 0 means.
        errors: What the command can fail with.
        refused: What exit code 1 means, if a person can say no.
        interrupted: What Ctrl-C leaves.
    """
    codes = [(0, success), *([(1, refused)] if refused else []), (2, "wrong command line")]
    codes += [(kind.exit_code, (kind.__doc__ or "").split("\n", 1)[0]) for kind in errors]
    codes.append((INTERRUPTED, interrupted))
    return "\n".join(["exit codes:", *(f"  {code:<4} {meaning}" for code, meaning in codes)])


def positive_number(text: str) -> float:
    """Read the value of an option.

    Raises:
        argparse.ArgumentTypeError: It is not positive.
        ValueError: It is no number.
    """
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"must be positive, got {text}")
    return value
