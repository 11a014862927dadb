"""What runs beside the service: it says whom it lets in, and serves metrics from one worker."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.http.serving import free_port
from textclf.errors import UnauthorizedError
from textclf.http import companions
from textclf.http import metrics_port as port_module
from textclf.http.companions import Companions
from textclf.http.keys_file import KeysFile
from textclf.http.metrics_port import MetricsPort
from textclf.settings import Settings


@pytest.fixture(autouse=True)
def _heard(caplog: pytest.LogCaptureFixture) -> None:
    """Let what is logged reach the test."""
    caplog.set_level(logging.INFO, "textclf")


async def live(beside: Companions) -> None:
    """Start and stop."""
    beside.start()
    await asyncio.sleep(0)
    await beside.stop()


@pytest.mark.parametrize(
    ("host", "with_keys", "said"),
    [("0.0.0.0", False, True), ("127.0.0.1", False, False), ("0.0.0.0", True, False)],  # noqa: S104
    ids=["open to all", "loopback", "with keys"],
)
def test_an_open_service_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, host: str, with_keys: bool, said: bool
) -> None:
    """One line at its start, where others can reach it and no key is asked for."""
    (tmp_path / "keys").write_text(f"web:{'a' * 64}\n")
    keys = KeysFile(tmp_path / "keys") if with_keys else None
    with socket.create_server((host, 0)):
        asyncio.run(live(Companions(Settings(), keys)))

    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert ["TEXTCLF_API_KEYS_FILE" in line and host in line for line in warnings] == [True] * said


def test_a_fault_ends_no_companion(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The keys are looked at again after one, which is told once."""
    (tmp_path / "keys").write_text(f"web:{'a' * 64}\n")
    keys = KeysFile(tmp_path / "keys")
    looks = 0

    async def run() -> None:
        looked = asyncio.Event()
        loop = asyncio.get_running_loop()

        def look() -> None:
            nonlocal looks
            looks += 1
            if looks == 3:
                loop.call_soon_threadsafe(looked.set)
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(keys, "look", look)
        monkeypatch.setattr(companions, "_AGAIN_SECONDS", 0.01)
        beside = Companions(Settings(), keys)
        beside.start()
        await asyncio.wait_for(looked.wait(), 10)
        await beside.stop()

    asyncio.run(run())
    assert looks >= 3
    assert [record.levelname for record in caplog.records] == ["ERROR"]


@contextlib.asynccontextmanager
async def held(own: MetricsPort) -> AsyncIterator[asyncio.Task[None]]:
    """Hold the port, or wait for it, inside the block."""
    task = asyncio.create_task(own.hold())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def ask(port: int, path: str = "/metrics", key: str = "") -> httpx.Response | None:
    """Ask until somebody answers, for a few seconds at most."""
    async with httpx.AsyncClient(headers={"Authorization": key}) as client:
        for _ in range(100):
            with contextlib.suppress(httpx.TransportError):
                return await client.get(f"http://127.0.0.1:{port}{path}")
            await asyncio.sleep(0.05)
    return None


def metrics_port(port: int, shared: Path, body: bytes, **more: object) -> MetricsPort:
    """Return what would serve these metrics."""
    return MetricsPort(
        host="127.0.0.1",
        port=port,
        render=lambda: ("text/plain", body),
        shared=shared,
        **more,  # type: ignore[arg-type]
    )


def test_another_worker_takes_the_port_over(tmp_path: Path) -> None:
    """One worker has the port; when it ends the other does."""
    port = free_port()

    async def run() -> list[bytes]:
        seen = []
        async with held(metrics_port(port, tmp_path, b"first")) as first:
            seen.append(await ask(port))
            async with held(metrics_port(port, tmp_path, b"second")):
                await asyncio.sleep(0.1)
                seen.append(await ask(port))
                first.cancel()
                await asyncio.gather(first, return_exceptions=True)
                seen.append(await ask(port))
        return [answer.content for answer in seen if answer]

    assert asyncio.run(run()) == [b"first", b"first", b"second"]


def test_a_port_that_is_taken_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And served as soon as it is free."""
    taken = socket.create_server(("127.0.0.1", 0))
    port = taken.getsockname()[1]

    async def run() -> httpx.Response | None:
        async with held(metrics_port(port, tmp_path, b"metrics")):
            await asyncio.sleep(1.5)
            taken.close()
            return await ask(port)

    answer = asyncio.run(run())
    assert answer
    assert answer.text == "metrics"
    told = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(told) == 1
    assert f"port {port}" in told[0]


def test_a_scraper_that_drips_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often it sends a byte: there are few places for scrapers."""
    monkeypatch.setattr(port_module, "_SLOW_CLIENT_SECONDS", 0.5)
    port = free_port()

    async def drip() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        ended = asyncio.create_task(reader.read())
        with contextlib.suppress(ConnectionError):
            while not ended.done():
                writer.write(b"G")
                await writer.drain()
                await asyncio.sleep(0.02)
            assert await ended == b""
        writer.close()

    async def run() -> None:
        async with held(metrics_port(port, tmp_path, b"fine")):
            assert await ask(port)
            await asyncio.wait_for(drip(), 10)

    asyncio.run(run())


def test_the_port_may_ask_for_a_key(tmp_path: Path) -> None:
    """Whoever has none gets 401; what is not there is not there."""
    port = free_port()

    def check(authorization: str) -> None:
        if authorization != "Bearer right":
            raise UnauthorizedError("no", headers={"WWW-Authenticate": "Bearer"})

    async def run() -> list[int]:
        async with held(metrics_port(port, tmp_path, b"metrics", check=check)):
            asked = [await ask(port, key=key) for key in ("", "Bearer wrong", "Bearer right")]
            asked.append(await ask(port, "/nope"))
            return [answer.status_code for answer in asked if answer]

    assert asyncio.run(run()) == [401, 401, 200, 404]


def test_files_that_cannot_be_read_give_503(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As on the service's own port, with a line in the log; the next scrape may go well."""
    port = free_port()
    faults = [OSError(24, "Too many open files"), FileNotFoundError(2, "No such file")]

    def render() -> tuple[str, bytes]:
        if faults:
            raise faults.pop(0)
        return "text/plain", b"metrics"

    own = MetricsPort(host="127.0.0.1", port=port, render=render, shared=tmp_path)

    async def run() -> list[httpx.Response | None]:
        async with held(own):
            return [await ask(port) for _ in range(3)]

    refused, again, answer = asyncio.run(run())
    assert refused
    assert again
    assert answer
    assert [refused.status_code, again.status_code, answer.status_code] == [503, 503, 200]
    assert refused.headers["Retry-After"] == "1"
    assert "try again" in refused.text
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(told) == 2
    assert "Too many open files" in told[0]


def test_metrics_that_cannot_be_read_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The scrape fails, the log says why, and the port goes on."""
    port = free_port()

    def render() -> tuple[str, bytes]:
        raise ValueError("half a file")

    own = MetricsPort(host="127.0.0.1", port=port, render=render, shared=tmp_path)

    async def run() -> httpx.Response | None:
        async with held(own):
            await ask(port, "/nope")
            with pytest.raises(httpx.RemoteProtocolError):
                async with httpx.AsyncClient() as client:
                    await client.get(f"http://127.0.0.1:{port}/metrics")
            return await ask(port, "/nope")

    answer = asyncio.run(run())
    assert answer
    assert answer.status_code == 404
    assert "half a file" in caplog.text
