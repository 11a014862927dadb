"""The workflows hold no logic and no more rights than they use."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.http.serving import PROJECT

WORKFLOWS = sorted((PROJECT / ".github" / "workflows").glob("*.yml"))
MAKEFILE = (PROJECT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z-]+):.*##", MAKEFILE, flags=re.MULTILINE))
PINNED = re.compile(r"uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")


def jobs() -> list[Any]:
    """Return every job of every workflow."""
    workflows = [yaml.safe_load(path.read_text()) for path in WORKFLOWS]
    return [
        pytest.param(job, id=name)
        for workflow in workflows
        for name, job in workflow["jobs"].items()
    ]


def make_targets(script: str) -> list[str]:
    """Return the targets that a script makes."""
    return re.findall(r"^(?:step )?make (\S+)$", script, flags=re.MULTILINE)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_has_no_permission_of_its_own(path: Path) -> None:
    """Rights are granted job by job, and a newer push ends the run of an older one."""
    workflow = yaml.safe_load(path.read_text())

    assert workflow["permissions"] == {}
    assert "concurrency" in workflow


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_by_commit(path: Path) -> None:
    """Each action is a commit, and says which version that is."""
    uses = [line.strip() for line in path.read_text().splitlines() if "uses:" in line]

    assert uses
    assert [line for line in uses if not PINNED.fullmatch(line)] == []


@pytest.mark.parametrize("job", jobs())
def test_jobs_are_bounded(job: dict[str, Any]) -> None:
    """A job names its rights, ends in time, and leaves no credentials behind."""
    checkouts = [
        step for step in job["steps"] if step.get("uses", "").startswith("actions/checkout")
    ]

    assert "permissions" in job
    assert job["timeout-minutes"] <= 30
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


@pytest.mark.parametrize("job", jobs())
def test_runs_are_targets_that_exist(job: dict[str, Any]) -> None:
    """A step makes a target of the Makefile, in three lines at most, and interpolates nothing."""
    runs = [step["run"] for step in job["steps"] if "run" in step]

    assert runs
    for run in runs:
        assert len(run.splitlines()) <= 3
        assert "${{" not in run
        assert make_targets(run)
        assert set(make_targets(run)) <= TARGETS


def test_ci_runs_what_the_workflow_runs() -> None:
    """`.ci/run` and the workflow make the same targets in the same order."""
    workflow = yaml.safe_load((PROJECT / ".github" / "workflows" / "ci.yml").read_text())
    runs = "\n".join(step.get("run", "") for step in workflow["jobs"]["ci"]["steps"])

    assert make_targets(runs) == make_targets((PROJECT / ".ci" / "run").read_text())
