"""The report of the checks, for people and for machines."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from textclf.errors import (
    AnswerCheckError,
    CheckFailedError,
    ContractCheckError,
    OperationCheckError,
    SafetyCheckError,
)
from textclf.image.checks.check import CHECKS, ORDER, Check, Kind, Outcome, Result
from textclf.image.checks.report import Report, write_reports
from textclf.image.checks.running import MODULES, select
from textclf.image.checks.subject import Limits


def result(outcome: Outcome, kind: Kind = ContractCheckError, detail: str = "") -> Result:
    """Return the result of a check that is named after its outcome."""
    check = Check(name=f"a-{outcome}", kind=kind, sentence="It holds.", run=lambda _: None)
    return Result(check=check, outcome=outcome, detail=detail, seconds=0.25)


def report(*results: Result, whole: bool = True, image_id: str | None = "sha256:1") -> Report:
    """Return the report of one run."""
    return Report(
        image="textclf:1",
        image_id=image_id,
        repo_digests=[],
        model="sentiment:reference-2",
        whole=whole,
        started_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        seconds=1.5,
        limits=Limits(),
        results=results,
    )


@pytest.mark.parametrize(
    ("results", "error"),
    [
        ([result("passed"), result("skipped")], None),
        ([result("failed", OperationCheckError), result("failed")], ContractCheckError),
        (
            [result("failed", kind) for kind in (SafetyCheckError, AnswerCheckError)],
            AnswerCheckError,
        ),
        ([result("error"), result("failed", OperationCheckError)], OperationCheckError),
        ([result("passed"), result("error")], CheckFailedError),
    ],
    ids=["none failed", "contract first", "answers before safety", "failed and error", "an error"],
)
def test_the_first_class_names_the_exit_code(results: list[Result], error: Kind | None) -> None:
    """A check that failed weighs more than one that could not be made, which never passes."""
    assert report(*results).error is error


@pytest.mark.parametrize(
    ("made", "complete", "passed"),
    [
        (report(result("passed")), True, True),
        (report(result("passed"), result("failed")), True, False),
        (report(result("passed"), result("error")), False, False),
        (report(result("passed"), result("skipped")), False, False),
        (report(result("passed"), whole=False), False, False),
        (report(result("passed"), image_id=None), False, False),
    ],
    ids=["all passed", "one failed", "one crashed", "one skipped", "a choice", "a service"],
)
def test_only_a_complete_report_passes(made: Report, complete: bool, passed: bool) -> None:
    """Publishing asks for `passed`, which a partial report never says."""
    assert (made.as_json()["complete"], made.as_json()["passed"]) == (complete, passed)


def test_reports_are_written(tmp_path: Path) -> None:
    """The JSON has every result, the XML counts them, and neither breaks on what a log held."""
    bad = "it ended: \x1b[31m\x00 <&>"
    write_reports(
        report(result("passed", detail="2 s"), result("failed", detail=bad), result("error")),
        tmp_path / "new",
    )

    written = json.loads((tmp_path / "new" / "check.json").read_text("utf-8"))
    suite = ET.parse(tmp_path / "new" / "check.xml").getroot()  # noqa: S314 - our own
    assert written["started_at"] == "2026-01-02T03:04:05+00:00"
    assert [check["outcome"] for check in written["checks"]] == ["passed", "failed", "error"]
    assert written["checks"][1] == {
        "name": "a-failed",
        "class": "ContractCheckError",
        "sentence": "It holds.",
        "outcome": "failed",
        "detail": bad,
        "seconds": 0.25,
    }
    assert [suite.get(name) for name in ("tests", "failures", "errors")] == ["3", "1", "1"]
    assert [case.get("classname") for case in suite] == ["ContractCheckError"] * 3
    (failure,) = suite.iter("failure")
    assert failure.get("message") == "it ended: [31m <&>"


def test_reports_that_cannot_be_written(tmp_path: Path) -> None:
    """A folder that cannot be made is named, with the option that names another."""
    (tmp_path / "file").touch()

    with pytest.raises(CheckFailedError, match=r"file/dist.*--report-folder"):
        write_reports(report(result("passed")), tmp_path / "file" / "dist")


def test_people_read_what_was_wanted_and_what_was_found() -> None:
    """What failed is told in full; a run of some checks says that it is one."""
    shown = report(result("passed"), result("failed", detail="it does not"), whole=False).as_text()

    assert (
        "failed: a-failed (ContractCheckError)\n  wanted: It holds.\n  found:  it does not" in shown
    )
    assert shown.endswith(
        "textclf:1: 1 passed, 1 failed in 1.5 s; not every check of an image was made"
    )


def test_every_check_can_be_listed() -> None:
    """Each has a name of its own, a class that has an exit code, and one sentence."""
    names = [check.name for check in CHECKS]

    assert len(set(names)) == len(names)
    assert {check.kind for check in CHECKS} == set(ORDER)
    assert [check.name for check in CHECKS if not check.sentence.endswith(".")] == []
    assert {check.run.__module__ for check in CHECKS} == {module.__name__ for module in MODULES}
    assert [check.kind for check in select([])] == sorted(
        (check.kind for check in CHECKS), key=ORDER.index
    )


def test_an_unknown_check_is_named() -> None:
    """A mistyped name stops the run, rather than check nothing."""
    with pytest.raises(CheckFailedError, match="no check probs; --list"):
        select(["probes", "probs"])
