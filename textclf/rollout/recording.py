"""A recorder that runs as long as its controller does, and what it has recorded."""

from __future__ import annotations

import contextlib
import ctypes
import json
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from textclf.errors import EvidenceError
from textclf.rollout.answers import read_pairs
from textclf.rollout.evidence import Comparison
from textclf.rollout.pairs import PairSummary, summarise

_START_SECONDS = 20.0
_STOP_SECONDS = 10.0
_PR_SET_PDEATHSIG = 1


class RecorderProcess:
    """A recorder, started and stopped; each comparison has a file of its own."""

    def __init__(
        self,
        url: str,
        versions: Mapping[str, str],
        folder: Path,
        *,
        sample_percent: float = 0.0,
        known_labels: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """Describe it; nothing is started yet.

        Args:
            url: That the engine mirrors to, of this machine; its host is what is listened on.
            versions: URL by part: stable, candidate, and baseline if there is one, which then
                stands in for the second copy of the stable version.
            folder: Where noise.jsonl and shadow.jsonl are written.
            sample_percent: Of requests whose texts are kept.
            known_labels: Right labels by ``texts_sha256``.

        Raises:
            EvidenceError: The URL names no port.
        """
        port = urlsplit(url).port
        self._host = urlsplit(url).hostname or "127.0.0.1"
        if port is None:
            raise EvidenceError(f"{url} names no port; give --recorder as http://127.0.0.1:PORT")
        self._url = f"http://127.0.0.1:{port}"
        self._port = port
        self._versions = versions
        self._folder = folder
        self._sample_percent = sample_percent
        self._known_labels = known_labels or {}
        self._process: subprocess.Popen[bytes] | None = None
        self._recording: Comparison | None = None
        self._read: dict[Comparison, tuple[PairSummary, int]] = {}

    def record(self, comparison: Comparison) -> None:
        """Record the stable version with itself, or with the candidate; again is no change.

        Raises:
            EvidenceError: The recorder does not start.
        """
        if self._recording == comparison and self._process and self._process.poll() is None:
            return
        self.stop()
        deadline = time.monotonic() + _START_SECONDS
        while not self._start(comparison, deadline):
            if time.monotonic() > deadline:
                raise EvidenceError(
                    f"the recorder does not start on port {self._port}; see what it says above, "
                    "free the port or name another with --recorder"
                )
            time.sleep(0.5)  # one of a controller that was killed may still have the port
        self._recording = comparison

    def read(self, comparison: Comparison) -> PairSummary:
        """Return what was recorded so far.

        Raises:
            EvidenceError: The file cannot be read.
        """
        path = self._path(comparison)
        summary, offset = self._read.get(comparison, (None, 0))
        if summary is None:
            summary = summarise((), self._known_labels)
        if path.exists():
            pairs, offset = read_pairs(path, offset)
            summary = summary.extend(pairs)
        self._read[comparison] = summary, offset
        return summary

    def stop(self) -> None:
        """Stop it, once it has written what it has taken."""
        if self._process:
            self._process.terminate()
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process = self._recording = None

    def _start(self, comparison: Comparison, deadline: float) -> bool:
        other = "candidate" if comparison == "shadow" else "baseline"
        self._process = subprocess.Popen(  # noqa: S603 - the options are ours
            [
                sys.executable,
                "-m",
                "textclf.rollout.recorder",
                f"--host={self._host}",
                f"--port={self._port}",
                f"--stable={self._versions['stable']}",
                f"--candidate={self._versions.get(other) or self._versions['stable']}",
                f"--output={self._path(comparison)}",
                f"--sample-percent={self._sample_percent}",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            preexec_fn=_end_with_parent,  # noqa: PLW1509 - the controller has one thread
        )
        while self._process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(httpx.HTTPError):
                httpx.get(f"{self._url}/status", timeout=1.0, trust_env=False)
                return self._process.poll() is None
            time.sleep(0.1)
        return False

    def _path(self, comparison: Comparison) -> Path:
        return self._folder / f"{comparison}.jsonl"


def _end_with_parent() -> None:
    """Have Linux end this process with a controller that is killed; source: prctl(2)."""
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def read_known_labels(path: Path) -> dict[str, tuple[str, ...]]:
    """Read right labels: a line of JSON with ``texts_sha256`` and ``labels`` for each request.

    Raises:
        EvidenceError: The file cannot be read.
    """
    try:
        records = [json.loads(line) for line in path.read_text("utf-8").splitlines() if line]
        return {record["texts_sha256"]: tuple(record["labels"]) for record in records}
    except (OSError, ValueError, TypeError, LookupError) as exc:
        raise EvidenceError(
            f"{path} holds no labels: {exc}; each line is a JSON object with texts_sha256, the "
            "sha256 of a request's body, and labels"
        ) from exc
