"""What the descriptions of several routes have in common, in the form of OpenAPI 3.0."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from textclf.errors import (
    BodyTooLargeError,
    DeadlineExceededError,
    InvalidRequestError,
    MalformedRequestError,
    NotReadyError,
    QueueFullError,
    RequestError,
    RequestTimeoutError,
    UnauthorizedError,
    UnsupportedMediaTypeError,
)
from textclf.http.patience import TIMEOUT_FIELD
from textclf.http.routing import JSON

REFUSALS: tuple[tuple[type[RequestError], str], ...] = (
    (MalformedRequestError, "the body is not JSON in UTF-8, or is nested too deep"),
    (UnauthorizedError, "this route asks for a key: send Authorization: Bearer KEY"),
    (RequestTimeoutError, "the body did not come within 10 s; send it faster"),
    (BodyTooLargeError, "the body is over 1048576 bytes; send fewer texts a request"),
    (UnsupportedMediaTypeError, "send JSON with Content-Type: application/json"),
    (InvalidRequestError, "1 fault in the body; errors says where"),
    (QueueFullError, "1024 texts are waiting; try again in 1 s"),
    (RequestError, "a fault of ours; quote the request id to report it"),
    (NotReadyError, "the service is shutting down; try again to reach another replica"),
    (DeadlineExceededError, "no answer within 30 s; send fewer texts"),
)
TIMEOUT = {
    "name": TIMEOUT_FIELD,
    "in": "header",
    "description": "Milliseconds that an answer is waited for, if fewer than the service gives it.",
    "schema": {"type": "integer", "minimum": 1},
}
_REFUSAL_FIELDS = {
    401: ("WWW-Authenticate",),
    429: ("Retry-After", "RateLimit-Policy", "RateLimit"),
    503: ("Retry-After",),
}


def refusal(
    error: type[RequestError], media_type: str, form: type[BaseModel], example: dict[str, Any]
) -> dict[str, Any]:
    """Describe an answer that an error is, and others of its status are."""
    status = error.http_status
    kinds = [kind for kind in RequestError.__subclasses__() if kind.http_status == status]
    reasons = [(kind.__doc__ or "").partition("\n")[0] for kind in kinds or [error]]
    return {
        "description": " ".join(reasons),
        "headers": headers(*_REFUSAL_FIELDS.get(status, ())),
        "content": {media_type: {"schema": ref(form), "example": example}},
    }


def predicting(name: str, summary: str, tag: str, request: type[BaseModel]) -> dict[str, Any]:
    """Describe what is asked of a predicting route, without its answers."""
    return {
        "operationId": name,
        "summary": summary,
        "tags": [tag],
        "security": [{}, {"key": []}],
        "parameters": [TIMEOUT],
        "requestBody": {"required": True, "content": {JSON: {"schema": ref(request)}}},
    }


def ref(model: type[BaseModel]) -> dict[str, str]:
    """Refer to the schema of a type."""
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def headers(*more: str) -> dict[str, Any]:
    """Refer to the fields that every answer has, and to more of them."""
    names = ("X-Request-Id", "X-Model", *more)
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}
