"""scripts/rollout.py where nothing runs: what it refuses, and what it says of a folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts import rollout
from tests.unit.rollout_world import CANARY, Bomb, Killed, World, run
from textclf.errors import PlanError, RolloutError, RolloutStateError, TrafficError

PARTS = ("--stable=http://127.0.0.1:9", "--candidate=http://127.0.0.1:9")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """The folder of a rollout whose controller was killed."""
    folder = tmp_path / "state"
    with pytest.raises(Killed):
        run(World(bomb=Bomb(at=60)), CANARY, folder)
    return folder


def test_status_for_people(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says where the rollout stands, why, and that nobody controls it."""
    assert rollout.main(["status", f"--state={state}"]) == 0

    shown = capsys.readouterr().out
    assert "stands at   shadow" in shown
    assert "moving to 80 % stable, 10 % baseline, 10 % candidate" in shown
    assert "does not run" in shown


def test_status_for_machines(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same as JSON."""
    assert rollout.main(["status", f"--state={state}", "--json"]) == 0

    shown = json.loads(capsys.readouterr().out)
    assert (shown["decision"], shown["controlled"]) == ("under way", False)


@pytest.mark.parametrize("command", ["status", "promote", "abort"])
def test_a_folder_without_a_rollout(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where nothing began, nothing can be said or ended."""
    code = rollout.main([command, f"--state={tmp_path}"])

    assert code == RolloutStateError.exit_code
    assert "--state" in capsys.readouterr().err


def test_another_rollout_in_the_same_folder(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Other versions, another strategy or engine do not go on with what is under way."""
    code = rollout.main(["shadow", *PARTS, f"--state={state}", "--yes"])

    assert code == RolloutStateError.exit_code
    error = capsys.readouterr().err
    assert "strategy shadow, not canary; engine nginx, not memory; stable http://127" in error
    assert "end it with `abort`" in error


@pytest.fixture
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("textclf.rollout.controller.WallClock.sleep", lambda *_: None)


@pytest.mark.usefixtures("_no_waiting")
@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["shadow", *PARTS], PlanError.exit_code, "shadow: engine nginx mirrors nothing"),
        (["canary", "--stable=a", "--candidate=b"], PlanError.exit_code, "name --candidate-url"),
        (["canary", *PARTS, "--plan=none.yaml"], PlanError.exit_code, "none.yaml"),
        (["canary", *PARTS], RolloutError.exit_code, "nobody can be asked"),
        (["canary", *PARTS, "--dry-run"], TrafficError.exit_code, "does not answer"),
        (["canary", *PARTS, "--yes"], TrafficError.exit_code, "does not answer"),
    ],
    ids=["no mirror", "no URL", "no plan", "nobody", "no engine", "no engine to begin with"],
)
def test_what_cannot_be_done(
    options: list[str], code: int, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each has its exit code, and says what to do."""
    (tmp_path / "site.json").write_text('{"status_port": 9}')
    line = [*options, f"--state={tmp_path}", f"--nginx-folder={tmp_path}"]

    assert rollout.main(line) == code
    assert words in capsys.readouterr().err
    assert not (tmp_path / "state.json").exists()


@pytest.mark.parametrize("engine", ["nginx", "azureml", "azureml-v2", "argo"])
def test_every_engine_has_its_options(engine: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The help of a strategy shows what its engine needs to know."""
    with pytest.raises(SystemExit, match="0"):
        rollout.main(["canary", "--traffic", engine, "--help"])

    own = {"nginx": "--nginx-folder", "argo": "--rollout-name"}.get(engine, "--endpoint")
    assert own in capsys.readouterr().out
