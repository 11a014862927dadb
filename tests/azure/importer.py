"""Runs the import command against the stand-in, in a store and a temporary folder of the test."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest

from scripts.import_model import main
from tests.azure.standin import AzureStandIn
from tests.tiny_models import TinyModel

PROJECT = Path(__file__).resolve().parents[2]
_SECONDS = 120


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a command ended."""

    code: int
    output: str
    errors: str
    seconds: float

    @property
    def error(self) -> str:
        """The last line on standard error."""
        return self.errors.splitlines()[-1]


@dataclass(frozen=True, kw_only=True)
class Importer:
    """The command, with one workspace, one store and one temporary folder.

    Attributes:
        azure: Where the models are.
        tokenizer: Folder of the tokenizer of them all.
        home: The BentoML home, of this process and of its children.
        temporary: Where the command keeps what it downloads, likewise.
    """

    azure: AzureStandIn
    tokenizer: Path
    home: Path
    temporary: Path

    @classmethod
    def set_up(
        cls, azure: AzureStandIn, model: TinyModel, home: Path, patch: pytest.MonkeyPatch
    ) -> Self:
        """Register the graph as ``demo:1``, with its hash as a tag, in a folder with a note."""
        graph = model.graph.read_bytes()
        tags = {"sha256": hashlib.sha256(graph).hexdigest()}
        azure.add_model("demo", {"tiny.onnx": graph, "notes/README.md": b"demo"}, tags=tags)
        temporary = home.with_name("temporary")
        temporary.mkdir()
        patch.setenv("TMPDIR", str(temporary))
        patch.setattr(tempfile, "tempdir", None)  # it was read before
        return cls(azure=azure, tokenizer=model.folder, home=home, temporary=temporary)

    def run(self, source: str, *arguments: str) -> Outcome:
        """Run the command in this process; its SDK still has one of its own."""
        started = time.monotonic()
        output, errors = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            try:
                code = main(self._arguments(source, arguments))
            except SystemExit as exc:  # a wrong command line
                code = int(exc.code or 0)
        return self._outcome(code, output.getvalue(), errors.getvalue(), started)

    def start(self, source: str, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        """Start the command in a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "scripts.import_model", *self._arguments(source, arguments)],
            cwd=PROJECT,
            env=os.environ | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, process: subprocess.Popen[str]) -> Outcome:
        """Wait for a command to end."""
        started = time.monotonic()
        output, errors = process.communicate(timeout=_SECONDS)
        return self._outcome(process.returncode, output, errors, started)

    def tags(self) -> list[str]:
        """Return the versions in the store."""
        return sorted(path.name for path in (self.home / "models" / "sentiment").glob("*/"))

    def left(self) -> list[Path]:
        """Return what was not cleared away."""
        return list(self.temporary.glob("textclf-*"))

    def check_refused(self, outcome: Outcome, code: int, *said: str) -> None:
        """Check the exit code and the message, and that nothing is left anywhere."""
        assert outcome.code == code, outcome.errors
        assert outcome.error.startswith("error: ")
        assert [text for text in said if text not in outcome.error] == [], outcome.error
        assert "Traceback" not in outcome.errors
        assert (outcome.output, self.tags(), self.left()) == ("", [], [])

    def _arguments(self, source: str, arguments: tuple[str, ...]) -> list[str]:
        place = ["--workspace", self.azure.workspace, "--resource-group", self.azure.resource_group]
        always = [*place, "--tokenizer", str(self.tokenizer), "--precision", "fp32"]
        return [source, *always, *arguments]

    def _outcome(self, code: int, output: str, errors: str, started: float) -> Outcome:
        """Return how a command ended; whatever it printed must be free of secrets."""
        leaked = [secret for secret in self.azure.secrets if secret in output + errors]
        assert leaked == []
        seconds = time.monotonic() - started
        return Outcome(code=code, output=output, errors=errors, seconds=seconds)
