"""The loop: preflight, shadow, step, pause, measure, assess; next, hold or abort; promote.

Before traffic moves, the state on disk says where to; afterwards, that it is there. Whatever ends
the controller in between, the next one reads from the engine which of the two holds, and goes on.
If it is neither, all traffic goes back to the stable version.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from textclf.errors import RolloutStateError, TrafficError
from textclf.rollout.clock import Clock, WallClock
from textclf.rollout.decision import Decision, Patience, decide
from textclf.rollout.evidence import Sources, gather
from textclf.rollout.finding import Finding
from textclf.rollout.stages import ALL_STABLE, Stage, describe, last_weights, list_stages
from textclf.rollout.state import Command, Decider, Intent, Look, Move, State
from textclf.rollout.store import Store

_T = TypeVar("_T")
_ATTEMPTS = 5
_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 30.0
_LONGEST_SLEEP_SECONDS = 1.0  # so soon is a person heard


@dataclass(frozen=True, kw_only=True)
class Controller:
    """Moves one rollout on, from wherever it stands.

    Attributes:
        store: Where it stands; the caller holds its lock.
        sources: Where evidence comes from, and the engine.
        preflight: Checks the candidate before any traffic; raises PreflightError.
        find_stable_unready: Returns what keeps the stable version from taking requests; empty for
            nothing.
        clock: The time.
        tell: Is given a line a person can follow.
    """

    store: Store
    sources: Sources
    preflight: Callable[[], None]
    find_stable_unready: Callable[[], str]
    tell: Callable[[str], None]
    clock: Clock = field(default_factory=WallClock)

    def run(self, state: State) -> State:
        """Go on until the rollout has ended, and return how.

        Args:
            state: Of the store, or of a rollout that has not begun; whatever the store has of
                another one is set aside.

        Raises:
            PreflightError: The candidate fails before any traffic; running again checks again.
            TrafficError: The engine does not say where traffic is; running again goes on.
            RolloutStateError: The state cannot be written, or traffic is elsewhere at the start.
        """
        stages = list_stages(state.plan, records_pairs=state.records_pairs)
        try:
            found = self.store.load()
            if found is None or found.rollout != state.rollout:
                state = self._start(state, found)
            elif not state.has_ended:
                state = self._recover(state, stages)
            while state.outcome is None:
                state = self._advance(state, stages)
        finally:
            if self.sources.pairs:
                self.sources.pairs.stop()
        return state

    def end(self, state: State, command: Command) -> State:
        """Promote or abort because a person says so, and return how the rollout ended.

        What was promoted can be aborted as long as the stable version is kept.

        Raises:
            RolloutStateError: It has ended already, or the candidate was not even checked.
        """
        if state.outcome is not None and (state.outcome, command) != ("promoted", "abort"):
            raise RolloutStateError(f"the rollout has ended already: {state.outcome}")
        if command == "promote" and state.position == 0:
            raise RolloutStateError(
                "the candidate has not passed its preflight; run the rollout that far first"
            )
        if command == "promote" and state.intent and state.intent.outcome == "rolled back":
            raise RolloutStateError("the rollout is on its way back; run it again to end it")
        return self._obey(state, command)

    def _start(self, state: State, other: State | None) -> State:
        """See that all traffic is the stable version's before anything begins.

        What is there of another rollout, or of one whose state was lost, is no evidence for this.
        """
        actual = self._patiently(self.sources.traffic.read)
        if actual != ALL_STABLE:
            raise RolloutStateError(
                f"traffic is at {describe(actual)} before the rollout has begun; see who moved it, "
                "and give the stable version all of it first: `rollout.py abort` does"
            )
        if aside := self.store.set_aside(other.rollout if other else f"before-{state.rollout}"):
            self.tell(f"set aside what was there of another rollout: {aside}")
        self.store.save(state)
        return state

    def _recover(self, state: State, stages: Sequence[Stage]) -> State:
        """See where traffic is, and make that and the state agree."""
        intent = state.intent
        if intent and intent.outcome == "rolled back":
            return self._go_back(state, intent.reason, by=intent.by)
        actual = self._patiently(self.sources.traffic.read)
        self.tell(f"found a rollout at {stages[state.position].name}, {describe(actual)}")
        if intent and actual == intent.weights:
            return self._arrive(state, intent)
        if actual != state.weights:
            return self._go_back(state, f"traffic was found at {describe(actual)}, unlike before")
        return self._move(state, intent) if intent else state

    def _advance(self, state: State, stages: Sequence[Stage]) -> State:
        """Look once, wait for the next look or move on."""
        if command := self.store.asked():
            return self._obey(state, command)
        stage = stages[state.position]
        last = state.position == len(stages) - 1
        if stage.kind == "preflight":
            self.tell("preflight: checking the candidate")
            self.preflight()
            self.tell("preflight: passed")
            return self._next(state, stages, "the candidate passed its preflight")
        now = self.clock.now()
        state, findings = gather(state, stage, self.sources, now)
        patience = Patience.at(
            stage, entered_at=state.entered_at, unread_since=state.unread_since, now=now
        )
        decision = decide(
            findings, patience, last=last, no_way_back=self._find_no_way_back(state, findings)
        )
        self._note(state, stage, findings, decision)
        if decision.action == "abort":
            return self._go_back(state, f"{stage.name}: {decision.reason}")
        if decision.action in {"next", "promote"}:
            return self._next(state, stages, f"{stage.name}: {decision.reason}")
        self._wait(state.plan.look_seconds)
        return state

    def _find_no_way_back(self, state: State, findings: Sequence[Finding]) -> str:
        """Return what keeps the stable version from taking what others have; empty for nothing."""
        lacking = any(finding.phase == "Inconclusive" for finding in findings)
        return self.find_stable_unready() if lacking and state.weights.stable_percent < 100 else ""

    def _note(
        self, state: State, stage: Stage, findings: Sequence[Finding], decision: Decision
    ) -> None:
        look = Look(
            at=self.clock.now(),
            stage=stage.name,
            weights=state.weights,
            findings=tuple(findings),
            action=decision.action,
            reason=decision.reason,
        )
        self.store.add_look(look)
        self.store.save(
            state.model_copy(update={"reason": f"{decision.action}: {decision.reason}"})
        )
        self.tell(f"{stage.name}: {decision.action}: {decision.reason}")

    def _next(self, state: State, stages: Sequence[Stage], reason: str) -> State:
        if state.position + 1 < len(stages):
            position = state.position + 1
            weights = stages[position].weights
            return self._move(state, Intent(weights=weights, position=position, reason=reason))
        return self._finish(state, reason, by="evidence")

    def _finish(self, state: State, reason: str, *, by: Decider) -> State:
        intent = Intent(
            weights=last_weights(state.plan),
            position=state.position,
            outcome="passed" if state.plan.strategy == "shadow" else "promoted",
            reason=reason,
            by=by,
        )
        return self._move(state, intent)

    def _obey(self, state: State, command: Command) -> State:
        self.tell(f"{command}: asked for by a person")
        if command == "abort":
            return self._go_back(state, "a person asked for it", by="operator")
        if state.position == 0:
            self.store.forget_request()
            self.tell("promote: refused, since the candidate has not passed its preflight")
            return state
        return self._finish(state, "a person asked for it", by="operator")

    def _move(self, state: State, intent: Intent) -> State:
        """Move forward; an engine that refuses ends the rollout."""
        state = state.model_copy(update={"intent": intent})
        self.store.save(state)
        try:
            self.sources.traffic.move(intent.weights)
        except TrafficError as exc:
            return self._go_back(
                state, f"traffic did not move to {describe(intent.weights)}: {exc}"
            )
        return self._arrive(state, intent)

    def _go_back(self, state: State, reason: str, *, by: Decider = "evidence") -> State:
        """Give the stable version all traffic, however often it takes."""
        intent = Intent(
            weights=ALL_STABLE,
            position=state.position,
            outcome="rolled back",
            reason=reason,
            by=by,
        )
        state = state.model_copy(update={"intent": intent})
        self.store.save(state)
        self.tell(f"going back: {reason}")
        self._insist(lambda: self.sources.traffic.move(ALL_STABLE))
        return self._arrive(state, intent)

    def _arrive(self, state: State, intent: Intent) -> State:
        """Write down that a move was made; what was counted before belongs to the old weights."""
        now = self.clock.now()
        candidate = state.tallies.get("candidate")
        served = candidate.total.requests if candidate and state.weights.candidate_percent else 0
        state = state.model_copy(
            update={
                "position": intent.position,
                "weights": intent.weights,
                "intent": None,
                "entered_at": now,
                "unread_since": None,
                "unready_looks": 0,
                "tallies": {},
                "exposed_requests": state.exposed_requests + served,
                "moves": (*state.moves, Move(at=now, weights=intent.weights, reason=intent.reason)),
                "outcome": intent.outcome,
                "reason": intent.reason,
                "by": intent.by,
                "ended_at": now if intent.outcome else None,
            }
        )
        self.store.save(state)
        if intent.outcome:
            self.store.forget_request()
        self.tell(f"traffic is at {describe(intent.weights)}")
        return state

    def _patiently(self, call: Callable[[], _T]) -> _T:
        """Return what an engine says, asking it again if it fails."""
        for attempt in range(_ATTEMPTS - 1):
            try:
                return call()
            except TrafficError as exc:
                self.tell(f"the engine failed, asking again: {exc}")
                self.clock.sleep(2.0**attempt)
        return call()

    def _insist(self, call: Callable[[], None]) -> None:
        """Have an engine do something, asked again until it does or a signal ends the controller.

        Whoever gave up would leave clients with what is worse, and tell nobody any more.
        """
        pause_seconds = _FIRST_PAUSE_SECONDS
        while True:
            try:
                return call()
            except TrafficError as exc:
                self.tell(f"the engine failed, asking again in {pause_seconds:g} s: {exc}")
            self.clock.sleep(pause_seconds)
            pause_seconds = min(2 * pause_seconds, _LONGEST_PAUSE_SECONDS)

    def _wait(self, seconds: float) -> None:
        """Wait, or until a person asks for something."""
        while seconds > 0 and not self.store.asked():
            self.clock.sleep(min(seconds, _LONGEST_SLEEP_SECONDS))
            seconds -= _LONGEST_SLEEP_SECONDS
