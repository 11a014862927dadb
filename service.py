"""The BentoML service: wires the parts together and holds no logic."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import bentoml
from pydantic import Field
from starlette.types import ASGIApp

import textclf
from textclf import logs, telemetry
from textclf.errors import SettingsError
from textclf.http import endpoints
from textclf.http.front import FrontDoor
from textclf.http.keys import MAX_RATED_KEYS
from textclf.http.keys_file import KeysFile
from textclf.http.lifecycle import Lifecycle
from textclf.http.openapi import OpenApiDocument, build_openapi
from textclf.schema import (
    MAX_TEXTS,
    ClassifyRequest,
    ClassifyResponse,
    PredictRequest,
    PredictResponse,
    Text,
)
from textclf.settings import (
    Settings,
    colours_are_wanted,
    read_workers_folder,
    traces_are_wanted,
)
from textclf.tracing import Tracer

try:
    settings = Settings.from_environment(readers={"api_keys_file": KeysFile})
    path = settings.api_keys_file
    keys = KeysFile(path, shared=read_workers_folder()) if path else None
    is_traced = traces_are_wanted()
except SettingsError as exc:
    print(f"cannot start: {exc}", file=sys.stderr)  # noqa: T201 - there is no log yet
    raise SystemExit(SettingsError.exit_code) from None

telemetry.refuse_usage_tracking()
logs.configure_logging(settings.log_level, settings.log_format, colour=colours_are_wanted())
lifecycle = Lifecycle(settings)


class FrontedService(bentoml.Service[Any]):
    """A BentoML service behind the front door."""

    def to_asgi(self, is_main: bool = True) -> ASGIApp:
        """Return the application that every request goes to."""
        from textclf.http.connections import (  # noqa: PLC0415 - BentoML's arbiter serves nothing
            ConnectionLimits,
            limit_connections,
        )
        from textclf.http.shedding import Shedder  # noqa: PLC0415
        from textclf.metric_files import take_room_for_metrics  # noqa: PLC0415

        take_room_for_metrics()
        lifecycle.read_ahead()
        limits = ConnectionLimits(
            connections=settings.max_connections,
            read_seconds=settings.read_timeout_seconds,
            kept_files=MAX_RATED_KEYS if keys else 0,
        )
        shedder = Shedder(lifecycle, ("/predict", "/classify"), keys.ring if keys else None)
        limit_connections(limits, shedder.refusal)
        tracer = Tracer.open() if is_traced else None
        return FrontDoor(super().to_asgi(is_main=is_main), lifecycle, settings, keys, tracer)

    @property
    def openapi_spec(self) -> OpenApiDocument:
        """The document that /docs.json serves and a Bento carries."""
        return build_openapi(textclf.__version__)


@bentoml.service(
    name="textclf",
    service_class=FrontedService,
    traffic={"timeout": 60},
    logging={"access": {"enabled": False}},  # the front door logs every request
)
class TextClassifier:
    """Classifies texts with an ONNX model."""

    @bentoml.api(route="/predict")
    async def predict(self, texts: PredictRequest, /) -> PredictResponse:
        """Say whether one text has the model's positive label."""
        return await endpoints.predict(lifecycle, texts)

    @bentoml.api(route="/classify")
    async def classify(
        self, texts: Annotated[list[Text], Field(min_length=1, max_length=MAX_TEXTS)]
    ) -> ClassifyResponse:
        """Give the label and score of 1 to 64 texts, in order."""
        return await endpoints.classify(lifecycle, ClassifyRequest(texts=texts))
