"""What clients rely on is told in words; what they need not care for is not."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from tests.http.serving import PROJECT
from textclf.rollout.openapi_diff import find_breaks

DOCUMENT = json.loads((PROJECT / "openapi.json").read_text("utf-8"))


def changed(path: str, value: Any) -> dict[str, Any]:
    """Return the service's document with one change; None takes the member out."""
    document: dict[str, Any] = copy.deepcopy(DOCUMENT)
    *steps, last = path.split("|")
    node = document
    for step in steps:
        node = node[step]
    if value is None:
        del node[last]
    else:
        node[last] = value
    return document


_SCHEMAS = "components|schemas|"
_POSITIVE = f"{_SCHEMAS}PredictResponse|properties|positive"
_PREDICTION = f"{_SCHEMAS}Prediction"


def test_a_document_breaks_nothing_of_itself() -> None:
    """The same document is no change."""
    assert find_breaks(DOCUMENT, DOCUMENT) == []


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("paths|/predict", None, "/predict is gone"),
        ("paths|/predict|post", None, "POST /predict is gone"),
        (
            f"{_POSITIVE}|type",
            "string",
            "POST /predict: answer 200: positive is string, was boolean",
        ),
        (_POSITIVE, {}, "POST /predict: answer 200: positive is of any type, was boolean"),
        (f"{_SCHEMAS}PredictResponse|properties", {}, "answer 200: positive is gone"),
        (
            f"{_SCHEMAS}PredictResponse|required",
            [],
            "answer 200: positive may be missing, and was always there",
        ),
        (
            f"{_PREDICTION}|properties|score|type",
            "string",
            "POST /classify: answer 200: predictions[].score is string, was number",
        ),
        (
            f"{_SCHEMAS}ClassifyRequest|required",
            ["texts", "language"],
            "POST /classify: request: language is required, and was not",
        ),
        (
            f"{_SCHEMAS}ClassifyRequest|properties|texts|maxItems",
            8,
            "POST /classify: request: texts has maxItems 8, had 64",
        ),
        ("paths|/predict|post|security", [{"key": []}], "POST /predict needs a key, and did not"),
        ("paths|/predict|post|responses|200", None, "POST /predict: answer 200 is gone"),
        (
            "paths|/predict|post|responses|200|content",
            {"text/plain": {}},
            "POST /predict: answer 200: application/json is gone",
        ),
        (
            "paths|/predict|post|requestBody|content",
            {"text/plain": {}},
            "POST /predict: request: application/json is gone",
        ),
        (
            "paths|/predict|post|parameters",
            [{"in": "header", "name": "X-Tenant", "required": True}],
            "POST /predict: header parameter X-Tenant is required, and was not",
        ),
        ("paths", [], "the OpenAPI documents cannot be compared"),
    ],
)
def test_a_break(path: str, value: Any, words: str) -> None:
    """Each thing that a client relies on and loses is one line that says where."""
    found = find_breaks(DOCUMENT, changed(path, value))

    assert any(words in line for line in found), found


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("paths|/explain", {"post": {"responses": {}}}),
        ("info|version", "99"),
        ("paths|/predict|post|summary", "Another"),
        ("paths|/predict|post|responses|418", {"description": "A teapot."}),
        (f"{_SCHEMAS}PredictResponse|properties|score", {"type": "number"}),
        (f"{_PREDICTION}|properties|score|type", "integer"),
        (f"{_SCHEMAS}ClassifyRequest|properties|language", {"type": "string"}),
        (f"{_SCHEMAS}ClassifyRequest|properties|texts|maxItems", 128),
        (
            "paths|/predict|post|parameters",
            [{"in": "header", "name": "X-Tenant", "required": False}],
        ),
    ],
)
def test_no_break(path: str, value: Any) -> None:
    """What is new, wider to send or narrower to get breaks no client."""
    assert find_breaks(DOCUMENT, changed(path, value)) == []


@pytest.mark.parametrize(
    ("was", "now", "words"),
    [
        ({"enum": ["a", "b"]}, {"enum": ["a", "b", "c"]}, 'may now be ["c"]'),
        ({"enum": ["a"]}, {"type": "string"}, ""),
        ({"type": "string"}, {"type": ["string", "null"]}, "is null or string, was string"),
        ({"anyOf": [{"type": "string"}]}, {"anyOf": [{"type": "number"}]}, "has another anyOf"),
    ],
    ids=["a new value", "open", "null", "alternatives"],
)
def test_values_of_answers(was: dict[str, Any], now: dict[str, Any], words: str) -> None:
    """An answer may not say what it could not."""

    def document(schema: dict[str, Any]) -> dict[str, Any]:
        content = {"application/json": {"schema": schema}}
        return {"paths": {"/a": {"get": {"responses": {"200": {"content": content}}}}}}

    found = find_breaks(document(was), document(now))

    assert found
    assert words in found[0]


def test_a_schema_that_holds_itself() -> None:
    """References in a circle end."""
    node = {"type": "object", "properties": {"next": {"$ref": "#/components/schemas/Node"}}}
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Node"}}}
    document = {
        "paths": {"/a": {"get": {"responses": {"200": {"content": content}}}}},
        "components": {"schemas": {"Node": node}},
    }

    assert find_breaks(document, document) == []
