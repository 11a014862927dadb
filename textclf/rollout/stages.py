"""What a plan comes to: the stages that a rollout goes through, in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from textclf.rollout.budgets import Budgets
from textclf.rollout.plan import Plan, Shadow, Step
from textclf.rollout.traffic.traffic import Weights

Kind = Literal["preflight", "noise", "shadow", "step"]

ALL_STABLE = Weights()
ALL_CANDIDATE = Weights(candidate_percent=100)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A time at the same weights.

    Attributes:
        kind: What is looked at.
        name: For people.
        weights: That hold.
        pause_seconds: Least time before the next stage.
        minimum: Requests, or pairs of answers, that an assessment needs at least.
        hold_limit_seconds: Longest wait for evidence: after the pause, or while none can be read.
        budgets: What an assessment may find.
    """

    kind: Kind
    name: str
    weights: Weights
    pause_seconds: float = 0.0
    minimum: int = 1
    hold_limit_seconds: float
    budgets: Budgets


def list_stages(plan: Plan, *, records_pairs: bool = True) -> tuple[Stage, ...]:
    """Return the stages of a plan; each that is assessed gets an equal part of the level.

    Each step is tested on its own requests, since shares of traffic that change would make equal
    versions differ, and so that a fault which shows under more load alone is not thinned by the
    good answers before it. A shadow takes none of what the tests of a step share, so that the
    parts add up to the level at most (union bound).

    Args:
        plan: What to do.
        records_pairs: Whether both answers to mirrored requests are seen. An engine that throws
            the candidate's away is judged by what both versions count, and has no noise floor.
    """
    parts = max(1, len(plan.steps))
    budgets = plan.budgets.model_copy(update={"level": plan.budgets.level / parts})
    first = Stage(
        kind="preflight",
        name="preflight",
        weights=ALL_STABLE,
        hold_limit_seconds=plan.hold_limit_seconds,
        budgets=budgets,
    )
    shadow = _comparisons(plan.shadow, budgets) if plan.shadow else []
    if not records_pairs:
        shadow = [stage for stage in shadow if stage.kind != "noise"]
    steps = [_step(plan, number, step, budgets) for number, step in enumerate(plan.steps, start=1)]
    return (first, *shadow, *steps)


def last_weights(plan: Plan) -> Weights:
    """Return what holds once every stage has passed."""
    return ALL_STABLE if plan.strategy == "shadow" else ALL_CANDIDATE


def describe(weights: Weights) -> str:
    """Return shares of traffic in words."""
    shares = [
        (weights.stable_percent, "stable"),
        (weights.baseline_percent, "baseline"),
        (weights.candidate_percent, "candidate"),
        (weights.mirror_percent, "mirrored"),
    ]
    return ", ".join(f"{percent} % {name}" for percent, name in shares if percent)


def _comparisons(shadow: Shadow, budgets: Budgets) -> list[Stage]:
    kinds: list[tuple[Kind, str, int]] = [
        ("noise", "noise floor", shadow.noise_pairs),
        ("shadow", "shadow", shadow.minimum_pairs),
    ]
    return [
        Stage(
            kind=kind,
            name=name,
            weights=Weights(mirror_percent=shadow.mirror_percent),
            minimum=pairs,
            hold_limit_seconds=shadow.limit_seconds,
            budgets=budgets,
        )
        for kind, name, pairs in kinds
        if pairs
    ]


def _step(plan: Plan, number: int, step: Step, budgets: Budgets) -> Stage:
    return Stage(
        kind="step",
        name=f"step {number} of {len(plan.steps)} ({step.weight_percent} %)",
        weights=Weights(
            candidate_percent=step.weight_percent,
            baseline_percent=step.weight_percent if plan.baseline else 0,
        ),
        pause_seconds=step.pause_seconds,
        minimum=step.minimum_requests,
        hold_limit_seconds=plan.hold_limit_seconds,
        budgets=budgets,
    )
