"""Runs a plan: every system in turn, with a calibration of the machine between them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.catalogue import SYSTEMS
from benchmarks.corpus import read_corpus
from benchmarks.errors import BenchmarkError
from benchmarks.load import Job
from benchmarks.machine import describe_machine, describe_versions
from benchmarks.paths import KEPT, ROOT
from benchmarks.plan import OURS, ModelPlan, Plan, Point, Visit
from benchmarks.serving import Server, serving
from benchmarks.systems import Model, System

_LOGS = KEPT / "logs"
_SPARE_SECONDS = 60.0  # that a child may take beyond what it was asked to
_PADDING = re.compile(r"^textclf_(padding_)?tokens_total(?:\{.*\})? (\S+)$", re.MULTILINE)

Results = dict[str, Any]


@dataclass(frozen=True)
class _Bench:
    """One model and what is measured with it."""

    model: Model
    corpus: Path
    plan: ModelPlan

    def limit(self, seconds: float, *options: str) -> Any:
        """Return what ``benchmarks.limit`` finds."""
        where = ["--folder", str(self.model.folder), "--corpus", str(self.corpus)]
        arguments = [*where, "--seconds", str(seconds), *options]
        return run_child("benchmarks.limit", arguments, seconds)

    def calibrate(self, found: Results, cpus: Sequence[int] = ()) -> float:
        """Measure the limit again with the setting that was best."""
        setting = dict(found["setting"])
        if cpus:
            setting |= {"callers": len(cpus), "threads": 1}
        options = ["--setting", json.dumps(setting), "--cpus", json.dumps(list(cpus))]
        calibrated = self.limit(self.plan.calibration_seconds, *options)
        return float(calibrated["texts_per_second"])

    def load(
        self,
        server: Server,
        system: System,
        point: Point,
        *,
        maximum: float = 0.0,
        cpus: Sequence[int] = (),
    ) -> Results:
        """Put one load on a server.

        Args:
            server: That is asked.
            system: Whose routes it has.
            point: The load.
            maximum: Requests a second that a share of is asked for in an open loop.
            cpus: The generator stays on these; empty for any.
        """
        rate = None if point.share is None else point.share * maximum
        job = Job(
            port=server.port,
            system=system.name,
            texts_per_request=point.texts,
            corpus=str(self.corpus),
            connections=point.connections,
            seconds=point.seconds,
            warm_up_seconds=point.warm_up_seconds,
            rate=rate,
            drops_backlog=point.share is not None and point.share > 1,
            cpus=cpus,
        )
        told = json.dumps(dataclasses.asdict(job))
        measured: Results = run_child("benchmarks.load", [], point.seconds, told)
        return measured | {"share": point.share}


def run_plan(
    plan: Plan, models: Sequence[Model], corpus: Path, save: Callable[[Results], None]
) -> Results:
    """Measure everything that the plan names and return it.

    Args:
        plan: What is measured.
        models: One for each of the plan's.
        corpus: File of texts.
        save: Is given the results so far, again and again.

    Raises:
        BenchmarkError: A limit could not be measured. A system that fails is told of in its place.
    """
    texts = read_corpus(corpus)
    started = time.time()
    results: Results = {
        "mode": plan.mode,
        "started_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
        "predicted_seconds": round(plan.predicted_seconds()),
        "machine": describe_machine(),
        "versions": describe_versions(),
        "corpus": {
            "file": corpus.name,
            "sha256": hashlib.sha256(corpus.read_bytes()).hexdigest(),
            "texts": len(texts),
        },
        "models": {},
    }
    for model, part in zip(models, plan.models, strict=True):
        measured: Results = {}
        results["models"][model.name] = measured
        for _ in _measure_model(_Bench(model, corpus, part), measured):
            results["seconds"] = round(time.time() - started, 1)
            save(results)
    return results


def _measure_model(bench: _Bench, results: Results) -> Iterator[None]:
    """Fill the results of one model, and yield whenever there is more."""
    plan = bench.plan
    _tell(f"{bench.model.name}: the in-process limit")
    found = bench.limit(plan.limit_seconds)
    calibrations = [bench.calibrate(found)]
    stock = bench.limit(plan.stock_seconds, "--graph", str(bench.model.stock))
    calibrations.append(bench.calibrate(found))
    results |= {
        "graph_bytes": (bench.model.folder / "model.onnx").stat().st_size,
        "limit": found,
        "stock": stock | {"calibration": _mean(calibrations)},
        "systems": {},
        "calibrations": calibrations,
    }
    if plan.lengths_seconds:
        results["lengths"] = bench.limit(plan.lengths_seconds, "--lengths")
    for visit in plan.visits:
        measured = _visit(bench, visit)
        calibrations.append(bench.calibrate(found))
        results["systems"][visit.system] = measured | {"calibration": _mean(calibrations[-2:])}
        yield
    if plan.scaling:
        results["scaling"] = [_scale(bench, found, plan.scaling, cpus) for cpus in _affinities()]
    yield


def _visit(bench: _Bench, visit: Visit) -> Results:
    (system,) = (system for system in SYSTEMS if system.name == visit.system)
    results: Results = {"closed": [], "open": [], "failure": ""}
    _tell(f"{bench.model.name}: {system.name}")
    try:
        with serving(system, bench.model, _log(bench, system.name)) as server:
            results["ready_seconds"] = round(server.ready_seconds, 3)
            time.sleep(visit.settle_seconds)
            results["memory_before_bytes"] = server.memory_bytes()
            _put_loads(bench, server, system, visit, results)
            time.sleep(visit.settle_seconds)
            results["memory_after_bytes"] = server.memory_bytes()
            if system.name == OURS:
                results["padding_share"] = _padding_share(server)
    except BenchmarkError as exc:
        results["failure"] = str(exc)
        _tell(f"  {exc}")
    return results


def _put_loads(
    bench: _Bench, server: Server, system: System, visit: Visit, results: Results
) -> None:
    """Add what comes of each load; open ones are a share of the best closed one before them."""
    maximum = 0.0
    for point in visit.points:
        if point.share and not maximum:
            raise BenchmarkError(f"{system.name} accepted nothing in a closed loop; read its log")
        measured = bench.load(server, system, point, maximum=maximum)
        results["closed" if point.share is None else "open"].append(measured)
        if point.share is None and point.texts == 1:
            maximum = max(maximum, measured["goodput_per_second"])
        _tell_of(measured)


def _scale(bench: _Bench, found: Results, point: Point, cpus: Sequence[int]) -> Results:
    """Measure this project on some CPUs alone, asked from the others where there are any."""
    (system,) = (system for system in SYSTEMS if system.name == OURS)
    _tell(f"{bench.model.name}: {system.name} on {len(cpus)} CPU(s)")
    log = _log(bench, f"{system.name} {len(cpus)} cpus")
    others = sorted(os.sched_getaffinity(0) - set(cpus))
    results: Results = {"cpus": len(cpus), "limit_texts_per_second": bench.calibrate(found, cpus)}
    try:
        with serving(system, bench.model, log, cpus) as server:
            measured = bench.load(server, system, point, cpus=others)
    except BenchmarkError as exc:
        _tell(f"  {exc}")
        return results | {"failure": str(exc)}
    _tell_of(measured)
    return results | {"texts_per_second": measured["texts_per_second"]}


def _affinities() -> list[list[int]]:
    cpus = sorted(os.sched_getaffinity(0))
    return [cpus[:count] for count in (1, 2) if count <= len(cpus)]


def run_child(module: str, arguments: Sequence[str], seconds: float, told: str = "") -> Any:
    """Run one of this package's programs and return the JSON that it prints.

    Args:
        module: Of the program.
        arguments: Of it.
        seconds: It is asked to take.
        told: On its standard input.

    Raises:
        BenchmarkError: It fails, or takes a minute longer than it was asked to.
    """
    try:
        done = subprocess.run(  # noqa: S603  # our own module
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            input=told,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds + _SPARE_SECONDS,
        )
    except subprocess.TimeoutExpired as exc:
        raise BenchmarkError(f"{module} did not end in {exc.timeout:g} s; retry") from exc
    if done.returncode:
        raise BenchmarkError(f"{module} failed; mend that and retry:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout)


def _padding_share(server: Server) -> float | None:
    """Return the share of the tokens that were run without being text, as the service counts it."""
    with (
        suppress(OSError),
        urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=5) as answer,
    ):
        counts = dict(_PADDING.findall(answer.read().decode()))
        padding, text = float(counts.get("padding_", 0)), float(counts.get("", 0))
        if text:
            return round(padding / (padding + text), 4)
    return None


def _log(bench: _Bench, name: str) -> Path:
    words = re.findall("[a-z0-9]+", f"{bench.model.name} {name}".lower())
    return _LOGS / ("-".join(words) + ".log")


def _mean(figures: Sequence[float]) -> float:
    return round(sum(figures) / len(figures), 2)


def _tell_of(measured: Results) -> None:
    kind = "closed" if measured["share"] is None else f"open {measured['share']:.0%}"
    latency = measured["latency_ms"]
    _tell(
        f"  {kind:<10} {measured['connections']:>4} connections"
        f" x {measured['texts_per_request']:>2} texts: {measured['texts_per_second']:>8.1f} texts/s"
        f", p50 {latency.get('p50', 0):.1f} ms,"
        f" p99 {latency.get('p99', 0):.1f} ms {measured['errors'] or ''}"
    )


def _tell(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)  # noqa: T201
