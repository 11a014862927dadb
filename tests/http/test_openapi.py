"""The OpenAPI document: committed, served, and true."""

from __future__ import annotations

import json
from typing import Any

import httpx
import hypothesis
import pytest
import schemathesis

from tests.http.serving import PROJECT, Served
from textclf.errors import RequestError

schema = schemathesis.openapi.from_path(PROJECT / "openapi.json")


@schema.parametrize()
@hypothesis.settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(hypothesis.HealthCheck),
)
def test_every_answer_is_in_the_document(service: Served, case: schemathesis.Case[Any]) -> None:
    """Generated requests, right and wrong, get documented statuses, types, headers and bodies."""
    case.call_and_validate(base_url=service.url)


def test_committed_document_is_the_served_one(client: httpx.Client) -> None:
    """openapi.json is what clients were promised; run scripts/write_openapi.py after a change."""
    assert client.get("/docs.json").json() == json.loads((PROJECT / "openapi.json").read_text())


@pytest.mark.parametrize("path", ["/predict", "/classify"])
def test_document_names_every_status(client: httpx.Client, path: str) -> None:
    """Each error that can reach a client is described with its form and an example."""
    responses = client.get("/docs.json").json()["paths"][path]["post"]["responses"]

    errors: list[type[RequestError]] = [RequestError, *RequestError.__subclasses__()]
    reachable = {error.http_status for error in errors}
    assert {int(status) for status in responses} == reachable - {404, 405, 499} | {200}
    for status, response in responses.items():
        media_type = "application/json" if status == "200" else "application/problem+json"
        assert response["content"][media_type]["example"]


def test_examples_in_the_document_fit_its_schemas(client: httpx.Client) -> None:
    """A reader may copy them."""
    document = client.get("/docs.json").json()
    for path in ("/predict", "/classify"):
        body = document["components"]["schemas"][f"{path[1:].title()}Request"]["example"]
        assert client.post(path, json=body).status_code == 200
