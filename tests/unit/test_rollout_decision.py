"""What follows from findings: failures count at once, silence never passes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textclf.rollout.decision import Action, Patience, decide
from textclf.rollout.finding import Finding, Phase

PHASES: tuple[Phase, ...] = ("Successful", "Failed", "Inconclusive")


def finding(phase: Phase, metric: str = "error_rate") -> Finding:
    """Return a finding whose reason is its phase."""
    return Finding(
        metric=metric,
        phase=phase,
        n=100,
        value=0.0,
        lower=0.0,
        upper=0.01,
        threshold=0.01,
        reason=f"{metric} {phase.lower()}",
    )


def patience(
    *, paused: float = 60, pause: float = 60, unread: float = 0, limit: float = 100
) -> Patience:
    """Return how long was waited."""
    return Patience(
        paused_seconds=paused,
        pause_seconds=pause,
        unread_seconds=unread,
        hold_limit_seconds=limit,
    )


@pytest.mark.parametrize(
    ("phase", "waited", "action", "reason"),
    [
        ("Inconclusive", patience(), "hold", "gone; start it, or decide with"),
        ("Inconclusive", patience(paused=999), "hold", "`abort`; no evidence within 100 s: error"),
        ("Failed", patience(), "abort", "error_rate failed"),
        ("Successful", patience(), "promote", "within budget"),
    ],
    ids=["thin", "thin for long", "bad", "good"],
)
def test_no_way_back(phase: Phase, waited: Patience, action: Action, reason: str) -> None:
    """A stable version that is gone is given no traffic for want of evidence; failures go back."""
    decision = decide([finding(phase)], waited, last=True, no_way_back="gone")

    assert (decision.action, reason in decision.reason) == (action, True)


@pytest.mark.parametrize(
    ("phases", "waited", "last", "action", "reason"),
    [
        (["Successful"], patience(), False, "next", "within budget: error_rate (at least 100"),
        (["Successful"], patience(), True, "promote", "within budget"),
        (["Successful"], patience(paused=20), True, "wait", "40 s of the pause are left"),
        (["Failed"], patience(paused=0), False, "abort", "error_rate failed"),
        (["Successful", "Failed", "Inconclusive"], patience(), False, "abort", "failed"),
        (["Successful", "Inconclusive"], patience(), True, "hold", "error_rate inconclusive"),
        (["Inconclusive"], patience(paused=159), True, "hold", "inconclusive"),
        (["Inconclusive"], patience(paused=160), True, "abort", "no evidence within 100 s: err"),
        (["Inconclusive"], patience(paused=0, unread=100), True, "abort", "no evidence within"),
        (["Successful"], patience(paused=999), True, "promote", "within budget"),
        ([], patience(), True, "hold", "there is no evidence at all"),
        ([], patience(paused=160), True, "abort", "there is no evidence at all"),
    ],
    ids=[
        "good", "good at the end", "good and early", "bad and early", "bad among others",
        "thin among others", "thin within the limit", "thin beyond it", "unread beyond it",
        "good after long", "nothing", "nothing for long",
    ],
)  # fmt: skip
def test_decisions(
    phases: list[Phase], waited: Patience, last: bool, action: Action, reason: str
) -> None:
    """Each look leads to one action, with a reason of one line."""
    decision = decide([finding(phase) for phase in phases], waited, last=last)

    assert decision.action == action
    assert reason in decision.reason
    assert "\n" not in decision.reason


@given(
    phases=st.lists(st.sampled_from(PHASES)),
    waited=st.builds(
        patience,
        paused=st.floats(0, 1e6),
        pause=st.floats(0, 1e6),
        unread=st.floats(0, 1e6),
        limit=st.floats(1, 1e6),
    ),
    last=st.booleans(),
)
def test_nothing_passes_without_evidence(phases: list[Phase], waited: Patience, last: bool) -> None:
    """However long was waited, only findings that are all good, after the pause, let traffic on."""
    decision = decide([finding(phase) for phase in phases], waited, last=last)
    good = bool(phases) and set(phases) == {"Successful"}

    if decision.action in {"next", "promote"}:
        assert good
        assert waited.paused_seconds >= waited.pause_seconds
    if "Failed" in phases:
        assert decision.action == "abort"
    if not good:
        assert decision.action in {"hold", "abort"}
