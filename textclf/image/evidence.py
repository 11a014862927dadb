"""What has to be known of an image before it is published: its check report, and its commit."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from textclf.errors import SourceStateError, UncheckedImageError

_FAILED = {"failed", "error"}
_NAMED_CHECKS = 3
_GIT_SECONDS = 30.0


class _Check(BaseModel):
    model_config = ConfigDict(strict=True)

    name: str
    outcome: str
    detail: str = ""


class _Content(BaseModel):
    model_config = ConfigDict(strict=True)

    schema_version: Literal[1] = Field(alias="schema")
    image: str
    image_id: str | None  # None for a service that was checked by its address
    complete: bool
    passed: bool
    started_at: str
    checks: list[_Check] = Field(min_length=1)


@dataclass(frozen=True, kw_only=True)
class Report:
    """A report that ``check_image.py`` wrote.

    Attributes:
        path: Its file.
        sha256: Of the file.
        image: What the image was called when it was checked.
        image_id: Which image it was; None for a service that was checked by its address.
        complete: Whether every check was made.
        passed: Whether every check passed.
        started_at: When, as the report says.
        failed: Name and detail of each check that failed or could not be made.
    """

    path: Path
    sha256: str
    image: str
    image_id: str | None
    complete: bool
    passed: bool
    started_at: str
    failed: tuple[str, ...]


def read_report(path: Path) -> Report:
    """Read a check report.

    Raises:
        UncheckedImageError: There is no such file, or it holds no check report.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError as exc:
        raise UncheckedImageError(
            f"there is no check report {path}; check the image (scripts/check_image.py IMAGE) or "
            "name its report with --report"
        ) from exc
    except OSError as exc:
        raise UncheckedImageError(f"cannot read the check report {path}: {exc}") from exc
    try:
        content = _Content.model_validate(json.loads(raw))
    except (ValueError, RecursionError) as exc:
        raise UncheckedImageError(
            f"{path} is no check report: {_fault(exc)}; check the image again: "
            "scripts/check_image.py IMAGE"
        ) from exc
    return Report(
        path=path,
        sha256=hashlib.sha256(raw).hexdigest(),
        image=content.image,
        image_id=content.image_id,
        complete=content.complete,
        passed=content.passed,
        started_at=content.started_at,
        failed=tuple(
            f"{check.name} ({check.detail or check.outcome})"
            for check in content.checks
            if check.outcome in _FAILED
        ),
    )


def _fault(exc: Exception) -> str:
    if isinstance(exc, ValidationError):
        first = exc.errors()[0]
        return f"{'.'.join(map(str, first['loc'])) or 'content'}: {first['msg']}"
    return str(exc)


def require_passed(image: str, image_id: str, reports: Sequence[Report]) -> Report:
    """Return the report which says that this very image passed every check.

    Args:
        image: What the image is called, for messages.
        image_id: Which image it is.
        reports: All at hand. Where several are about this image, every one has to pass.

    Raises:
        UncheckedImageError: There is none, or it is partial, or a check failed.
    """
    own = [report for report in reports if report.image_id == image_id]
    again = f"check the image: scripts/check_image.py {image}"
    if not own:
        raise UncheckedImageError(
            f"no report is about {image} ({image_id}): {_subjects(reports)}; {again}"
        )
    for report in own:
        if report.failed:
            raise UncheckedImageError(
                f"{image} failed its checks, says {report.path}: {_failures(report.failed)}; "
                f"repair it, build it, and {again}"
            )
        if not (report.complete and report.passed):
            raise UncheckedImageError(
                f"{report.path} is partial: not every check of {image} was made; {again}"
            )
    return own[-1]


def _subjects(reports: Iterable[Report]) -> str:
    return ", ".join(f"{r.path} is about {r.image} ({r.image_id})" for r in reports)


def _failures(failed: Sequence[str]) -> str:
    more = len(failed) - _NAMED_CHECKS
    named = ", ".join(failed[:_NAMED_CHECKS])
    return f"{named} and {more} more" if more > 0 else named


def require_on_main(revision: str, clone: Path) -> None:
    """Refuse a commit that branch main does not hold.

    Main is ``origin/main`` where the clone knows it, its own ``main`` otherwise.

    Args:
        revision: The commit an image was built from.
        clone: Folder of the clone.

    Raises:
        SourceStateError: Main does not hold the commit, or the clone knows neither.
    """
    branch = next(
        (
            name
            for name in ("refs/remotes/origin/main", "refs/heads/main")
            if _git(clone, "rev-parse", "--verify", "--quiet", name) == 0
        ),
        None,
    )
    if branch is None:
        raise SourceStateError(
            f"{clone} knows no branch main, so nothing can be latest; run this in a clone, or "
            "leave --latest out"
        )
    if _git(clone, "merge-base", "--is-ancestor", revision, branch):
        raise SourceStateError(
            f"{branch} does not hold commit {revision}, so its image cannot be latest; fetch main "
            "(git fetch origin main) or leave --latest out"
        )


def _git(clone: Path, *arguments: str) -> int:
    try:
        done = subprocess.run(  # noqa: S603 - a fixed program; the revision is 40 hex digits
            ["git", *arguments],  # noqa: S607
            cwd=clone,
            check=False,
            capture_output=True,
            timeout=_GIT_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise SourceStateError(
            f"git cannot look at {clone}: {exc}; see git -C {clone} status"
        ) from exc
    return done.returncode
