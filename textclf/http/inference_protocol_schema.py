"""What the Open Inference Protocol (V2) lets clients send, and what they get.

What others add to the objects that are sent is let by, as the protocol asks.

Source: https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, WithJsonSchema

from textclf.schema import MAX_TEXTS, Text

OutputName = Literal["label", "score", "truncated"]
DATATYPES: dict[OutputName, str] = {"label": "BYTES", "score": "FP32", "truncated": "BOOL"}
_TEXT = TypeAdapter(Text).json_schema()
_DATA = {
    "type": "array",
    "minItems": 1,
    "maxItems": MAX_TEXTS,
    "description": "As many texts as the shape says; for a shape of [n, 1] each in an array of its "
    "own, or not.",
    "items": {
        "anyOf": [_TEXT, {"type": "array", "minItems": 1, "maxItems": 1, "items": _TEXT}],
    },
}
# OpenAPI 3.0 has no const.
_Name = Annotated[Literal["text"], WithJsonSchema({"type": "string", "enum": ["text"]})]
_Type = Annotated[Literal["BYTES"], WithJsonSchema({"type": "string", "enum": ["BYTES"]})]
_Size = Annotated[int, Field(ge=1, le=MAX_TEXTS)]


class _Object(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)


class TensorParameters(_Object):
    """Where the data of a tensor is that has none in the JSON."""

    binary_data_size: Annotated[
        int,
        Field(default_factory=int, ge=0, description="Its bytes after the JSON."),
    ]


class RequestInput(_Object):
    """The texts: in ``data``, or after the JSON as the binary extension writes them."""

    name: _Name
    shape: Annotated[
        list[_Size], Field(min_length=1, max_length=2, description="[n] or [n, 1], n texts.")
    ]
    datatype: _Type
    parameters: Annotated[TensorParameters, Field(default_factory=TensorParameters)]
    data: Annotated[list[Any], WithJsonSchema(_DATA), Field(default_factory=list)]


class OutputParameters(_Object):
    """How an output is given."""

    model_config = ConfigDict(extra="allow")

    binary_data: Annotated[
        bool, Field(description="After the JSON, as the binary extension writes it.")
    ] = False


class RequestOutput(_Object):
    """An output that is asked for."""

    name: OutputName
    parameters: Annotated[OutputParameters, Field(default_factory=OutputParameters)]


class RequestParameters(_Object):
    """What is said of a request as a whole."""

    binary_data_output: Annotated[
        bool, Field(description="The ``binary_data`` of every output that does not say its own.")
    ] = False


class InferenceRequest(_Object):
    """1 to 64 texts in a tensor, and what is wanted of them: everything, if nothing is named."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": "42",
                "inputs": [
                    {
                        "name": "text",
                        "shape": [2],
                        "datatype": "BYTES",
                        "data": ["espresso is too strong", "a fine cup"],
                    }
                ],
                "outputs": [{"name": "label"}, {"name": "score"}],
            }
        }
    )

    id: Annotated[str, Field(default_factory=str, description="Comes back in the answer.")]
    parameters: Annotated[RequestParameters, Field(default_factory=RequestParameters)]
    inputs: Annotated[list[RequestInput], Field(min_length=1, max_length=1)]
    outputs: Annotated[list[RequestOutput], Field(default_factory=list, max_length=len(DATATYPES))]


class ResponseOutput(_Object):
    """An output: an element for each text, in order."""

    name: OutputName
    shape: list[_Size]
    datatype: Literal["BYTES", "FP32", "BOOL"]
    parameters: Annotated[TensorParameters, Field(default_factory=TensorParameters)]
    data: Annotated[list[str | float | bool], Field(default_factory=list)]


class InferenceResponse(_Object):
    """The outputs that were asked for, in that order."""

    model_name: str
    model_version: str
    id: Annotated[str, Field(default_factory=str, description="As in the request, if given.")]
    outputs: list[ResponseOutput]


class TensorMetadata(_Object):
    """A tensor; -1 is a size that the request chooses."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(_Object):
    """The one model that is served."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ServerMetadata(_Object):
    """The service."""

    name: str
    version: str
    extensions: list[str]


class ServerLive(_Object):
    """The process lives."""

    live: bool


class ServerReady(_Object):
    """The model passed its checks, and the service is not draining."""

    ready: bool


class ModelReady(_Object):
    """The model passed its checks, and the service is not draining."""

    name: str
    ready: bool


class ProtocolError(_Object):
    """Every answer of 400 and above to a path below /v2."""

    error: Annotated[str, Field(description="What went wrong and what to do next.")]
