#!/usr/bin/env python
"""Make an API key: print it, once, and the line that lets it in."""

from __future__ import annotations

import argparse
import hashlib
import secrets
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from scripts._command import exit_codes, positive_number
from textclf.errors import SettingsError, TextClassifierError
from textclf.http.keys import MAX_NAME_CHARACTERS, NAME, parse_keys, read_keys_file
from textclf.http.rates import Rate

PREFIX = "textclf_"  # so that whoever looks for keys where they should not be can find them
_RANDOM_BYTES = 32
_NEW_FILE_MODE = 0o644  # a container's user is another; the hash of such a key is no secret


def main(argv: Sequence[str] | None = None) -> int:
    """Make the key that ``argv`` describes and return the exit code."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.burst is not None and arguments.rate is None:
        parser.error("--burst goes with --rate")
    key = PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
    line = f"{arguments.name}:{hashlib.sha256(key.encode()).hexdigest()}"
    if arguments.rate is not None:
        limit = _limit(arguments.rate, arguments.burst)
        if Rate.parse(limit) is None:
            parser.error(f"{limit} is not a limit: --rate and --burst have at most 9 digits each")
        line += f":{limit}"
    try:
        if arguments.append:
            append(arguments.append, line)
    except TextClassifierError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return exc.exit_code
    print(key)
    if not arguments.append:
        print(line)
    hint = "the line for the file" if not arguments.append else f"{arguments.append} has its line"
    print(f"keep the key: nothing else has it; {hint}", file=sys.stderr)
    return 0


def append(path: Path, line: str) -> None:
    """Add a line to a file of keys; who reads it meanwhile finds it whole, before or after.

    Raises:
        SettingsError: The file cannot be used as it is, or cannot be written.
    """
    path = path.resolve()  # a link stays one
    before = read_keys_file(path) if path.exists() else b""
    if before.strip():
        parse_keys(before, path)
        before = before.rstrip() + b"\n"
    try:
        mode = path.stat().st_mode & 0o777 if path.exists() else _NEW_FILE_MODE
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".keys-") as folder:
            file = Path(folder) / path.name
            file.write_bytes(before + f"{line}\n".encode())
            file.chmod(mode)
            file.replace(path)
    except OSError as exc:
        raise SettingsError(f"cannot write {path}: {exc}") from exc


def _limit(rate: float, burst: int | None) -> str:
    limit = f"rate={rate:.9f}".rstrip("0").rstrip(".")
    return limit if burst is None else f"{limit},burst={burst}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=exit_codes("the key is on stdout", [SettingsError]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "name", type=_name, metavar="NAME", help="whose it is: stands in the log and in metrics"
    )
    parser.add_argument(
        "--append", type=Path, metavar="FILE", help="add the line to this file, made if missing"
    )
    parser.add_argument(
        "--rate", type=positive_number, metavar="N", help="most texts a second (default: any)"
    )
    parser.add_argument(
        "--burst", type=_burst, metavar="N", help="most texts at once (default: a second's)"
    )
    return parser


def _burst(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text}")
    return int(text)


def _name(text: str) -> str:
    if not NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(
            f"must be 1 to {MAX_NAME_CHARACTERS} letters, digits, dots, dashes and underscores"
        )
    return text


if __name__ == "__main__":
    sys.exit(main())
