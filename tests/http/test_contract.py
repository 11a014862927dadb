"""Each row of the HTTP contract, against a real server."""

from __future__ import annotations

import json
import uuid
from typing import Any

import httpx
import jsonschema
import pytest

from tests.http.serving import PROJECT
from textclf.artifact import Artifact

JSON = {"Content-Type": "application/json"}
PROBLEM = json.loads((PROJECT / "openapi.json").read_text())["components"]["schemas"]["Problem"]


def post(client: httpx.Client, path: str, body: Any) -> httpx.Response:
    """Send ``body`` as JSON; bytes go as they are."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return client.post(path, content=content, headers=JSON)


def assert_problem(response: httpx.Response, status: int) -> dict[str, Any]:
    """Check the form that every answer of 400 and above has, and return it."""
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    jsonschema.validate(problem, PROBLEM)
    assert problem["status"] == status
    assert problem["request_id"] == response.headers["x-request-id"]
    assert response.headers["x-model"]
    return problem


def test_predict_answers_one_boolean_and_nothing_else(client: httpx.Client) -> None:
    """The body is the original service's, to the letter."""
    response = post(client, "/predict", ["MLOps is critical for robustness"])

    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.content in (b'{"positive":true}', b'{"positive":false}')


def test_classify_answers_each_text_in_order(client: httpx.Client, reference: Artifact) -> None:
    """64 golden texts in one call get their own recorded labels and scores."""
    golden = reference.golden[:64]

    answer = post(client, "/classify", {"texts": [example.text for example in golden]}).json()

    assert answer["model"] == reference.tag
    for example, prediction in zip(golden, answer["predictions"], strict=True):
        assert prediction["label"] == example.label
        assert prediction["score"] == pytest.approx(example.score, abs=0.01)


def test_predict_agrees_with_classify(client: httpx.Client, reference: Artifact) -> None:
    """`positive` is true exactly for the positive label."""
    positive_label = reference.description.positive_label
    for example in reference.golden[:20]:
        answer = post(client, "/predict", [example.text]).json()
        assert answer == {"positive": example.label == positive_label}


def test_a_long_text_is_truncated_and_says_so(client: httpx.Client) -> None:
    """Only the text that is over the token limit is marked."""
    answer = post(client, "/classify", {"texts": ["good", "good " * 1000]}).json()

    assert [p["truncated"] for p in answer["predictions"]] == [False, True]


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz", "/metrics", "/docs.json", "/"])
def test_bentoml_paths_answer(client: httpx.Client, path: str) -> None:
    """What BentoML serves itself passes the front door unharmed."""
    response = client.get(path)

    assert response.status_code == 200
    assert response.headers["x-request-id"]
    assert response.headers["x-model"]


MALFORMED = {
    "no JSON": b"{",
    "empty": b"",
    "bad UTF-8": b'["\xff"]',
    "lone surrogate": b'["\\ud800"]',
    "nested too deep": b"[" * 100_000,
    "not a number": b"[NaN]",
    "two values": b'["a"] ["b"]',
    "byte order mark": b'\xef\xbb\xbf["a"]',
}


@pytest.mark.parametrize("path", ["/predict", "/classify"])
@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED.keys())
def test_what_is_not_json_gets_400(client: httpx.Client, path: str, body: bytes) -> None:
    """A body that no JSON parser may accept is malformed, not invalid."""
    assert_problem(post(client, path, body), 400)


LONG = "x" * 8_193
INVALID: dict[str, tuple[str, Any, list[tuple[str, str]]]] = {
    "no array": ("/predict", "good", [("", "list_type")]),
    "object": ("/predict", {"texts": ["good"]}, [("", "list_type")]),
    "no text": ("/predict", [], [("", "too_short")]),
    "two texts": ("/predict", ["good", "bad"], [("", "too_long")]),
    "number for text": ("/predict", [1], [("/0", "string_type")]),
    "boolean for text": ("/predict", [False], [("/0", "string_type")]),
    "null for text": ("/predict", [None], [("/0", "string_type")]),
    "blank": ("/predict", [" \t\n\u2003 "], [("/0", "blank")]),
    "empty text": ("/predict", [""], [("/0", "blank")]),
    "control characters only": ("/predict", ["\x07\x00"], [("/0", "blank")]),
    "over-long": ("/predict", [LONG], [("/0", "string_too_long")]),
    "bare array": ("/classify", ["good"], [("", "model_type")]),
    "no texts": ("/classify", {}, [("/texts", "missing")]),
    "texts empty": ("/classify", {"texts": []}, [("/texts", "too_short")]),
    "65 texts": ("/classify", {"texts": ["x"] * 65}, [("/texts", "too_long")]),
    "text for array": ("/classify", {"texts": "good"}, [("/texts", "list_type")]),
    "unknown member": ("/classify", {"texts": ["a"], "SECRET": 1}, [("", "unknown_member")]),
    "several": (
        "/classify",
        {"texts": ["a", 1, "", LONG]},
        [("/texts/1", "string_type"), ("/texts/2", "blank"), ("/texts/3", "string_too_long")],
    ),
    "more faults than worth naming": (
        "/classify",
        {f"SECRET{i}": i for i in range(1000)},
        [("", "too_many_faults")],
    ),
}


@pytest.mark.parametrize(("path", "body", "faults"), INVALID.values(), ids=INVALID.keys())
def test_json_of_the_wrong_shape_gets_422(
    client: httpx.Client, path: str, body: Any, faults: list[tuple[str, str]]
) -> None:
    """Each fault has its place and code, and the input is never echoed."""
    response = post(client, path, body)

    problem = assert_problem(response, 422)
    assert [(e["pointer"], e["code"]) for e in problem["errors"]] == faults
    assert "SECRET" not in response.text
    assert LONG[:50] not in response.text


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 200),
        ("application/JSON", 200),
        ("Application/Json; charset=utf-8", 200),
        (None, 200),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=x", 415),
        ("text/plain", 415),
        ("application/vnd.bentoml+pickle", 415),
        ("application/problem+json", 415),
        ("", 415),
    ],
)
def test_content_type(client: httpx.Client, content_type: str | None, status: int) -> None:
    """JSON in any spelling is taken; with no type at all the body decides."""
    headers = {} if content_type is None else {"Content-Type": content_type}

    response = client.post("/predict", content=b'["good"]', headers=headers)

    assert response.status_code == status
    if status == 415:
        assert_problem(response, 415)


def test_no_content_type_and_no_json_gets_415(client: httpx.Client) -> None:
    """A body of an unknown type that is no JSON is of an unsupported type."""
    assert_problem(client.post("/predict", content=b"good"), 415)


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/predict", "POST"),
        ("PUT", "/classify", "POST"),
        ("OPTIONS", "/predict", "POST"),
        ("POST", "/readyz", "GET, HEAD"),
        ("DELETE", "/metrics", "GET, HEAD"),
        ("POST", "/static_content/index.css", "GET, HEAD"),
    ],
)
def test_wrong_method_gets_405(client: httpx.Client, method: str, path: str, allow: str) -> None:
    """The answer names the methods that would do."""
    response = client.request(method, path)

    assert_problem(response, 405)
    assert response.headers["allow"] == allow


@pytest.mark.parametrize(
    "path",
    [
        "/nope",
        "/predict/",
        "/PREDICT",
        "/static_content/nope.js",
        "/static_content/..%2f..%2fx",
    ],
)
def test_unknown_path_gets_404(client: httpx.Client, path: str) -> None:
    """Also below the paths that BentoML serves."""
    assert_problem(client.get(path), 404)


@pytest.mark.parametrize("upgrade", ["websocket", "h2c"])
def test_an_upgrade_is_not_taken(client: httpx.Client, upgrade: str) -> None:
    """A protocol that is not spoken here is none; a request without a body is answered as ever."""
    headers = {"Upgrade": upgrade, "Connection": "Upgrade"}

    assert_problem(client.get("/predict", headers=headers), 405)
    answer = client.post("/predict", json=["good"], headers=headers)
    assert "without Upgrade" in assert_problem(answer, 400)["detail"]
    assert answer.headers["connection"] == "close"


def test_request_id_is_kept(client: httpx.Client) -> None:
    """A caller's id comes back in the header and in the problem."""
    mine = str(uuid.uuid4())

    response = client.get("/nope", headers={"X-Request-Id": mine})

    assert response.headers["x-request-id"] == mine
    assert response.json()["request_id"] == mine


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, 'a"b', "<script>"])
def test_unusable_request_id_is_replaced(client: httpx.Client, given: str) -> None:
    """What could not stand in a log as it is gets a new id."""
    assert client.get("/livez", headers={"X-Request-Id": given}).headers["x-request-id"] != given


def test_head_of_a_probe_has_no_body(client: httpx.Client) -> None:
    """Load balancers may ask with HEAD."""
    response = client.head("/readyz")

    assert response.status_code == 200
    assert response.content == b""


@pytest.mark.parametrize("given", ["bytes=99999999-", "bytes=abc"])
def test_range_of_an_asset_is_ignored(client: httpx.Client, given: str) -> None:
    """A range that cannot be had is no fault of ours: the whole asset is."""
    assert client.get("/static_content/index.css", headers={"Range": given}).status_code == 200
