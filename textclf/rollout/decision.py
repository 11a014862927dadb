"""What follows from what was found: pure, and with one line of reason."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Self

from textclf.rollout.finding import Finding
from textclf.rollout.stages import Stage

Action = Literal["wait", "hold", "next", "promote", "abort"]


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What to do now.

    Attributes:
        action: ``wait`` while all is well and the pause lasts, ``hold`` while evidence is thin or
            missing, ``next`` or, after the last stage, ``promote``; ``abort`` goes back.
        reason: One line.
    """

    action: Action
    reason: str


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long is waited at the same weights, and how long has been.

    Attributes:
        paused_seconds: At these weights so far.
        pause_seconds: Least time at these weights.
        hold_limit_seconds: Longest wait for evidence that is thin or missing.
        unread_seconds: For how long evidence could not be read; 0 if it can.
    """

    paused_seconds: float
    pause_seconds: float
    hold_limit_seconds: float
    unread_seconds: float = 0.0

    @classmethod
    def at(cls, stage: Stage, *, entered_at: float, unread_since: float | None, now: float) -> Self:
        """Return it for a stage, from when its weights hold and evidence could not be read."""
        return cls(
            paused_seconds=now - entered_at,
            pause_seconds=stage.pause_seconds,
            hold_limit_seconds=stage.hold_limit_seconds,
            unread_seconds=0.0 if unread_since is None else now - unread_since,
        )

    @property
    def held_seconds(self) -> float:
        """How long evidence has been waited for.

        Few requests during the pause are what a pause is for. Evidence that cannot be read counts
        from its loss, since nobody knows what happens meanwhile.
        """
        return max(0.0, self.paused_seconds - self.pause_seconds, self.unread_seconds)


def decide(
    findings: Sequence[Finding], patience: Patience, *, last: bool, no_way_back: str = ""
) -> Decision:
    """Say what follows from the findings of one look.

    A failure counts at once. Nothing passes on missing evidence, nor before its pause is over.

    Args:
        findings: Of every metric; none is no evidence.
        patience: How long is waited.
        last: Whether no stage follows.
        no_way_back: What keeps the stable version from taking the requests that others have; empty
            for nothing. A lack of evidence, which may come of just that, then moves none to it.
    """
    if failed := [finding for finding in findings if finding.phase == "Failed"]:
        return Decision(action="abort", reason=_join(failed))
    missing = [finding for finding in findings if finding.phase != "Successful"]
    if missing or not findings:
        reason = _first(missing) if missing else "there is no evidence at all"
        late = patience.held_seconds >= patience.hold_limit_seconds
        limit = f"no evidence within {patience.hold_limit_seconds:g} s: " if late else ""
        if no_way_back:
            return Decision(action="hold", reason=f"{_stay(no_way_back)}; {limit}{reason}")
        return Decision(action="abort" if late else "hold", reason=limit + reason)
    left = patience.pause_seconds - patience.paused_seconds
    if left > 0:
        reason = f"{_passed(findings)}; {left:.0f} s of the pause are left"
        return Decision(action="wait", reason=reason)
    return Decision(action="promote" if last else "next", reason=_passed(findings))


def _stay(no_way_back: str) -> str:
    return (
        f"the stable version is not ready, so that traffic stays where it is: {no_way_back}; start "
        "it, or decide with `rollout.py promote` or `abort`"
    )


def _join(findings: Iterable[Finding]) -> str:
    return "; ".join(finding.reason for finding in findings)


def _first(findings: Sequence[Finding]) -> str:
    """Return what lacks first; a line is read at a terminal, and the look has them all."""
    others = len(findings) - 1
    return findings[0].reason + (f" (and {others} more)" if others else "")


def _passed(findings: Sequence[Finding]) -> str:
    metrics = ", ".join(finding.metric for finding in findings)
    fewest = min(finding.n for finding in findings)
    return f"within budget: {metrics} (at least {fewest} each)"
