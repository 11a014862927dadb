"""The stand-in keeps what the tests of its clients rest on."""

from __future__ import annotations

import base64
import ssl
import threading
from collections.abc import Iterator

import httpx
import pytest

from tests.azure.registry import (
    ACCOUNT_KEY,
    BLOB_HOST,
    CLIENT,
    CONTAINER,
    ENDPOINT_KEY,
    TENANT,
    blob_url,
)
from tests.azure.standin import AzureStandIn

_FILE = "LocalUpload/demo-1/model/tiny.onnx"
_TOKEN_URL = f"https://login.microsoftonline.com/{TENANT}/oauth2/v2.0/token"
_FORM = {"grant_type": "client_credentials", "client_id": CLIENT, "scope": "x/.default"}


@pytest.fixture
def client(azure: AzureStandIn) -> Iterator[httpx.Client]:
    """A client that trusts the stand-in and goes through it; ``demo:1`` has ten bytes."""
    azure.add_model("demo", {"tiny.onnx": b"0123456789", "sub/vocab.txt": b"words"})
    trust = ssl.create_default_context(cafile=azure.authority)
    with httpx.Client(proxy=azure.proxy_url, verify=trust, trust_env=False) as one:
        yield one


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("", "AuthenticationFailed"),
        ("?sp=r&sig=guessed", "AuthenticationFailed"),
        ("?" + blob_url("", "w").partition("?")[2], "AuthorizationPermissionMismatch"),
    ],
    ids=["no signature", "wrong signature", "signature for writing"],
)
def test_a_blob_needs_its_signature(client: httpx.Client, query: str, code: str) -> None:
    """Only a signature that permits reading opens a blob."""
    refused = client.get(f"https://{BLOB_HOST}/{CONTAINER}/{_FILE}{query}")

    assert (refused.status_code, refused.headers["x-ms-error-code"]) == (403, code)


def test_a_signature_for_reading_does_not_write(client: httpx.Client, azure: AzureStandIn) -> None:
    """A refused upload leaves the blob as it was."""
    refused = client.put(blob_url(_FILE, "r"), content=b"other")

    assert refused.status_code == 403
    assert azure.registry.blobs[_FILE].content == b"0123456789"


@pytest.mark.parametrize(
    ("headers", "status", "content_range", "body"),
    [
        ({}, 200, None, b"0123456789"),
        ({"Range": "bytes=2-4"}, 206, "bytes 2-4/10", b"234"),
        ({"x-ms-range": "bytes=0-33554431"}, 206, "bytes 0-9/10", b"0123456789"),
        ({"x-ms-range": "bytes=8-", "Range": "bytes=0-1"}, 206, "bytes 8-9/10", b"89"),
    ],
    ids=["whole", "Range", "longer than the blob", "x-ms-range comes first"],
)
def test_ranges(
    client: httpx.Client,
    headers: dict[str, str],
    status: int,
    content_range: str | None,
    body: bytes,
) -> None:
    """A range gives 206, says which part it is, and has one length."""
    got = client.get(blob_url(_FILE, "r"), headers=headers)

    assert (got.status_code, got.headers.get("Content-Range"), got.content) == (
        status,
        content_range,
        body,
    )
    assert got.headers.get_list("Content-Length") == [str(len(body))]


def test_a_range_behind_the_end_is_refused(client: httpx.Client) -> None:
    """There is nothing to send from byte 10 of 10."""
    refused = client.get(blob_url(_FILE, "r"), headers={"Range": "bytes=10-"})

    assert (refused.status_code, refused.headers["x-ms-error-code"]) == (416, "InvalidRange")


def test_head_tells_the_size(client: httpx.Client) -> None:
    """HEAD says what GET would send."""
    head = client.head(blob_url(_FILE, "r"))

    assert (head.status_code, head.headers["Content-Length"]) == (200, "10")
    assert head.headers["x-ms-blob-type"] == "BlockBlob"
    assert {"ETag", "Last-Modified"} <= {
        name.title().replace("Etag", "ETag") for name in head.headers
    }


def test_a_missing_blob(client: httpx.Client) -> None:
    """A blob that is not there has an error code of its own."""
    missing = client.get(blob_url("LocalUpload/none", "r"))

    assert (missing.status_code, missing.headers["x-ms-error-code"]) == (404, "BlobNotFound")


def test_a_truncated_download_is_cut(client: httpx.Client, azure: AzureStandIn) -> None:
    """The connection ends before the promised length, once; then all of it comes."""
    azure.faults.blob_truncate_times = 1

    with pytest.raises(httpx.RemoteProtocolError, match="received 5 bytes, expected 10"):
        client.get(blob_url(_FILE, "r"))
    assert client.get(blob_url(_FILE, "r")).content == b"0123456789"


def test_a_busy_store_answers_later(client: httpx.Client, azure: AzureStandIn) -> None:
    """The first downloads get 503, the next one the content."""
    azure.faults.blob_fail_times = 2

    assert [client.get(blob_url(_FILE, "r")).status_code for _ in range(3)] == [503, 503, 200]


def test_listing(client: httpx.Client) -> None:
    """A listing keeps to its prefix, and a delimiter folds what is below into a folder."""
    folder = "LocalUpload/demo-1/model/"
    url = blob_url("", "l").replace("/?", f"?comp=list&restype=container&prefix={folder}&")

    flat, folded = client.get(url).text, client.get(f"{url}&delimiter=/").text

    assert f"<Name>{folder}sub/vocab.txt</Name>" in flat
    assert f"<Name>{folder}tiny.onnx</Name>" in flat
    assert f"<BlobPrefix><Name>{folder}sub/</Name></BlobPrefix>" in folded
    assert "vocab.txt" not in folded


def test_an_upload_in_blocks(client: httpx.Client, azure: AzureStandIn) -> None:
    """Blocks become a blob in the order of the list, not of their arrival."""
    url = blob_url("LocalUpload/new", "rcw")
    for block, content in (("Yg==", b"second"), ("YQ==", b"first ")):
        assert client.put(f"{url}&comp=block&blockid={block}", content=content).status_code == 201
    order = "<BlockList><Latest>YQ==</Latest><Latest>Yg==</Latest></BlockList>"

    committed = client.put(f"{url}&comp=blocklist", content=order.encode())

    assert committed.status_code == 201
    assert azure.registry.blobs["LocalUpload/new"].content == b"first second"


def test_an_upload_that_changed_on_its_way(client: httpx.Client, azure: AzureStandIn) -> None:
    """Content with another MD5 than it states is not stored."""
    other = base64.b64encode(bytes(16)).decode()

    refused = client.put(
        blob_url("LocalUpload/new", "rcw"), content=b"x", headers={"Content-MD5": other}
    )

    assert (refused.status_code, refused.headers["x-ms-error-code"]) == (400, "Md5Mismatch")
    assert "LocalUpload/new" not in azure.registry.blobs


def test_only_the_secret_signs_in(client: httpx.Client, azure: AzureStandIn) -> None:
    """The secret gives a token; anything else is told what Entra would say."""
    refused = client.post(_TOKEN_URL, data={**_FORM, "client_secret": "its ID"})
    secret = azure.credentials["clientSecret"]
    accepted = client.post(_TOKEN_URL, data={**_FORM, "client_secret": secret})

    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")
    assert "AADSTS7000215" in refused.json()["error_description"]
    headers = {"Authorization": f"Bearer {accepted.json()['access_token']}"}
    subscriptions = "https://management.azure.com/subscriptions"
    assert client.get(subscriptions).status_code == 401
    assert client.get(subscriptions, headers=headers).json()["value"]


def test_secrets_can_be_recognised(client: httpx.Client, azure: AzureStandIn) -> None:
    """What a client gets to see of the secrets never gets into the record of requests."""
    secret = azure.credentials["clientSecret"]
    token = client.post(_TOKEN_URL, data={**_FORM, "client_secret": secret}).json()["access_token"]
    client.get(blob_url(_FILE, "r"))

    assert all(one.startswith("PLANTED") for one in azure.secrets)
    assert all(
        any(one in text for text in (secret, token, blob_url("", "r"), ACCOUNT_KEY, ENDPOINT_KEY))
        for one in azure.secrets
    )
    assert not any(one in str(azure.requests) for one in azure.secrets)


def test_an_unknown_route_is_seen(client: httpx.Client, azure: AzureStandIn) -> None:
    """What the stand-in does not play answers 404 with statusCode, and is on record."""
    unknown = client.get("https://eastus.api.azureml.ms/experiments/v1.0/runs")

    assert (unknown.status_code, unknown.json()["statusCode"]) == (404, 404)
    assert azure.requests[-1] == ("GET", "eastus.api.azureml.ms", "/experiments/v1.0/runs")


def test_an_unknown_host_is_refused(client: httpx.Client, azure: AzureStandIn) -> None:
    """Nothing beyond loopback is reached, and who was asked for is on record."""
    with pytest.raises(httpx.ProxyError, match="502"):
        client.get("https://example.com/")

    assert azure.requests == [("CONNECT", "example.com", "")]


def test_closing_ends_what_is_held() -> None:
    """A download that stopped half-way, and a connection that idles, end with the stand-in."""
    threads = threading.active_count()
    with AzureStandIn() as azure:
        azure.add_model("demo", {"tiny.onnx": b"0123456789"})
        azure.faults.hold_downloads = True
        trust = ssl.create_default_context(cafile=azure.authority)
        with (
            httpx.Client(proxy=azure.proxy_url, verify=trust, trust_env=False) as client,
            client.stream("GET", blob_url(_FILE, "r")) as download,
        ):
            assert azure.downloading.wait(10)
            azure.close()
            assert download.read() == b"0123456789"

    assert threading.active_count() == threads


def test_a_failure_of_its_own_is_raised() -> None:
    """A stand-in that fails does not pass for Azure that fails."""
    azure = AzureStandIn()
    azure.registry.blobs = None  # type: ignore[assignment]  # what no client can bring about
    trust = ssl.create_default_context(cafile=azure.authority)
    with httpx.Client(proxy=azure.proxy_url, verify=trust, trust_env=False) as client:
        assert client.get(blob_url(_FILE, "r")).status_code == 500

    with pytest.raises(BaseExceptionGroup, match="the Azure stand-in failed"):
        azure.close()
