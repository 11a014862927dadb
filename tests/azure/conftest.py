"""The stand-in, and an environment that leads the SDKs to it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.azure.standin import AzureStandIn
from tests.conftest import require
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
    home = Path.home()
    cache = os.environ.get("XDG_CACHE_HOME", home / ".cache")
    data = os.environ.get("XDG_DATA_HOME", home / ".local" / "share")
    kept = {  # where uv has the environments of scripts, and the interpreters they run on
        "UV_CACHE_DIR": Path(cache) / "uv",
        "UV_PYTHON_INSTALL_DIR": Path(data) / "uv" / "python",
        "PYENV_ROOT": home / ".pyenv",
    }
    for name, folder in kept.items():
        monkeypatch.setenv(name, os.environ.get(name, str(folder)))
    own_home = tmp_path / "home"
    own_home.mkdir()
    monkeypatch.setenv("HOME", str(own_home))
    monkeypatch.setenv("AZURE_CONFIG_DIR", str(own_home / "azure"))
    with AzureStandIn() as standin:
        for name, value in standin.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AZURE_CREDENTIALS", json.dumps(standin.credentials))
        yield standin
