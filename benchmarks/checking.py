"""Starts the systems one after another and checks their answers against the golden texts."""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from benchmarks.catalogue import SYSTEMS
from benchmarks.errors import BenchmarkError
from benchmarks.systems import Launch, Model, Route, System

_READY_SECONDS = 120.0
_STOP_SECONDS = 20.0
_POLL_SECONDS = 0.05


def main(argv: Sequence[str] | None = None) -> int:
    """Print a line a system; return 1 if one does not answer as the golden texts ask."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.catalogue", description=__doc__)
    parser.add_argument("--model-folder", type=Path, required=True, help="classifier folder")
    parser.add_argument("--fp32", type=Path, required=True, help="its graph in fp32")
    parser.add_argument("--only", metavar="NAME", action="append", help="a system; repeatable")
    arguments = parser.parse_args(argv)
    model = Model(
        name=arguments.model_folder.name,
        folder=arguments.model_folder,
        fp32=arguments.fp32,
        stock=arguments.fp32,
    )
    wrong = 0
    for system in SYSTEMS:
        if arguments.only and system.name not in arguments.only:
            continue
        try:
            told = _check(system, model)
        except BenchmarkError as exc:
            told = f"fails: {exc}"
        wrong += not told.startswith("ready")
        sys.stdout.write(f"{system.name:<20}{told}\n")
        sys.stdout.flush()
    return 1 if wrong else 0


def _check(system: System, model: Model) -> str:
    """Say how long a system took to serve, if it answers what the golden texts ask."""
    golden = [json.loads(line) for line in (model.folder / "golden.jsonl").open(encoding="utf-8")]
    described = json.loads((model.folder / "classifier.json").read_text("utf-8"))
    # In fp32 a text of a low score may fall to the other side.
    sure = [entry for entry in golden if entry["score"] > 0.9][:16]
    texts = [entry["text"] for entry in sure]
    expected = [entry["label"] == described["positive_label"] for entry in sure]
    port = _free_port()
    launch = system.launch(model, port)
    base = f"http://127.0.0.1:{port}"
    with _running(launch) as (process, log):
        start = time.monotonic()
        _wait_until_ready(base + system.ready, process, log)
        seconds = time.monotonic() - start
        one = [answer for text in texts for answer in _ask(base, system.one, [text])]
        many = _ask(base, system.many, texts) if system.many else expected
    for kind, answers in (("one text", one), ("16 texts", many)):
        if answers != expected:
            return f"wrong answers to {kind} a request: {answers}, not {expected}"
    return f"ready after {seconds:.1f} s, {len(texts)} texts right"


def _ask(base: str, route: Route, texts: Sequence[str]) -> list[bool]:
    request = urllib.request.Request(  # noqa: S310 - http to this machine
        base + route.path, route.encode(texts), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
            body = response.read()
    except urllib.error.HTTPError as exc:
        raise BenchmarkError(f"{len(texts)} texts got {exc.code}: {exc.read()[:500]!r}") from exc
    except OSError as exc:
        raise BenchmarkError(f"{len(texts)} texts got no answer: {exc}") from exc
    if not route.accepts(body, len(texts)):
        raise BenchmarkError(f"the answer to {len(texts)} texts is not accepted: {body[:500]!r}")
    return _positives(json.loads(body))


def _positives(answer: Any) -> list[bool]:
    """Find the answers in whichever shape a system gives them."""
    if isinstance(answer, bool):
        return [answer]
    if isinstance(answer, dict):
        if "label" in answer:
            return [answer["label"] == "positive"]
        return [found for part in answer.values() for found in _positives(part)]
    if isinstance(answer, list):
        # A list within a list ranks the labels of one text.
        parts = [part[0] if isinstance(part, list) else part for part in answer]
        return [found for part in parts for found in _positives(part)]
    return []


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@contextmanager
def _running(launch: Launch) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]:
    """Start a process group, give its log, and stop all of it."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(  # noqa: S603 - the catalogue's own arguments
            launch.argv,
            cwd=launch.cwd,
            env=os.environ | dict(launch.env),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield process, log
        finally:
            process.terminate()  # the first process stops its own children
            with suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_SECONDS)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: IO[bytes]) -> None:
    until = time.monotonic() + _READY_SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310 - this machine
                if response.status == 200:
                    return
        except OSError:
            time.sleep(_POLL_SECONDS)
    log.seek(0)
    shown = log.read()[-3000:].decode(errors="replace")
    state = "did not get ready" if process.poll() is None else f"ended with {process.returncode}"
    raise BenchmarkError(f"it {state}; see its log:\n{shown}")
