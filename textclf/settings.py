"""What can be set, and the only reader of the environment."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from textclf.errors import SettingsError
from textclf.schema import MAX_TEXTS

PREFIX = "TEXTCLF_"
_AZURE_CREDENTIALS = "AZURE_CREDENTIALS"
_KUBECONFIG_CONTENT = "KUBECONFIG_CONTENT"
_SOURCE_DATE_EPOCH = "SOURCE_DATE_EPOCH"
_NOT_SETTINGS = {"TEXTCLF_REQUIRE_ALL"}  # read by the tests only


class Settings(BaseModel):
    """How a service runs; each field is the environment variable ``TEXTCLF_<FIELD>``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Annotated[
        str,
        Field(
            description="Store tag or classifier folder to serve; empty: `sentiment:latest`, "
            "or the reference model of a clone where the store has none."
        ),
    ] = ""
    inference_threads: Annotated[
        int, Field(ge=0, le=256, description="Batches that run at once; 0: one per usable CPU.")
    ] = 0
    lone_text_threads: Annotated[
        int,
        Field(
            ge=0,
            le=256,
            description="CPUs that a text is spread over while nothing else runs; 0: as measured.",
        ),
    ] = 0
    max_batch_texts: Annotated[int, Field(ge=1, le=64, description="Most texts in one batch.")] = 16
    max_batch_tokens: Annotated[
        int,
        Field(ge=0, description="Most tokens in one batch, padding included; 0: as measured."),
    ] = 0
    max_queue_texts: Annotated[
        int, Field(ge=MAX_TEXTS, description="Most texts waiting or running; beyond it 429.")
    ] = 1024
    max_queue_tokens: Annotated[
        int, Field(ge=1, description="Most tokens waiting or running; beyond it 429.")
    ] = 65_536
    cache_texts: Annotated[
        int,
        Field(ge=0, description="How many answers are kept for texts that come again; 0: none."),
    ] = 0
    tuning_file: Annotated[
        Path | None,
        Field(description="Where what was measured at start-up is kept for the next start."),
    ] = None
    max_body_bytes: Annotated[
        int, Field(ge=2, description="Largest request body; beyond it 413.")
    ] = 1_048_576
    request_timeout_seconds: Annotated[
        float, Field(gt=0, le=60, description="Longest wait for an answer; beyond it 504.")
    ] = 30.0
    drain_seconds: Annotated[
        float,
        Field(ge=0, le=300, description="After SIGTERM: how long new requests still get a 503."),
    ] = 5.0
    api_keys_file: Annotated[
        Path | None,
        Field(description="File of `name:sha256` lines; when set, predictions ask for a key."),
    ] = None
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"], Field(description="Least level logged.")
    ] = "INFO"

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Read every ``TEXTCLF_*`` variable.

        Raises:
            SettingsError: Names every variable that is unknown or out of range, all at once.
        """
        given = {
            name: value
            for name, value in environ.items()
            if name.startswith(PREFIX) and name not in _NOT_SETTINGS and value
        }
        try:
            return cls.model_validate(
                {name.removeprefix(PREFIX).lower(): value for name, value in given.items()}
            )
        except ValidationError as exc:
            faults = [_describe(str(e["loc"][0]), e["type"], e["msg"]) for e in exc.errors()]
            raise SettingsError("; ".join(faults)) from exc


def read_azure_credentials(environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the service principal in ``AZURE_CREDENTIALS``; no part of the settings that serve."""
    return environ.get(_AZURE_CREDENTIALS)


def read_kubeconfig(environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the kubeconfig in ``KUBECONFIG_CONTENT``; in ``KUBECONFIG`` kubectl wants a path."""
    return environ.get(_KUBECONFIG_CONTENT)


def environment_without_secrets(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment for a program that is told of the service principal otherwise."""
    secret = {_AZURE_CREDENTIALS, _KUBECONFIG_CONTENT}
    return {name: value for name, value in environ.items() if name not in secret}


def read_source_date_epoch(environ: Mapping[str, str] = os.environ) -> int | None:
    """Return the time, in seconds since 1970, that what is built should claim to be of.

    Raises:
        SettingsError: It is not a whole number of seconds.

    Source: https://reproducible-builds.org/specs/source-date-epoch/
    """
    given = environ.get(_SOURCE_DATE_EPOCH, "")
    if not given:
        return None
    if not (given.isascii() and given.isdigit()):
        raise SettingsError(
            f"{_SOURCE_DATE_EPOCH} is seconds since 1970 as a whole number, got {given!r}"
        )
    return int(given)


def _describe(field: str, kind: str, message: str) -> str:
    name = PREFIX + field.upper()
    if kind != "extra_forbidden":
        return f"{name}: {message}"
    close = difflib.get_close_matches(field, Settings.model_fields, n=1)
    hint = f"; did you mean {PREFIX}{close[0].upper()}?" if close else ""
    return f"{name} is not a setting{hint}"
