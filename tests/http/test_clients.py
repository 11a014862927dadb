"""The clients that people use: curl as in the book, and BentoML's own."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.http.serving import Served
from tests.http.test_contract import post
from textclf.artifact import Artifact
from textclf.metrics import STAGES


@pytest.mark.parametrize("content_type", ["application/JSON", "application/json"])
@pytest.mark.parametrize(
    "text", ["Containers are more or less interesting", "MLOps is critical for robustness"]
)
def test_curl_forms_of_the_book(service: Served, content_type: str, text: str) -> None:
    """Both spellings of the content type are answered."""
    command = ["curl", "-sS", "-X", "POST", "-H", f"Content-Type: {content_type}"]
    run = subprocess.run(
        [*command, "--data", json.dumps([text]), f"{service.url}/predict"],
        capture_output=True,
        check=True,
        text=True,
    )

    assert isinstance(json.loads(run.stdout)["positive"], bool)


BENTOML_CLIENT = """
import json, sys
import bentoml

with bentoml.SyncHTTPClient(sys.argv[1]) as client:
    print(json.dumps([client.predict([sys.argv[2]]), client.classify(texts=[sys.argv[2], "fine"])]))
"""


def test_bentoml_client(service: Served, reference: Artifact) -> None:
    """The typed methods are what BentoML's own client finds and calls."""
    text = "espresso is too strong"
    recorded = next(example for example in reference.golden if example.text == text)
    run = subprocess.run(
        [sys.executable, "-c", BENTOML_CLIENT, service.url, text],
        capture_output=True,
        check=True,
        text=True,
    )
    verdict, answer = json.loads(run.stdout)

    assert verdict == {"positive": recorded.label == reference.description.positive_label}
    assert answer["model"] == reference.tag
    assert answer["predictions"][0]["label"] == recorded.label


def test_concurrent_calls_get_their_own_answers(client: httpx.Client, reference: Artifact) -> None:
    """Texts of many lengths in many requests at once each get the recorded score."""
    golden = list(reference.golden) * 3
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda e: post(client, "/classify", {"texts": [e.text]}), golden))

    for example, answer in zip(golden, answers, strict=True):
        (prediction,) = answer.json()["predictions"]
        assert prediction["label"] == example.label
        assert prediction["score"] == pytest.approx(example.score, abs=0.01)


def test_no_text_reaches_the_log_or_the_metrics(service: Served, client: httpx.Client) -> None:
    """Neither an accepted text nor a refused one leaves a trace, but its request id does."""
    planted = "PlantedPersonalDatum"
    for body in ([planted], [planted, planted], {planted: 1}, f'["{planted}'.encode()):
        post(client, "/predict", body)
    post(client, "/classify", {"texts": [planted], planted: planted})
    response = client.get(f"/{planted}", params={planted: planted})
    log = service.wait_for_log(response.headers["x-request-id"])

    assert planted not in log
    assert planted not in client.get("/metrics").text


def test_the_log_is_one_json_object_a_line(service: Served, client: httpx.Client) -> None:
    """Each request has a line with its id, route, status and time."""
    response = post(client, "/predict", ["good"])
    log = service.wait_for_log(response.headers["x-request-id"])

    line = next(line for line in log.splitlines() if response.headers["x-request-id"] in line)
    entry = json.loads(line)
    assert (entry["route"], entry["status"]) == ("/predict", 200)
    stages = [entry[f"{name}_ms"] for name in STAGES]
    assert 0 < sum(stages) <= entry["total_ms"]
    assert entry["model"] == response.headers["x-model"]


def test_metrics_have_bounded_labels(client: httpx.Client) -> None:
    """A hundred unknown paths and methods add no more than one series each."""
    for number in range(100):
        client.request(f"METHOD{number}", f"/path{number}")
        client.request(f"METHOD{number}", "/predict")

    metrics = client.get("/metrics").text
    assert "path9" not in metrics
    assert "METHOD9" not in metrics
    assert 'textclf_requests_total{method="other",route="other",status="404"}' in metrics
