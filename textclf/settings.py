"""What can be set, and the only reader of the environment."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from textclf.errors import SettingsError
from textclf.schema import MAX_TEXTS

Readers = Mapping[str, Callable[[Path], object]]
PREFIX = "TEXTCLF_"
_AZURE_CREDENTIALS = "AZURE_CREDENTIALS"
_KUBECONFIG_CONTENT = "KUBECONFIG_CONTENT"
_SOURCE_DATE_EPOCH = "SOURCE_DATE_EPOCH"
_WORKERS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
_NOT_SETTINGS = {"TEXTCLF_REQUIRE_ALL"}  # read by the tests only
_OTLP_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
_ENDPOINT = (r"https?://[^/\s]+.*", "name a URL, such as http://collector:4318")
_PROTOCOL = (r"http/protobuf", "only http/protobuf is there, mostly on port 4318")
_OTEL = {
    "OTEL_SDK_DISABLED": (r".*", ""),
    "OTEL_TRACES_EXPORTER": (r"otlp", "only otlp and none are there"),
    _OTLP_ENDPOINT: _ENDPOINT,
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": _ENDPOINT,
    "OTEL_EXPORTER_OTLP_PROTOCOL": _PROTOCOL,
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": _PROTOCOL,
    "OTEL_TRACES_SAMPLER": (
        r"(parentbased_)?(always_on|always_off|traceidratio)",
        "one of always_on, always_off, traceidratio, each with or without parentbased_ before it",
    ),
    "OTEL_TRACES_SAMPLER_ARG": (r"0|1|[01]\.0*|0?\.\d+", "a share from 0 to 1"),
}


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
        int,
        Field(
            ge=1,
            validate_default=True,  # against the size of a batch
            description="Most tokens waiting or running; beyond it 429.",
        ),
    ] = 65_536
    max_queue_seconds: Annotated[
        float,
        Field(
            gt=0,
            le=60,
            description="Longest wait that is let begin, as predicted from what waits and how fast "
            "it goes; beyond it 429.",
        ),
    ] = 5.0
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
    read_timeout_seconds: Annotated[
        float,
        Field(
            gt=0,
            le=60,
            description="Longest time for the head of a request to come, and for its body; beyond "
            "it 408.",
        ),
    ] = 10.0
    max_connections: Annotated[
        int,
        Field(
            ge=1,
            description="Most connections of a worker; whoever waited longest makes room for "
            "another.",
        ),
    ] = 4096
    drain_seconds: Annotated[
        float,
        Field(ge=0, le=300, description="After SIGTERM: how long new requests still get a 503."),
    ] = 5.0
    api_keys_file: Annotated[
        Path | None,
        Field(
            description="File of `name:sha256` lines, read again when it changes; when set, "
            "predictions ask for a key."
        ),
    ] = None
    metrics_port: Annotated[
        int,
        Field(
            ge=0,
            le=65_535,
            description="Port where `/metrics` is, in place of the service's own; on the same "
            "address, without TLS; 0: the service's own.",
        ),
    ] = 0
    metrics_key: Annotated[bool, Field(description="Whether `/metrics` asks for a key too.")] = (
        False
    )
    ui: Annotated[
        bool, Field(description="Whether `/ui`, the page to try the model from, is served.")
    ] = True
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"], Field(description="Least level logged.")
    ] = "INFO"
    log_format: Annotated[
        Literal["auto", "json", "text"],
        Field(description="How a line is written; auto: text on a terminal, JSON elsewhere."),
    ] = "auto"

    @field_validator("max_queue_tokens")
    @classmethod
    def _holds_a_batch(cls, most: int, others: ValidationInfo) -> int:
        batch = others.data.get("max_batch_tokens", 0)
        if batch > most:
            raise ValueError(
                f"less than a batch; make it at least {batch}, TEXTCLF_MAX_BATCH_TOKENS"
            )
        return most

    @field_validator("tuning_file")
    @classmethod
    def _can_be_kept(cls, path: Path | None) -> Path | None:
        """Refuse a file that could not be written, before a model was measured for nothing."""
        if path is not None and (path.is_dir() or not os.access(path.parent, os.W_OK | os.X_OK)):
            raise ValueError(f"cannot write {path}; name a file in a folder that may be written")
        return path

    @field_validator("metrics_key")
    @classmethod
    def _needs_keys(cls, asked_for: bool, others: ValidationInfo) -> bool:
        if asked_for and not others.data.get("api_keys_file"):
            raise ValueError("there are no keys; set TEXTCLF_API_KEYS_FILE too")
        return asked_for

    @classmethod
    def from_environment(
        cls, environ: Mapping[str, str] = os.environ, *, readers: Readers | None = None
    ) -> Self:
        """Read every ``TEXTCLF_*`` variable.

        Args:
            environ: The variables.
            readers: What can read the files that fields name, and refuses those it cannot.

        Raises:
            SettingsError: Names all at once: every variable that is unknown, out of range or at
                odds with another, and what is wrong with a file or in OpenTelemetry's variables.
        """
        given = {
            name: value
            for name, value in environ.items()
            if name.startswith(PREFIX) and name not in _NOT_SETTINGS and value
        }
        fields = {name.removeprefix(PREFIX).lower(): value for name, value in given.items()}
        faults = []
        try:
            settings = cls.model_validate(fields)
        except ValidationError as exc:
            faults = [_describe(str(e["loc"][0]), e["type"], e["msg"]) for e in exc.errors()]
        for field, read in (readers or {}).items():
            if field in fields:
                faults += _faults_of(lambda read=read, field=field: read(Path(fields[field])))  # type: ignore[misc]
        faults += _faults_of(lambda: traces_are_wanted(environ))
        if faults:
            raise SettingsError("; ".join(faults))
        return settings


def _faults_of(work: Callable[[], object]) -> list[str]:
    try:
        work()
    except SettingsError as exc:
        return [str(exc)]
    return []


def colours_are_wanted(environ: Mapping[str, str] = os.environ) -> bool:
    """Say whether a terminal may be sent colours.

    Source: https://no-color.org
    """
    return not environ.get("NO_COLOR")


def read_workers_folder(environ: Mapping[str, str] = os.environ) -> Path | None:
    """Return the folder that BentoML makes anew for the workers of a service, if it made one."""
    given = environ.get(_WORKERS_FOLDER)
    return Path(given) if given else None


def traces_are_wanted(environ: Mapping[str, str] = os.environ) -> bool:
    """Say whether OpenTelemetry's standard variables name a receiver of traces.

    Its SDK reads the others itself, and would go on with a default where one makes no sense.

    Raises:
        SettingsError: Names every variable that asks for what the service does not have.

    Source: https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
    """
    given = {name: value for name in _OTEL if (value := environ.get(name, "").strip())}
    endpoint = given.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", given.get(_OTLP_ENDPOINT))
    exporter = given.get("OTEL_TRACES_EXPORTER", "otlp")
    if not endpoint or exporter == "none" or given.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    faults = [
        f"{name}: {meaning}"
        for name, (allowed, meaning) in _OTEL.items()
        if name in given and not re.fullmatch(allowed, given[name], re.IGNORECASE)
    ]
    if faults:  # a value is not shown: an endpoint may have a password in it
        raise SettingsError("; ".join(faults))
    return True


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
        return f"{name}: {message.removeprefix('Value error, ')}"
    close = difflib.get_close_matches(field, Settings.model_fields, n=1)
    hint = f"; did you mean {PREFIX}{close[0].upper()}?" if close else ""
    return f"{name} is not a setting{hint}"
