"""The image under test, and what the checks say of it and of broken ones."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import require
from tests.http.serving import PROJECT
from tests.image.broken.images import BROKEN, BrokenImage
from tests.image.built import DIST, docker_answers
from textclf.artifact import read_artifact
from textclf.image.checks.running import select
from textclf.image.docker import run_docker
from textclf.image.record import RECORD, read_record

_AT_ONCE = 2


@dataclass(frozen=True)
class Checked:
    """What one run of scripts/check_image.py came to."""

    exit_code: int
    errors: str
    report: dict[str, Any]

    def found(self, outcome: str) -> dict[str, str]:
        """Return the detail of each check with this outcome, by name."""
        checks = self.report["checks"]
        return {check["name"]: check["detail"] for check in checks if check["outcome"] == outcome}


@pytest.fixture(scope="session")
def good_image() -> str:
    """Return the image that `make image` made, of the model whose answers the tests know."""
    require(docker_answers(), "docker does not answer")
    require((DIST / RECORD).is_file(), f"{DIST / RECORD} is missing; run make image")
    record = read_record(DIST)
    reference = read_artifact(PROJECT / "models" / "reference")
    require(
        record["model"] == reference.tag,
        f"the image holds {record['model']} and these tests know {reference.tag}; "
        "run them with an empty store: BENTOML_HOME=$(mktemp -d) make image image-test",
    )
    return str(record["reference"])


@pytest.fixture(scope="session")
def check_broken(
    good_image: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Checked]]:
    """Return what gives the result for a broken image.

    All that this session asks for are built and checked two at a time, since most of it is waiting.
    """
    folder = tmp_path_factory.mktemp("broken")
    repository = f"textclf-broken-{uuid.uuid4().hex[:12]}"
    wanted = [
        str(item.callspec.params["name"])
        for item in request.session.items
        if isinstance(item, pytest.Function)
        and hasattr(item, "callspec")
        and "check_broken" in item.fixturenames
    ]

    def check(name: str) -> Checked:
        number = list(BROKEN).index(name)
        image = f"{repository}:{number}"
        broken = BROKEN[name]
        build(image, good_image, broken, folder / f"{number}-build")
        options = broken.options_for([check.name for check in select([])])
        return check_image(image, folder / f"{number}-report", *options)

    pool = ThreadPoolExecutor(_AT_ONCE)
    results: dict[str, Future[Checked]] = {name: pool.submit(check, name) for name in wanted}
    try:
        yield lambda name: results[name].result()
    finally:
        pool.shutdown(cancel_futures=True)
        if images := run_docker("images", "--quiet", repository).split():
            run_docker("rmi", "--force", *images)


def build(image: str, base: str, broken: BrokenImage, folder: Path) -> None:
    """Build a broken image."""
    folder.mkdir()
    for name, content in broken.files.items():
        (folder / name).write_bytes(content)
    user = () if "USER" in broken.dockerfile else ("USER 1034:1034",)
    dockerfile = "\n".join([f"FROM {base}", "USER 0", broken.dockerfile, *user])
    (folder / "Dockerfile").write_text(dockerfile + "\n", "utf-8")
    run_docker("build", "--quiet", "--force-rm", "--tag", image, str(folder))


def check_image(image: str, folder: Path, *options: str) -> Checked:
    """Run scripts/check_image.py as a person would."""
    done = subprocess.run(
        [
            sys.executable,
            PROJECT / "scripts" / "check_image.py",
            image,
            f"--report-folder={folder}",
            "--model=models/reference",
            *options,
        ],
        cwd=PROJECT,
        check=False,
        capture_output=True,
        text=True,
    )
    report = folder / "check.json"
    return Checked(
        done.returncode, done.stderr, json.loads(report.read_text()) if report.is_file() else {}
    )
