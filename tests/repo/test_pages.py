"""What the pages say of the code is so; their commands are run by test_readme and test_examples."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from scripts import render_errors, render_settings
from tests.http.serving import PROJECT
from tests.repo.pages import FENCED, README
from textclf.errors import InvalidRequestError, RequestError
from textclf.http.problems import MAX_FAULTS, parse_request
from textclf.schema import MAX_TEXT_CHARACTERS, MAX_TEXTS, ClassifyRequest
from textclf.settings import Settings

SETTINGS = (PROJECT / "docs" / "settings.md").read_text("utf-8")


def test_the_settings_tables_are_the_settings() -> None:
    """Both are as the settings are; run scripts/render_settings.py after a change."""
    every = tuple(Settings.model_fields)

    assert render_settings.with_settings(README, render_settings.MOST_USED) == README
    assert render_settings.with_settings(SETTINGS, every) == SETTINGS
    assert all(f"| `TEXTCLF_{name.upper()}` |" in SETTINGS for name in every)
    assert "TEXTCLF_MODEL" in README


def test_the_settings_tables_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever stands between the markers is replaced, and nothing else is."""
    copies = {"README": README, "PAGE": SETTINGS}
    for name, text in copies.items():
        (tmp_path / name).write_text(text.replace("TEXTCLF_MODEL", "outdated"), "utf-8")
        monkeypatch.setattr(render_settings, name, tmp_path / name)

    assert render_settings.main() == 0
    assert {name: (tmp_path / name).read_text("utf-8") for name in copies} == copies


ERRORS = (PROJECT / "docs" / "errors.md").read_text("utf-8")


def test_the_error_table_has_every_refusal() -> None:
    """Each way in which a request can get no prediction has one row, in the order of statuses."""
    rows = re.findall(r"^\| (\d{3}) \| `(\w+)` \| [^|]+ \| [^|]+ \|$", ERRORS, re.MULTILINE)
    errors: list[type[RequestError]] = [RequestError, *RequestError.__subclasses__()]

    assert rows == sorted((str(error.http_status), error.reason) for error in errors)


def test_the_exit_codes_are_the_errors() -> None:
    """The table has every error of a command; run scripts/render_errors.py after a change."""
    assert render_errors.with_exit_codes(ERRORS) == ERRORS
    assert "| 10 | `SettingsError` | One or more settings" in ERRORS


def test_the_codes_of_faults_are_listed() -> None:
    """The page has each code that a fault of a body can have, and no other."""
    bodies: list[object] = [
        [], {}, {"texts": "fine"}, {"texts": []}, {"texts": ["fine"] * (MAX_TEXTS + 1)},
        {"texts": ["  "]}, {"texts": [1]}, {"texts": ["x" * (MAX_TEXT_CHARACTERS + 1)]},
        {"texts": ["fine"], "more": 1}, {str(number): 1 for number in range(MAX_FAULTS + 1)},
    ]  # fmt: skip
    codes = set()
    for body in bodies:
        with pytest.raises(InvalidRequestError) as refusal:
            parse_request(ClassifyRequest, json.dumps(body).encode())
        codes |= {fault["code"] for fault in refusal.value.faults}
    table = ERRORS.split("## Codes of a 422")[1].split("## Exit")[0]
    rows = [row.split(" | ")[0] for row in table.splitlines() if row.startswith("| `")]

    assert set(re.findall(r"`(\w+)`", " ".join(rows))) == codes


def test_the_layout_is_there() -> None:
    """Each path that the layout names exists."""
    (layout,) = re.findall(r"## Layout\n\n```\n(.*?)```", README, re.DOTALL)
    paths = [line.split()[0] for line in layout.splitlines()]

    assert [path for path in paths if not (PROJECT / path).exists()] == []


PROSE = sorted(
    path
    for pattern in ("*.md", "benchmarks/*.md", "deploy/**/*.md", "docs/*.md")
    for path in PROJECT.glob(pattern)
)


@pytest.mark.parametrize("page", PROSE, ids=lambda page: page.relative_to(PROJECT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    """Each file that a page links to is there, and has the heading that the link names."""
    for target in re.findall(r"\]\((?!https?://)([^)\s]+)\)", page.read_text("utf-8")):
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked.read_text("utf-8")), target


def anchors(text: str) -> set[str]:
    """Return what a link can name of a page, as GitHub makes it of the headings."""
    headings = re.findall(r"^#+ (.*)$", re.sub(FENCED, "", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_alert_has_its_runbook() -> None:
    """Whoever is woken finds what to do; no section is left of an alert that is gone."""
    rules = (PROJECT / "deploy/prometheus/rules.yml").read_text("utf-8")
    operate = (PROJECT / "docs/operate.md").read_text("utf-8")
    alerts = set(re.findall(r"^\s*- alert: (\w+)$", rules, re.MULTILINE))

    assert alerts == set(re.findall(r"^### (Textclf\w+)$", operate, re.MULTILINE))
    assert all(f"docs/operate.md#{alert.lower()}" in rules for alert in alerts)


def test_the_readme_fits() -> None:
    """It is read in one go: 150 lines at the most."""
    assert len(README.splitlines()) <= 150
