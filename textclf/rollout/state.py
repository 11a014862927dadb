"""Where a rollout stands: what is written before every move of traffic and after it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from textclf.rollout.decision import Action
from textclf.rollout.finding import Finding
from textclf.rollout.observation import Observation
from textclf.rollout.plan import Plan
from textclf.rollout.traffic.traffic import Weights

Outcome = Literal["promoted", "passed", "rolled back"]
Command = Literal["abort", "promote"]
Decider = Literal["evidence", "operator"]
_STRICT = ConfigDict(frozen=True, extra="forbid", strict=True)


class Version(BaseModel):
    """One version that takes part.

    Attributes:
        name: As the engine knows it.
        url: Where it answers; mostly that is its name.
        model: Store tag that it says it serves; empty where it did not say.
        digest: Of its image; empty where nobody said.
    """

    model_config = _STRICT

    name: str
    url: str
    model: str = ""
    digest: str = ""


class Intent(BaseModel):
    """A move that has begun, and what it leads to."""

    model_config = _STRICT

    weights: Weights
    position: int
    outcome: Outcome | None = None
    reason: str
    by: Decider = "evidence"


class Move(BaseModel):
    """A move that was made."""

    model_config = _STRICT

    at: float
    weights: Weights
    reason: str


class Tally(BaseModel):
    """What one version answered at the present weights.

    Attributes:
        last: What each replica had counted when it was last read.
        total: What came since the weights were moved.
    """

    model_config = _STRICT

    last: dict[str, Observation]
    total: Observation


class State(BaseModel):
    """Where a rollout stands.

    Attributes:
        rollout: Names it: the time it began.
        traffic: The engine's name.
        versions: By part: stable, candidate, baseline.
        records_pairs: Whether both answers to mirrored requests are seen.
        settings: What else says where traffic is moved and evidence is read, by name.
        command: The command line, so that a person need not repeat it to end the rollout; it means
            the same from any folder.
        position: Of the stage that it is at.
        weights: That hold, unless a move has begun.
        intent: The move that has begun.
        entered_at: When the weights were moved; seconds since 1970, like every time here.
        unread_since: When evidence could last not be read; None if it can.
        tallies: What each version answered at these weights.
        unready_looks: At so many looks in a row the candidate was not ready.
        restarts: Of the candidate's replicas that were seen while requests were counted.
        exposed_requests: That the candidate answered for clients, up to these weights.
        outcome: None until it has ended.
        reason: Why it is where it is, in one line.
        by: Who decided that it ended.
    """

    model_config = _STRICT

    schema_version: Literal[1] = 1
    rollout: str
    plan: Plan
    traffic: str
    versions: dict[str, Version]
    records_pairs: bool
    settings: dict[str, str] = {}
    command: tuple[str, ...] = ()
    started_at: float
    position: int = 0
    weights: Weights = Weights()
    intent: Intent | None = None
    entered_at: float
    unread_since: float | None = None
    tallies: dict[str, Tally] = {}
    unready_looks: int = 0
    restarts: int = 0
    exposed_requests: int = 0
    moves: tuple[Move, ...] = ()
    outcome: Outcome | None = None
    reason: str = ""
    by: Decider = "evidence"
    ended_at: float | None = None

    @property
    def has_ended(self) -> bool:
        """Whether nothing is left to do; what was promoted may be on its way back."""
        return self.outcome is not None and self.intent is None

    @property
    def has_moved(self) -> bool:
        """Whether traffic was moved for it, or may have been."""
        return self.position > 0 or self.intent is not None or bool(self.moves)


class Look(BaseModel):
    """What one look saw, and what it led to."""

    model_config = _STRICT

    at: float
    stage: str
    weights: Weights
    findings: tuple[Finding, ...]
    action: Action
    reason: str


class Request(BaseModel):
    """What a person asked of the controller that runs."""

    model_config = _STRICT

    command: Command
