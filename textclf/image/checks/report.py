"""What came of the checks: as a table, as JUnit XML and as JSON; and the exit code."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from textclf.errors import CheckFailedError
from textclf.image.checks.check import ORDER, Check, Kind, Result
from textclf.image.checks.subject import Limits
from textclf.tables import text_table

JSON_REPORT = "check.json"
XML_REPORT = "check.xml"
_SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class Report:
    """The results of one run.

    Attributes:
        image: Reference or address of what was checked.
        image_id: Digest of the image's configuration; None for a running service.
        repo_digests: Digests that registries know it by.
        model: Tag of the model that was expected.
        whole: All checks were asked for, of an image.
        started_at: In UTC.
        seconds: How long the run took.
        limits: What the image was allowed to take.
        results: In the order of their classes.
    """

    image: str
    image_id: str | None
    repo_digests: Sequence[str]
    model: str
    whole: bool
    started_at: datetime
    seconds: float
    limits: Limits
    results: Sequence[Result]

    @property
    def complete(self) -> bool:
        """Every check of an image was made, with whatever result."""
        made = all(result.outcome in {"passed", "failed"} for result in self.results)
        return self.whole and self.image_id is not None and made

    @property
    def passed(self) -> bool:
        """It is complete, and every check passed."""
        return self.complete and self.error is None

    @property
    def error(self) -> Kind | None:
        """The class of error that the results are, if they are one."""
        for kind in ORDER:
            if any(r.outcome == "failed" and r.check.kind is kind for r in self.results):
                return kind
        crashed = any(result.outcome == "error" for result in self.results)
        return CheckFailedError if crashed else None

    def as_json(self) -> dict[str, Any]:
        """Return the report for machines."""
        return {
            "schema": _SCHEMA,
            "image": self.image,
            "image_id": self.image_id,
            "repo_digests": list(self.repo_digests),
            "model": self.model,
            "complete": self.complete,
            "passed": self.passed,
            "started_at": self.started_at.astimezone(UTC).isoformat(timespec="seconds"),
            "seconds": round(self.seconds, 3),
            "limits": asdict(self.limits),
            "checks": [
                {
                    "name": result.check.name,
                    "class": result.check.kind.__name__,
                    "sentence": result.check.sentence,
                    "outcome": result.outcome,
                    "detail": result.detail,
                    "seconds": round(result.seconds, 3),
                }
                for result in self.results
            ],
        }

    def as_xml(self) -> str:
        """Return the report as JUnit XML, which build servers show.

        Source: https://github.com/testmoapp/junitxml
        """
        counts = Counter(result.outcome for result in self.results)
        suite = ET.Element(
            "testsuite",
            name=self.image,
            timestamp=self.started_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S"),
            time=f"{self.seconds:.3f}",
            tests=str(len(self.results)),
            failures=str(counts["failed"]),
            errors=str(counts["error"]),
            skipped=str(counts["skipped"]),
        )
        for result in self.results:
            suite.append(_case(result))
        ET.indent(suite)
        return ET.tostring(suite, "unicode", xml_declaration=True) + "\n"

    def as_text(self) -> str:
        """Return the report for people: a row a check, and what is wrong in full."""
        rows = [
            (result.outcome, result.check.name, f"{result.seconds:.1f} s", _note(result))
            for result in self.results
        ]
        counts = Counter(result.outcome for result in self.results)
        counted = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
        told = [
            f"{result.outcome}: {result.check.name} ({result.check.kind.__name__})\n"
            f"  wanted: {result.check.sentence}\n"
            f"  found:  {result.detail}"
            for result in self.results
            if result.outcome in {"failed", "error"}
        ]
        partial = "" if self.complete else "; not every check of an image was made"
        summary = f"{self.image}: {counted} in {self.seconds:.1f} s{partial}"
        return "\n\n".join([text_table(rows), *told, summary])


def write_reports(report: Report, folder: Path) -> None:
    """Write check.json and check.xml.

    Raises:
        CheckFailedError: They cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / JSON_REPORT).write_text(json.dumps(report.as_json(), indent=2) + "\n", "utf-8")
        (folder / XML_REPORT).write_text(report.as_xml(), "utf-8")
    except OSError as exc:
        raise CheckFailedError(
            f"the report cannot be written to {folder}: {exc}; name another --report-folder"
        ) from exc


def list_checks(checks: Sequence[Check]) -> str:
    """Return the name, the class and the sentence of each check."""
    return text_table((check.name, check.kind.__name__, check.sentence) for check in checks)


def _note(result: Result) -> str:
    if result.outcome in {"passed", "skipped"}:
        return result.detail
    return result.check.kind.__name__


def _case(result: Result) -> ET.Element:
    check = result.check
    case = ET.Element(
        "testcase",
        classname=check.kind.__name__,
        name=check.name,
        time=f"{result.seconds:.3f}",
    )
    tags = {"failed": "failure", "error": "error", "skipped": "skipped"}
    if tag := tags.get(result.outcome):
        told = ET.SubElement(case, tag, message=_printable(result.detail))
        told.text = check.sentence
    elif result.detail:
        ET.SubElement(case, "system-out").text = _printable(result.detail)
    return case


def _printable(text: str) -> str:
    """Leave out what XML cannot hold: a container's log may have any character."""
    return "".join(char for char in text if char.isprintable() or char in "\n\t")
