"""The examples of docs, against a service that runs for them."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.certificates import Certificates
from tests.conftest import require
from tests.http.serving import PROJECT, Served, free_port
from tests.repo.conftest import visitor_environment
from tests.repo.pages import EXAMPLES, FENCED, Command, read_commands

_CLONE = (
    ".venv", "service.py", "bentofile.yaml", "models", "scripts", "textclf", "openapi.json",
)  # fmt: skip
_STRICT = "set -euo pipefail"


class Reader:
    """Someone who has a clone with its environment, and two terminals: one serves, one asks.

    They share the folder and nothing else: neither has variables of the other.
    """

    def __init__(self, folder: Path) -> None:
        for name in _CLONE:
            (folder / name).symlink_to(PROJECT / name)
        self._folder = folder
        self._log = folder / "server.log"
        self._asking = self._serving = _STRICT
        self._port = free_port()
        self._server: subprocess.Popen[bytes] | None = None
        self._environment = visitor_environment() | {
            "BENTOML_DO_NOT_TRACK": "True",
            "BENTOML_HOME": str(folder / "bentoml"),
            "BENTOML_PORT": str(self._port),
            "TEXTCLF_DRAIN_SECONDS": "0",
        }

    def activate(self, command: Command) -> None:
        """Activate the environment in both terminals; a server of `make serve` needs it in none."""
        self._asking += f"; {command.text}"
        self._serving += f"; {command.text}"

    def remember(self, command: Command) -> None:
        """Set a variable that later commands of this terminal use."""
        run = self._run(f"{command.text}; declare -p")
        name = command.text.partition("=")[0]
        found = re.search(rf"^declare -- {name}=.*$", run.stdout, re.MULTILINE)
        assert found, f"{command.text}\n{run.stderr}"
        self._asking += f"; {found[0]}"

    def run(self, command: Command) -> None:
        """Run a command to its end and compare what it prints."""
        run = self._run(command.text)
        assert run.returncode == 0, f"{command.text}\n{run.stdout}{run.stderr}{self._logged()}"
        assert command.shows(run.stdout), f"{command.text}\n{run.stdout}"

    def serve(self, command: Command) -> None:
        """Start a server in the other terminal, after stopping the one that runs there."""
        self.stop()
        text = command.text.replace("make serve", ".venv/bin/bentoml serve")
        variables, serve = re.findall(r"^((?:\w+=\S+ )*)(.*)", text)[0]
        with self._log.open("wb") as output:
            self._server = subprocess.Popen(
                ["bash", "-c", f"{self._serving}; {variables}exec {serve}"],
                cwd=self._folder, env=self._environment, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip
        secured = self._certificates(command.text)
        scheme = "https" if secured else "http"
        served = Served(f"{scheme}://127.0.0.1:{self._port}", self._server, self._log, secured)
        served.wait_for_status("/readyz", 200)

    def stop(self) -> None:
        """Stop the server, if one runs."""
        if self._server is not None:
            self._server.terminate()
            self._server.wait(timeout=30)
            self._server = None

    def _certificates(self, text: str) -> Certificates | None:
        """Return what a command serves TLS with: a certificate that is its own authority."""
        found = dict(re.findall(r"--ssl-(\w+) (\S+)", text))
        if not found:
            return None
        certificate = self._folder / found["certfile"]
        return Certificates(certificate, certificate, self._folder / found["keyfile"])

    def _run(self, text: str) -> subprocess.CompletedProcess[str]:
        text = text.replace("127.0.0.1:3000", f"127.0.0.1:{self._port}")
        return subprocess.run(
            ["bash", "-c", f"{self._asking}; {text}"], cwd=self._folder, env=self._environment,
            check=False, capture_output=True, stdin=subprocess.DEVNULL, text=True, timeout=60,
        )  # fmt: skip

    def _logged(self) -> str:
        return self._log.read_text()[-3000:] if self._log.exists() else ""


def rule(command: Command) -> Callable[[Reader, Command], None]:
    """Return what to do with a command."""
    if re.fullmatch(r"(\w+=\S+ )*(make serve|bentoml serve.*)", command.text):
        return Reader.serve
    if command.text.startswith("source "):
        return Reader.activate
    return Reader.remember if re.match(r"[A-Z_]+=(\S+|\$\(.*\))$", command.text) else Reader.run


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    """Return someone who has read nothing yet."""
    reader = Reader(tmp_path)
    yield reader
    reader.stop()


@pytest.mark.parametrize("page", EXAMPLES)
def test_the_examples_work_as_shown(reader: Reader, page: str) -> None:
    """Each, run after the ones before it, succeeds and prints what is shown."""
    commands = list(read_commands((PROJECT / "docs" / page).read_text("utf-8")))
    if any(command.text.startswith("node ") for command in commands):
        require(shutil.which("node") is not None, "there is no node; run make parts")
    for command in commands:
        rule(command)(reader, command)
    assert commands


@pytest.mark.parametrize("page", EXAMPLES)
def test_a_server_has_a_block_of_its_own(page: str) -> None:
    """Whoever copies a block into a terminal never has a server in it before other commands."""
    for block in FENCED.finditer((PROJECT / "docs" / page).read_text("utf-8")):
        commands = list(read_commands(block[0] + "\n"))
        assert len(commands) <= 1 or Reader.serve not in map(rule, commands), block[0]
