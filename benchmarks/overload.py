"""What a service does under three times the load it can carry, in ratios of one run.

``python -m benchmarks.overload`` serves the reference model as it is by default and asks it, a few
rounds in turn: as fast as it answers, which is the most it can carry; at 30 % of that, which is
called unloaded here; and at 300 % of it, once from the first moment on and once later. Arrivals are
those of a Poisson process from a generator that has a CPU of its own where there are two. Latency
is counted from the moment at which a request was scheduled; a ratio is the median of the rounds'.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.catalogue import SYSTEMS
from benchmarks.load import Job
from benchmarks.measure import Results, run_child
from benchmarks.models import REFERENCE_FOLDER
from benchmarks.plan import OURS
from benchmarks.serving import Server, serving
from benchmarks.systems import Model
from benchmarks.targets import REFERENCE

UNLOADED, OVERLOADED = 0.3, 3.0
MOST_P99_RATIO = 2.0
LEAST_GOODPUT = 0.9
_CLOSED_CONNECTIONS = 32
_OPEN_CONNECTIONS = 4_000  # more than the queue holds texts: or the generator would hold back
_SETTLE_SECONDS = 5.0  # until a queue that had filled up is short
_CALM_SECONDS = 3.0  # without a request, until it may be long again


def measure_round(server: Server, seconds: float, cpus: Sequence[int], seed: int) -> Results:
    """Put each load on a server once and return what came of it.

    Args:
        server: Of the system that is measured.
        seconds: For each load.
        cpus: The generator stays on these; empty for any.
        seed: Of the order of the texts and of the arrivals.
    """

    def load(**options: float | bool) -> Results:
        job = Job(port=server.port, system=OURS, seconds=seconds, cpus=cpus, seed=seed)
        job = dataclasses.replace(job, **options)  # type: ignore[arg-type]
        told = json.dumps(dataclasses.asdict(job))
        measured: Results = run_child("benchmarks.load", [], seconds, told)
        return measured

    time.sleep(_CALM_SECONDS)
    tries = [load(connections=_CLOSED_CONNECTIONS, seconds=seconds / 2) for _ in range(2)]
    most = max(tries, key=lambda found: found["goodput_per_second"])
    maximum = most["goodput_per_second"]
    unloaded = load(connections=_CLOSED_CONNECTIONS, rate=UNLOADED * maximum)
    over = {
        "connections": _OPEN_CONNECTIONS,
        "rate": OVERLOADED * maximum,
        "drops_backlog": True,
    }
    onset = load(**over, warm_up_seconds=0.0)
    overloaded = load(**over, warm_up_seconds=_SETTLE_SECONDS)
    return {"most": most, "unloaded": unloaded, "onset": onset, "overloaded": overloaded}


def ratios(measured: Results) -> dict[str, float]:
    """Return what a round comes to."""
    maximum = measured["most"]["goodput_per_second"]
    unloaded_p99 = measured["unloaded"]["latency_ms"]["p99"]
    found = {"maximum per second": maximum, "unloaded p99 ms": unloaded_p99}
    for phase in ("onset", "overloaded"):
        load = measured[phase]
        found |= {
            f"{phase}: p99 / unloaded": round(load["latency_ms"]["p99"] / unloaded_p99, 2),
            f"{phase}: goodput / maximum": round(load["goodput_per_second"] / maximum, 3),
            f"{phase}: refused share": round(
                load["answers"].get("429", 0) / max(1, load["requests"]), 3
            ),
            f"{phase}: refusal p99 ms": load["refusal_ms"].get("p99", 0.0),
            f"{phase}: failed": sum(load["errors"].values()) + load["unsent"],
        }
    return found


def _render(rounds: Sequence[dict[str, float]], medians: dict[str, float]) -> str:
    heads = [f"round {number}" for number in range(1, len(rounds) + 1)]
    lines = [
        "| | median | " + " | ".join(heads) + " |",
        "| --- |" + " --- |" * (len(rounds) + 1),
    ]
    for name, median in medians.items():
        cells = " | ".join(f"{found[name]:g}" for found in rounds)
        lines.append(f"| {name} | {median:g} | {cells} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; 1 if a target was missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0, help="that each load is measured for")
    parser.add_argument("--json", action="store_true", help="print all that was measured as JSON")
    arguments = parser.parse_args(argv)
    cpus = sorted(os.sched_getaffinity(0))
    generator, service = (cpus[-1:], cpus[:-1]) if len(cpus) > 1 else ([], [])
    model = Model(name=REFERENCE, folder=REFERENCE_FOLDER, fp32=Path(), stock=Path())  # as served
    (system,) = (system for system in SYSTEMS if system.name == OURS)
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(system, model, Path(folder) / "serve.log", service) as server,
    ):
        measured = [
            measure_round(server, arguments.seconds, generator, seed)
            for seed in range(1, arguments.rounds + 1)
        ]
    rounds = [ratios(found) for found in measured]
    medians = {name: statistics.median(found[name] for found in rounds) for name in rounds[0]}
    print(json.dumps(measured, indent=2) if arguments.json else _render(rounds, medians))  # noqa: T201
    met = (
        medians["overloaded: p99 / unloaded"] <= MOST_P99_RATIO
        and medians["overloaded: goodput / maximum"] >= LEAST_GOODPUT
    )
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
