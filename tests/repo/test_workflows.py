"""The workflows hold no logic, no more rights than they use, and publish nothing unchecked."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.http.serving import PROJECT

Job = dict[str, Any]
Jobs = dict[str, Job]

WORKFLOWS = sorted((PROJECT / ".github" / "workflows").glob("*.yml"))
IMAGE_TEXT = (PROJECT / ".github" / "workflows" / "image.yml").read_text()
IMAGE = yaml.safe_load(IMAGE_TEXT)
RELEASE = yaml.safe_load((PROJECT / ".github" / "workflows" / "release.yml").read_text())
ROLLOUT = yaml.safe_load((PROJECT / ".github" / "workflows" / "rollout.yml").read_text())
TARGETS = re.findall(r"^([a-z-]+):.*##", (PROJECT / "Makefile").read_text(), re.MULTILINE)
SOURCES = [*(PROJECT / "scripts").rglob("*.py"), *(PROJECT / "textclf").rglob("*.py")]
OPTIONS = "".join(path.read_text() for path in SOURCES)
CI_RUN = (PROJECT / ".ci" / "run").read_text()
# zizmor asks for $/, which is this repository at the commit that runs.
PINNED = re.compile(
    r"uses: ([\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+|\$/\.github/workflows/\w+\.yml)"
)
# cosign signs as the workflow itself, an identity that only GitHub can give, and verifies that: no
# test here has it.
CALL = re.compile(
    r"make (?P<target>[a-z-]+)( .*)?|cosign (sign|verify) .*|"
    r"\.venv/bin/python (?P<script>scripts/\w+\.py) .*"
)
REACHES_A_REGISTRY = re.compile(r"docker/login-action|actions/attest|cosign sign|publish_image\.py")
CALLS_IMAGE = "$/.github/workflows/image.yml"
WAYS_AROUND = [
    ("needs: [check, scan", "needs: [check", "publish does not wait for scan"),
    ("needs: [check, scan", "needs: [scan", "publish does not wait for check"),
    ("[check, scan, approve]", "[check, scan]", "publish does not wait for approve"),
    ("needs: publish", "needs: model", "sign does not wait for check"),
    ("run: make image", "run: cosign sign", "build does not wait for approve"),
    ("if: inputs.publish", "if: always()", "approve can be passed"),
    ("name: Check on", "continue-on-error: true #", "check can be passed"),
    ("check_image.py dist/", "show_model.py dist/", "check checks nothing"),
    ('exit-code: "1"', 'exit-code: "0"', "scan refuses nothing"),
    ("environment: release", "environment: anyone", "approve asks nobody"),
    ("-check-${{", "-image-${{", "check makes the image too"),
    ("-image-*", "-other-*", "publish does not take the image that was built"),
    ("-check-*", "-scan-*", "publish does not take the reports"),
    ("--report", "--other", "publish does not pass the reports"),
    ("DIGEST: ${{ needs", "DIGEST: ${{ inputs", "smoke has a digest of its own"),
]


def all_jobs() -> list[Any]:
    """Return every job of every workflow."""
    return [
        pytest.param(job, id=f"{path.stem}-{name}")
        for path in WORKFLOWS
        for name, job in yaml.safe_load(path.read_text())["jobs"].items()
    ]


def make_targets(script: str) -> list[str]:
    """Return the targets that a script makes."""
    return re.findall(r"^(?:step )?make (\S+)", script, flags=re.MULTILINE)


def runs(job: Job) -> list[str]:
    """Return what a job runs; one that calls a workflow runs nothing itself."""
    return [step["run"] for step in job.get("steps", []) if "run" in step]


def before(jobs: Jobs, name: str) -> set[str]:
    """Return every job that has to succeed before this one starts."""
    needs = jobs[name].get("needs", [])
    direct = {needs} if isinstance(needs, str) else set(needs)
    return direct.union(*(before(jobs, need) for need in direct))


def reaches_a_registry(job: Job) -> bool:
    """Say whether a job may log in to a registry, publish or sign; image.yml answers for itself."""
    if job.get("uses") == CALLS_IMAGE:
        return False
    rights = job["permissions"]
    steps = [step.get("uses", "") + step.get("run", "") for step in job["steps"]]
    writes = "write" in {rights.get("packages"), rights.get("attestations")}
    return writes or any(REACHES_A_REGISTRY.search(step) for step in steps)


def artifacts(job: Job, verb: str) -> list[str]:
    """Return the names of the artifacts that a job uploads or downloads; * is any architecture."""
    names = [
        step["with"].get("name") or step["with"]["pattern"]
        for step in job["steps"]
        if step.get("uses", "").startswith(f"actions/{verb}-artifact@")
    ]
    return [name.replace("${{ matrix.architecture }}", "*") for name in names]


def can_be_passed(job: Job) -> bool:
    """Say whether a job may go on, or let others go on, after something failed."""
    softened = any(part.get("continue-on-error") for part in (job, *job["steps"]))
    return softened or job.get("if", "inputs.publish") != "inputs.publish"


def order_faults(jobs: Jobs) -> list[str]:
    """Return which jobs reach a registry without build, check, scan and approve behind them."""
    gates = {"build", "check", "scan", "approve"}
    waits = [
        f"{name} does not wait for {gate}"
        for name, job in jobs.items()
        if reaches_a_registry(job)
        for gate in sorted(gates - before(jobs, name))
    ]
    judged = [name for name, job in jobs.items() if name in gates or reaches_a_registry(job)]
    return waits + [f"{name} can be passed" for name in judged if can_be_passed(jobs[name])]


def identity_faults(jobs: Jobs) -> list[str]:
    """Return where another image than the built one, or no report of it, could come in."""
    (image,) = artifacts(jobs["build"], "upload")
    (report,) = artifacts(jobs["check"], "upload")
    builders = [name for name, job in jobs.items() if image in artifacts(job, "upload")]
    faults = [f"{name} makes the image too" for name in builders if name != "build"]
    faults += [
        f"{name} does not take the image that was built"
        for name in ("check", "scan", "publish")
        if image not in artifacts(jobs[name], "download")
    ]
    if report not in artifacts(jobs["publish"], "download"):
        faults.append("publish does not take the reports")
    if not any("--report %s ' dist/*/check.json" in run for run in runs(jobs["publish"])):
        faults.append("publish does not pass the reports")
    return faults + [
        f"{name} has a digest of its own"
        for name in jobs
        if "publish" in before(jobs, name)
        and "needs.publish.outputs.digest" not in json.dumps(jobs[name])
    ]


def gate_faults(jobs: Jobs) -> list[str]:
    """Return which gate does not hold anything back."""
    refusing = [
        step
        for step in jobs["scan"]["steps"]
        if step.get("with", {}).get("exit-code") == "1" and "if" not in step
    ]
    faults = [] if refusing else ["scan refuses nothing"]
    if jobs["approve"].get("environment") != "release":
        faults.append("approve asks nobody")
    if not any("scripts/check_image.py dist/image.tar" in run for run in runs(jobs["check"])):
        faults.append("check checks nothing")
    return faults


def faults(workflow: dict[str, Any]) -> list[str]:
    """Return every way in which image.yml could publish what was not checked."""
    jobs = workflow["jobs"]
    return order_faults(jobs) + identity_faults(jobs) + gate_faults(jobs)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_has_no_permission_of_its_own(path: Path) -> None:
    """Rights are granted job by job, and two runs of one branch do not overlap."""
    workflow = yaml.safe_load(path.read_text())

    assert workflow["permissions"] == {}
    assert "concurrency" in workflow


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_by_commit(path: Path) -> None:
    """Each action is a commit, and says which version that is."""
    uses = [line.strip(" -") for line in path.read_text().splitlines() if "uses:" in line]

    assert uses
    assert [line for line in uses if not PINNED.fullmatch(line)] == []


def test_an_action_has_one_version() -> None:
    """No two workflows use different commits of one action."""
    uses = re.findall(r"uses: (\S+)@(\w+)", "".join(path.read_text() for path in WORKFLOWS))

    assert len(dict(uses)) == len(set(uses))


@pytest.mark.parametrize("job", all_jobs())
def test_jobs_are_bounded(job: Job) -> None:
    """A job names its rights, ends in time, and leaves no credentials behind."""
    steps = job.get("steps", [])
    checkouts = [step for step in steps if step.get("uses", "").startswith("actions/checkout")]

    assert "permissions" in job
    assert job.get("uses") == CALLS_IMAGE or job["timeout-minutes"] <= 60
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


@pytest.mark.parametrize("job", all_jobs())
def test_runs_are_calls_of_what_exists(job: Job) -> None:
    """A step makes targets or calls scripts, in three lines at most, and interpolates nothing."""
    for run in runs(job):
        assert len(run.splitlines()) <= 3
        assert "${{" not in run
        for line in run.replace("\\\n", "").splitlines():
            call = CALL.fullmatch(line)
            assert call, f"neither a make target nor a script: {line}"
            assert call["target"] is None or call["target"] in TARGETS
            assert call["script"] is None or (PROJECT / call["script"]).is_file()
            for option in re.findall(r"--[a-z][a-z-]+", line) if call["script"] else ():
                assert f'"{option}"' in OPTIONS


@pytest.mark.parametrize("job", all_jobs())
def test_what_workflows_call_is_tested_here(job: Job) -> None:
    """`.ci/run` makes each target, and a test names each script: no code is of workflows alone."""
    tests = (path.read_text() for path in (PROJECT / "tests").rglob("*.py"))
    named = "\n".join(text for text in tests if "REACHES_A_REGISTRY" not in text)
    script = "\n".join(runs(job))

    assert set(make_targets(script)) <= {*make_targets(CI_RUN), "environment"}
    for name in re.findall(r"scripts/(\w+)\.py", script):
        assert re.search(rf"\b{name}\b", named), f"no test names scripts/{name}.py"


def test_ci_runs_what_the_workflow_runs() -> None:
    """`.ci/run` and the workflow make the same targets in the same order."""
    workflow = yaml.safe_load((PROJECT / ".github" / "workflows" / "ci.yml").read_text())

    assert make_targets("\n".join(runs(workflow["jobs"]["ci"]))) == make_targets(CI_RUN)


def test_nothing_is_published_unchecked() -> None:
    """Whatever reaches a registry comes after its check, its scan and a review, and is the same."""
    assert faults(IMAGE) == []
    assert [name for name, job in IMAGE["jobs"].items() if reaches_a_registry(job)] == [
        "publish", "sign", "attest", "smoke",
    ]  # fmt: skip


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_only_the_image_workflow_publishes(path: Path) -> None:
    """Every other workflow has to call it, and one that a pull request starts does not."""
    workflow = yaml.safe_load(path.read_text())
    jobs = workflow["jobs"].values()

    assert path.name == "image.yml" or not any(map(reaches_a_registry, jobs))
    if "pull_request" in workflow[True]:  # YAML 1.1 reads the key on as true
        assert not any("uses" in job for job in jobs)


@pytest.mark.parametrize(
    ("identity", "accepted"),
    [
        ("OWNER/textclf/.github/workflows/image.yml@refs/heads/main", True),
        ("OWNER/textclf/.github/workflows/image.yml@refs/tags/v1.2.0", True),
        ("OWNER/textclf/.github/workflows/image.yml@refs/heads/anything", False),
        ("OWNER/textclf/.github/workflows/image.yml@refs/heads/main-too", False),
        ("OWNER/textclf/.github/workflows/image.yml@refs/pull/1/merge", False),
        ("OWNER/textclf/.github/workflows/other.yml@refs/heads/main", False),
        ("ANYONE/textclf/.github/workflows/image.yml@refs/heads/main", False),
    ],
)
def test_a_rollout_takes_what_main_or_a_release_published(identity: str, accepted: bool) -> None:
    """A branch can change image.yml unseen, and sign as it; cosign searches, so both ends count."""
    commands = "\n".join(run for job in ROLLOUT["jobs"].values() for run in runs(job))
    (pattern,) = re.findall(r'--certificate-identity-regexp "(.*)"', commands)
    pattern = pattern.replace("$GITHUB_REPOSITORY", "OWNER/textclf")

    assert bool(re.search(pattern, f"https://github.com/{identity}")) is accepted


@pytest.mark.parametrize("job", all_jobs())
def test_no_secret_is_there_while_packages_are_installed(job: Job) -> None:
    """What a package runs as it is built could read it."""
    installing = [
        step for step in job.get("steps", []) if "make environment" in step.get("run", "")
    ]

    assert "secrets." not in json.dumps([installing, job.get("env", {})])


@pytest.mark.parametrize(("old", "new", "fault"), WAYS_AROUND, ids=[way[2] for way in WAYS_AROUND])
def test_a_way_around_a_gate_is_found(old: str, new: str, fault: str) -> None:
    """The walk above refuses a workflow in which a gate can be gone round."""
    assert old in IMAGE_TEXT
    assert fault in faults(yaml.safe_load(IMAGE_TEXT.replace(old, new)))


@pytest.mark.parametrize("name", IMAGE["jobs"])
def test_artifacts_are_kept_for_a_while(name: str) -> None:
    """An artifact has its architecture in its name, is never empty, and does not stay for ever."""
    job = IMAGE["jobs"][name]
    for step in job["steps"]:
        if step.get("uses", "").startswith("actions/upload-artifact@"):
            assert "strategy" not in job or "${{ matrix.architecture }}" in step["with"]["name"]
            assert step["with"]["if-no-files-found"] == "error"
            assert step["with"]["retention-days"] <= 30


def test_an_image_is_judged_on_its_own_architecture() -> None:
    """Whatever starts an image has the runner that built it."""
    build, *others = (IMAGE["jobs"][name] for name in ("build", "check", "scan", "smoke"))

    assert all(job["runs-on"] == build["runs-on"] for job in others)
    assert all(job["strategy"] == build["strategy"] for job in others)


def test_a_caller_elsewhere_runs_this_repository() -> None:
    """Each checkout of image.yml is of its own commit, not of what the caller has."""
    checkouts = re.findall(r"actions/checkout@.*\n +with:\n +(.*)\n +(.*)\n", IMAGE_TEXT)

    assert {(a.split(" #")[0], b) for a, b in checkouts} == {
        ("repository: ${{ job.workflow_repository }}", "ref: ${{ job.workflow_sha }}")
    }


def test_release_calls_image_as_it_is() -> None:
    """The caller passes what is asked for and grants what is used, and no queue holds itself up."""
    call, declared = RELEASE["jobs"]["image"], IMAGE[True]["workflow_call"]
    required = {name for name, value in declared["inputs"].items() if value.get("required")}
    rights = {right for job in IMAGE["jobs"].values() for right in job["permissions"].items()}

    assert required <= set(call["with"]) <= set(declared["inputs"])
    assert set(call["secrets"]) <= set(declared["secrets"])
    assert call["permissions"] == dict(sorted(rights))  # where there are both, write is the last
    assert "github.workflow" not in IMAGE["concurrency"]["group"]  # it is the caller's: a deadlock
