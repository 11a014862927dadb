"""Logs are JSON; usage is not reported."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys

import pytest

from textclf import telemetry


def test_log_record_is_one_json_object(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fields given as extra stand beside time, level and message; an exception stays in line."""
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    telemetry.configure_logging("INFO")
    logger = logging.getLogger("textclf.test")

    logger.debug("not at this level")
    logger.info("two\nlines", extra={"status": 200})
    try:
        int("no number")
    except ValueError:
        logger.exception("failed")

    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    assert (first["level"], first["message"], first["status"]) == ("INFO", "two\nlines", 200)
    assert first["time"].endswith("Z")
    assert "ValueError: invalid literal" in second["exception"]


@pytest.mark.parametrize(("given", "expected"), [(None, True), ("False", False)])
def test_usage_is_not_reported_unless_asked_for(
    monkeypatch: pytest.MonkeyPatch, given: str | None, expected: bool
) -> None:
    """BentoML sees the refusal even where it has looked before."""
    from bentoml._internal.utils.analytics import usage_stats  # noqa: PLC0415

    monkeypatch.delenv("BENTOML_DO_NOT_TRACK", raising=False)
    usage_stats.do_not_track.cache_clear()
    assert not usage_stats.do_not_track()
    if given is not None:
        monkeypatch.setenv("BENTOML_DO_NOT_TRACK", given)

    telemetry.refuse_usage_tracking()

    assert usage_stats.do_not_track() is expected
    monkeypatch.delenv("BENTOML_DO_NOT_TRACK", raising=False)
    usage_stats.do_not_track.cache_clear()


@pytest.mark.parametrize(("given", "seen"), [(None, "1"), ("0", "0")], ids=["unset", "set"])
def test_onnxruntime_reports_nothing(given: str | None, seen: str) -> None:
    """Before onnxruntime is there it is told so, unless somebody has said otherwise."""
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    environment |= {} if given is None else {"ORT_DISABLE_TELEMETRY": given}
    looking = (
        "import os, sys, textclf; print('onnxruntime' in sys.modules, "
        "os.environ['ORT_DISABLE_TELEMETRY']); import textclf.inference"
    )
    shown = subprocess.run(
        [sys.executable, "-c", looking], env=environment, check=True, capture_output=True, text=True
    )

    assert shown.stdout == f"False {seen}\n"
