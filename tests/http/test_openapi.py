"""The OpenAPI document: committed, served, and true."""

from __future__ import annotations

import json
from typing import Any

import httpx
import hypothesis
import pytest
import schemathesis
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tests.http.serving import PROJECT, Served
from textclf.errors import RequestError


def read_document() -> dict[str, Any]:
    """Return the committed document without the header fields, which have tests of their own.

    Made up, they let most requests end before their bodies are read, or before their answers.
    """
    document: dict[str, Any] = json.loads((PROJECT / "openapi.json").read_text("utf-8"))
    for path in document["paths"].values():
        path.get("post", {}).pop("parameters", None)
    return document


# ModelVersionInfer is asked what ModelInfer is asked, which takes its time.
schema = schemathesis.openapi.from_dict(read_document()).exclude(operation_id="ModelVersionInfer")
# Most names are of no model.
schema.config.update(parameters={"path.model": "sentiment", "path.version": "reference-2"})


@schema.parametrize()
@hypothesis.settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(hypothesis.HealthCheck),
)
def test_every_answer_is_in_the_document(service: Served, case: schemathesis.Case[Any]) -> None:
    """Generated requests, right and wrong, get documented statuses, types, headers and bodies."""
    # No schema says that a tensor has as many elements as its shape says.
    excluded: list[Any] = [positive_data_acceptance] if case.path.endswith("/infer") else []
    case.call_and_validate(base_url=service.url, excluded_checks=excluded)


def test_committed_document_is_the_served_one(client: httpx.Client) -> None:
    """openapi.json is what clients were promised; run scripts/write_openapi.py after a change."""
    assert client.get("/docs.json").json() == json.loads((PROJECT / "openapi.json").read_text())


@pytest.mark.parametrize("path", ["/predict", "/classify"])
def test_document_names_every_status(client: httpx.Client, path: str) -> None:
    """Each error that can reach a client is described with its form and an example."""
    responses = client.get("/docs.json").json()["paths"][path]["post"]["responses"]

    errors: list[type[RequestError]] = [RequestError, *RequestError.__subclasses__()]
    reachable = {error.http_status for error in errors}
    assert {int(status) for status in responses} == reachable - {404, 405, 431, 499} | {200}
    for status, response in responses.items():
        media_type = "application/json" if status == "200" else "application/problem+json"
        assert response["content"][media_type]["example"]


def test_examples_in_the_document_fit_its_schemas(client: httpx.Client) -> None:
    """A reader may copy them."""
    document = client.get("/docs.json").json()
    requests = {
        "/predict": "PredictRequest",
        "/classify": "ClassifyRequest",
        "/v2/models/sentiment/infer": "InferenceRequest",
    }
    for path, name in requests.items():
        body = document["components"]["schemas"][name]["example"]
        assert client.post(path, json=body).status_code == 200
