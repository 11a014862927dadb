"""One running service for the tests that do not change it."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.http.serving import PROJECT, Served, serve
from textclf.artifact import Artifact, read_artifact


@pytest.fixture(scope="session")
def reference() -> Artifact:
    """Return the model that comes with the project."""
    return read_artifact(PROJECT / "models" / "reference")


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Serve the reference model from an empty store, as in a fresh clone."""
    with serve(tmp_path_factory.mktemp("service")) as served:
        yield served


@pytest.fixture
def client(service: Served) -> Iterator[httpx.Client]:
    """Return a client of that service."""
    with service.client() as client:
        yield client
