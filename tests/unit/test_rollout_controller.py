"""The loop: evidence moves traffic on, its lack or its turn moves it back, a kill does neither."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.rollout_world import (
    BLUEGREEN,
    CANARY,
    REQUESTS_PER_SECOND,
    SHADOW,
    Bomb,
    Killed,
    World,
    make_controller,
    run,
)
from textclf.errors import (
    PreflightError,
    RolloutBusyError,
    RolloutStateError,
)
from textclf.rollout.plan import Plan
from textclf.rollout.stages import ALL_CANDIDATE, ALL_STABLE, list_stages
from textclf.rollout.state import State
from textclf.rollout.store import Store
from textclf.rollout.traffic.traffic import Weights

PLANS = {"canary": CANARY, "bluegreen": BLUEGREEN, "shadow": SHADOW}


def stages_passed(folder: Path) -> list[str]:
    """Return the stages that a look with nothing but good findings let pass, in order."""
    looks = Store(folder).looks()
    passing = [look for look in looks if look.action in {"next", "promote"}]
    for look in passing:
        assert look.findings
        assert {finding.phase for finding in look.findings} == {"Successful"}
    return list(dict.fromkeys(look.stage for look in passing))


def require_evidence(state: State, folder: Path) -> None:
    """See that a rollout which reached a stage passed every one before it."""
    names = [stage.name for stage in list_stages(state.plan, records_pairs=True)][1:]
    passed = stages_passed(folder)
    if state.outcome in {"promoted", "passed"}:
        assert passed == names
    else:
        assert passed == names[: len(passed)]


@pytest.mark.parametrize(
    ("plan", "outcome", "moved"),
    [
        (
            CANARY,
            "promoted",
            [
                Weights(mirror_percent=50),
                Weights(mirror_percent=50),
                Weights(candidate_percent=10, baseline_percent=10),
                Weights(candidate_percent=50, baseline_percent=50),
                ALL_CANDIDATE,
            ],
        ),
        (BLUEGREEN, "promoted", [ALL_CANDIDATE, ALL_CANDIDATE]),
        (SHADOW, "passed", [Weights(mirror_percent=50), Weights(mirror_percent=50), ALL_STABLE]),
    ],
    ids=PLANS,
)
def test_a_good_candidate(plan: Plan, outcome: str, moved: list[Weights], tmp_path: Path) -> None:
    """Each strategy moves traffic as planned, on evidence for every stage."""
    world = World()
    state = run(world, plan, tmp_path)

    assert (state.outcome, world.moved, world.weights) == (outcome, moved, moved[-1])
    require_evidence(state, tmp_path)


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
@pytest.mark.parametrize("errors_percent", [0, 30], ids=["good", "bad"])
def test_the_state_is_written_around_every_move(
    plan: Plan, errors_percent: int, tmp_path: Path
) -> None:
    """Right before traffic moves the state says where to; right after, that it is there."""
    world = World(errors_percent=errors_percent)
    run(world, plan, tmp_path)

    moves = [number for number, line in enumerate(world.journal) if line.startswith("moved ")]
    assert len(moves) == len(world.moved) > 1
    for number in moves:
        before, moved, after = world.journal[number - 1 : number + 2]
        weights = moved.removeprefix("moved ")
        assert (before, after) == (f"intends {weights}", f"is at {weights}")


def test_each_step_counts_from_its_start(tmp_path: Path) -> None:
    """What was answered at other weights is no evidence for these."""
    run(World(), CANARY, tmp_path)
    looks = [look for look in Store(tmp_path).looks() if look.stage.startswith("step")]

    for stage in dict.fromkeys(look.stage for look in looks):
        first, *_, last = [look for look in looks if look.stage == stage]
        assert {finding.n for finding in first.findings} == {0}
        percent = last.weights.candidate_percent
        expected = REQUESTS_PER_SECOND * (last.at - first.at) * percent / 100
        assert last.findings[0].n == pytest.approx(expected, abs=2)


@pytest.mark.parametrize(
    ("world", "plan", "reason"),
    [
        (World(errors_percent=30), CANARY, "step 1 of 2 (10 %): 30.0 % of 60 requests failed"),
        (World(errors_percent=30), BLUEGREEN, "step 1 of 1 (100 %): 30.0 % of 200 requests failed"),
        (World(disagreement_percent=20), CANARY, "shadow: "),
        (World(disagreement_percent=20), SHADOW, "shadow: "),
        (World(answers=False), CANARY, "no evidence within 60 s: metrics: the candidate"),
        (World(answers=False), BLUEGREEN, "no evidence within 60 s: metrics: the candidate"),
        (World(unready="status 503"), CANARY, "not ready at 3 looks in a row: status 503"),
        (
            World(refuses=lambda weights: weights.candidate_percent == 50),
            CANARY,
            "traffic did not move to 50 % baseline, 50 % candidate: the engine refuses",
        ),
    ],
    ids=[
        "errors", "errors at once", "disagreement", "disagreement in shadow", "no metrics",
        "no metrics at once", "crash loop", "engine refuses",
    ],
)  # fmt: skip
def test_a_bad_candidate(world: World, plan: Plan, reason: str, tmp_path: Path) -> None:
    """A fault of the candidate, or of what judges it, moves all traffic back, and says why."""
    state = run(world, plan, tmp_path)

    assert (state.outcome, world.weights) == ("rolled back", ALL_STABLE)
    assert reason in state.reason
    require_evidence(state, tmp_path)


def test_too_few_requests(tmp_path: Path) -> None:
    """A step without enough requests is held for the plan's limit, then traffic goes back."""
    world = World(meddle=lambda world: world.served.update(candidate=300.0))
    state = run(world, BLUEGREEN, tmp_path)

    assert (state.outcome, world.weights) == ("rolled back", ALL_STABLE)
    assert "no evidence within 60 s" in state.reason
    assert world.now - 1_000_000.0 == pytest.approx(20 + 60, abs=6)


def test_a_stable_version_that_is_switched_off_once_it_is_idle(tmp_path: Path) -> None:
    """What it ever answered is read once; a healthy candidate with all traffic is promoted."""
    looked: list[float] = []

    def meddle(world: World) -> None:
        if world.weights == ALL_CANDIDATE:
            looked.append(world.now)
            world.stable_unready = "switched off"

    world = World(meddle=meddle)

    assert run(world, BLUEGREEN, tmp_path).outcome == "promoted"
    assert world.weights == ALL_CANDIDATE
    assert looked


def test_traffic_that_somebody_else_moves(tmp_path: Path) -> None:
    """Weights that are not what they were moved to end the rollout."""

    def meddle(world: World) -> None:
        if world.weights.candidate_percent == 10:
            world.weights = Weights(candidate_percent=90)

    world = World(meddle=meddle)
    state = run(world, CANARY, tmp_path)

    assert (state.outcome, world.weights) == ("rolled back", ALL_STABLE)
    assert "somebody moved it to 10 % stable, 90 % candidate" in state.reason


def test_traffic_that_is_elsewhere_before(tmp_path: Path) -> None:
    """A rollout does not begin while the candidate has traffic already."""
    world = World(weights=Weights(candidate_percent=20))
    with pytest.raises(RolloutStateError, match="80 % stable, 20 % candidate before"):
        run(world, CANARY, tmp_path)

    assert world.moved == []


def test_a_candidate_that_fails_its_preflight(tmp_path: Path) -> None:
    """It gets no traffic; once it is repaired, the same command checks it again."""
    world = World(fails_preflight="golden: wrong labels")
    with pytest.raises(PreflightError, match="golden"):
        run(world, CANARY, tmp_path)
    assert world.moved == []

    world.fails_preflight = ""
    assert run(world, CANARY, tmp_path).outcome == "promoted"


def test_an_ended_rollout_is_told_again(tmp_path: Path) -> None:
    """Who runs an ended rollout again learns how it ended; nothing moves."""
    world = World()
    ended = run(world, CANARY, tmp_path)
    moved = list(world.moved)

    assert run(world, CANARY, tmp_path) == ended
    assert world.moved == moved


def test_a_second_controller_is_refused(tmp_path: Path) -> None:
    """While one controller has the rollout, another one is told who."""
    first, second = Store(tmp_path), Store(tmp_path)
    with (
        first.lock(),
        pytest.raises(RolloutBusyError, match=r"process id \d+"),
        second.lock(),
    ):
        pass
    with second.lock():
        pass


@pytest.mark.parametrize("command", ["abort", "promote"])
def test_a_person_interferes(command: str, tmp_path: Path) -> None:
    """What a person asks of the running controller is done within a second, and written down."""
    asked_at: list[float] = []

    def meddle(world: World) -> None:
        if world.weights.candidate_percent == 10 and not asked_at:
            asked_at.append(world.now)
            Store(tmp_path).ask("abort" if command == "abort" else "promote")

    world = World(meddle=meddle)
    state = run(world, CANARY, tmp_path)

    assert state.outcome == ("rolled back" if command == "abort" else "promoted")
    assert world.weights == (ALL_STABLE if command == "abort" else ALL_CANDIDATE)
    assert (state.by, world.now) == ("operator", asked_at[0])
    assert Store(tmp_path).asked() is None


def test_a_person_ends_what_nobody_controls(tmp_path: Path) -> None:
    """After a controller was killed, a person may promote or abort; an ended rollout stays."""
    world = World(bomb=Bomb(at=60))
    with pytest.raises(Killed):
        run(world, CANARY, tmp_path)
    controller = make_controller(world, tmp_path)
    state = controller.store.load()
    assert state

    assert controller.end(state, "abort").outcome == "rolled back"
    assert world.weights == ALL_STABLE
    ended = controller.store.load()
    assert ended
    with pytest.raises(RolloutStateError, match="ended already: rolled back"):
        controller.end(ended, "promote")


def test_what_was_promoted_can_go_back(tmp_path: Path) -> None:
    """The stable version is kept: an abort after the promotion, even one cut short, goes back."""
    world = World()
    promoted = run(world, BLUEGREEN, tmp_path)
    world.bomb.at = world.bomb.ticks + 3
    with pytest.raises(Killed):
        make_controller(world, tmp_path).end(promoted, "abort")
    world.bomb.at = None
    state = run(world, BLUEGREEN, tmp_path)

    assert (state.outcome, state.by, world.weights) == ("rolled back", "operator", ALL_STABLE)


def test_nobody_promotes_what_was_never_checked(tmp_path: Path) -> None:
    """A person may overrule the evidence, but not skip the preflight."""
    world = World(fails_preflight="golden: wrong labels")
    with pytest.raises(PreflightError):
        run(world, CANARY, tmp_path)
    controller = make_controller(world, tmp_path)
    state = controller.store.load()
    assert state
    with pytest.raises(RolloutStateError, match="has not passed its preflight"):
        controller.end(state, "promote")

    assert world.weights == ALL_STABLE


def test_an_engine_that_does_not_answer_for_a_while(tmp_path: Path) -> None:
    """Going back is tried again until it works."""
    refusals: list[Weights] = []

    def refuses(weights: Weights) -> bool:
        if weights == ALL_STABLE and len(refusals) < 3:
            refusals.append(weights)
            return True
        return False

    world = World(errors_percent=30, refuses=refuses)

    assert run(world, CANARY, tmp_path).outcome == "rolled back"
    assert world.weights == ALL_STABLE


def test_an_engine_that_does_not_go_back_for_an_hour(tmp_path: Path) -> None:
    """It is asked again, twice a minute in the end, and each failure is told."""
    world = World(errors_percent=30)
    back_at = world.now + 3600
    world.refuses = lambda weights: weights == ALL_STABLE and world.now < back_at

    assert run(world, CANARY, tmp_path).outcome == "rolled back"
    assert world.weights == ALL_STABLE
    failures = [line for line in world.told if "the engine refuses" in line]
    assert "asking again in 1 s" in failures[0]
    assert "asking again in 30 s" in failures[-1]
    assert len(failures) > 100


def test_a_signal_ends_a_controller_that_cannot_go_back(tmp_path: Path) -> None:
    """Whoever runs it again goes on with going back."""

    def meddle(world: World) -> None:
        if sum("asking again" in line for line in world.told) == 20:
            raise KeyboardInterrupt

    world = World(errors_percent=30, refuses=lambda to: to == ALL_STABLE, meddle=meddle)
    with pytest.raises(KeyboardInterrupt):
        run(world, CANARY, tmp_path)
    world.refuses, world.meddle = (lambda _: False), (lambda _: None)

    assert run(world, CANARY, tmp_path).outcome == "rolled back"
    assert world.weights == ALL_STABLE


def dying(stable_seconds: float, *, errors_percent: float = 0.0) -> World:
    """Return a world whose stable version is gone for so long, from when others have traffic."""
    gone: list[float] = []

    def meddle(world: World) -> None:
        if world.weights.candidate_percent:
            gone.append(world.now)
        is_gone = gone and world.now < gone[0] + stable_seconds
        world.stable_unready = "connection refused" if is_gone else ""

    return World(meddle=meddle, errors_percent=errors_percent)


def test_no_traffic_goes_to_a_stable_version_that_is_gone(tmp_path: Path) -> None:
    """Evidence that its death took away holds the rollout, for longer than the limit too."""
    world = dying(stable_seconds=600)
    state = run(world, CANARY.model_copy(update={"baseline": False}), tmp_path)

    assert state.outcome == "promoted"
    assert ALL_STABLE not in world.moved
    held = [look for look in Store(tmp_path).looks() if look.action == "hold"]
    reasons = [look.reason for look in held if "the stable version is not ready" in look.reason]
    assert "connection refused; start it, or decide" in reasons[0]
    assert "no evidence within 60 s: metrics: the stable version cannot be read" in reasons[-1]


def test_a_person_decides_while_the_stable_version_is_gone(tmp_path: Path) -> None:
    """What nobody but a person can know is theirs: here, that it is back in a moment."""
    world = dying(stable_seconds=10**6)
    meddle = world.meddle

    def decide(world: World) -> None:
        meddle(world)
        if world.now > 1_000_500:
            Store(tmp_path).ask("abort")

    world.meddle = decide
    state = run(world, CANARY.model_copy(update={"baseline": False}), tmp_path)

    assert (state.outcome, state.by, world.weights) == ("rolled back", "operator", ALL_STABLE)


def test_a_bad_candidate_goes_back_to_a_stable_version_that_is_gone(tmp_path: Path) -> None:
    """A failure that was seen needs no more evidence."""
    state = run(dying(stable_seconds=10**6, errors_percent=30), CANARY, tmp_path)

    assert "requests failed" in state.reason
    assert state.outcome == "rolled back"


@pytest.mark.parametrize(
    ("restarts", "outcome"), [(1, "promoted"), (10, "rolled back")], ids=["once", "again and again"]
)
def test_a_candidate_that_restarts(restarts: int, outcome: str, tmp_path: Path) -> None:
    """It is ready at every look and has no errors, yet what it counts begins anew."""
    left = [restarts]

    def meddle(world: World) -> None:
        if world.weights.candidate_percent and left[0] and not world.now % 9:
            left[0] -= 1
            world.served["candidate"] = 0.0

    world = World(meddle=meddle)
    state = run(world, CANARY, tmp_path)

    assert (state.outcome, state.restarts) == (outcome, min(restarts, 2))
    seen = [look for look in Store(tmp_path).looks() if "counts from zero again" in look.reason]
    assert [look.action for look in seen] == ["hold", "abort"][: len(seen)]
    assert seen


def count_touches(plan: Plan, folder: Path, world: World) -> int:
    """Return how often a rollout that nobody kills touches the world."""
    run(world, plan, folder)
    return world.bomb.ticks


@given(data=st.data())
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_controller_that_is_killed_anywhere(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Killed at any write, move or read, and again after that, a rollout ends as it would have.

    At every death the engine's weights are the state's or its intent's. A bad candidate never
    passes, and a stage only with a look whose findings were all good.
    """
    plan = data.draw(st.sampled_from(list(PLANS.values())))
    bad = data.draw(st.booleans())
    folder = tmp_path_factory.mktemp("rollout")
    world = World(errors_percent=30.0 if bad else 0.0, disagreement_percent=20.0 if bad else 0.0)
    state = None
    for _ in range(data.draw(st.integers(1, 4))):
        world.bomb.ticks, world.bomb.at = 0, data.draw(st.integers(1, 200))
        try:
            state = run(world, plan, folder)
            break
        except Killed:
            left = Store(folder).load()
            known = [ALL_STABLE] if left is None else [left.weights]
            known += [left.intent.weights] if left and left.intent else []
            assert world.weights in known
            world.bomb.at = None
            world.pass_time(data.draw(st.floats(0, 100)))
    world.bomb.at = None
    state = run(world, plan, folder)

    require_evidence(state, folder)
    expected = "rolled back" if bad else "passed" if plan.strategy == "shadow" else "promoted"
    assert state.outcome == expected
    assert world.weights == state.weights
    assert state.intent is None


def test_a_move_that_was_cut_short_somewhere_in_between(tmp_path: Path) -> None:
    """Weights that are neither what was nor what was meant lead back to the stable version."""
    world = World(bomb=Bomb())
    last: list[Weights] = []

    def meddle(world: World) -> None:
        if world.weights.candidate_percent == 10 and not last:
            last.append(world.weights)
            world.weights = Weights(candidate_percent=30)
            world.bomb.at = world.bomb.ticks + 1

    world.meddle = meddle
    with pytest.raises(Killed):
        run(world, CANARY, tmp_path)
    world.bomb.at = None
    state = run(world, CANARY, tmp_path)

    assert (state.outcome, world.weights) == ("rolled back", ALL_STABLE)
    assert "found at 70 % stable, 30 % candidate" in state.reason
