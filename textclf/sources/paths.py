"""Paths that a source names: checked before anything is written under them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from textclf.errors import UntrustedContentError

_DRIVE = re.compile(r"[A-Za-z]:")
_MAX_PART_BYTES = 255  # of a name on ext4, XFS and APFS
_MAX_PATH_BYTES = 1024


def check_paths(paths: Iterable[str]) -> None:
    """Refuse paths that lead out of a folder, or that a folder cannot hold side by side.

    Args:
        paths: Relative, with ``/`` between their parts.

    Raises:
        UntrustedContentError: Names the first path that is refused, and why.
    """
    seen: dict[str, tuple[str, bool]] = {}
    for path in paths:
        reason = fault(path) or _clash(path, seen)
        if reason:
            raise UntrustedContentError(
                f"the source names a file {path!r}, which {reason}; nothing was downloaded: rename "
                "it there and retry"
            )


def fault(path: str) -> str | None:
    """Say what is wrong with a relative path; None if it stays inside its folder.

    Nothing is normalised: what is not plainly inside is wrong.
    """
    if not path.isprintable():  # NUL, line breaks, lone surrogates, marks that reverse the text
        return "has characters that cannot be shown"
    parts = path.split("/")
    faults = {
        "is a Windows path": "\\" in path or _DRIVE.match(path),
        "is absolute": path.startswith("/"),
        "leads out of its folder": ".." in parts,
        "has an empty part": "" in parts or "." in parts,
        f"has a part of more than {_MAX_PART_BYTES} bytes": max(map(_size, parts))
        > _MAX_PART_BYTES,
        f"is longer than {_MAX_PATH_BYTES} bytes": _size(path) > _MAX_PATH_BYTES,
    }
    return next((reason for reason, applies in faults.items() if applies), None)


def _clash(path: str, seen: dict[str, tuple[str, bool]]) -> str | None:
    """Say what a path collides with on a file system that knows no case; remember it if nothing."""
    parts = path.split("/")
    for count in range(1, len(parts) + 1):
        prefix, is_file = "/".join(parts[:count]), count == len(parts)
        key = unicodedata.normalize("NFC", prefix).casefold()
        if key not in seen:
            seen[key] = (prefix, is_file)
            continue
        other, other_is_file = seen[key]
        if other != prefix:
            return f"differs from {other!r} only by case"
        if is_file != other_is_file:
            return f"makes {other!r} a file and a folder"
        if is_file:
            return "is named twice"
    return None


def _size(text: str) -> int:
    return len(text.encode())
