"""What is soaked: a service that runs from this tree or from its Bento, in a folder of its own."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.http.serving import PROJECT, Served, serve
from tests.soak.asking import encode
from tests.soak.processes import workers
from tests.soak.wire import Answer, Connection, LostError
from textclf.artifact import GRAPH

MODEL = PROJECT / "models" / "reference"
DRAIN_SECONDS = 2.0
START_SECONDS = 120.0
_DISK_MB = 16
_BENTO_VERSION = "soak"


@dataclass
class Ground:
    """A service, its port, and where it keeps what.

    Attributes:
        served: The process.
        model: The classifier folder that it serves; of this ground alone.
        disk: A small disk of its own, for its home, its log and its temporary files, or none.
    """

    served: Served
    model: Path
    disk: Path | None

    @property
    def port(self) -> int:
        """Of loopback."""
        return int(self.served.url.rpartition(":")[2])

    @property
    def pid(self) -> int:
        """Of its first process."""
        return self.served.process.pid

    @property
    def graph(self) -> Path:
        """The file of the graph."""
        return self.model / GRAPH

    def worker(self) -> int:
        """Return the process that answers."""
        deadline = time.monotonic() + START_SECONDS
        while not (found := workers(self.pid)):
            assert time.monotonic() < deadline, "there is no worker"
            time.sleep(0.02)
        return found[0]

    def get(self, path: str) -> Answer:
        """Ask once.

        Raises:
            LostError: No answer came.
        """
        with Connection(self.port, patience_seconds=10) as connection:
            connection.send(encode("GET", path, b"", {}))
            return connection.answer()

    def metric(self, name: str) -> float:
        """Return the sum of a metric's series."""
        lines = self.get("/metrics").body.decode()
        found = re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", lines, re.MULTILINE)
        return sum(map(float, found))

    def wait_for_status(self, path: str, status: int) -> None:
        """Ask until this status comes."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            with contextlib.suppress(LostError):
                if self.get(path).status == status:
                    return
            assert time.monotonic() < deadline, f"{path} never answered {status}"
            time.sleep(0.05)


def build_bento(home: Path) -> Path:
    """Build the Bento of this tree, with the reference model in it, and return its folder.

    Args:
        home: Of BentoML; it is made.
    """
    commands = (
        ["scripts/import_model.py", "local", str(MODEL)],
        ["-m", "bentoml", "build", "--version", _BENTO_VERSION],
    )
    for command in commands:
        subprocess.run(
            [sys.executable, *command],
            cwd=PROJECT,
            env=os.environ | {"BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True"},
            stdout=subprocess.DEVNULL,
            check=True,
        )
    bento = home / "bentos" / "textclf" / _BENTO_VERSION
    (home / "models").rename(bento / "models")  # where an image has them
    return bento


@contextlib.contextmanager
def lay_ground(
    folder: Path,
    *,
    bento: Path | None = None,
    port: int | None = None,
    small_disk: bool = False,
    environ: Mapping[str, str] | None = None,
) -> Iterator[Ground]:
    """Serve a copy of the reference model; what it keeps is below ``folder``.

    Args:
        folder: Exists, and is empty.
        bento: Folder of the Bento to serve; None to serve this tree.
        port: A free one; None to look for it.
        small_disk: Keep it on a file system of a few MB, if this process may mount one.
        environ: More environment variables.
    """
    model = Path(shutil.copytree(MODEL, folder / "model"))
    home = folder / "home"
    home.mkdir()
    with contextlib.ExitStack() as stack:
        mounted = small_disk and stack.enter_context(mount_small_disk(home))
        (home / "tmp").mkdir()
        served = stack.enter_context(
            serve(
                home,
                port=port,
                target=str(bento or ""),
                environ={"TMPDIR": str(home / "tmp"), **(environ or {})},
                MODEL=str(model),
                DRAIN_SECONDS=str(DRAIN_SECONDS),
                LOG_LEVEL="WARNING",
                MAX_QUEUE_SECONDS="60",  # a machine that is busy with other things is no fault
            )
        )
        yield Ground(served, model, home if mounted else None)


@contextlib.contextmanager
def mount_small_disk(folder: Path) -> Iterator[bool]:
    """Mount a few MB of memory at ``folder``, and say whether that was possible."""
    root = [] if os.geteuid() == 0 else ["sudo", "--non-interactive"]
    options = f"size={_DISK_MB}m,mode=0777"
    mounted = _runs([*root, "mount", "-t", "tmpfs", "-o", options, "textclf", str(folder)])
    try:
        yield mounted
    finally:
        if mounted:
            _runs([*root, "umount", "--lazy", str(folder)])


def _runs(command: Sequence[str]) -> bool:
    try:
        return subprocess.run(command, check=False, capture_output=True).returncode == 0
    except OSError:
        return False
