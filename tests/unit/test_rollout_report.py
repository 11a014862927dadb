"""The record and the page of a rollout: everything is in them, and nothing runs in them."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.unit.rollout_world import BLUEGREEN, CANARY, SHADOW, World, make_controller, run
from textclf.rollout.identity import begin
from textclf.rollout.plan import Plan
from textclf.rollout.report import render_report
from textclf.rollout.state import State, Version
from textclf.rollout.store import Store
from textclf.rollout.verdict import make_verdict, render_verdict

HOSTILE = '<script>alert("1")</script>&'


def record(world: World, plan: Plan, folder: Path) -> tuple[State, dict[str, Any]]:
    """Run a rollout and return its end and its record."""
    state = run(world, plan, folder)
    return state, make_verdict(state, Store(folder).looks())


def test_the_record_has_everything(tmp_path: Path) -> None:
    """Plan, versions, looks with values, bounds, n and thresholds, moves, decision and reason."""
    world = World(errors_percent=30)
    state, verdict = record(world, CANARY, tmp_path)

    assert json.loads(render_verdict(verdict)) == verdict
    assert (verdict["decision"], verdict["reason"]) == ("rolled back", state.reason)
    assert Plan.model_validate_json(json.dumps(verdict["plan"])) == CANARY
    assert verdict["versions"]["candidate"]["url"] == "http://candidate"
    assert [move["weights"]["candidate_percent"] for move in verdict["moves"]] == [0, 0, 10, 0]
    last = verdict["looks"][-1]
    assert last["action"] == "abort"
    assert {"value", "lower", "upper", "n", "threshold", "phase", "reason"} < set(
        last["findings"][0]
    )
    # What clients asked between the last look and the move back is counted by nobody.
    assert verdict["candidate_requests"] == last["findings"][0]["n"]


def test_a_shadow_records_what_it_compared(tmp_path: Path) -> None:
    """Quantiles of score shifts and of latency are in each look, and on the page."""
    _, verdict = record(World(), SHADOW, tmp_path)
    looks = [look for look in verdict["looks"] if look["stage"] == "shadow"]
    last = {finding["metric"]: finding for finding in looks[-1]["findings"]}

    assert last["disagreement_rate"]["value"] == 0.0
    assert last["score_shift"]["seen"] == {"p50": 0.0, "p90": 0.0, "p99": 0.0, "most": 0.0}
    assert last["pair_latency_p99"]["seen"]["candidate_seconds"] == pytest.approx(0.05, rel=0.1)
    assert "p50 0, p90 0, p99 0, most 0" in render_report(verdict)


class Reader(HTMLParser):
    """Collects tags, and what a page would fetch."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.fetched: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag."""
        self.tags.add(tag)
        self.fetched += [
            value or ""
            for name, value in attrs
            if name in {"src", "href", "xlink:href"} and not (value or "").startswith("#")
        ]


@pytest.mark.parametrize("plan", [CANARY, BLUEGREEN, SHADOW], ids=lambda plan: str(plan.strategy))
@pytest.mark.parametrize("errors_percent", [0, 30], ids=["good", "bad"])
def test_a_page_stands_alone(plan: Plan, errors_percent: int, tmp_path: Path) -> None:
    """It has the decision, the reason and pictures, fetches nothing and runs no script."""
    world = World(errors_percent=errors_percent)
    state, verdict = record(world, plan, tmp_path)
    page = render_report(verdict)
    read = Reader(page)

    assert state.outcome
    assert re.search(rf'<span class="badge \w+">{state.outcome}</span>', page)
    assert read.tags >= {"svg", "table"}
    assert not read.tags & {"script", "iframe", "link", "img"}
    assert read.fetched == []


def test_nothing_that_somebody_sent_becomes_markup(tmp_path: Path) -> None:
    """Names, addresses and reasons are shown as they are, whatever characters they have."""
    world = World(unready=HOSTILE)
    _, verdict = record(world, CANARY, tmp_path)
    verdict["versions"]["candidate"] = dict.fromkeys(("name", "url", "model", "digest"), HOSTILE)
    page = render_report(verdict)

    assert "<script>" not in page
    assert page.count("&lt;script&gt;") > 3


def test_a_rollout_that_was_refused(tmp_path: Path) -> None:
    """A candidate that failed its preflight has a record and a page without looks."""
    state = begin(
        CANARY,
        traffic="memory",
        versions={"candidate": Version(name="a", url="http://a")},
        records_pairs=True,
        now=1.0,
    )
    make_controller(World(), tmp_path)
    verdict = make_verdict(state, (), refused="golden: wrong labels")

    assert verdict["decision"] == "refused"
    assert "golden: wrong labels" in render_report(verdict)
