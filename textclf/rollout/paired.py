"""The comparison of two versions on mirrored requests by itself, for an engine that asks for it.

Argo Rollouts runs it as a Job and moves no traffic before it has ended well: deploy/kubernetes.
"""

from __future__ import annotations

import logging

from textclf.errors import EvidenceError, RolledBackError
from textclf.rollout.clock import Clock, WallClock
from textclf.rollout.decision import Patience, decide
from textclf.rollout.evidence import Pairs, compare_pairs, missing_evidence
from textclf.rollout.finding import Finding
from textclf.rollout.plan import Plan
from textclf.rollout.stages import Stage, list_stages

_LOGGER = logging.getLogger(__name__)


def compare(pairs: Pairs, plan: Plan, clock: Clock | None = None) -> tuple[Finding, ...]:
    """Record the stable version with itself, then with the candidate, until the evidence is in.

    Returns:
        What was found last, all within budget.

    Raises:
        RolledBackError: The candidate is worse, or too few pairs could be recorded within the
            limit; the message is the reason in one line.
        EvidenceError: The plan compares nothing.
    """
    found: tuple[Finding, ...] = ()
    try:
        for stage in list_stages(plan, records_pairs=True):
            if stage.kind in {"noise", "shadow"}:
                found = _pass(stage, pairs, plan.look_seconds, clock or WallClock())
    finally:
        pairs.stop()
    if not found:
        raise EvidenceError("the plan has no shadow, so that nothing was compared; add one")
    return found


def _pass(stage: Stage, pairs: Pairs, look_seconds: float, clock: Clock) -> tuple[Finding, ...]:
    entered_at = clock.now()
    unread_since: float | None = None
    while True:
        try:
            found = tuple(compare_pairs(stage, pairs))
            unread_since = None
        except EvidenceError as exc:
            found = (missing_evidence(exc),)
            unread_since = clock.now() if unread_since is None else unread_since
        patience = Patience.at(
            stage, entered_at=entered_at, unread_since=unread_since, now=clock.now()
        )
        decision = decide(found, patience, last=stage.kind == "shadow")
        _LOGGER.info("%s: %s: %s", stage.name, decision.action, decision.reason)
        if decision.action == "abort":
            raise RolledBackError(decision.reason)
        if decision.action in {"next", "promote"}:
            return found
        clock.sleep(look_seconds)
