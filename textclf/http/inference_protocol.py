"""The Open Inference Protocol (V2): the paths below /v2, for the clients of KServe and Triton.

Source: https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import replace

from pydantic import BaseModel

import textclf
from textclf.errors import InvalidRequestError, NotFoundError, RequestError
from textclf.http import endpoints
from textclf.http.exchange import Exchange
from textclf.http.inference_protocol_codec import (
    BINARY,
    JSON_LENGTH,
    read_inference,
    write_inference,
)
from textclf.http.inference_protocol_schema import (
    DATATYPES,
    ModelMetadata,
    ModelReady,
    ProtocolError,
    ServerLive,
    ServerMetadata,
    ServerReady,
    TensorMetadata,
)
from textclf.http.lifecycle import Lifecycle
from textclf.http.problems import Refusal
from textclf.http.routing import JSON, NOWHERE, Answer, Route

EXTENSIONS = ["binary_tensor_data"]
PLATFORM = "onnxruntime_onnx"
_MODEL = r"/v2/models/(?P<model>[^/]+)(?:/versions/(?P<version>[^/]+))?"
_JSON_LENGTH = JSON_LENGTH.lower().encode()
_MOST_FAULTS = 8


def routes(lifecycle: Lifecycle) -> list[Route]:
    """Return the routes of the protocol, and one for all other paths below /v2."""
    protocol = _Protocol(lifecycle)
    return [
        _reading("/v2/health/live", _live),
        _reading("/v2/health/ready", protocol.ready),
        _reading("/v2", _describe_server, r"/v2/?"),
        Route(
            name="/v2/models/{model}/infer",
            pattern=re.compile(_MODEL + "/infer"),
            methods=("POST",),
            predicts=True,
            media_types=(JSON, BINARY),
            handler=protocol.infer,
            refusal=refusal,
        ),
        _reading("/v2/models/{model}/ready", protocol.model_ready, _MODEL + "/ready"),
        _reading("/v2/models/{model}", protocol.describe_model, _MODEL),
        replace(NOWHERE, pattern=re.compile("/v2/.*", re.DOTALL), refusal=refusal),
    ]


def refusal(error: RequestError, _request_id: str) -> Refusal:
    """Describe an error as the protocol does; to it, what is wrong with a tensor is a 400."""
    status = error.http_status
    detail = str(error)
    if isinstance(error, InvalidRequestError):
        status = 400
        faults = [f"{f['pointer'] or 'request'}: {f['detail']}" for f in error.faults]
        more = len(faults) - _MOST_FAULTS
        detail = "; ".join(faults[:_MOST_FAULTS]) + (f"; and {more} more" if more > 0 else "")
    return Refusal(status, JSON, ProtocolError(error=detail).model_dump_json().encode())


class _Protocol:
    def __init__(self, lifecycle: Lifecycle) -> None:
        self._lifecycle = lifecycle

    async def ready(self, _exchange: Exchange) -> ServerReady:
        self._lifecycle.require_ready()
        return ServerReady(ready=True)

    async def model_ready(self, exchange: Exchange) -> ModelReady:
        name, _ = self._served_model(exchange)
        return ModelReady(name=name, ready=True)

    async def describe_model(self, exchange: Exchange) -> ModelMetadata:
        name, version = self._served_model(exchange)
        return ModelMetadata(
            name=name,
            versions=[version],
            platform=PLATFORM,
            inputs=[TensorMetadata(name="text", datatype="BYTES", shape=[-1])],
            outputs=[
                TensorMetadata(name=output, datatype=datatype, shape=[-1])
                for output, datatype in DATATYPES.items()
            ],
        )

    async def infer(self, exchange: Exchange, body: bytes) -> Answer:
        self._served_model(exchange)
        request, texts = read_inference(body, exchange.header(_JSON_LENGTH))
        exchange.charge(len(texts.texts))
        found = await endpoints.classify(self._lifecycle, texts, exchange.stages)
        return write_inference(request, found)

    def _served_model(self, exchange: Exchange) -> tuple[str, str]:
        """Return name and version of the model in the path.

        Raises:
            NotReadyError: It is not known yet which model that is, or it may not answer.
            NotFoundError: It is another model than the one that is served.
        """
        self._lifecycle.require_ready()
        name, _, version = self._lifecycle.tag.partition(":")
        asked = exchange.parameters
        if asked["model"] != name or asked["version"] not in (None, version):
            raise NotFoundError(f"there is no such model; {name}, version {version}, is served")
        return name, version


async def _live(_exchange: Exchange) -> ServerLive:
    return ServerLive(live=True)


async def _describe_server(_exchange: Exchange) -> ServerMetadata:
    return ServerMetadata(name="textclf", version=textclf.__version__, extensions=EXTENSIONS)


def _reading(
    name: str, describe: Callable[[Exchange], Awaitable[BaseModel]], pattern: str | None = None
) -> Route:
    async def handle(exchange: Exchange, _body: bytes) -> Answer:
        return Answer.of(await describe(exchange))

    return Route(
        name=name,
        pattern=re.compile(pattern) if pattern else None,
        handler=handle,
        refusal=refusal,
    )
