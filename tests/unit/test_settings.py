"""Settings come from the environment, or are refused with every name at fault."""

from __future__ import annotations

from pathlib import Path

import pytest

from textclf.errors import SettingsError
from textclf.http.keys import read_keys_file
from textclf.settings import (
    Settings,
    colours_are_wanted,
    read_source_date_epoch,
    traces_are_wanted,
)


def test_nothing_set_gives_the_defaults() -> None:
    """An empty variable counts as one that is not set."""
    assert Settings.from_environment({"TEXTCLF_MODEL": "", "HOME": "/root"}) == Settings()


def test_each_variable_is_read() -> None:
    """Values are converted to the type of their field."""
    settings = Settings.from_environment(
        {
            "TEXTCLF_MODEL": "sentiment:a-1",
            "TEXTCLF_INFERENCE_THREADS": "2",
            "TEXTCLF_DRAIN_SECONDS": "0.5",
            "TEXTCLF_API_KEYS_FILE": "/keys",
            "TEXTCLF_REQUIRE_ALL": "1",
        }
    )

    assert settings.model == "sentiment:a-1"
    assert settings.inference_threads == 2
    assert settings.drain_seconds == 0.5
    assert settings.api_keys_file == Path("/keys")


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"TEXTCLF_INFERENCE_THREADS": "many"}, "TEXTCLF_INFERENCE_THREADS: Input should be"),
        ({"TEXTCLF_MAX_QUEUE_TEXTS": "63"}, "TEXTCLF_MAX_QUEUE_TEXTS: Input should be greater"),
        ({"TEXTCLF_MAX_BODY_BYTES": "0"}, "TEXTCLF_MAX_BODY_BYTES: Input should be greater"),
        ({"TEXTCLF_LOG_LEVEL": "LOUD"}, "TEXTCLF_LOG_LEVEL: Input should be 'DEBUG'"),
        ({"TEXTCLF_MODLE": "x"}, "TEXTCLF_MODLE is not a setting; did you mean TEXTCLF_MODEL?"),
        ({"TEXTCLF_ZZZ": "x"}, "TEXTCLF_ZZZ is not a setting"),
    ],
    ids=[
        "no number",
        "too few",
        "out of range",
        "not a choice",
        "misspelt",
        "unknown",
    ],
)
def test_bad_variable_is_refused(environ: dict[str, str], message: str) -> None:
    """The message names the variable and what it should be."""
    with pytest.raises(SettingsError, match=message.replace("?", r"\?")):
        Settings.from_environment(environ)


def test_all_faults_are_named_at_once() -> None:
    """Nobody wants to start a service three times to find three mistakes."""
    environ = {"TEXTCLF_MODLE": "x", "TEXTCLF_DRAIN_SECONDS": "-1", "TEXTCLF_LOG_LEVEL": "LOUD"}

    with pytest.raises(SettingsError) as refusal:
        Settings.from_environment(environ)

    assert all(name in str(refusal.value) for name in environ)


def test_faults_of_files_and_of_other_variables_are_named_with_them(tmp_path: Path) -> None:
    """What one setting has against another, what a file has, and what OpenTelemetry would ask."""
    nowhere = tmp_path / "nowhere" / "tuning.json"
    environ = {
        "TEXTCLF_DRAIN_SECONDS": "-1",
        "TEXTCLF_MAX_BATCH_TOKENS": "100000",
        "TEXTCLF_TUNING_FILE": str(nowhere),
        "TEXTCLF_API_KEYS_FILE": str(tmp_path / "keys"),
        "TEXTCLF_METRICS_KEY": "maybe",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "collector",
    }

    with pytest.raises(SettingsError) as refusal:
        Settings.from_environment(environ, readers={"api_keys_file": read_keys_file})

    faults = str(refusal.value).split("; TEXTCLF_")
    assert len(faults) == 5
    for said in (
        "DRAIN_SECONDS: Input should be",
        "MAX_QUEUE_TOKENS: less than a batch; make it at least 100000, TEXTCLF_MAX_BATCH_TOKENS",
        f"TUNING_FILE: cannot write {nowhere}",
        "METRICS_KEY: Input should be",
        f"API_KEYS_FILE: cannot read {tmp_path / 'keys'}",
        "OTEL_EXPORTER_OTLP_ENDPOINT: name a URL",
    ):
        assert said in str(refusal.value)


@pytest.mark.parametrize(("batch", "queue"), [("4096", "4096"), ("0", "1")])
def test_settings_that_agree_are_taken(tmp_path: Path, batch: str, queue: str) -> None:
    """A queue that holds a batch, and a file that can be written although it is not there yet."""
    environ = {
        "TEXTCLF_MAX_BATCH_TOKENS": batch,
        "TEXTCLF_MAX_QUEUE_TOKENS": queue,
        "TEXTCLF_TUNING_FILE": str(tmp_path / "tuning.json"),
    }

    assert Settings.from_environment(environ).max_queue_tokens == int(queue)


def test_source_date_epoch() -> None:
    """What is built claims the time that the environment gives, if it gives one."""
    assert read_source_date_epoch({"SOURCE_DATE_EPOCH": "1700000000"}) == 1_700_000_000
    assert read_source_date_epoch({"SOURCE_DATE_EPOCH": ""}) is None
    with pytest.raises(SettingsError, match="SOURCE_DATE_EPOCH is seconds since 1970"):
        read_source_date_epoch({"SOURCE_DATE_EPOCH": "yesterday"})


def test_metrics_ask_for_no_key_that_nobody_has() -> None:
    """Asking for a key without a file of keys would close /metrics to everyone."""
    assert Settings.from_environment(
        {"TEXTCLF_METRICS_KEY": "true", "TEXTCLF_API_KEYS_FILE": "/keys"}
    ).metrics_key
    with pytest.raises(SettingsError, match="TEXTCLF_METRICS_KEY: there are no keys; set"):
        Settings.from_environment({"TEXTCLF_METRICS_KEY": "true"})


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://collector/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, False),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_TRACES_EXPORTER": "none"}, False),
    ],
    ids=["nothing", "endpoint", "of traces", "blank", "no endpoint", "disabled", "no exporter"],
)
def test_traces_are_sent_where_the_standard_variables_say(
    environ: dict[str, str], expected: bool
) -> None:
    """Without a receiver there are none."""
    assert traces_are_wanted(environ) is expected


def test_variables_of_traces_are_refused_rather_than_passed_over() -> None:
    """Each is named, and no value is shown: an endpoint may have a password in it."""
    environ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "user:secret@collector:4317",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://collector",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
        "OTEL_TRACES_EXPORTER": "zipkin",
        "OTEL_TRACES_SAMPLER": "traceidratios",
        "OTEL_TRACES_SAMPLER_ARG": "1.1",
    }

    with pytest.raises(SettingsError) as refusal:
        traces_are_wanted(environ)

    named = [fault.split(":")[0] for fault in str(refusal.value).split("; ")]
    assert sorted(named) == sorted(environ.keys() - {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"})
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize("value", ["0", "0.0", ".5", "0.001", "1", "1.0"])
def test_a_share_of_traces_is_any_from_0_to_1(value: str) -> None:
    """OpenTelemetry's SDK reads these alike."""
    environ = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": value}

    assert traces_are_wanted({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", **environ})


def test_no_color() -> None:
    """Any value refuses colours, an empty one does not."""
    assert colours_are_wanted({})
    assert colours_are_wanted({"NO_COLOR": ""})
    assert not colours_are_wanted({"NO_COLOR": "0"})
