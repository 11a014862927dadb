"""The command that simulates rollouts, and the page that it writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.simulate_rollouts import main

PAGE = Path(__file__).resolve().parents[2] / "docs/rollout-statistics.md"


def test_tables_and_plot_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The tables stand between the markers of the page, all else stays, and the plot is beside."""
    page = tmp_path / PAGE.name
    page.write_text(PAGE.read_text("utf-8"), "utf-8")

    assert main(["--rollouts", "20", "--folder", str(tmp_path)]) == 0

    written = page.read_text("utf-8")
    assert capsys.readouterr().out.strip() in written
    assert "20 rollouts a row" in written
    assert written.partition("<!--")[0] == PAGE.read_text("utf-8").partition("<!--")[0]
    assert (tmp_path / "rollout-power.svg").read_text("utf-8").count("<path") > 20


def test_the_committed_page_has_its_tables() -> None:
    """Neither marker was lost, and something stands between them."""
    _, begin, rest = PAGE.read_text("utf-8").partition("<!-- simulated:")
    between, end, _ = rest.partition("<!-- end of simulated -->")

    assert begin
    assert end
    assert "| `error_rate` |" in between
    assert "| `class_mix` | A/A, half; 5 % of requests have 64 texts" in between
