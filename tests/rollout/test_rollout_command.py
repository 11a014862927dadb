"""scripts/rollout.py with everything real: services, nginx, Prometheus, clients, and a SIGKILL."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.http.serving import PROJECT
from tests.rollout.stage import Stage, wait_until
from textclf.errors import (
    PreflightError,
    RolledBackError,
    RolloutBusyError,
    RolloutError,
    RolloutStateError,
)
from textclf.rollout.stages import ALL_CANDIDATE, ALL_STABLE
from textclf.rollout.traffic.traffic import Weights

RATE = 60
CANARY: dict[str, Any] = {
    "strategy": "canary",
    "shadow": {"minimum_pairs": 60, "noise_pairs": 100, "limit_seconds": 60},
    "steps": [{"weight_percent": 40, "pause_seconds": 3, "minimum_requests": 60}],
    "baseline": True,
    "budgets": {"latency_ratio": 5.0},  # two CPUs for three versions and their clients
    "look_seconds": 1,
    "hold_limit_seconds": 60,  # in 20, chance alone may keep two equal shares 5 % apart
}


STEP = Weights(candidate_percent=40, baseline_percent=40)
_PROGRAM = (sys.executable, "-m", "scripts.rollout")


class Command:
    """The command, for one stage.

    Attributes:
        state: Folder of the rollout.
        log: What every controller said on stderr.
    """

    def __init__(self, stage: Stage, folder: Path, plan: dict[str, Any]) -> None:
        self._stage = stage
        self.log = folder / "controllers.log"
        self.state = folder / "state"
        plan_file = folder / "rollout.yaml"
        plan_file.write_text(yaml.safe_dump(plan), "utf-8")
        self.strategy = plan["strategy"]
        self.options = [
            *(f"--{version}={url}" for version, url in stage.urls.items()),
            "--traffic=nginx",
            f"--nginx-folder={stage.folder / 'nginx'}",
            f"--recorder={stage.recorder}",
            f"--model={PROJECT / 'models' / 'reference'}",
            f"--plan={plan_file}",
            f"--prometheus={stage.prometheus}",
        ]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command to its end."""
        line = [*_PROGRAM, *arguments, f"--state={self.state}"]
        return subprocess.run(
            line,
            cwd=PROJECT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            text=True,
            timeout=90,
        )

    @contextmanager
    def begun(self, until: Weights | None = None) -> Iterator[subprocess.Popen[bytes]]:
        """Run the rollout in the background, from when traffic is as given."""
        line = [*_PROGRAM, self.strategy, *self.options, f"--state={self.state}", "--yes"]
        with self.log.open("ab") as log, subprocess.Popen(line, cwd=PROJECT, stderr=log) as process:
            try:
                if until:
                    wait_until(lambda: self._arrived(process, until), f"never at {until}")
                yield process
            finally:
                process.kill()

    def _arrived(self, process: subprocess.Popen[bytes], weights: Weights) -> bool:
        if process.poll() is not None:
            pytest.fail(self.log.read_text("utf-8"))
        return self._stage.nginx.read() == weights

    def finish(self, process: subprocess.Popen[bytes], expected: int) -> None:
        """Wait for the end, which has to be of this exit code."""
        assert process.wait(timeout=90) == expected, self.log.read_text("utf-8")

    def verdict(self) -> dict[str, Any]:
        """Return the record."""
        return dict(json.loads((self.state / "verdict.json").read_text("utf-8")))


def test_a_good_candidate_whose_controller_is_killed(stage: Stage, folder: Path) -> None:
    """Killed and started again, a rollout is promoted, once; no client notices either."""
    step = {**CANARY["steps"][0], "pause_seconds": 8}  # so that others run meanwhile
    command = Command(stage, folder, CANARY | {"steps": [step]})
    with stage.load(RATE) as load:
        with command.begun(until=STEP) as first:
            second = command.run(command.strategy, *command.options, "--yes")
            first.kill()
        status = command.run("status")
        with command.begun() as process:
            command.finish(process, 0)
        third = command.run(command.strategy, *command.options, "--yes")

    assert second.returncode == RolloutBusyError.exit_code, second.stderr
    assert third.returncode == RolloutStateError.exit_code, third.stderr
    assert "found a rollout at step 1 of 1 (40 %)" in command.log.read_text("utf-8")
    assert "does not run" in status.stdout
    assert "step 1 of 1 (40 %)" in status.stdout
    assert command.verdict()["decision"] == "promoted"
    assert stage.nginx.read() == ALL_CANDIDATE
    assert [reply.failure for reply in load.replies if reply.failure] == []
    assert "<svg" in (command.state / "report.html").read_text("utf-8")


def test_errors_that_begin_at_the_first_step(stage: Stage, folder: Path) -> None:
    """A candidate that begins to fail loses its traffic, and the reason is one line."""
    command = Command(stage, folder, CANARY | {"shadow": None})
    with stage.load(RATE), command.begun(until=STEP) as process:
        stage.plant("errors")
        command.finish(process, RolledBackError.exit_code)

    assert stage.nginx.read() == ALL_STABLE
    assert command.verdict()["decision"] == "rolled back"
    assert "requests failed" in command.verdict()["reason"]


def test_text_for_a_boolean_gets_no_traffic(stage: Stage, folder: Path) -> None:
    """A candidate that answers "false" for false fails its preflight."""
    stage.plant("text for a boolean")
    command = Command(stage, folder, CANARY)
    done = command.run(command.strategy, *command.options, "--yes")

    assert done.returncode == PreflightError.exit_code, done.stderr
    assert "a JSON boolean" in done.stderr
    assert stage.nginx.read() == ALL_STABLE
    assert command.verdict()["decision"] == "refused"


def test_a_shadow_finds_what_the_preflight_cannot(stage: Stage, folder: Path) -> None:
    """Labels that begin to differ on real requests end a shadow; clients never see them."""
    plan = {name: CANARY[name] for name in ("shadow", "look_seconds")} | {"strategy": "shadow"}
    command = Command(stage, folder, plan)
    with stage.load(RATE) as load, command.begun(until=Weights(mirror_percent=50)) as process:
        stage.plant("flipped labels")
        command.finish(process, RolledBackError.exit_code)

    assert stage.nginx.read() == ALL_STABLE
    assert "disagree" in command.verdict()["reason"]
    assert [reply.failure for reply in load.replies if reply.failure] == []


@pytest.mark.parametrize("word", ["abort", "promote"])
def test_a_person_ends_it(word: str, stage: Stage, folder: Path) -> None:
    """While the controller runs, and with nothing but the folder, a person ends the rollout."""
    command = Command(stage, folder, CANARY | {"shadow": None, "look_seconds": 5})
    with stage.load(RATE), command.begun(until=STEP) as process:
        done = command.run(word, "--yes")
        command.finish(process, RolledBackError.exit_code if word == "abort" else 0)

    assert done.returncode == 0, done.stderr
    assert stage.nginx.read() == (ALL_STABLE if word == "abort" else ALL_CANDIDATE)
    assert command.verdict()["by"] == "operator"


def test_sigterm_leaves_a_rollout_that_can_be_aborted(stage: Stage, folder: Path) -> None:
    """A controller that is told to end leaves traffic as it is, and says what to do next."""
    command = Command(stage, folder, CANARY | {"shadow": None, "look_seconds": 5})
    with command.begun(until=STEP) as process:
        process.terminate()
        command.finish(process, 128 + signal.SIGTERM)
    left = stage.nginx.read()
    done = command.run("abort", "--yes")

    assert "run the same command to go on" in command.log.read_text("utf-8")
    assert left == STEP
    assert done.returncode == 0, done.stderr
    assert stage.nginx.read() == ALL_STABLE


def test_nothing_moves_unasked(stage: Stage, folder: Path) -> None:
    """A dry run shows every stage and leaves no trace; without --yes, somebody has to answer."""
    command = Command(stage, folder, CANARY)
    dry = command.run(command.strategy, *command.options, "--dry-run")
    unasked = command.run(command.strategy, *command.options)

    assert dry.returncode == 0, dry.stderr
    assert "step 1 of 1 (40 %)" in dry.stdout
    assert unasked.returncode == RolloutError.exit_code
    assert "nobody can be asked" in unasked.stderr
    assert not (command.state / "state.json").exists()
    assert stage.nginx.read() == ALL_STABLE
