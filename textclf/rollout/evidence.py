"""What one look gathers: counts, pairs of answers, and whether all is as it was left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from textclf.errors import EvidenceError, TrafficError
from textclf.rollout.analysis import assess_observations, assess_pairs
from textclf.rollout.finding import Finding
from textclf.rollout.metrics.metrics import Metrics
from textclf.rollout.observation import Observation
from textclf.rollout.pairs import PairSummary
from textclf.rollout.stages import Stage, describe
from textclf.rollout.state import State, Tally
from textclf.rollout.traffic.traffic import Traffic

UNREADY_LOOKS = 3  # one restart is no crash loop

Comparison = Literal["noise", "shadow"]


class Pairs(Protocol):
    """What records both answers to mirrored requests."""

    def record(self, comparison: Comparison) -> None:
        """Record the stable version with itself, or with the candidate; again is no change.

        Raises:
            EvidenceError: It cannot be recorded.
        """
        ...

    def read(self, comparison: Comparison) -> PairSummary:
        """Return what was recorded so far.

        Raises:
            EvidenceError: It cannot be read.
        """
        ...

    def stop(self) -> None:
        """Record no more."""
        ...


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Where evidence comes from.

    Attributes:
        traffic: The engine, which says whether weights are still what they were moved to.
        metrics: What each version counts.
        pairs: Of answers to mirrored requests; None if nobody records them.
        settling_seconds: How long after traffic moved metrics may still tell of the time before.
        find_unready: Returns what keeps the candidate from taking requests; empty for nothing.
    """

    traffic: Traffic
    metrics: Metrics
    pairs: Pairs | None
    settling_seconds: float
    find_unready: Callable[[], str]


def gather(state: State, stage: Stage, sources: Sources, now: float) -> tuple[State, list[Finding]]:
    """Look once.

    Returns:
        The state with what was counted, and what was found.
    """
    findings = _check_weights(state, sources.traffic)
    state, unready = _check_readiness(state, sources.find_unready())
    findings += unready
    if sources.pairs and stage.kind == "step":
        sources.pairs.stop()  # what it asks would count as requests of clients
    try:
        if sources.pairs and stage.kind in {"noise", "shadow"}:
            findings += compare_pairs(stage, sources.pairs)
        elif now < state.entered_at + sources.settling_seconds:
            findings.append(_fact("requests", "Inconclusive", "requests: metrics are settling"))
        else:
            state = _count(state, stage, sources.metrics)
            findings += _assess(state, stage)
    except EvidenceError as exc:
        findings.append(_fact("metrics", "Inconclusive", str(exc)))
    unread = any(finding.metric in {"traffic", "metrics"} for finding in findings)
    since = (state.unread_since or now) if unread else None
    return state.model_copy(update={"unread_since": since}), findings


def _check_weights(state: State, traffic: Traffic) -> list[Finding]:
    try:
        actual = traffic.read()
    except TrafficError as exc:
        return [_fact("traffic", "Inconclusive", str(exc))]
    if actual == state.weights:
        return []
    left = describe(state.weights)
    reason = f"traffic: somebody moved it to {describe(actual)}, from {left}"
    return [_fact("traffic", "Failed", reason)]


def _check_readiness(state: State, fault: str) -> tuple[State, list[Finding]]:
    looks = state.unready_looks + 1 if fault else 0
    state = state.model_copy(update={"unready_looks": looks})
    if not fault:
        return state, []
    phase: Literal["Failed", "Inconclusive"]
    phase = "Failed" if looks >= UNREADY_LOOKS else "Inconclusive"
    reason = f"readiness: the candidate is not ready at {looks} looks in a row: {fault}"
    return state, [_fact("readiness", phase, reason, n=looks)]


def _fact(
    metric: str, phase: Literal["Failed", "Inconclusive"], reason: str, *, n: int = 0
) -> Finding:
    return Finding(
        metric=metric,
        phase=phase,
        n=n,
        value=None,
        lower=None,
        upper=None,
        threshold=0.0,
        reason=reason,
    )


def compare_pairs(stage: Stage, pairs: Pairs) -> Sequence[Finding]:
    """Record pairs of answers, and say what those recorded so far come to.

    Raises:
        EvidenceError: They cannot be recorded or read.
    """
    pairs.record("noise" if stage.kind == "noise" else "shadow")
    noise = pairs.read("noise")
    if stage.kind == "shadow":
        return assess_pairs(
            pairs.read("shadow"),
            noise if noise.pairs else None,
            stage.budgets,
            minimum_pairs=stage.minimum,
        )
    return [
        Finding(
            metric="noise",
            phase="Successful" if noise.compared >= stage.minimum else "Inconclusive",
            n=noise.compared,
            value=noise.disagreement / noise.compared if noise.compared else None,
            lower=None,
            upper=None,
            threshold=1.0,
            reason=f"noise floor: {noise.compared} of {stage.minimum} pairs of the stable version "
            "with itself",
        )
    ]


def _count(state: State, stage: Stage, metrics: Metrics) -> State:
    tallies = dict(state.tallies)
    for part in ("candidate", _reference(stage)):
        reading = metrics.read(part)
        tally = tallies.get(part)
        if tally is None:
            # All that the stable version ever answered, where it answers nothing any more.
            history = part == "stable" and stage.weights.stable_percent == 0
            total = reading if history else reading.since(reading)
        elif part == "stable" and stage.weights.stable_percent == 0:
            continue
        else:
            total = _add(tally.total, reading.since(tally.last))
        tallies[part] = Tally(last=reading, total=total)
    return state.model_copy(update={"tallies": tallies})


def _add(total: Observation, more: Observation) -> Observation:
    if total.latency_edges_seconds != more.latency_edges_seconds:
        # A version that has answered nothing yet has no buckets.
        if not (total.requests and more.requests):
            return total if total.requests else more
        raise EvidenceError("metrics: a version that started anew has other buckets of latency")
    return Observation(
        requests=total.requests + more.requests,
        errors=total.errors + more.errors,
        labels={
            label: total.labels.get(label, 0) + more.labels.get(label, 0)
            for label in {**total.labels, **more.labels}
        },
        latency_edges_seconds=total.latency_edges_seconds,
        latency_counts=tuple(
            a + b for a, b in zip(total.latency_counts, more.latency_counts, strict=True)
        ),
    )


def _assess(state: State, stage: Stage) -> Sequence[Finding]:
    return assess_observations(
        state.tallies["candidate"].total,
        state.tallies[_reference(stage)].total,
        stage.budgets,
        minimum_requests=stage.minimum,
    )


def _reference(stage: Stage) -> str:
    return "baseline" if stage.weights.baseline_percent else "stable"
