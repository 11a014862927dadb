"""The image that was built last, and what it stands on."""

from __future__ import annotations

import yaml

from tests.http.serving import PROJECT
from textclf.errors import BuildError, DockerError
from textclf.image.docker import run_docker
from textclf.image.record import read_record

DIST = PROJECT / "dist"


def base_image() -> str:
    """Return the base of the image that was built last, or the usual one if there is no image."""
    try:
        return str(read_record(DIST)["base"])
    except BuildError:
        configured = yaml.safe_load((PROJECT / "bentofile.yaml").read_text("utf-8"))
        return str(configured["docker"]["base_image"])


def docker_answers() -> bool:
    """Say whether there is a docker command with a daemon behind it."""
    try:
        run_docker("version", timeout_seconds=10)
    except DockerError:
        return False
    return True
