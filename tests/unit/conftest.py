"""A TLS server for tests of what is downloaded."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.conftest import require
from tests.https_server import Certificate, HttpsServer, make_certificate, serve


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A throwaway CA and a certificate for this machine."""
    require(shutil.which("openssl") is not None, "the openssl command is missing")
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def web(certificate: Certificate, monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpsServer]:
    """A TLS server that this process trusts and reaches without a proxy."""
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.ca))
    with serve(certificate) as server:
        yield server
