"""Starts the systems one after another and checks their answers against the golden texts."""

from __future__ import annotations

import argparse
import json
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.catalogue import SYSTEMS
from benchmarks.errors import BenchmarkError
from benchmarks.paths import KEPT
from benchmarks.serving import serving
from benchmarks.systems import Model, Route, System


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
    log = KEPT / "logs" / f"checking-{system.name}.log"
    with serving(system, model, log) as server:
        base, seconds = f"http://127.0.0.1:{server.port}", server.ready_seconds
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
