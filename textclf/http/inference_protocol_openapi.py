"""The part of the OpenAPI document on the Open Inference Protocol."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

import textclf
from textclf.errors import InvalidRequestError, NotFoundError, NotReadyError, RequestError
from textclf.http.inference_protocol import EXTENSIONS, PLATFORM, refusal
from textclf.http.inference_protocol_codec import BINARY, JSON_LENGTH
from textclf.http.inference_protocol_schema import (
    DATATYPES,
    InferenceRequest,
    InferenceResponse,
    ModelMetadata,
    ModelReady,
    ProtocolError,
    ServerLive,
    ServerMetadata,
    ServerReady,
)
from textclf.http.openapi_parts import REFUSALS, headers, predicting, ref
from textclf.http.openapi_parts import refusal as described_refusal
from textclf.http.routing import JSON

SCHEMAS = (
    InferenceRequest,
    InferenceResponse,
    ModelMetadata,
    ModelReady,
    ProtocolError,
    ServerLive,
    ServerMetadata,
    ServerReady,
)
_TAG = "Open Inference Protocol"
_MODEL, _VERSION = "sentiment", "reference-2"
_TENSOR = {"name": "text", "datatype": "BYTES", "shape": [-1]}
_METADATA = {
    "name": _MODEL,
    "versions": [_VERSION],
    "platform": PLATFORM,
    "inputs": [_TENSOR],
    "outputs": [{"name": n, "datatype": d, "shape": [-1]} for n, d in DATATYPES.items()],
}
_SERVER = {"name": "textclf", "version": textclf.__version__, "extensions": EXTENSIONS}
_LABEL = {"name": "label", "shape": [2], "datatype": "BYTES", "data": ["negative", "positive"]}
_SCORE = {"name": "score", "shape": [2], "datatype": "FP32", "data": [0.987654, 0.998765]}
_ANSWER = {
    "model_name": _MODEL,
    "model_version": _VERSION,
    "id": "42",
    "outputs": [_LABEL, _SCORE],
}
_LENGTH = {
    "name": JSON_LENGTH,
    "in": "header",
    "description": "Bytes of the JSON, where tensors in bytes follow it.",
    "schema": {"type": "integer", "minimum": 0},
}
_NOT_READY = NotReadyError("the model is being loaded and checked; try again in a second")
_NO_MODEL = NotFoundError(f"there is no such model; {_MODEL}, version {_VERSION}, is served")
_FAULT = {
    "pointer": "/inputs/0/data/1",
    "code": "blank",
    "detail": "a text needs more than white space and control characters",
}
_REFUSED = [error(detail) for error, detail in REFUSALS if error is not InvalidRequestError]


def describe_paths() -> dict[str, Any]:
    """Return the paths below /v2."""
    paths = {
        "/v2": _reading("Server", ServerMetadata, _SERVER),
        "/v2/health/live": _reading("ServerLive", ServerLive, {"live": True}),
        "/v2/health/ready": _reading("ServerReady", ServerReady, {"ready": True}, _NOT_READY),
    }
    for below, suffix in (("", ""), ("/versions/{version}", "Version")):
        path = f"/v2/models/{{model}}{below}"
        parameters = [_path_parameter("model", _MODEL)]
        parameters += [_path_parameter("version", _VERSION)] if below else []
        ready = {"name": _MODEL, "ready": True}
        refused = (_NO_MODEL, _NOT_READY)
        paths |= {
            path: _reading(f"Model{suffix}", ModelMetadata, _METADATA, *refused),
            f"{path}/ready": _reading(f"Model{suffix}Ready", ModelReady, ready, *refused),
            f"{path}/infer": {"post": _inference(f"Model{suffix}Infer")},
        }
        for described in (path, f"{path}/ready", f"{path}/infer"):
            paths[described]["parameters"] = parameters
    return paths


def _inference(name: str) -> dict[str, Any]:
    described = predicting(name, "Give the labels and scores of texts", _TAG, InferenceRequest)
    binary = {"schema": {"type": "string", "format": "binary"}}
    described["parameters"].append(_LENGTH)
    described["requestBody"]["content"][BINARY] = binary
    described["responses"] = {
        "200": {
            "description": InferenceResponse.__doc__,
            "headers": headers(JSON_LENGTH),
            "content": {
                JSON: {"schema": ref(InferenceResponse), "example": _ANSWER},
                BINARY: binary,
            },
        },
        **_refusals(_NO_MODEL, *_REFUSED, InvalidRequestError("", faults=[_FAULT])),
    }
    return described


def _reading(
    name: str, form: type[BaseModel], example: dict[str, Any], *refused: RequestError
) -> dict[str, Any]:
    answer = {"schema": ref(form), "example": example}
    operation = {
        "operationId": name,
        "summary": form.__doc__,
        "tags": [_TAG],
        "responses": {
            "200": {"description": "Yes", "headers": headers(), "content": {JSON: answer}},
            **_refusals(*refused),
        },
    }
    return {"get": operation}


def _refusals(*errors: RequestError) -> dict[str, Any]:
    described = {}
    for error in errors:
        sent = refusal(error, "")
        example = ProtocolError.model_validate_json(sent.body).model_dump()
        described[str(sent.status)] = described_refusal(type(error), JSON, ProtocolError, example)
    return dict(sorted(described.items()))


def _path_parameter(name: str, example: str) -> dict[str, Any]:
    schema = {"type": "string", "example": example}
    return {"name": name, "in": "path", "required": True, "schema": schema}
