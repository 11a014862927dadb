"""Imports from Azure ML that are killed: no half a model, no orphan, no secret left behind."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator

import pytest

from tests.azure.importer import Importer

_SECONDS = 60
_SIGNALS = pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGTERM, 128 + signal.SIGTERM),
        (signal.SIGINT, 130),
        (signal.SIGKILL, -signal.SIGKILL),
    ],
    ids=["SIGTERM", "SIGINT", "SIGKILL"],
)


@pytest.fixture
def silent_proxy() -> Iterator[socket.socket]:
    """A server that takes a connection and never answers on it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(_SECONDS)
        yield server


@_SIGNALS
@pytest.mark.parametrize("source", ["azureml", "azureml-v2"])
def test_while_the_sdk_waits(
    source: str, number: int, code: int, importer: Importer, silent_proxy: socket.socket
) -> None:
    """The SDK's process ends with the command, even if that had no time to say so."""
    proxy = f"http://127.0.0.1:{silent_proxy.getsockname()[1]}"
    process = importer.start(source, "demo:1", HTTPS_PROXY=proxy, https_proxy=proxy)
    sdk, _ = silent_proxy.accept()
    process.send_signal(number)
    outcome = importer.finish(process)

    with sdk:
        sdk.settimeout(_SECONDS)
        while sdk.recv(4096):  # what it had sent; then the end, which only its death brings
            pass
    assert (outcome.code, outcome.output, importer.tags()) == (code, "", [])
    assert "Traceback" not in outcome.errors
    assert importer.left() == [] or number == signal.SIGKILL


@_SIGNALS
def test_while_a_file_comes(number: int, code: int, importer: Importer) -> None:
    """Half a file is no model, and is removed if there is time to."""
    importer.azure.faults.hold_downloads = True
    process = importer.start("azureml", "demo:1")
    assert importer.azure.downloading.wait(_SECONDS)
    process.send_signal(number)
    outcome = importer.finish(process)

    assert (outcome.code, outcome.output, importer.tags()) == (code, "", [])
    assert "Traceback" not in outcome.errors
    assert importer.left() == [] or number == signal.SIGKILL
