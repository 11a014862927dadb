"""A TLS server for tests of what is downloaded."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.certificates import Certificates, write_certificates
from tests.conftest import require
from tests.https_server import HttpsServer, serve


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """A throwaway CA and a certificate for this machine."""
    require(shutil.which("openssl") is not None, "the openssl command is missing")
    return write_certificates(tmp_path_factory.mktemp("certificates"), "localhost")


@pytest.fixture
def web(certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpsServer]:
    """A TLS server that this process trusts and reaches without a proxy."""
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority))
    with serve(certificates) as server:
        yield server
