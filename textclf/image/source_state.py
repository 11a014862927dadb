"""What a clone of this repository says of the image that is built from it."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from textclf.errors import SourceStateError

_SHOWN_FILES = 5


@dataclass(frozen=True)
class SourceState:
    """Where the code of an image comes from.

    Attributes:
        version: ``0.3.1`` on a tag, ``0.3.1-5-gabc1234`` between tags, and ``-dirty`` at the end of
            either where files are not as they were committed.
        revision: The commit, 40 hexadecimal digits.
        url: Where the clone came from, without credentials; itself if it came from nowhere.
        committed_at: Time of the commit, in UTC.
    """

    version: str
    revision: str
    url: str
    committed_at: datetime


def read_source_state(folder: Path, *, allow_dirty: bool = False) -> SourceState:
    """Describe the clone in ``folder``.

    Raises:
        SourceStateError: It is no clone, or has changes that no commit holds and ``allow_dirty`` is
            not set; ignored files are no changes.
    """
    revision = _git(folder, "rev-parse", "HEAD")
    changed = _git(folder, "status", "--porcelain", "--untracked-files=all").splitlines()
    if changed and not allow_dirty:
        names = ", ".join(line[3:] for line in changed[:_SHOWN_FILES])
        more = len(changed) - _SHOWN_FILES
        raise SourceStateError(
            f"{folder} has changes that no commit holds: {names}"
            f"{f' and {more} more' if more > 0 else ''}; commit them, or give --allow-dirty for an "
            "image that is named so and cannot be published"
        )
    return SourceState(
        version=_version(folder) + ("-dirty" if changed else ""),
        revision=revision,
        url=public_url(_origin(folder) or str(folder)),
        committed_at=datetime.fromtimestamp(int(_git(folder, "log", "-1", "--format=%ct")), UTC),
    )


def public_url(remote: str) -> str:
    """Return the address of a git remote as a URL that names no user and no password."""
    if scp_like := re.fullmatch(r"(?:[^@/]+@)?([^:/]+):(?!//)(.+)", remote):
        return f"https://{scp_like[1]}/{scp_like[2]}"
    parts = urlsplit(remote)
    if not parts.scheme:
        return Path(remote).absolute().as_uri()
    if parts.scheme == "file":
        return remote
    port = f":{parts.port}" if parts.port and parts.scheme != "ssh" else ""
    scheme = "https" if parts.scheme == "ssh" else parts.scheme
    return f"{scheme}://{parts.hostname}{port}{parts.path}"


def _origin(folder: Path) -> str:
    return _git(folder, "config", "--default", "", "--get", "remote.origin.url")


def _version(folder: Path) -> str:
    if _git(folder, "tag", "--list", "v[0-9]*", "--merged", "HEAD"):
        return _git(folder, "describe", "--tags", "--match", "v[0-9]*").removeprefix("v")
    commits = _git(folder, "rev-list", "--count", "HEAD")
    return f"0.0.0-{commits}-g{_git(folder, 'rev-parse', '--short', 'HEAD')}"


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - no shell
            ["git", "-C", str(folder), *arguments],  # noqa: S607 - as found on PATH
            check=True,
            capture_output=True,
            text=True,
        )
    except FileNotFoundError as exc:
        raise SourceStateError("there is no git command; an image is named by its commit") from exc
    except subprocess.CalledProcessError as exc:
        raise SourceStateError(
            f"git cannot tell which commit {folder} is at: {exc.stderr.strip()}; build in a clone"
        ) from exc
    return done.stdout.rstrip()
