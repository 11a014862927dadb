"""Containers of the image under test: hardened, on a loopback port of their own, always removed."""

from __future__ import annotations

import json
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from typing import Any

import httpx

from textclf.errors import DockerError
from textclf.image.checks.check import INTERRUPTED, Unjudged
from textclf.image.docker import run_docker

HARDENED = (
    "--read-only", "--tmpfs", "/tmp",  # noqa: S108 - inside the container
    "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
)  # fmt: skip
_PATIENCE = 2  # times the limit: a late start is told from one that never comes
_AT_ONCE = 4  # the shared one included; they would only keep each other waiting
_POLL_SECONDS = 0.1
_LOG_EVERY = 10  # polls
_FATAL = {"ERROR", "CRITICAL"}


@dataclass(frozen=True, kw_only=True)
class Start:
    """How a container started.

    Attributes:
        seconds: From `docker run` to ready; None if it never was.
        answered: It answered HTTP, ready or not.
        reason: Why it never was ready, with the last error of its log.
    """

    seconds: float | None
    answered: bool
    reason: str = ""


class Container:
    """One running container."""

    def __init__(
        self, name: str, *, began: float, patience_seconds: float, closing: threading.Event
    ) -> None:
        self.name = name
        self.url = ""
        self._began = began
        self._patience_seconds = patience_seconds
        self._closing = closing

    def described(self) -> dict[str, Any]:
        """Return what `docker inspect` says."""
        (described,) = json.loads(run_docker("container", "inspect", self.name))
        return dict(described)

    def execute(self, *command: str, timeout_seconds: float = 60) -> str:
        """Run a program in the container and return what it prints.

        Raises:
            DockerError: It failed.
        """
        return run_docker("exec", self.name, *command, timeout_seconds=timeout_seconds)

    def logs(self) -> tuple[str, str]:
        """Return what was written to stdout and to stderr so far."""
        done = subprocess.run(  # noqa: S603
            ["docker", "logs", self.name],  # noqa: S607 - as docker.py
            check=False,
            capture_output=True,
            timeout=60,
        )
        if done.returncode:
            raise DockerError(f"docker logs failed: {done.stderr.decode('utf-8', 'replace')}")
        return done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")

    def last_error(self) -> str:
        """Return the last error of the log, or else its last line."""
        return last_error("\n".join(self.logs()))

    def signal(self, name: str) -> None:
        """Send a signal to the first process."""
        run_docker("kill", "--signal", name, self.name)

    def has_ended(self) -> bool:
        """Say whether the first process has ended."""
        return not self.described()["State"]["Running"]

    def peak_memory_bytes(self) -> int:
        """Return the most memory that the container has had, page cache included.

        Sources: https://docs.kernel.org/admin-guide/cgroup-v1/memory.html (version 1),
            https://docs.kernel.org/admin-guide/cgroup-v2.html (version 2, from Linux 5.19)
        """
        try:
            return int(self.execute("cat", "/sys/fs/cgroup/memory.peak"))
        except DockerError:
            return int(self.execute("cat", "/sys/fs/cgroup/memory/memory.max_usage_in_bytes"))

    def wait_for(self, look: Callable[[], bool], seconds: float) -> bool:
        """Call ``look`` until it is true; say whether it was in time.

        Raises:
            Unjudged: The whole run is being ended.
        """
        deadline = time.monotonic() + seconds
        while not look():
            if time.monotonic() > deadline:
                return False
            if self._closing.wait(_POLL_SECONDS):
                raise Unjudged(INTERRUPTED)
        return True

    def wait_until_ready(self) -> Start:
        """Poll /readyz until it is 200, the container has ended or its log says it never will."""
        statuses: list[int] = []
        looks = count(1)

        def settled() -> bool:
            with suppress(httpx.TransportError):
                statuses.append(client.get("/readyz").status_code)
            return statuses[-1:] == [200] or (next(looks) % _LOG_EVERY == 0 and self._hopeless())

        with httpx.Client(base_url=self.url, timeout=5, trust_env=False) as client:
            self.wait_for(settled, self._patience_seconds)
        seconds = time.monotonic() - self._began
        if statuses[-1:] == [200]:
            return Start(seconds=seconds, answered=True)
        return Start(seconds=None, answered=bool(statuses), reason=self._reason(seconds))

    def _hopeless(self) -> bool:
        return self.has_ended() or any(
            level(line) in _FATAL for line in "\n".join(self.logs()).splitlines()
        )

    def _reason(self, seconds: float) -> str:
        state = self.described()["State"]
        if state["Running"]:
            how = f"after {seconds:.0f} s /readyz still is not 200"
        elif state["OOMKilled"]:
            how = "it was killed for want of memory"
        else:
            how = f"it ended with exit code {state['ExitCode']}"
        return f"{how}; its log says: {self.last_error()}"


class Containers:
    """Starts containers of one image; when closed none is left.

    Attributes:
        closing: Set when it is closed.
    """

    def __init__(self, image_id: str, *, port: int, start_limit_seconds: float) -> None:
        self._image_id = image_id
        self._port = port
        self._patience_seconds = _PATIENCE * start_limit_seconds
        self.closing = threading.Event()
        self._at_once = threading.BoundedSemaphore(_AT_ONCE)
        self._label = f"textclf.check={uuid.uuid4().hex}"

    @contextmanager
    def run(
        self, *options: str, environment: Mapping[str, str], published: bool = True
    ) -> Iterator[Container]:
        """Run a container until the caller is done with it.

        Args:
            options: More options of `docker run`.
            environment: Variables of the container.
            published: Publish the port on 127.0.0.1.

        Raises:
            DockerError: It cannot be started.
        """
        with self._at_once:
            yield from self._run(options, environment, published=published)

    def _run(
        self, options: Sequence[str], environment: Mapping[str, str], *, published: bool
    ) -> Iterator[Container]:
        if self.closing.is_set():
            raise Unjudged(INTERRUPTED)
        name = f"textclf-check-{uuid.uuid4().hex}"
        reach = ("--publish", f"127.0.0.1::{self._port}") if published else ()
        variables = [f"--env={key}={value}" for key, value in environment.items()]
        container = Container(
            name,
            began=time.monotonic(),
            patience_seconds=self._patience_seconds,
            closing=self.closing,
        )
        try:
            run_docker(
                "run", "--detach", "--name", name, "--label", self._label,
                *HARDENED, *reach, *variables, *options, self._image_id,
            )  # fmt: skip
            container.url = f"http://127.0.0.1:{self._published(container)}" if published else ""
            yield container
        finally:
            with suppress(DockerError):  # it may be gone already
                run_docker("rm", "--force", "--volumes", name)

    def _published(self, container: Container) -> str:
        ports = container.described()["NetworkSettings"]["Ports"] or {}
        bindings = ports.get(f"{self._port}/tcp") or [{"HostPort": "1"}]  # it has ended already
        return str(bindings[0]["HostPort"])

    def close(self) -> None:
        """Remove every container that is left, and start no more."""
        self.closing.set()
        with suppress(DockerError):
            names = run_docker("ps", "--all", "--quiet", "--filter", f"label={self._label}").split()
            if names:
                run_docker("rm", "--force", "--volumes", *names)


def level(line: str) -> str:
    """Return the level of a line of a log of JSON objects, or nothing."""
    with suppress(ValueError, AttributeError):
        return str(json.loads(line).get("level", ""))
    return ""


def last_error(log: str) -> str:
    """Return the message of the last error in a log, or else its last line."""
    lines = [line for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if level(line) in _FATAL]
    if errors:
        return str(json.loads(errors[-1]).get("message", errors[-1]))
    return lines[-1] if lines else "nothing"
