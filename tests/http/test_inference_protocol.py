"""The Open Inference Protocol, asked for by the genuine clients and held against its schema."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema
import numpy as np
import pytest
import tritonclient.http
import tritonclient.http.aio
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

import textclf
from tests.http.serving import PROJECT, Served
from tests.http.test_contract import post
from textclf.artifact import Artifact

SCHEMA = json.loads((PROJECT / "tests/http/open_inference_protocol.json").read_text())
MODEL, VERSION = "sentiment", "reference-2"
PATH = f"/v2/models/{MODEL}"
OUTPUTS = ("label", "score", "truncated")
JSON_LENGTH = "Inference-Header-Content-Length"


def conform(content: Any, name: str) -> Any:
    """Hold an object against the protocol's schema, and return it."""
    jsonschema.validate(content, {"$ref": f"#/$defs/{name}", "$defs": SCHEMA["$defs"]})
    return content


def text_input(texts: list[str], *, binary: bool = True, column: bool = False) -> InferInput:
    """Return the input tensor of texts, with one or two dimensions."""
    array = np.array([text.encode() for text in texts], dtype=np.object_)
    array = array.reshape(-1, 1) if column else array
    return InferInput("text", list(array.shape), "BYTES").set_data_from_numpy(array, binary)


def outputs(*names: str, binary: bool) -> list[InferRequestedOutput]:
    """Return a wish for these outputs."""
    return [InferRequestedOutput(name, binary_data=binary) for name in names]


def labels(result: Any) -> list[str]:
    """Return the labels of an answer, which has them as bytes or as text."""
    found = result.as_numpy("label").ravel()
    return [label.decode() if isinstance(label, bytes) else label for label in found]


@pytest.fixture(scope="module")
def triton(service: Served) -> Iterator[InferenceServerClient]:
    """Return Triton's client of the service."""
    with InferenceServerClient(service.url.removeprefix("http://"), concurrency=8) as client:
        yield client


def test_health_and_metadata(triton: InferenceServerClient) -> None:
    """The service and its model say what they are; another model is not ready."""
    assert triton.is_server_live()
    assert triton.is_server_ready()
    assert triton.is_model_ready(MODEL)
    assert triton.is_model_ready(MODEL, VERSION)
    assert not triton.is_model_ready(MODEL, "1")
    assert not triton.is_model_ready("resnet")
    assert triton.get_server_metadata() == {
        "name": "textclf",
        "version": textclf.__version__,
        "extensions": ["binary_tensor_data"],
    }
    described = triton.get_model_metadata(MODEL)
    assert described == triton.get_model_metadata(MODEL, VERSION)
    assert described["versions"] == [VERSION]
    assert [tensor["name"] for tensor in described["outputs"]] == list(OUTPUTS)


@pytest.fixture(scope="module")
def classified(service: Served, reference: Artifact) -> tuple[list[str], list[dict[str, Any]]]:
    """Return 64 texts and what /classify predicts of each."""
    texts = [example.text for example in reference.golden[:62]] + ["été ☕", "good " * 1000]
    with service.client() as client:
        return texts, post(client, "/classify", {"texts": texts}).json()["predictions"]


@pytest.mark.parametrize(
    ("binary_in", "binary_out", "column"),
    [(False, False, False), (False, True, True), (True, False, True), (True, True, False)],
    ids=["JSON", "JSON to bytes, column", "bytes to JSON, column", "bytes"],
)
def test_answers_are_those_of_classify(
    triton: InferenceServerClient,
    classified: tuple[list[str], list[dict[str, Any]]],
    binary_in: bool,
    binary_out: bool,
    column: bool,
) -> None:
    """Labels, scores and truncation of 64 texts, whichever way they are sent."""
    texts, expected = classified

    result = triton.infer(
        MODEL,
        [text_input(texts, binary=binary_in, column=column)],
        outputs=outputs(*OUTPUTS, binary=binary_out),
    )

    assert labels(result) == [prediction["label"] for prediction in expected]
    scores = result.as_numpy("score")
    assert scores.dtype == np.float32
    assert scores.shape == ((64, 1) if column else (64,))
    assert scores.ravel() == pytest.approx([p["score"] for p in expected], abs=1e-6)
    assert result.as_numpy("truncated").ravel().tolist() == [False] * 63 + [True]


def test_a_request_chooses_its_outputs(triton: InferenceServerClient) -> None:
    """Each is given as asked, in that order; the id comes back, and so does the version."""
    wished = [*outputs("score", binary=True), *outputs("label", binary=False)]

    result = triton.infer(
        MODEL, [text_input(["fine"])], model_version=VERSION, outputs=wished, request_id="42"
    )

    response = result.get_response()
    assert [output["name"] for output in response["outputs"]] == ["score", "label"]
    assert (response["id"], response["model_version"]) == ("42", VERSION)
    assert result.as_numpy("score").shape == (1,)
    assert result.as_numpy("truncated") is None


def test_concurrent_requests_get_their_own_answers(
    triton: InferenceServerClient, reference: Artifact
) -> None:
    """Texts of many lengths in many requests at once each get the recorded answer."""
    golden = list(reference.golden)
    calls = [triton.async_infer(MODEL, [text_input([e.text])], request_id=e.text) for e in golden]

    for example, call in zip(golden, calls, strict=True):
        result = call.get_result()
        assert result.get_response()["id"] == example.text
        assert labels(result) == [example.label]
        assert result.as_numpy("score") == pytest.approx([example.score], abs=0.01)


def test_client_of_asyncio(service: Served, reference: Artifact) -> None:
    """It sends what it has as a stream of octets, also where that is JSON alone."""
    example = reference.golden[0]

    async def ask(binary: bool) -> Any:
        url = service.url.removeprefix("http://")
        async with tritonclient.http.aio.InferenceServerClient(url) as client:
            return await client.infer(MODEL, [text_input([example.text], binary=binary)])

    for binary in (False, True):
        assert labels(asyncio.run(ask(binary))) == [example.label]


REFUSED: dict[str, tuple[list[str], dict[str, Any], str, str]] = {
    "blank": (["fine", " \t"], {}, "400", "/inputs/0/data/1: a text needs more"),
    "over-long": (["x" * 8193], {}, "400", "/inputs/0/data/0: String should have at most 8192"),
    "too many": (["x"] * 65, {}, "400", "/inputs/0/shape/0"),
    "too large": (["x" * 8000] * 180, {}, "413", "1048576"),
    "model": (["fine"], {"model_name": "resnet"}, "404", f"{MODEL}, version {VERSION}, is served"),
    "version": (["fine"], {"model_version": "7"}, "404", f"{MODEL}, version {VERSION}, is served"),
    "output": (["fine"], {"outputs": outputs("logits", binary=True)}, "400", "/outputs/0/name"),
    "classes": (
        ["fine"],
        {"outputs": [InferRequestedOutput("label", class_count=2)]},
        "400",
        "/outputs/0/parameters",
    ),
    "compressed": (["fine"], {"request_compression_algorithm": "gzip"}, "415", "Encoding"),
}


@pytest.mark.parametrize(
    ("texts", "options", "status", "says"), REFUSED.values(), ids=REFUSED.keys()
)
def test_errors_reach_the_client(
    triton: InferenceServerClient,
    texts: list[str],
    options: dict[str, Any],
    status: str,
    says: str,
) -> None:
    """As the client's own exception, with the status and what to do."""
    with pytest.raises(InferenceServerException) as refused:
        triton.infer(**{"model_name": MODEL, "inputs": [text_input(texts)], **options})

    assert refused.value.status() == status
    assert says in refused.value.message()


@pytest.mark.parametrize("binary", [False, True], ids=["JSON", "bytes"])
def test_requests_and_answers_have_the_protocols_form(client: httpx.Client, binary: bool) -> None:
    """What Triton's client sends and what it gets both fit the schema."""
    body, length = InferenceServerClient.generate_request_body(
        [text_input(["a", "bc"], binary=binary)],
        outputs=outputs(*OUTPUTS, binary=binary),
        request_id="7",
        parameters={"content_type": "str"},
    )
    request = conform(json.loads(body[:length]), "inference_request")
    headers = {JSON_LENGTH: str(length)} if length else {}

    response = client.post(f"{PATH}/infer", content=bytes(body), headers=headers)

    assert response.status_code == 200
    head = int(response.headers.get(JSON_LENGTH, len(response.content)))
    answer = conform(json.loads(response.content[:head]), "inference_response")
    assert (answer["id"], len(answer["outputs"])) == (request["id"], 3)
    kind = "application/octet-stream" if binary else "application/json"
    assert response.headers["content-type"] == kind
    sizes = [o["parameters"]["binary_data_size"] for o in answer["outputs"] if binary]
    assert sum(sizes) == len(response.content) - head


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v2", "metadata_server_response"),
        ("/v2/", "metadata_server_response"),
        ("/v2/health/live", "live_server_response"),
        ("/v2/health/ready", "ready_server_response"),
        (PATH, "metadata_model_response"),
        (f"{PATH}/versions/{VERSION}", "metadata_model_response"),
        (f"{PATH}/ready", "ready_model_response"),
        (f"{PATH}/versions/{VERSION}/ready", "ready_model_response"),
    ],
)
def test_what_is_read_has_the_protocols_form(client: httpx.Client, path: str, name: str) -> None:
    """And every answer says its request's id and the model."""
    response = client.get(path)

    assert response.status_code == 200
    conform(response.json(), name)
    assert response.headers["x-request-id"]
    assert response.headers["x-model"] == f"{MODEL}:{VERSION}"
    assert client.head(path).content == b""


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/v2/nope", b"", 404),
        ("GET", "/v2/health", b"", 404),
        ("GET", f"{PATH}/config", b"", 404),
        ("POST", "/v2/repository/index", b"", 404),
        ("GET", "/v2/models/SENTIMENT", b"", 404),
        ("GET", f"{PATH}/versions/1/ready", b"", 404),
        ("GET", f"{PATH}/infer", b"", 405),
        ("POST", "/v2/health/live", b"", 405),
        ("POST", f"{PATH}/infer", b"", 400),
        ("POST", f"{PATH}/infer", b"{", 400),
        ("POST", f"{PATH}/infer", b'{"inputs": [{"name": "PLANTED", "PLANTED": 1}]}', 400),
        ("POST", f"{PATH}/infer", b'{"inputs": [], "id": "PLANTED"', 400),
    ],
)
def test_errors_have_the_protocols_form(
    client: httpx.Client, method: str, path: str, body: bytes, status: int
) -> None:
    """They have the headers of every answer, and nothing of what was sent."""
    response = client.request(method, path, content=body)

    assert response.status_code == status
    conform(response.json(), "error_response")
    assert response.headers["x-request-id"]
    assert "PLANTED" not in response.text
    assert ("allow" in response.headers) == (status == 405)


def test_the_log_and_the_metrics_name_few_routes(service: Served, client: httpx.Client) -> None:
    """Models that are asked for make no new series, and no text of a request reaches either."""
    for number in range(50):
        client.get(f"/v2/models/planted{number}")
        client.post(f"/v2/models/planted{number}/infer", content=b'["planted"')
        client.get(f"/v2/planted{number}")
    response = client.post(f"{PATH}/versions/{VERSION}/infer", content=b'["planted"]')
    log = service.wait_for_log(response.headers["x-request-id"])
    metrics = client.get("/metrics").text

    assert '"/v2/models/{model}/infer"' in log
    assert 'route="/v2/models/{model}/infer"' in metrics
    assert "planted" not in metrics + log
