"""Metrics can be read while they are made; usage is not reported."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from bentoml._internal.configuration.containers import BentoMLContainer

from textclf import telemetry


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


class HalfMade:
    """Metrics whose file is being made while it is read for the first times."""

    CONTENT_TYPE_LATEST = "text/plain"

    def __init__(self, failures: int) -> None:
        self.failures = failures

    def generate_latest(self) -> bytes:
        """Fail as prometheus_client does on a file without its header."""
        if self.failures:
            self.failures -= 1
            struct.unpack_from("i", b"")
        return b"requests_total 1\n"


@contextmanager
def reading(client: Any) -> Iterator[None]:
    """Put something in the place of BentoML's metrics."""
    BentoMLContainer.metrics_client.set(client)
    try:
        yield
    finally:
        BentoMLContainer.metrics_client.reset()


@pytest.mark.parametrize("failures", [0, 1, 4])
def test_metrics_are_read_again(failures: int) -> None:
    """A file that is not whole yet is no fault of the service."""
    with reading(HalfMade(failures)):
        assert telemetry.render_metrics() == ("text/plain", b"requests_total 1\n")


def test_metrics_that_stay_unreadable_are_a_fault() -> None:
    """Whoever asks is told, rather than kept waiting."""
    with reading(HalfMade(5)), pytest.raises(struct.error):
        telemetry.render_metrics()
