"""Errors as clients see them: RFC 9457 problem details, and the one map from faults to statuses.

Source: https://www.rfc-editor.org/rfc/rfc9457
"""

from __future__ import annotations

from http import HTTPStatus
from typing import NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, from_json

from textclf.errors import InvalidRequestError, MalformedRequestError, RequestError
from textclf.schema import Fault, Problem, ValidationProblem

MEDIA_TYPE = "application/problem+json"
MAX_FAULTS = 128
_Request = TypeVar("_Request", bound=BaseModel)
# RFC 9110's names; Python's change between versions
_TITLES = {
    413: "Content Too Large",
    422: "Unprocessable Content",
    499: "Client Closed Request",
}
_TOO_MANY = {"pointer": "", "code": "too_many_faults", "detail": "the body is no such request"}
_BLANK = ("blank", "a text needs more than white space and control characters")
_PLAIN = {
    "string_pattern_mismatch": _BLANK,
    "string_too_short": _BLANK,
    "extra_forbidden": ("unknown_member", "there is no such member; remove it"),
}


class Refusal(NamedTuple):
    """What a client gets in place of an answer."""

    status: int
    media_type: str
    body: bytes


def problem_details(error: RequestError, request_id: str) -> Refusal:
    """Describe an error as RFC 9457 lays it out."""
    body = to_problem(error, request_id).model_dump_json().encode()
    return Refusal(error.http_status, MEDIA_TYPE, body)


def to_problem(error: RequestError, request_id: str) -> Problem:
    """Describe an error to the client that caused it."""
    base = Problem(
        type="about:blank",
        title=title(error.http_status),
        status=error.http_status,
        detail=str(error),
        request_id=request_id,
    )
    if not isinstance(error, InvalidRequestError):
        return base
    faults = [Fault.model_validate(fault) for fault in error.faults]
    return ValidationProblem(**base.model_dump(), errors=faults)


def title(status: int) -> str:
    """Return a status in words, as RFC 9110 has them."""
    return _TITLES.get(status) or HTTPStatus(status).phrase


def parse_request(model: type[_Request], body: bytes) -> _Request:
    """Read a request's body.

    Raises:
        MalformedRequestError: It is not JSON.
        InvalidRequestError: It is JSON of the wrong shape; each fault says where.
    """
    try:
        content = from_json(body, allow_inf_nan=False)
    except ValueError:  # its text may quote the body, which must not reach a log
        detail = "the body is not JSON in UTF-8, or is nested too deep"
        raise MalformedRequestError(detail) from None
    try:
        return model.model_validate(content)
    except ValidationError as exc:
        raise to_invalid_request(exc) from None


def to_invalid_request(exc: ValidationError) -> InvalidRequestError:
    """Translate what pydantic found; nothing of the input is in it."""
    count = exc.error_count()
    if count > MAX_FAULTS:
        return InvalidRequestError(f"{count} faults in the body", faults=[_TOO_MANY])
    errors = exc.errors(include_url=False, include_context=False, include_input=False)
    detail = (
        "1 fault in the body; errors says where"
        if count == 1
        else (f"{count} faults in the body; errors says where each is")
    )
    return InvalidRequestError(detail, faults=[_fault(error) for error in errors])


def fault_of_ours() -> RequestError:
    """Return what a client learns of an error that it did not cause."""
    return RequestError("a fault of ours; quote the request id to report it")


def _fault(error: ErrorDetails) -> dict[str, str]:
    unknown_member = error["type"] == "extra_forbidden"
    place = error["loc"][:-1] if unknown_member else error["loc"]  # its name is the client's text
    code, detail = _PLAIN.get(error["type"], (error["type"], error["msg"]))
    return {"pointer": "".join(f"/{step}" for step in place), "code": code, "detail": detail}
