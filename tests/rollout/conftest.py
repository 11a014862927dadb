"""One stage for the tests that leave it as it was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rollout.stage import Stage, set_stage


@pytest.fixture(scope="session")
def running_stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Set the stage once."""
    with set_stage(tmp_path_factory.mktemp("stage")) as stage:
        yield stage


@pytest.fixture
def stage(running_stage: Stage) -> Iterator[Stage]:
    """The stage without a fault, all traffic on the stable version."""
    running_stage.reset()
    yield running_stage
    running_stage.reset()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of one test."""
    return tmp_path
