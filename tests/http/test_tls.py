"""TLS by BentoML's own flags."""

from __future__ import annotations

import contextlib
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.certificates import write_certificates
from tests.conftest import require
from tests.http.serving import Served, serve
from tests.http.test_contract import assert_problem, post
from tests.rollout.stage import run_prometheus
from tests.unit.test_keys import sha256

READ_SECONDS = 3.0


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Serve with a certificate, a key, and metrics that ask for the key."""
    require(shutil.which("openssl") is not None, "the openssl command is missing")
    folder = tmp_path_factory.mktemp("secured")
    (folder / "keys").write_text(f"web:{sha256('open sesame')}\n")
    with serve(
        folder,
        certificates=write_certificates(folder, "localhost"),
        API_KEYS_FILE=str(folder / "keys"),
        METRICS_KEY="true",
        READ_TIMEOUT_SECONDS=str(READ_SECONDS),
    ) as served:
        yield served


def test_a_client_that_trusts_the_authority_is_answered(secured: Served) -> None:
    """The certificate is the one that was given, and a key is asked for over TLS too."""
    with secured.client() as client:
        assert_problem(post(client, "/predict", ["good"]), 401)
        client.headers["Authorization"] = "Bearer open sesame"
        assert post(client, "/predict", ["good"]).status_code == 200
        assert client.get("/readyz").status_code == 200


def test_metrics_may_ask_for_a_key(secured: Served) -> None:
    """A key of the file, as a prediction does."""
    right = {"Authorization": "Bearer open sesame"}
    with secured.client() as client:
        assert_problem(client.get("/metrics"), 401)
        assert client.get("/metrics", headers=right).status_code == 200


def test_prometheus_scrapes_with_a_key(secured: Served, tmp_path: Path) -> None:
    """The genuine one, with the key in a file and the authority it trusts."""
    require(shutil.which("prometheus") is not None, "there is no prometheus; run `make parts`")
    assert secured.certificates
    (tmp_path / "key").write_text("open sesame")
    scrape = {
        "scheme": "https",
        "tls_config": {"ca_file": str(secured.certificates.authority)},
        "authorization": {"credentials_file": str(tmp_path / "key")},
    }
    target = secured.url.removeprefix("https://")
    with run_prometheus(tmp_path / "own", [target], scrape=scrape, textclf=1) as prometheus:

        def is_up() -> bool:
            with contextlib.suppress(httpx.TransportError):
                found = httpx.get(f"{prometheus}/api/v1/query", params={"query": "up == 1"})
                return found.is_success and bool(found.json()["data"]["result"])
            return False

        secured.wait_for(is_up, "Prometheus never saw it up")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_nobody_else_is_answered(secured: Served, scheme: str) -> None:
    """Neither a client without TLS nor one that does not trust the authority."""
    url = secured.url.replace("https", scheme)

    with pytest.raises(httpx.TransportError):
        httpx.get(f"{url}/livez", timeout=30)


def test_a_handshake_that_does_not_come_is_not_waited_for(secured: Served) -> None:
    """Longer than a head would be."""
    url = httpx.URL(secured.url)
    began = time.monotonic()
    silent = socket.create_connection((url.host, url.port or 443), timeout=30)
    with silent, contextlib.suppress(ConnectionResetError):
        assert silent.recv(1) == b""

    assert time.monotonic() - began >= 0.9 * READ_SECONDS
