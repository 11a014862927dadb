"""The image that compares versions runs as the Job of deploy/kubernetes does."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import require
from tests.http.serving import PROJECT
from tests.image.built import base_image, docker_answers
from tests.repo.manifests import build, find, jobs
from textclf.errors import RolledBackError
from textclf.image.docker import run_docker

_CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
_NO_PAIRS = """\
strategy: shadow
shadow: {limit_seconds: 1.0}
look_seconds: 0.5
hold_limit_seconds: 1.0
"""


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    """Build the image."""
    require(docker_answers(), "docker does not answer")
    tag = f"textclf-rollout:{uuid.uuid4().hex[:8]}"
    trusted = ["--secret", f"id=ca-bundle,src={_CA_BUNDLE}"] if _CA_BUNDLE.exists() else []
    subprocess.run(
        [
            *("docker", "build", "--quiet", "--file", "deploy/rollout.Dockerfile", "--tag", tag),
            *("--build-arg", f"BASE_IMAGE={base_image()}", *trusted, "."),
        ],
        cwd=PROJECT,
        env=os.environ | {"DOCKER_BUILDKIT": "1"},
        check=True,
    )
    yield tag
    run_docker("image", "rm", "--force", tag)


def test_the_job_ends_by_its_verdict(image: str, tmp_path: Path) -> None:
    """Bound as in Kubernetes it records, finds nothing in time, and says that nothing may go on."""
    template = find(build("argo/canary"), "AnalysisTemplate", "textclf-pairs")
    (job,) = jobs(template)
    spec = job["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    user = spec["securityContext"]
    plan = tmp_path / "rollout.yaml"
    plan.write_text(_NO_PAIRS)
    tmp_path.chmod(0o755)

    done = subprocess.run(
        [
            *("docker", "run", "--rm", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL"),  # noqa: S108
            *("--security-opt", "no-new-privileges", "--network", "none"),
            *("--user", f"{user['runAsUser']}:{user['runAsGroup']}"),
            *("--volume", f"{plan}:/rollout.yaml:ro", image),
            *(*container["command"], *container["args"], "--plan=/rollout.yaml"),
        ],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == RolledBackError.exit_code, done.stdout + done.stderr
    assert "error: no evidence within 1 s" in done.stderr
