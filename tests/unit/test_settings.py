"""Settings come from the environment, or are refused with every name at fault."""

from __future__ import annotations

from pathlib import Path

import pytest

from textclf.errors import SettingsError
from textclf.settings import Settings, read_source_date_epoch


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
