"""A real registry on loopback: Debian's docker-registry, with a password and its own storage."""

from __future__ import annotations

import base64
import http.client
import json
import re
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from textclf.image.docker import run_docker

PROGRAM = "docker-registry"
USER, PASSWORD = "tester", "PLANTED-correct-horse"
# What `htpasswd -Bbn tester PLANTED-correct-horse` printed.
_HTPASSWD = "tester:$2y$04$IIjPszJFjkjlifFpBlCZ0.kxjJoQIuWswL3c65CskOJKjOJdNiiDK"
_READY = re.compile(r"listening on ")
_STARTING_SECONDS = 30
_UPLOAD = re.compile(r'"POST /v2/\S+/blobs/uploads/\S* HTTP/1\.1" 202 ')


def registry_is_installed() -> bool:
    """Say whether the program is there."""
    return shutil.which(PROGRAM) is not None


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def write_configuration(folder: Path, *, address: str, storage: str, password_file: str) -> Path:
    """Write what the registry runs by."""
    (folder / "htpasswd").write_text(_HTPASSWD + "\n")
    configuration = {
        "version": 0.1,
        "log": {"level": "info"},
        "storage": {"filesystem": {"rootdirectory": storage}},
        "http": {"addr": address},
        "auth": {"htpasswd": {"realm": "test", "path": password_file}},
    }
    path = folder / "config.yml"
    path.write_text(json.dumps(configuration))  # JSON is YAML
    return path


class Registry:
    """A registry that can be killed and started again on its storage.

    Attributes:
        host: ``127.0.0.1:PORT``.
        storage: Where it keeps what it has.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.host = f"127.0.0.1:{free_port()}"
        self.storage = folder / "storage"
        self._command = [
            PROGRAM,
            "serve",
            str(
                write_configuration(
                    folder,
                    address=self.host,
                    storage=str(self.storage),
                    password_file=str(folder / "htpasswd"),
                )
            ),
        ]
        self.start()

    def __enter__(self) -> Self:
        """Return the registry, which is serving already."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End it."""
        self.kill()

    def start(self) -> None:
        """Start it and wait until it serves."""
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert self._process.stdout
        self.log = Log(self._process.stdout)
        self.log.wait_for(_READY)

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self.log.close()

    def kill_at_upload(self) -> threading.Thread:
        """Kill it when a client has opened an upload, whose bytes come with its next request."""

        def kill() -> None:
            try:
                self.log.wait_for(_UPLOAD)
            finally:
                self.kill()

        thread = threading.Thread(target=kill)
        thread.start()
        return thread

    def uploads(self, name: str) -> int:
        """Return how many uploads to a repository clients have opened since it started."""
        opened = [line for line in self.log.lines if _UPLOAD.search(line)]
        return sum(f"/v2/{name}/blobs/" in line for line in opened)

    def writes(self, name: str) -> int:
        """Return how many requests have changed something in a repository."""
        writing = re.compile(rf'"(?:POST|PUT|PATCH|DELETE) /v2/{name}/\S* HTTP/1\.1" 2\d\d ')
        return sum(bool(writing.search(line)) for line in self.log.lines)

    def blob(self, digest: str) -> Path:
        """Return the file that holds a blob or a manifest."""
        sha256 = digest.removeprefix("sha256:")
        return self.storage / "docker/registry/v2/blobs/sha256" / sha256[:2] / sha256 / "data"

    def tags(self, name: str) -> dict[str, str]:
        """Return the digest of each tag of a repository, as the registry tells over HTTP."""
        status, _, body = self.get(f"/v2/{name}/tags/list")
        tags = json.loads(body).get("tags") or [] if status == http.client.OK else []
        return {tag: self.get(f"/v2/{name}/manifests/{tag}")[1] for tag in tags}

    def get(self, path: str) -> tuple[int, str, bytes]:
        """Ask it, past docker: status, digest and body."""
        connection = http.client.HTTPConnection(self.host, timeout=_STARTING_SECONDS)
        token = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        accepted = [
            "application/vnd.docker.distribution.manifest.v2+json",
            "application/vnd.docker.distribution.manifest.list.v2+json",
        ]
        headers = {"Authorization": f"Basic {token}", "Accept": ", ".join(accepted)}
        try:
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            digest = response.getheader("Docker-Content-Digest", "")
            return response.status, digest, response.read()
        finally:
            connection.close()


class Log:
    """The lines a process writes, as they come."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        for line in self._pipe:
            with self._changed:
                self._lines.append(line.decode("utf-8", "replace"))
                self._changed.notify_all()

    @property
    def lines(self) -> Sequence[str]:
        """All so far."""
        with self._changed:
            return list(self._lines)

    def wait_for(self, pattern: re.Pattern[str]) -> None:
        """Wait for a line; fail with what was written if it does not come."""
        with self._changed:
            seen = self._changed.wait_for(
                lambda: any(pattern.search(line) for line in self._lines), _STARTING_SECONDS
            )
        assert seen, "".join(self.lines)

    def close(self) -> None:
        """Read to the end of a process that has ended."""
        self._thread.join()
        self._pipe.close()


@contextmanager
def small_registry(folder: Path, image: str, *, size: str) -> Iterator[str]:
    """Run a registry in a container, on a file system of a size, and return its address.

    Args:
        folder: For its configuration.
        image: Any that can hold a container; the program's libraries are the machine's.
        size: Of the file system, such as ``1m``.
    """
    folder.mkdir(parents=True)
    host = f"127.0.0.1:{free_port()}"
    write_configuration(
        folder,
        address=":5000",
        storage="/storage",
        password_file="/etc/registry/htpasswd",  # noqa: S106 - a path
    )
    program = shutil.which(PROGRAM)
    mounts = [f"{program}:/registry:ro", f"{folder}:/etc/registry:ro"]
    mounts += [f"{path}:{path}:ro" for path in ("/lib", "/lib64") if Path(path).is_dir()]
    container = run_docker(
        *("run", "--detach", "--publish", f"{host}:5000", "--tmpfs", f"/storage:size={size}"),
        *(option for mount in mounts for option in ("--volume", mount)),
        *("--entrypoint", "/registry", image, "serve", "/etc/registry/config.yml"),
    ).strip()
    following = subprocess.Popen(
        ["docker", "logs", "--follow", container],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert following.stdout
    log = Log(following.stdout)
    try:
        log.wait_for(_READY)
        yield host
    finally:
        run_docker("rm", "--force", container)
        following.wait()
        log.close()


def write_login(folder: Path, *hosts: str, password: str = PASSWORD) -> None:
    """Write what ``docker login`` would, which would refuse a wrong password."""
    folder.mkdir(parents=True, exist_ok=True)
    token = base64.b64encode(f"{USER}:{password}".encode()).decode()
    (folder / "config.json").write_text(json.dumps({"auths": {h: {"auth": token} for h in hosts}}))
