"""What a look gathers: counts since traffic moved, whatever replicas, scrapes and clocks do."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.rollout_world import BLUEGREEN, CANARY, World, make_controller, run
from textclf.rollout.evidence import Sources, gather
from textclf.rollout.identity import begin
from textclf.rollout.observation import Observation, Reading
from textclf.rollout.stages import Stage, list_stages
from textclf.rollout.state import State
from textclf.rollout.store import Store

STEP = list_stages(CANARY)[3]


def served(requests: int) -> Observation:
    """Return the counts of a healthy replica."""
    return Observation(
        requests=requests,
        errors=0,
        labels={"positive": requests},
        latency_edges_seconds=(0.1,),
        latency_counts=(requests, 0),
    )


class Replicas:
    """Reads replicas whose counts are as they are set."""

    def __init__(self, **requests: int) -> None:
        self.requests = requests

    def read(self, version: str) -> Reading:
        """Return the same for every version."""
        assert version
        return Reading(replicas={name: served(n) for name, n in self.requests.items()})


def at_step(stage: Stage, world: World) -> State:
    """Return a rollout that has just come to a step."""
    world.weights = stage.weights
    state = begin(CANARY, traffic="memory", versions={}, records_pairs=True, now=world.now)
    return state.model_copy(update={"weights": stage.weights})


def make_sources(world: World, tmp_path: Path) -> Sources:
    """Return where the world is seen from."""
    return make_controller(world, tmp_path / "state").sources


def test_replicas_come_and_go(tmp_path: Path) -> None:
    """What is counted is what replicas answered since the move, not what they ever did."""
    world, replicas = World(), Replicas(a=10_000, b=10_000, c=10_000)
    sources = make_sources(world, tmp_path)
    sources = Sources(**{**vars(sources), "metrics": replicas})
    state, counted = at_step(STEP, world), []
    for requests in (
        {"a": 10_000, "b": 10_000, "c": 10_000},
        {"a": 10_010, "b": 10_010},  # scaled down
        {"a": 10_020, "b": 10_020, "c": 10_005},  # c was not gone, but not seen
        {"a": 10_030, "b": 3, "c": 10_005, "d": 2},  # b started anew, and d is new
    ):
        replicas.requests = requests
        state, _ = gather(state, STEP, sources, world.now)
        counted.append(state.tallies["candidate"].total.requests)

    assert counted == [0, 20, 45, 60]


def test_what_was_scraped_before_traffic_moved_is_not_counted(tmp_path: Path) -> None:
    """Counting begins at the first reading that is younger than the move."""
    world = World(scraped=lambda _: 12.0)
    sources, state = make_sources(world, tmp_path), at_step(STEP, World())
    world.weights = STEP.weights

    early, findings = gather(state, STEP, sources, state.entered_at + 11.0)
    assert early.tallies == {}
    assert [(finding.metric, finding.phase) for finding in findings] == [
        ("requests", "Inconclusive")
    ]
    assert early.unread_since is None

    late, _ = gather(early, STEP, sources, state.entered_at + 13.0)
    assert set(late.tallies) == {"candidate", "baseline"}


def test_scrapes_that_never_come_end_the_rollout(tmp_path: Path) -> None:
    """Whatever is read is from before the move: nothing passes, and the plan's limit holds."""
    state = run(World(scraped=lambda now: now), CANARY, tmp_path)

    assert state.outcome == "rolled back"
    assert "before traffic moved" in state.reason


def test_waiting_begins_with_counting(tmp_path: Path) -> None:
    """A controller that was killed before its first look has waited for no evidence yet."""
    world = World()
    sources, state = make_sources(world, tmp_path), at_step(STEP, world)

    first, _ = gather(state, STEP, sources, state.entered_at + 3600.0)
    second, _ = gather(first, STEP, sources, state.entered_at + 3605.0)

    assert first.entered_at == second.entered_at == state.entered_at + 3600.0


@pytest.mark.parametrize("healthy", [True, False])
def test_a_clock_that_is_set_back(healthy: bool, tmp_path: Path) -> None:
    """Looks go on, as does the limit of waiting; only the pause begins anew."""
    steps: list[float] = []

    def meddle(world: World) -> None:
        if not healthy:
            world.served.update(candidate=300.0)
        if world.weights.candidate_percent and not steps:
            steps.append(world.now)
            world.now -= 3600.0

    world = World(meddle=meddle)
    state = run(world, BLUEGREEN, tmp_path)

    assert state.outcome == ("promoted" if healthy else "rolled back")
    assert world.now < steps[0] - 3600.0 + 20.0 + 60.0 + 6.0
    last = Store(tmp_path).looks()[-1]
    assert last.findings[0].metric == "error_rate"
