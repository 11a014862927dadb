"""The comparison of two versions on mirrored requests by itself, for an engine that asks for it.

Argo Rollouts runs it as a Job and moves no traffic before it has ended well: deploy/kubernetes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from textclf.errors import EvidenceError, RolledBackError
from textclf.rollout.decision import Decision, Patience, decide
from textclf.rollout.evidence import Pairs, compare_pairs
from textclf.rollout.finding import Finding
from textclf.rollout.plan import Plan
from textclf.rollout.stages import Stage, list_stages

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Clock:
    """Time, which tests make."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


def compare(pairs: Pairs, plan: Plan, clock: Clock | None = None) -> tuple[Finding, ...]:
    """Record the stable version with itself, then with the candidate, until the evidence is in.

    Returns:
        What was found last, all within budget.

    Raises:
        RolledBackError: The candidate is worse, or there were too few pairs within the limit; the
            message is the reason in one line.
        EvidenceError: Pairs cannot be recorded.
    """
    found: tuple[Finding, ...] = ()
    try:
        for stage in list_stages(plan, records_pairs=True):
            if stage.kind in {"noise", "shadow"}:
                found = _pass(stage, pairs, plan.look_seconds, clock or Clock())
    finally:
        pairs.stop()
    if not found:
        raise EvidenceError("the plan has no shadow, so that nothing was compared; add one")
    return found


def _pass(stage: Stage, pairs: Pairs, look_seconds: float, clock: Clock) -> tuple[Finding, ...]:
    began = clock.now()
    while True:
        found = tuple(compare_pairs(stage, pairs))
        decision = _decide(stage, found, clock.now() - began)
        _LOGGER.info("%s: %s: %s", stage.name, decision.action, decision.reason)
        if decision.action == "abort":
            raise RolledBackError(decision.reason)
        if decision.action in {"next", "promote"}:
            return found
        clock.sleep(look_seconds)


def _decide(stage: Stage, found: tuple[Finding, ...], seconds: float) -> Decision:
    patience = Patience(
        paused_seconds=seconds,
        pause_seconds=stage.pause_seconds,
        unread_seconds=0.0,
        hold_limit_seconds=stage.hold_limit_seconds,
    )
    return decide(found, patience, last=stage.kind == "shadow")
