"""What one look gathers: counts, pairs of answers, and whether all is as it was left."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from textclf.errors import EvidenceError, TrafficError
from textclf.rollout.analysis import assess_observations, assess_pairs
from textclf.rollout.finding import Finding
from textclf.rollout.metrics.metrics import Metrics
from textclf.rollout.observation import Reading, add
from textclf.rollout.pairs import PairSummary
from textclf.rollout.stages import Stage, describe
from textclf.rollout.state import State, Tally
from textclf.rollout.traffic.traffic import Traffic

UNREADY_LOOKS = 3  # one restart is no crash loop
RESTARTS = 2

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
        find_unready: Returns what keeps the candidate from taking requests; empty for nothing.
    """

    traffic: Traffic
    metrics: Metrics
    pairs: Pairs | None
    find_unready: Callable[[], str]


def gather(state: State, stage: Stage, sources: Sources, now: float) -> tuple[State, list[Finding]]:
    """Look once.

    Returns:
        The state with what was counted, and what was found.
    """
    state = _mend_times(state, now)
    findings = _check_weights(state, sources.traffic)
    state, unready = _check_readiness(state, sources.find_unready())
    findings += unready
    if sources.pairs and stage.kind == "step":
        sources.pairs.stop()  # what it asks would count as requests of clients
    try:
        if sources.pairs and stage.kind in {"noise", "shadow"}:
            findings += compare_pairs(stage, sources.pairs)
        else:
            readings = _read(state, stage, sources.metrics)
            oldest = max(reading.age_seconds for reading in readings.values())
            if not state.tallies and oldest > now - state.entered_at:
                reason = f"requests: were counted {oldest:.0f} s ago, before traffic moved"
                findings.append(_fact("requests", "Inconclusive", reason))
            else:
                state, restarted = _check_restarts(state, readings["candidate"])
                findings += restarted
                if not state.tallies:
                    # A controller that was away has waited for nothing: its waits begin here.
                    state = state.model_copy(update={"entered_at": now})
                state = _count(state, stage, readings)
                findings += _assess(state, stage)
    except EvidenceError as exc:
        findings.append(missing_evidence(exc))
    unread = any(finding.metric in {"traffic", "metrics"} for finding in findings)
    since = (state.unread_since or now) if unread else None
    return state.model_copy(update={"unread_since": since}), findings


def _mend_times(state: State, now: float) -> State:
    """Take what a clock that was set back left in the future for now, so that no wait is longer."""
    unread_since = None if state.unread_since is None else min(state.unread_since, now)
    entered_at = min(state.entered_at, now)
    return state.model_copy(update={"entered_at": entered_at, "unread_since": unread_since})


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


def _check_restarts(state: State, candidate: Reading) -> tuple[State, list[Finding]]:
    """Find replicas that started anew since the last look.

    A candidate that dies on some texts is ready again within a second, another version answers
    what it left, and what it counts itself looks good: nothing else shows it.
    """
    tally = state.tallies.get("candidate")
    before = tally.last if tally else {}
    seen = sum(
        before[name].answered > 0 and now.started_after(before[name])
        for name, now in candidate.replicas.items()
        if name in before
    )
    if not seen:
        return state, []
    restarts = state.restarts + seen
    phase: Literal["Failed", "Inconclusive"]
    phase = "Failed" if restarts >= RESTARTS else "Inconclusive"
    reason = f"readiness: the candidate counts from zero again, {restarts} times so far"
    finding = _fact("readiness", phase, f"{reason}: it restarts", n=restarts)
    return state.model_copy(update={"restarts": restarts}), [finding]


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


def missing_evidence(error: EvidenceError) -> Finding:
    """Return what there is to say where evidence cannot be read: too little to pass or to fail."""
    return _fact("metrics", "Inconclusive", str(error))


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
            seen={f"score_shift_{k}": v for k, v in noise.score_shift_quantiles().items()},
        )
    ]


def _read(state: State, stage: Stage, metrics: Metrics) -> dict[str, Reading]:
    """Read what both versions have counted.

    A stable version that answers nothing is compared by all that it ever answered. That is read
    once, so that a person can switch it off.
    """
    return {
        part: metrics.read(part)
        for part in ("candidate", _reference(stage))
        if not (part in state.tallies and _is_past(part, stage))
    }


def _count(state: State, stage: Stage, readings: Mapping[str, Reading]) -> State:
    tallies = dict(state.tallies)
    for part, reading in readings.items():
        if tally := tallies.get(part):
            # A replica that is not seen for a while goes on from where it was.
            last = {**tally.last, **reading.replicas}
            total = add((tally.total, reading.since(tally.last)))
        else:
            last = dict(reading.replicas)
            total = reading.since({} if _is_past(part, stage) else last)
        tallies[part] = Tally(last=last, total=total)
    return state.model_copy(update={"tallies": tallies})


def _is_past(part: str, stage: Stage) -> bool:
    """Say whether a version has nothing but what it answered before traffic moved."""
    return part == "stable" and stage.weights.stable_percent == 0


def _assess(state: State, stage: Stage) -> Sequence[Finding]:
    return assess_observations(
        state.tallies["candidate"].total,
        state.tallies[_reference(stage)].total,
        stage.budgets,
        minimum_requests=stage.minimum,
    )


def _reference(stage: Stage) -> str:
    return "baseline" if stage.weights.baseline_percent else "stable"
