"""A real `bentoml serve` process to test against."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import httpx

PROJECT = Path(__file__).resolve().parents[2]
WAIT_SECONDS = 60
_Seen = TypeVar("_Seen")


@dataclass(frozen=True)
class Served:
    """A running service."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def client(self) -> httpx.Client:
        """Return a client of the service; the caller closes it."""
        return httpx.Client(base_url=self.url, timeout=30)

    def terminate(self) -> None:
        """Send SIGTERM, as a container runtime does."""
        self.process.send_signal(signal.SIGTERM)

    def wait_for_status(self, path: str, status: int) -> httpx.Response:
        """Poll ``path`` until it answers ``status``."""
        with self.client() as client:

            def answer() -> httpx.Response | None:
                with contextlib.suppress(httpx.TransportError):
                    response = client.get(path)
                    return response if response.status_code == status else None
                return None

            return self.wait_for(answer, f"{path} never answered {status}")

    def wait_for(self, look: Callable[[], _Seen | None], otherwise: str) -> _Seen:
        """Call ``look`` until it returns something.

        Raises:
            AssertionError: It never did, or the service ended; the message has the end of its log.
        """
        deadline = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < deadline:
            if seen := look():
                return seen
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        raise AssertionError(f"{otherwise}; its log ends:\n{self.log.read_text()[-3000:]}")

    def wait_for_log(self, message: str) -> str:
        """Wait until the log holds ``message``, and return the log."""

        def log() -> str | None:
            content = self.log.read_text()
            return content if message in content else None

        return self.wait_for(log, f"{message!r} is not in the log")


@contextlib.contextmanager
def serve(
    folder: Path, *, ready: bool = True, port: int | None = None, target: str = "", **settings: str
) -> Iterator[Served]:
    """Run `bentoml serve` with a store of its own below ``folder``.

    Args:
        folder: Holds the store and the log.
        ready: Wait until the service is ready, rather than only alive.
        port: A free one; None to look for it.
        target: Where Python finds the service; empty for the project's own.
        settings: Environment variables without their TEXTCLF_ prefix.
    """
    port = port or free_port()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TEXTCLF_")}
    settings = {"DRAIN_SECONDS": "0", **settings}
    environment |= {f"TEXTCLF_{name}": value for name, value in settings.items()}
    environment |= {"BENTOML_HOME": str(folder / "bentoml"), "BENTOML_DO_NOT_TRACK": "True"}
    log = folder / "serve.log"
    command = [sys.executable, "-m", "bentoml", "serve", "--host", "127.0.0.1", "--port", str(port)]
    command += [target] if target else []
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=PROJECT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    served = Served(f"http://127.0.0.1:{port}", process, log)
    try:
        served.wait_for_status("/readyz" if ready else "/livez", 200)
        yield served
    finally:
        served.terminate()
        process.wait(timeout=30)


def free_port() -> int:
    """Return a port below the ephemeral range, where BentoML's own sockets cannot take it."""
    while True:
        port = random.randint(20_000, 32_000)  # noqa: S311 - not for cryptography
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
