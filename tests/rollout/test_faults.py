"""Each fault that a rollout must catch, planted in a candidate under load; and no fault at all.

What came of it is printed as a table, and written to dist/rollout-faults.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.http.serving import PROJECT
from tests.rollout.rehearsal import Outcome, Planted, Rehearsal
from tests.rollout.stage import Stage
from textclf.rollout.plan import Plan
from textclf.rollout.stages import ALL_CANDIDATE, ALL_STABLE, describe
from textclf.tables import markdown_table

TABLE = PROJECT / "dist" / "rollout-faults.md"
A_A = 20
SHADOW: dict[str, Any] = {
    "mirror_percent": 100,
    "noise_pairs": 100,
    "minimum_pairs": 60,
    "limit_seconds": 40.0,
}
PLAN: dict[str, Any] = {
    "strategy": "canary",
    "shadow": SHADOW,
    "steps": [{"weight_percent": 50, "pause_seconds": 0.5, "minimum_requests": 60}],
    "baseline": True,
    "look_seconds": 0.5,
    "hold_limit_seconds": 30.0,
}
ONLY_STEPS = {"shadow": None}
# Where versions and clients share two CPUs, who has to wait for one is slow many times in a row,
# which no test of latency takes for chance; the simulation shows how they do without this.
LENIENT = {"budgets": {"latency_ratio": 5.0}}
IMPATIENT = {"shadow": None, "hold_limit_seconds": 4.0}
# One request in twenty takes some hundred to show, and more beside a noise floor of as few pairs.
# So does what is a third slower where the machine is busy. What shows sooner ends a stage sooner.
THOROUGH_SHADOW = {"shadow": SHADOW | {"minimum_pairs": 1200, "noise_pairs": 0}}
THOROUGH_STEP = {
    "shadow": None,
    "steps": [{"weight_percent": 50, "pause_seconds": 0.5, "minimum_requests": 600}],
}
# What is planted is a third slower; the budget of a quarter is meant for more requests than these.
STRICT = {"budgets": {"latency_ratio": 1.1}}

# Python 3.12 warns: the recorder is started beside the thread of the clients.
pytestmark = pytest.mark.filterwarnings("ignore:.* is multi-threaded:DeprecationWarning")


@dataclass(frozen=True)
class Rows:
    """What is told in the end."""

    faults: list[tuple[str, ...]]
    equals: list[Outcome]

    def render(self) -> str:
        """Return the table, and how often a candidate without a fault was sent back."""
        header = (
            *("fault", "planted", "caught by", "judged on", "went to the candidate"),
            *("failed for clients", "seconds", "traffic in the end", "reason"),
        )
        back = [outcome for outcome in self.equals if outcome.caught_at]
        requests = sum(outcome.requests for outcome in self.equals)
        failed = sum(outcome.failed for outcome in self.equals)
        lines = [
            markdown_table(header, self.faults),
            "",
            f"No fault (A/A): {len(back)} of {len(self.equals)} rollouts went back.",
            f"Of {requests} requests of clients meanwhile, {failed} failed.",
            *(f"- {outcome.caught_at}: {outcome.reason}" for outcome in back),
        ]
        return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def rows(request: pytest.FixtureRequest) -> Iterator[Rows]:
    """Collect what came of every rollout, and tell it when all are done."""
    collected = Rows([], [])
    yield collected
    TABLE.parent.mkdir(exist_ok=True)
    TABLE.write_text(collected.render(), "utf-8")
    terminal: Any = request.config.pluginmanager.get_plugin("terminalreporter")
    terminal.ensure_newline()
    terminal.write_line(collected.render())


@pytest.mark.parametrize(
    ("fault", "planted", "caught_by", "changes"),
    [
        ("errors", "before", "preflight", {}),
        ("some errors", "before", "preflight", {}),
        ("text for a boolean", "before", "preflight", {}),
        ("flipped labels", "before", "preflight", {}),
        ("disagreement", "before", "preflight", {}),
        ("scores that are no numbers", "before", "preflight", {}),
        ("crash loop", "before", "preflight", {}),
        ("no metrics", "before", "preflight", {}),
        ("errors", "shadow", "shadow", {}),
        ("some errors", "shadow", "shadow", THOROUGH_SHADOW),
        ("text for a boolean", "shadow", "shadow", {}),
        ("flipped labels", "shadow", "shadow", {}),
        ("disagreement", "shadow", "shadow", THOROUGH_SHADOW),
        ("scores that are no numbers", "shadow", "shadow", {}),
        ("slow", "shadow", "shadow", THOROUGH_SHADOW | STRICT),
        ("errors", "step", "step", ONLY_STEPS),
        ("some errors", "step", "step", THOROUGH_STEP),
        ("flipped labels", "step", "step", ONLY_STEPS),
        ("slow", "step", "step", THOROUGH_STEP | STRICT),
        ("hang", "step", "step", IMPATIENT),
        ("crash loop", "step", "step", IMPATIENT),
        ("no metrics", "step", "step", IMPATIENT),
    ],
)
def test_a_fault_is_caught(  # noqa: PLR0913, PLR0917 - a row of the table
    stage: Stage,
    folder: Path,
    rows: Rows,
    fault: str,
    planted: Planted,
    caught_by: str,
    changes: dict[str, Any],
) -> None:
    """The candidate is sent back by the stage that meets the fault first, with its reason."""
    plan = Plan.model_validate(_immutable(PLAN | changes))
    rehearsal = Rehearsal(stage=stage, folder=folder, plan=plan, fault=fault, planted=planted)
    outcome = rehearsal.run()
    rows.faults.append(_row(fault, planted, outcome))

    assert outcome.weights == ALL_STABLE
    assert outcome.caught_at == caught_by, outcome.reason
    assert caught_by == "step" or outcome.exposed == 0
    assert outcome.failed <= (outcome.exposed if "errors" in fault else 0)


def test_too_little_traffic_never_passes(stage: Stage, folder: Path, rows: Rows) -> None:
    """A candidate that few ask is held, and sent back when the plan's patience ends."""
    plan = Plan.model_validate(_immutable(PLAN | IMPATIENT))
    outcome = Rehearsal(stage=stage, folder=folder, plan=plan, rate=4).run()
    rows.faults.append(_row("too little traffic", "always", outcome))

    assert outcome.weights == ALL_STABLE
    assert outcome.caught_at == "step"
    assert "no evidence within 4 s" in outcome.reason


@pytest.mark.parametrize("run", range(A_A))
def test_a_candidate_without_a_fault(stage: Stage, folder: Path, rows: Rows, run: int) -> None:
    """It costs no client an answer; the next test says how often it may be sent back."""
    changes = ONLY_STEPS if run % 4 else {}  # one in four is shadowed first, which takes longer
    plan = Plan.model_validate(_immutable(PLAN | LENIENT | changes))
    outcome = Rehearsal(stage=stage, folder=folder, plan=plan).run()
    rows.equals.append(outcome)

    assert outcome.failed == 0
    assert outcome.weights == (ALL_STABLE if outcome.caught_at else ALL_CANDIDATE)


def test_candidates_without_a_fault_are_promoted(rows: Rows) -> None:
    """Of twenty at the most one is sent back, which chance alone does to one in a hundred."""
    back = [outcome.reason for outcome in rows.equals if outcome.caught_at]

    assert len(rows.equals) == A_A
    assert len(back) <= 1, back


def _row(fault: str, planted: str, outcome: Outcome) -> tuple[str, ...]:
    return (
        fault,
        planted,
        outcome.caught_at,
        str(outcome.judged),
        str(outcome.exposed),
        str(outcome.failed),
        f"{outcome.seconds:.1f}",
        describe(outcome.weights),
        " ".join(outcome.reason.split())[:160],
    )


def _immutable(plan: dict[str, Any]) -> dict[str, Any]:
    """Return what a strict model takes: its sequences are tuples."""
    return plan | {"steps": tuple(plan["steps"])}
