"""TLS by BentoML's own flags."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import httpx
import pytest

from tests.certificates import write_certificates
from tests.conftest import require
from tests.http.serving import Served, serve
from tests.http.test_contract import assert_problem, post
from tests.unit.test_keys import sha256


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


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_nobody_else_is_answered(secured: Served, scheme: str) -> None:
    """Neither a client without TLS nor one that does not trust the authority."""
    url = secured.url.replace("https", scheme)

    with pytest.raises(httpx.TransportError):
        httpx.get(f"{url}/livez", timeout=30)
