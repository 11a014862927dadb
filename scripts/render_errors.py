#!/usr/bin/env python
"""Write the table of exit codes of docs/errors.md from textclf.errors."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from textclf.errors import RequestError, TextClassifierError

PAGE = Path(__file__).resolve().parents[1] / "docs" / "errors.md"
BEGIN = "<!-- exit codes: written by scripts/render_errors.py -->\n"
END = "<!-- end of exit codes -->\n"


def main() -> int:
    """Rewrite what stands between the markers, and say where."""
    PAGE.write_text(with_exit_codes(PAGE.read_text("utf-8")), "utf-8")
    print(PAGE)
    return 0


def with_exit_codes(text: str) -> str:
    """Return ``text`` with a row for each error that ends a command between its markers."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    rows = ["| code | error | when |", "|---|---|---|"]
    rows += [
        f"| {error.exit_code} | `{error.__name__}` | {str(error.__doc__).splitlines()[0]} |"
        for error in sorted(_tree(TextClassifierError), key=lambda error: error.exit_code)
    ]
    return before + begin + "\n".join(rows) + "\n" + end + after


def _tree(root: type[TextClassifierError]) -> Iterator[type[TextClassifierError]]:
    """Yield an error and those below it, except what a request alone can meet."""
    if root is RequestError:
        return
    yield root
    for below in root.__subclasses__():
        yield from _tree(below)


if __name__ == "__main__":
    sys.exit(main())
