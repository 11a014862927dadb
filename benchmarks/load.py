"""The load generator: one process, keep-alive connections, closed or open loop.

``python -m benchmarks.load`` reads a JSON ``Job`` from stdin, or takes one from its arguments, and
prints what came of it as JSON. An open loop counts the latency of a request from the moment at
which it was scheduled, so one that waits for a free connection waits on the clock.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.connections import Exchanges, Pool
from benchmarks.corpus import OWN, group_texts, read_corpus
from benchmarks.systems import Route

PERCENTILES = (50.0, 90.0, 99.0, 99.9)
_OK = 200
_TOO_MANY = 429


@dataclass(frozen=True, kw_only=True)
class Job:
    """A load to put on a server.

    Attributes:
        port: Of 127.0.0.1.
        system: Whose route is asked, by its name in the catalogue; empty for ``path``.
        path: Takes a JSON array of one text and answers ``{"positive": bool}``.
        texts_per_request: 1, or as many as the system's other route takes.
        corpus: File of texts.
        connections: Most requests in flight.
        seconds: That are measured.
        warm_up_seconds: Before them.
        rate: Requests a second of an open loop; None for a closed loop.
        drain_seconds: Most time for answers to what was asked before the end.
        drops_backlog: Whether requests that still wait for a connection at the end are never sent.
        seed: Of the order of the texts and of the arrivals.
        cpus: The generator stays on these; empty for any.
    """

    port: int
    system: str = ""
    path: str = "/predict"
    texts_per_request: int = 1
    corpus: str = str(OWN)
    connections: int = 1
    seconds: float = 5.0
    warm_up_seconds: float = 1.0
    rate: float | None = None
    drain_seconds: float = 10.0
    drops_backlog: bool = False
    seed: int = 1
    cpus: Sequence[int] = ()


def run_load(job: Job, route: Route) -> dict[str, Any]:
    """Put the load on the server and return what came of it.

    Returns:
        Counts of requests that ended in the measured time (open loop: that were scheduled in it),
        goodput, the latency of accepted answers and of answers of 429 in ms, and the CPU time that
        this process took.
    """
    groups = group_texts(read_corpus(Path(job.corpus)), job.texts_per_request, seed=job.seed)
    requests = [_request(job.port, route.path, route.encode(group)) for group in groups]
    gc.collect()
    gc.disable()
    cpu = time.process_time()
    start = time.perf_counter()
    with Pool(job.port, job.connections, requests) as pool:
        if job.rate is None:
            _closed_loop(pool, start + job.warm_up_seconds + job.seconds, job.drain_seconds)
        else:
            _open_loop(pool, _arrivals(job, start), job)
        pool.drop_waiting()
        unanswered = pool.abandon()
    cpu = time.process_time() - cpu
    gc.enable()
    accepts = _cached(route.accepts, job.texts_per_request)
    window = (start + job.warm_up_seconds, start + job.warm_up_seconds + job.seconds)
    result = summarise(job, pool.ended + unanswered, accepts, window)
    requests_made = max(1, len(pool.ended))
    return result | {
        "unsent": pool.dropped,
        "generator_cpu_seconds": round(cpu, 4),
        "generator_cpu_us_per_request": round(cpu / requests_made * 1e6, 1),
    }


def summarise(
    job: Job, ended: Exchanges, accepts: Callable[[bytes], bool], window: tuple[float, float]
) -> dict[str, Any]:
    """Count what ended, and rank the latencies of what was accepted.

    Args:
        job: What was asked for.
        ended: Every exchange, answered or not.
        accepts: Says whether the body of an answer of 200 is right.
        window: Start and end of the measured time.
    """
    begin, end = window
    answers: Counter[str] = Counter()
    errors: Counter[str] = Counter()
    latencies: list[float] = []
    refusals: list[float] = []
    good_in_window = 0
    for exchange in ended:
        counted = exchange.started if job.rate else exchange.ended
        good = exchange.status == _OK and accepts(exchange.body)
        good_in_window += good and begin <= exchange.ended < end
        if not begin <= counted < end:
            continue
        if exchange.failure:
            errors[exchange.failure] += 1
            continue
        answers[str(exchange.status)] += 1
        if exchange.status == _TOO_MANY:
            refusals.append(exchange.ended - exchange.started)
        if good:
            latencies.append(exchange.ended - exchange.started)
        elif exchange.status == _OK:
            errors["wrong body"] += 1
    return {
        "loop": "closed" if job.rate is None else "open",
        "connections": job.connections,
        "texts_per_request": job.texts_per_request,
        "seconds": job.seconds,
        "rate_per_second": job.rate,
        "requests": answers.total() + sum(n for kind, n in errors.items() if kind != "wrong body"),
        "answers": dict(answers),
        "accepted": len(latencies),
        "errors": dict(errors),
        "goodput_per_second": round(good_in_window / job.seconds, 3),
        "texts_per_second": round(good_in_window * job.texts_per_request / job.seconds, 3),
        "latency_ms": rank(latencies),
        "refusal_ms": rank(refusals),
    }


def rank(latencies_seconds: Sequence[float]) -> dict[str, float]:
    """Return percentiles by nearest rank, the mean and the largest, in ms; empty for none."""
    ordered = sorted(latencies_seconds)
    if not ordered:
        return {}
    ranked = {
        f"p{percent:g}": ordered[max(0, -int(-percent * len(ordered) // 100) - 1)]
        for percent in PERCENTILES
    }
    ranked |= {"max": ordered[-1], "mean": sum(ordered) / len(ordered)}
    return {name: round(seconds * 1000, 3) for name, seconds in ranked.items()}


def find_route(job: Job) -> Route:
    """Return the route that the job names."""
    if not job.system:
        return Route(path=job.path, encode=_array, accepts=_is_positive)
    from benchmarks.catalogue import SYSTEMS  # noqa: PLC0415  # what serves by itself needs none

    (system,) = (system for system in SYSTEMS if system.name == job.system)
    route = system.one if job.texts_per_request == 1 else system.many
    if route is None:
        raise SystemExit(f"{job.system} has no route for {job.texts_per_request} texts")
    return route


def _closed_loop(pool: Pool, end: float, drain_seconds: float) -> None:
    pool.keep_asking = True
    pool.ask_on_all()
    while time.perf_counter() < end:
        pool.work(end)
    pool.keep_asking = False
    _drain(pool, end + drain_seconds)


def _open_loop(pool: Pool, arrivals: Iterator[float], job: Job) -> None:
    now = time.perf_counter()
    for arrival in arrivals:
        while arrival > now:
            pool.work(arrival)
            now = time.perf_counter()
        pool.ask(arrival)
    if job.drops_backlog:
        pool.drop_waiting()
    _drain(pool, now + job.drain_seconds)


def _drain(pool: Pool, deadline: float) -> None:
    while pool.in_flight and time.perf_counter() < deadline:
        pool.work(deadline)


def _arrivals(job: Job, start: float) -> Iterator[float]:
    """Yield the moments of a Poisson process until the end of the job."""
    draw = random.Random(job.seed)  # noqa: S311  # arrivals, not a secret
    moment = start
    end = start + job.warm_up_seconds + job.seconds
    while (moment := moment + draw.expovariate(job.rate or 1)) < end:
        yield moment


def _request(port: int, path: str, body: bytes) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: application/json\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _cached(accepts: Callable[[bytes, int], bool], texts: int) -> Callable[[bytes], bool]:
    known: dict[bytes, bool] = {}

    def check(body: bytes) -> bool:
        if body not in known:
            known[body] = accepts(body, texts)
        return known[body]

    return check


def _array(texts: Sequence[str]) -> bytes:
    return json.dumps(list(texts)).encode()


def _is_positive(body: bytes, _texts: int) -> bool:
    try:
        answer = json.loads(body)
    except ValueError:
        return False
    return isinstance(answer, dict) and isinstance(answer.get("positive"), bool)


def _parse(argv: Sequence[str]) -> Job:
    parser = argparse.ArgumentParser(description=__doc__)
    for field in dataclasses.fields(Job):
        if field.name not in {"cpus", "drops_backlog"}:
            default = None if field.default is dataclasses.MISSING else field.default
            kind = float if field.name == "rate" else type(default if default is not None else 0)
            name = "--" + field.name.replace("_", "-")
            parser.add_argument(name, type=kind, default=default, required=field.name == "port")
    return Job(**vars(parser.parse_args(argv)))


def main() -> None:
    """Do one job."""
    job = _parse(sys.argv[1:]) if sys.argv[1:] else Job(**json.load(sys.stdin))
    if job.cpus:
        os.sched_setaffinity(0, job.cpus)
    json.dump(run_load(job, find_route(job)), sys.stdout, indent=2)
    print()  # noqa: T201


if __name__ == "__main__":
    main()
