"""The OpenAPI document: exactly what the front door does, built from the types it uses.

OpenAPI 3.0, because the Swagger UI that BentoML ships knows no later one.
"""

from __future__ import annotations

from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from textclf.errors import InvalidRequestError, NotReadyError, RequestError
from textclf.http import inference_protocol_openapi
from textclf.http.inference_protocol_codec import JSON_LENGTH
from textclf.http.openapi_parts import REFUSALS, headers, predicting, ref, refusal
from textclf.http.problems import MEDIA_TYPE, title
from textclf.http.routing import JSON
from textclf.schema import (
    ClassifyRequest,
    ClassifyResponse,
    PredictRequest,
    PredictResponse,
    Problem,
    ValidationProblem,
)

_SCHEMAS = (
    ClassifyRequest,
    ClassifyResponse,
    PredictRequest,
    PredictResponse,
    Problem,
    ValidationProblem,
)


class OpenApiDocument(dict[str, Any]):
    """An OpenAPI document in the form that BentoML serves and writes into a Bento."""

    def asdict(self) -> dict[str, Any]:
        """Return the document as a plain dict."""
        return dict(self)


yaml.add_representer(OpenApiDocument, lambda dumper, document: dumper.represent_dict(document))


def build_openapi(version: str) -> OpenApiDocument:
    """Return the OpenAPI 3.0 document of the service at ``version``."""
    document = {
        "openapi": "3.0.3",
        "info": {
            "title": "textclf",
            "version": version,
            "description": "Classifies texts with an ONNX model. Every answer of 400 and above is "
            f"a problem as RFC 9457 lays it out (`{MEDIA_TYPE}`). A page to try the model from is "
            "at [/ui](ui), unless it is switched off.",
            "license": {"name": "Apache-2.0"},
        },
        "servers": [{"url": "."}],
        "paths": {
            "/predict": {
                "post": _prediction(
                    "predict",
                    "Say whether one text has the model's positive label",
                    PredictRequest,
                    PredictResponse,
                    {"positive": True},
                )
            },
            "/classify": {
                "post": _prediction(
                    "classify",
                    "Give the label and score of 1 to 64 texts, in order",
                    ClassifyRequest,
                    ClassifyResponse,
                    _CLASSIFICATION,
                )
            },
            "/livez": {"get": _probe("livez", "Whether the process lives")},
            "/healthz": {"get": _probe("healthz", "The same as /livez")},
            "/readyz": {"get": _readiness()},
            "/metrics": {"get": _probe("metrics", "Prometheus metrics")},
            **inference_protocol_openapi.describe_paths(),
        },
        "components": {
            "schemas": _schemas(),
            "headers": {
                "X-Request-Id": _header("The id sent by the client, or a new one; the log has it."),
                "X-Model": _header("Store tag of the model that is served."),
                "Retry-After": _header("Seconds to wait before another try."),
                "RateLimit-Policy": _header(
                    "Where a key has used up its rate: its burst, and the time that brings it."
                ),
                "RateLimit": _header(
                    "Where a key has used up its rate: what is left, and when there is more."
                ),
                "WWW-Authenticate": _header("The scheme to authenticate with."),
                JSON_LENGTH: _header("Bytes of the JSON, where tensors in bytes follow it."),
            },
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }
    return OpenApiDocument(document)


_CLASSIFICATION = {
    "model": "sentiment:reference-2",
    "predictions": [
        {"label": "negative", "score": 0.987654, "truncated": False},
        {"label": "positive", "score": 0.998765, "truncated": False},
    ],
}


def _prediction(
    name: str,
    summary: str,
    request: type[BaseModel],
    response: type[BaseModel],
    example: dict[str, Any],
) -> dict[str, Any]:
    described = predicting(name, summary, "Predictions", request)
    described["responses"] = {
        "200": {
            "description": response.__doc__,
            "headers": headers(),
            "content": {JSON: {"schema": ref(response), "example": example}},
        },
        **{str(error.http_status): _refusal(error, detail) for error, detail in REFUSALS},
    }
    return described


def _refusal(error: type[RequestError], detail: str) -> dict[str, Any]:
    status = error.http_status
    example: dict[str, Any] = {
        "type": "about:blank",
        "title": title(status),
        "status": status,
        "detail": detail,
        "request_id": "5f3b0d6c9f6e4d0c8a3c2b1a09f8e7d6",
    }
    if error is not InvalidRequestError:
        return refusal(error, MEDIA_TYPE, Problem, example)
    fault = {
        "pointer": "/texts/0",
        "code": "blank",
        "detail": "a text needs more than white space and control characters",
    }
    return refusal(error, MEDIA_TYPE, ValidationProblem, {**example, "errors": [fault]})


def _probe(name: str, summary: str) -> dict[str, Any]:
    return {
        "operationId": name,
        "summary": summary,
        "tags": ["Operation"],
        "responses": {
            "200": {
                "description": "Yes" if name != "metrics" else "Prometheus text format",
                "headers": headers(),
                "content": {"text/plain": {"schema": {"type": "string"}}},
            }
        },
    }


def _readiness() -> dict[str, Any]:
    probe = _probe("readyz", "Whether the model passed its checks and the service is not draining")
    detail = "the model is being loaded and checked; try again in a second"
    probe["responses"]["503"] = _refusal(NotReadyError, detail)
    return probe


def _schemas() -> dict[str, Any]:
    own: list[tuple[Any, JsonSchemaMode]] = [(model, "serialization") for model in _SCHEMAS]
    own += [(model, "validation") for model in inference_protocol_openapi.SCHEMAS]
    _, document = models_json_schema(own, ref_template="#/components/schemas/{model}")
    schemas: dict[str, Any] = document["$defs"]
    return schemas


def _header(description: str) -> dict[str, Any]:
    return {"description": description, "schema": {"type": "string"}}
