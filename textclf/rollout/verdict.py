"""The record of a rollout: what was planned, seen and decided."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel

from textclf.rollout.state import Look, State

_SCHEMA = 1


def make_verdict(state: State, looks: Sequence[Look], *, refused: str = "") -> dict[str, Any]:
    """Return one record of everything, for machines and for the report.

    Args:
        state: Where the rollout stands.
        looks: All of them, in order.
        refused: Why the candidate got no traffic at all, where it failed its preflight.
    """
    shown = _plain(state)
    return {
        "schema": _SCHEMA,
        "rollout": state.rollout,
        "decision": state.outcome or ("refused" if refused else "under way"),
        "reason": refused or state.reason,
        "by": state.by,
        "strategy": state.plan.strategy,
        "started_at": _time(state.started_at),
        "ended_at": None if state.ended_at is None else _time(state.ended_at),
        "seconds": None if state.ended_at is None else round(state.ended_at - state.started_at, 3),
        "traffic": state.traffic,
        "versions": shown["versions"],
        "weights": shown["weights"],
        "candidate_requests": count_exposed(state),
        "plan": shown["plan"],
        "moves": [
            {"at": _time(move.at), "weights": record["weights"], "reason": move.reason}
            for move, record in zip(state.moves, shown["moves"], strict=True)
        ],
        "looks": [_plain(look) | {"at": _time(look.at)} for look in looks],
    }


def count_exposed(state: State) -> int:
    """Return how many requests of clients the candidate has answered, as far as was counted."""
    candidate = state.tallies.get("candidate")
    here = candidate.total.requests if candidate and state.weights.candidate_percent else 0
    return state.exposed_requests + here


def render_verdict(verdict: dict[str, Any]) -> str:
    """Return the record as JSON."""
    return json.dumps(verdict, indent=2, allow_nan=False) + "\n"


def _plain(record: BaseModel) -> dict[str, Any]:
    """Return what JSON can hold: a number that is none becomes null."""
    return dict(json.loads(record.model_dump_json()))


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
