"""The stand-in, and an environment that leads the SDKs to it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.azure.importer import Importer
from tests.azure.standin import AzureStandIn, client_environment
from tests.conftest import require
from tests.tiny_models import TinyModel
from textclf.azureml.environment import V1, V2, Sdk, lay_environment
from textclf.errors import DownloadError


@pytest.fixture(scope="session")
def sdks() -> dict[str, Sdk]:
    """Both SDKs by the name of their source, laid while the package index can be reached."""
    sdks = {"azureml": V1, "azureml-v2": V2}
    try:
        for sdk in sdks.values():
            lay_environment(sdk)
    except DownloadError as exc:
        require(available=False, reason=str(exc))
    return sdks


@pytest.fixture
def azure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AzureStandIn]:
    """A workspace of its own, with AZURE_CREDENTIALS for it, in a home of its own."""
    require(shutil.which("openssl") is not None, "the openssl command is not on PATH")
    with AzureStandIn() as standin:
        for name, value in client_environment(standin, tmp_path / "home").items():
            monkeypatch.setenv(name, value)
        yield standin


@pytest.fixture
def importer(
    sdks: Mapping[str, Sdk],  # noqa: ARG001 - laid before the stand-in shuts the network off
    azure: AzureStandIn,
    roberta_model: TinyModel,
    bentoml_home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Importer:
    """The command, with ``demo:1`` in the registry."""
    return Importer.set_up(azure, roberta_model, bentoml_home, monkeypatch)
