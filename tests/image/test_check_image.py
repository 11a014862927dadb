"""scripts/check_image.py, on the image and on what is none."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import require
from tests.http.serving import PROJECT
from tests.image.built import docker_answers
from tests.image.conftest import check_image
from textclf.errors import DockerError, OperationCheckError, SafetyCheckError
from textclf.image.docker import run_docker

_WAIT_SECONDS = 60


def containers_of(image: str) -> list[str]:
    """Return the containers that were started from an image, running or not."""
    return run_docker("ps", "--all", "--quiet", "--filter", f"ancestor={image}").split()


def test_what_is_no_image(tmp_path: Path) -> None:
    """A name that docker does not know ends in one line, and no report is left to mislead."""
    require(docker_answers(), "docker does not answer")

    checked = check_image("textclf:nowhere", tmp_path)

    assert checked.exit_code == DockerError.exit_code
    assert "docker pull textclf:nowhere failed" in checked.errors.splitlines()[-1]
    assert checked.report == {}


LIMITS = {
    "size": ("--size-budget-mb=9", "over 9 MB", SafetyCheckError),
    "memory": ("--memory-limit-mb=60", "killed for want of memory", OperationCheckError),
    "ready-in-time": ("--start-limit-seconds=1", "ready", OperationCheckError),
}


@pytest.mark.parametrize("name", LIMITS)
def test_limits_are_held(good_image: str, tmp_path: Path, name: str) -> None:
    """An image that takes more than it may is refused, by the check that measures it."""
    option, found, error = LIMITS[name]

    checked = check_image(good_image, tmp_path, f"--only={name}", option)

    assert found in checked.found("failed")[name]
    assert checked.exit_code == error.exit_code
    assert not checked.report["complete"]


def test_a_digest_names_the_image(good_image: str, tmp_path: Path) -> None:
    """An image is found by its Id too, and a report of some checks passes nothing."""
    image_id = run_docker("image", "inspect", "--format", "{{.Id}}", good_image).strip()

    checked = check_image(image_id, tmp_path, "--only=port", "--only=labels")

    assert checked.exit_code == 0
    assert set(checked.found("passed")) == {"port", "labels"}
    assert checked.report["image_id"] == image_id
    assert not checked.report["passed"]


@pytest.mark.parametrize(
    ("number", "exit_code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143)],
    ids=["Ctrl-C", "SIGTERM"],
)
def test_an_interrupted_run_leaves_no_container(
    good_image: str, tmp_path: Path, number: signal.Signals, exit_code: int
) -> None:
    """Every container is removed, and no report says anything of the image."""
    image = f"textclf-interrupted:{tmp_path.name.lower()}"
    run_docker(
        "build", "--quiet", "--tag", image, "-", stdin=f"FROM {good_image}\nLABEL a=b".encode()
    )
    command = [sys.executable, "scripts/check_image.py", image, f"--report-folder={tmp_path}"]
    process = subprocess.Popen(command, cwd=PROJECT, stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + _WAIT_SECONDS
        while len(containers_of(image)) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(number)
        process.communicate(timeout=_WAIT_SECONDS)

        assert process.returncode == exit_code
        assert containers_of(image) == []
        assert list(tmp_path.iterdir()) == []
    finally:
        process.kill()
        process.communicate()
        run_docker("rmi", "--force", image)
