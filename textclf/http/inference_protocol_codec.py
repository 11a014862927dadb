"""Requests of the Open Inference Protocol (V2) to texts, and predictions to its answers."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from pydantic_core import to_json

from textclf.errors import InvalidRequestError
from textclf.http.binary_tensors import read_bytes, write_bool, write_bytes, write_fp32
from textclf.http.inference_protocol_schema import (
    DATATYPES,
    InferenceRequest,
    OutputName,
    RequestInput,
    RequestOutput,
)
from textclf.http.problems import parse_request, to_invalid_request
from textclf.http.routing import JSON, Answer
from textclf.schema import ClassifyRequest, ClassifyResponse

JSON_LENGTH = "Inference-Header-Content-Length"
BINARY = "application/octet-stream"
_MOST_DIGITS = 18
_DATA = "/inputs/0/data"
# They would make another answer of an output, which must not be had in silence.
_UNSUPPORTED = ("classification", "shared_memory_region")


def read_inference(
    body: bytes, json_length: str | None
) -> tuple[InferenceRequest, ClassifyRequest]:
    """Return a request and the texts in it.

    Args:
        body: JSON, and after it what the request says is in bytes.
        json_length: How much of it is JSON, as the header field says; None: all.

    Raises:
        MalformedRequestError: What should be JSON is not.
        InvalidRequestError: It is no request for this model; each fault says where.
    """
    end = len(body) if json_length is None else _read_length(json_length, len(body))
    request = parse_request(InferenceRequest, body[:end])
    for number, output in enumerate(request.outputs):
        _check_output(output, number, request)
    (tensor,) = request.inputs
    if tensor.shape[1:] not in ([], [1]):
        raise _fault("/inputs/0/shape", "shape", "send a shape of [n] or [n, 1], n texts")
    elements = _elements(tensor, body[end:])
    if len(elements) != tensor.shape[0]:
        raise _fault(_DATA, "count", "send as many texts as the shape says")
    return request, _to_texts(elements)


def write_inference(request: InferenceRequest, found: ClassifyResponse) -> Answer:
    """Return the outputs that were asked for, in JSON or in bytes as each was asked for."""
    columns: dict[OutputName, list[Any]] = {
        "label": [prediction.label for prediction in found.predictions],
        "score": [prediction.score for prediction in found.predictions],
        "truncated": [prediction.truncated for prediction in found.predictions],
    }
    parts: list[bytes] = []
    outputs = []
    for output, binary in _wanted(request):
        described: dict[str, Any] = {"name": output, "shape": request.inputs[0].shape}
        described["datatype"] = DATATYPES[output]
        if binary:
            parts.append(_to_bytes(output, columns[output]))
            described["parameters"] = {"binary_data_size": len(parts[-1])}
        else:
            described["data"] = columns[output]
        outputs.append(described)
    name, _, version = found.model.partition(":")
    identified = {"id": request.id} if "id" in request.model_fields_set else {}
    content = to_json(
        {"model_name": name, "model_version": version, **identified, "outputs": outputs}
    )
    if not parts:
        return Answer(JSON, content)
    return Answer(BINARY, b"".join([content, *parts]), {JSON_LENGTH: str(len(content))})


def _read_length(given: str, longest: int) -> int:
    if given.isdecimal() and len(given) <= _MOST_DIGITS and int(given) <= longest:
        return int(given)
    raise _fault("", "json_length", f"{JSON_LENGTH} has to say how much of the body is JSON")


def _check_output(output: RequestOutput, number: int, request: InferenceRequest) -> None:
    if any(name in (output.parameters.model_extra or {}) for name in _UNSUPPORTED):
        detail = f"there is neither of {', '.join(_UNSUPPORTED)}; remove it"
        raise _fault(f"/outputs/{number}/parameters", "unsupported", detail)
    if output.name in {other.name for other in request.outputs[:number]}:
        raise _fault(f"/outputs/{number}", "twice", "ask for each output once")


def _elements(tensor: RequestInput, after: bytes) -> list[Any]:
    in_bytes = "binary_data_size" in tensor.parameters.model_fields_set
    if in_bytes == ("data" in tensor.model_fields_set):
        raise _fault("/inputs/0", "data", "send either data or binary_data_size")
    if len(after) != tensor.parameters.binary_data_size:
        detail = f"{len(after)} bytes follow the JSON; binary_data_size has to be as many"
        raise _fault("/inputs/0/parameters/binary_data_size", "size", detail)
    if in_bytes:
        return _from_bytes(after, tensor.shape[0])
    rows = tensor.data
    if len(tensor.shape) == 2 and all(isinstance(row, list) and len(row) == 1 for row in rows):
        return [row[0] for row in rows]
    return rows


def _from_bytes(content: bytes, count: int) -> list[str]:
    try:
        return [element.decode() for element in read_bytes(content, count)]
    except UnicodeDecodeError:  # its text would quote the body
        detail = "each element has to be UTF-8"
    except ValueError as exc:
        detail = f"the tensor {exc}; send each element after its length in 4 bytes, low byte first"
    raise _fault(_DATA, "bytes", detail)


def _to_texts(elements: list[Any]) -> ClassifyRequest:
    try:
        return ClassifyRequest.model_validate({"texts": elements})
    except ValidationError as exc:
        invalid = to_invalid_request(exc)
    for fault in invalid.faults:
        fault["pointer"] = fault["pointer"].replace("/texts", _DATA, 1)
    raise invalid


def _wanted(request: InferenceRequest) -> list[tuple[OutputName, bool]]:
    otherwise = request.parameters.binary_data_output
    if not request.outputs:
        return [(name, otherwise) for name in DATATYPES]
    return [
        (
            output.name,
            output.parameters.binary_data
            if "binary_data" in output.parameters.model_fields_set
            else otherwise,
        )
        for output in request.outputs
    ]


def _to_bytes(name: OutputName, column: list[Any]) -> bytes:
    if name == "label":
        return write_bytes(label.encode() for label in column)
    return write_fp32(column) if name == "score" else write_bool(column)


def _fault(pointer: str, code: str, detail: str) -> InvalidRequestError:
    fault = {"pointer": pointer, "code": code, "detail": detail}
    return InvalidRequestError("1 fault in the body; errors says where", faults=[fault])
