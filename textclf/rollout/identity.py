"""What one rollout is: its plan, its versions as they say themselves, and where it is carried out.

The evidence in a folder is about one candidate behind one endpoint. Who asks for anything else has
to begin anew, since nothing of that was checked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

from textclf.rollout.plan import Plan
from textclf.rollout.state import State, Version


def begin(  # noqa: PLR0913 - they are what a rollout is
    plan: Plan,
    *,
    traffic: str,
    versions: dict[str, Version],
    records_pairs: bool,
    settings: Mapping[str, str] | None = None,
    command: Sequence[str] = (),
    now: float,
) -> State:
    """Return a rollout that has not begun.

    Args:
        plan: What to do.
        traffic: Name of the engine.
        versions: By part: stable, candidate, baseline.
        records_pairs: Whether both answers to mirrored requests are seen.
        settings: What else says where traffic is moved and evidence is read, by name.
        command: The command line.
        now: Seconds since 1970.
    """
    return State(
        rollout=datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%S.%fZ"),
        plan=plan,
        traffic=traffic,
        versions=versions,
        records_pairs=records_pairs,
        settings=dict(settings or {}),
        command=tuple(command),
        started_at=now,
        entered_at=now,
    )


def find_differences(state: State, asked: State) -> list[str]:
    """Return in words what makes a rollout that is asked for another than the one there is.

    A version that does not answer says nothing of its model, which then makes no difference.
    """
    found = list(_compare("strategy", state.plan.strategy, asked.plan.strategy))
    if not found and state.plan != asked.plan:
        found.append("another plan")
    found += _compare("engine", state.traffic, asked.traffic)
    for part in dict.fromkeys((*state.versions, *asked.versions)):
        found += _compare_versions(part, state.versions.get(part), asked.versions.get(part))
    for name in dict.fromkeys((*state.settings, *asked.settings)):
        option = f"--{name.replace('_', '-')}"
        found += _compare(option, state.settings.get(name, ""), asked.settings.get(name, ""))
    return found


def _compare_versions(part: str, there: Version | None, asked: Version | None) -> Iterator[str]:
    if there is None or asked is None:
        yield from _compare(part, there.name if there else "", asked.name if asked else "")
        return
    yield from _compare(part, there.name, asked.name)
    if there.url != there.name or asked.url != asked.name:
        yield from _compare(f"URL of the {part} version", there.url, asked.url)
    yield from _compare(f"digest of the {part} version", there.digest, asked.digest)
    if there.model and asked.model:
        yield from _compare(f"model of the {part} version", there.model, asked.model)


def _compare(what: str, there: str, asked: str) -> Iterator[str]:
    if there != asked:
        yield f"{what} {asked or 'none'}, not {there or 'none'}"
