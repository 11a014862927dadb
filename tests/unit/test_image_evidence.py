"""Which reports stand for an image, and which commits for branch main."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from textclf.errors import (
    SourceStateError,
    UncheckedImageError,
)
from textclf.image.evidence import Report, read_report, require_on_main, require_passed

REVISION = "0123456789abcdef0123456789abcdef01234567"


def report(image_id: str = "sha256:amd64", **changes: Any) -> Report:
    """Return the report of an image that passed."""
    content: dict[str, Any] = {
        "path": Path("dist/check.json"),
        "sha256": "0" * 64,
        "image": "textclf:0.3.1",
        "image_id": image_id,
        "complete": True,
        "passed": True,
        "started_at": "2026-01-02T03:04:05+00:00",
        "failed": (),
    }
    return Report(**content | changes)


@pytest.mark.parametrize(
    ("reports", "message"),
    [
        ([], "no report is about textclf:1 .sha256:amd64."),
        ([report("sha256:other")], "dist/check.json is about textclf:0.3.1 .sha256:other."),
        ([report(complete=False, passed=False)], "partial"),
        ([report(complete=True, passed=False)], "partial"),
        ([report(passed=False, failed=("a (x)", "b (y)", "c (z)", "d (w)", "e (v)"))],
         r"a \(x\), b \(y\), c \(z\) and 2 more; repair"),
        ([report(failed=("a (x)",))], "failed its checks"),
        ([report(complete=False), report()], "partial"),
    ],
    ids=["no report", "another image", "partial", "contradicts itself", "failed",
         "failed and passed", "one of two"],
)  # fmt: skip
def test_an_image_without_evidence(reports: list[Report], message: str) -> None:
    """Every report of the image has to be whole and passing; the message says which is not."""
    with pytest.raises(UncheckedImageError, match=message):
        require_passed("textclf:1", "sha256:amd64", reports)


def test_an_image_with_evidence() -> None:
    """The report of the image is found among those of others."""
    own = report()

    assert require_passed("textclf:1", "sha256:amd64", [report("sha256:other"), own]) is own


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no check report"),
        (b"\xff", "is no check report"),
        (b"[" * 100_000, "is no check report"),
        (b"[]", "content: "),
        (b'{"schema": 2}', "schema: "),
        (b'{"schema": 1, "passed": "yes"}', "image: Field required"),
    ],
    ids=["empty", "no text", "nested", "a list", "schema", "incomplete"],
)
def test_an_unreadable_report(tmp_path: Path, content: bytes, message: str) -> None:
    """What is no check report is refused with the first fault."""
    path = tmp_path / "check.json"
    path.write_bytes(content)

    with pytest.raises(UncheckedImageError, match=message):
        read_report(path)


def test_a_report_that_checked_nothing(tmp_path: Path) -> None:
    """A report without a check is no evidence, whatever it says of itself."""
    content = {"schema": 1, "image": "i", "image_id": "sha256:a", "started_at": "t"}
    path = tmp_path / "check.json"
    path.write_text(json.dumps(content | {"complete": True, "passed": True, "checks": []}))

    with pytest.raises(UncheckedImageError, match="checks: "):
        read_report(path)


def test_a_report_of_a_running_service(tmp_path: Path) -> None:
    """What was checked by its address is no image, and stands for none."""
    content = {"schema": 1, "image": "http://127.0.0.1", "image_id": None, "started_at": "t"}
    checks = [{"name": "predict", "outcome": "passed"}]
    path = tmp_path / "check.json"
    path.write_text(json.dumps(content | {"complete": False, "passed": False, "checks": checks}))

    with pytest.raises(UncheckedImageError, match="no report is about"):
        require_passed("textclf:1", "sha256:amd64", [read_report(path)])


@pytest.mark.parametrize("path", ["missing.json", "."], ids=["missing", "a folder"])
def test_no_report(tmp_path: Path, path: str) -> None:
    """A report that is not there, or is no file, is named."""
    with pytest.raises(UncheckedImageError, match="check report"):
        read_report(tmp_path / path)


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder and return what it prints."""
    who = ("-c", "user.name=t", "-c", "user.email=t@example.com")
    done = subprocess.run(
        ["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def test_main_is_that_of_the_origin(tmp_path: Path) -> None:
    """A clone's own main decides only where there is no origin's; other branches never do."""
    git(tmp_path, "init", "-q", "-b", "main")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "first")
    first = git(tmp_path, "rev-parse", "HEAD")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "second")
    second = git(tmp_path, "rev-parse", "HEAD")

    require_on_main(first, tmp_path)
    require_on_main(second, tmp_path)
    git(tmp_path, "update-ref", "refs/remotes/origin/main", first)
    require_on_main(first, tmp_path)
    with pytest.raises(SourceStateError, match="origin/main does not hold"):
        require_on_main(second, tmp_path)


def test_no_main(tmp_path: Path) -> None:
    """Where there is no main, nothing is latest."""
    with pytest.raises(SourceStateError, match="knows no branch main"):
        require_on_main(REVISION, tmp_path)
