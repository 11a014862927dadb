"""The folder of a rollout: whole after any interruption, refused if it is not what it was."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tests.unit.rollout_world import CANARY, World, run
from textclf.errors import RolloutStateError
from textclf.rollout.finding import Finding
from textclf.rollout.identity import begin
from textclf.rollout.observation import Observation
from textclf.rollout.state import Intent, Look, State, Tally, Version
from textclf.rollout.store import Store
from textclf.rollout.traffic.traffic import Weights


def make_state() -> State:
    """Return a state that has everything."""
    observation = Observation(
        requests=3,
        errors=1,
        labels={"positive": 2},
        latency_edges_seconds=(0.1,),
        latency_counts=(2, 1),
    )
    state = begin(
        CANARY,
        traffic="nginx",
        versions={"stable": Version(name="a", url="http://a")},
        records_pairs=True,
        command=["canary", "--stable", "a"],
        now=1.5,
    )
    return state.model_copy(
        update={
            "intent": Intent(weights=Weights(candidate_percent=5), position=1, reason="good"),
            "tallies": {"candidate": Tally(last={"one": observation}, total=observation)},
        }
    )


def make_look(value: float = 0.5) -> Look:
    """Return a look with one finding."""
    finding = Finding(
        metric="error_rate",
        phase="Successful",
        n=1,
        value=value,
        lower=None,
        upper=0.1,
        threshold=0.2,
        reason="fine",
    )
    return Look(
        at=1.0,
        stage="step 1",
        weights=Weights(),
        findings=(finding,),
        action="next",
        reason="fine",
    )


def test_a_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    """What is written is what a controller finds that is started again."""
    store = Store(tmp_path)
    assert store.load() is None

    store.save(make_state())

    assert Store(tmp_path).load() == make_state()


def test_a_write_that_fails_leaves_the_state_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk is an error of ours, and the state stays whole."""
    store = Store(tmp_path)
    store.save(make_state())

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RolloutStateError, match="No space left"):
        store.save(make_state().model_copy(update={"position": 3}))

    assert Store(tmp_path).load() == make_state()


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b"[]", b"\xff", b'{"schema_version": 2}'])
def test_a_state_that_is_none(content: bytes, tmp_path: Path) -> None:
    """What is no state of this version is refused, with the way out."""
    (tmp_path / "state.json").write_bytes(content)
    with pytest.raises(RolloutStateError, match=r"state\.json cannot be read.*abort"):
        Store(tmp_path).load()


def test_a_look_that_was_cut_short_is_left_out(tmp_path: Path) -> None:
    """Half a line at the end is no look, and does not spoil the next."""
    store = Store(tmp_path)
    store.add_look(make_look())
    with (tmp_path / "looks.jsonl").open("ab") as file:
        file.write(b'{"at": 2.0, "sta')
    store.add_look(make_look(0.75))

    assert [look.findings[0].value for look in store.looks()] == [0.5, 0.75]


def test_a_value_that_is_no_number(tmp_path: Path) -> None:
    """JSON has no NaN: such a value is kept as none."""
    store = Store(tmp_path)
    store.add_look(make_look(math.nan))

    assert store.looks()[0].findings[0].value is None


def test_an_ended_rollout_is_set_aside(tmp_path: Path) -> None:
    """Everything of it moves into a folder of its own, and another one can begin."""
    ended = run(World(), CANARY, tmp_path)
    store = Store(tmp_path)
    for record in ("noise.jsonl", "shadow.jsonl", "request.json", "verdict.json", "report.html"):
        (tmp_path / record).write_text(record)
    (tmp_path / "rollout.yaml").write_text("a person's own")
    target = store.set_aside(ended.rollout)

    assert target
    assert {path.name for path in tmp_path.iterdir()} == {"lock", "ended", "rollout.yaml"}
    assert (store.load(), store.looks()) == (None, ())
    assert store.set_aside("nothing") is None
    assert Store(target).load() == ended
    assert run(World(), CANARY, tmp_path).outcome == "promoted"


def test_what_a_lost_state_left_is_no_evidence_for_the_next(tmp_path: Path) -> None:
    """Pairs, looks and wishes whose state is gone are kept aside, unread."""
    Store(tmp_path).ask("abort")
    Store(tmp_path).add_look(make_look())
    (tmp_path / "shadow.jsonl").write_text("{}\n")

    ended = run(World(), CANARY, tmp_path)

    assert ended.outcome == "promoted"
    assert make_look() not in Store(tmp_path).looks()
    aside = tmp_path / "ended" / f"before-{ended.rollout}"
    names = {path.name for path in aside.iterdir()}
    assert names == {"looks.jsonl", "request.json", "shadow.jsonl"}
    assert not (tmp_path / "shadow.jsonl").exists()


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """A path that is taken by a file is named."""
    (tmp_path / "taken").write_text("")
    with (
        pytest.raises(RolloutStateError, match="cannot be written"),
        Store(tmp_path / "taken").lock(),
    ):
        pass


def test_whether_a_controller_runs(tmp_path: Path) -> None:
    """The lock tells, also whoever only looks."""
    store = Store(tmp_path)
    before = store.is_locked()
    with store.lock():
        during = Store(tmp_path).is_locked()

    assert (before, during, store.is_locked()) == (False, True, False)
