"""What every command says of its exit codes."""

from __future__ import annotations

from collections.abc import Sequence

from textclf.errors import TextClassifierError

INTERRUPTED = 130


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
