"""What is asked of this project, as ratios of figures from one run. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.plan import OURS

REFERENCE = "MiniLM-L6 (reference)"
LARGE = "RoBERTa-base size"
_FLASK_FP32 = "Flask, fp32"
_FLASK_INT8 = "Flask, int8"

Results = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Target:
    """A figure and what is asked of it.

    Attributes:
        model: That was served.
        what: Is measured.
        measured: None if it was not.
        bound: Least value or, of a cost, the largest.
        is_cost: Whether less is better.
        unit: Of both; empty for a ratio.
    """

    model: str
    what: str
    measured: float | None
    bound: float
    is_cost: bool = False
    unit: str = ""

    @property
    def is_met(self) -> bool:
        """Whether the figure is on the right side of the bound."""
        if self.measured is None:
            return False
        return self.measured <= self.bound if self.is_cost else self.measured >= self.bound


class Figures:
    """Ratios of one model's results; each is None if a part was not measured."""

    def __init__(self, results: Results) -> None:
        self._results = results

    def limit_share(self, system: str, connections: int) -> float | None:
        """Return texts a second as a share of the limit, measured around it."""
        return _ratio(
            self._closed(system, connections).get("texts_per_second"), self._calibration(system)
        )

    def best_share(self, system: str) -> float | None:
        """Return the largest share of the limit that a system reaches with one text a request."""
        loads = self._system(system).get("closed", [])
        best = max((_texts(load) for load in loads if load["texts_per_request"] == 1), default=None)
        return _ratio(best, self._calibration(system))

    def best_peer(self) -> str:
        """Return the name of the fastest peer that serves the same file; empty without any."""
        shares = {
            name: self.best_share(name) or 0.0
            for name in self._results.get("systems", {})
            if name not in {OURS, _FLASK_FP32}
        }
        return max(shares, key=lambda name: shares[name]) if shares else ""

    def over_peer(self, peer: str) -> float | None:
        """Return how many times a peer's share of the limit this project reaches."""
        return _ratio(self.best_share(OURS), self.best_share(peer))

    def lone_median(self) -> float | None:
        """Return the median at one connection over that of a run of the graph."""
        return self._over_single(self._closed(OURS, 1).get("latency_ms", {}).get("p50"))

    def half_load_p99(self) -> float | None:
        """Return p99 at half of the maximum over the median of a run of the graph."""
        return self._over_single(self._open(0.5).get("latency_ms", {}).get("p99"))

    def tail(self, connections: int) -> float | None:
        """Return p99 over the median."""
        latency = self._closed(OURS, connections).get("latency_ms", {})
        return _ratio(latency.get("p99"), latency.get("p50"))

    def over_stock(self) -> float | None:
        """Return the limit of the served graph over that of the stock one, measured around it."""
        stock = self._results.get("stock", {})
        return _ratio(stock.get("calibration"), stock.get("texts_per_second"))

    def overload_goodput(self) -> float | None:
        """Return goodput at one and a half of the maximum as a share of the maximum."""
        load = self._open(1.5)
        if not load.get("rate_per_second"):
            return None
        return _ratio(load["goodput_per_second"], load["rate_per_second"] / load["share"])

    def overload_errors(self) -> float | None:
        """Return how many requests failed at that load with anything but a 429."""
        load = self._open(1.5)
        return float(count_failures(load) - load["answers"].get("429", 0)) if load else None

    def memory_mb(self) -> float | None:
        """Return what is resident when idle after load, without the size of the graph."""
        memory = self._system(OURS).get("memory_after_bytes")
        return None if memory is None else (memory - self._results["graph_bytes"]) / 1e6

    def ready_seconds(self) -> float | None:
        """Return the time from start to ready."""
        return self._system(OURS).get("ready_seconds")

    def failures(self) -> float:
        """Return how many requests of closed loops failed."""
        loads = self._system(OURS).get("closed", [])
        return float(sum(map(count_failures, loads)))

    def flask_int8(self) -> float | None:
        """Return how many times faster than the book's app with the same file this project is."""
        return self.over_peer(_FLASK_INT8)

    def flask_fp32(self) -> float | None:
        """Return how many times faster than the book's app this project is."""
        return self.over_peer(_FLASK_FP32)

    def _over_single(self, milliseconds: float | None) -> float | None:
        """Divide by the median of single runs, as slow as the machine was around the system."""
        limit = self._results.get("limit", {})
        drift = _ratio(self._calibration(OURS), limit.get("texts_per_second"))
        ratio = _ratio(milliseconds, limit.get("single_median_ms"))
        return None if ratio is None or drift is None else ratio * drift

    def _system(self, name: str) -> Results:
        found: Results = self._results.get("systems", {}).get(name, {})
        return found

    def _calibration(self, system: str) -> float | None:
        return self._system(system).get("calibration")

    def _closed(self, system: str, connections: int) -> Results:
        return find_load(self._system(system), connections=connections, texts=1)

    def _open(self, share: float) -> Results:
        loads = self._system(OURS).get("open", [])
        return next((load for load in loads if load["share"] == share), {})


def find_load(system: Results, *, connections: int, texts: int) -> Results:
    """Return what a system did in a closed loop; empty if that was not measured."""
    loads = system.get("closed", [])
    wanted = (connections, texts)
    matches = (x for x in loads if (x["connections"], x["texts_per_request"]) == wanted)
    return next(matches, {})


def count_failures(load: Results) -> int:
    """Return how many requests got no accepted answer."""
    refused = sum(count for status, count in load["answers"].items() if status != "200")
    return int(refused + sum(load["errors"].values()))


def list_targets(results: Results) -> list[Target]:
    """Return every target with what was measured."""
    return [
        target
        for model, measured in results["models"].items()
        for target in _targets(model, Figures(measured))
    ]


def list_guards(results: Results) -> list[Target]:
    """Return bounds so generous that only a broken service misses them, on any machine."""
    figures = Figures(results["models"][REFERENCE])
    rows: list[tuple[str, float | None, float, bool]] = [
        ("texts/s ÷ in-process limit, 32 connections", figures.limit_share(OURS, 32), 0.45, False),
        ("÷ Flask with the same file", figures.flask_int8(), 1.2, False),
        ("failed requests", figures.failures(), 0.0, True),
        ("150 % load: errors other than 429", figures.overload_errors(), 0.0, True),
    ]
    return [
        Target(model=REFERENCE, what=what, measured=measured, bound=bound, is_cost=is_cost)
        for what, measured, bound, is_cost in rows
    ]


# What, how, the least value for the reference model and for the large one; None: not asked.
_LEAST: tuple[tuple[str, Callable[[Figures], float | None], float | None, float | None], ...] = (
    ("texts/s ÷ in-process limit, 8 connections", lambda f: f.limit_share(OURS, 8), 0.68, None),
    ("texts/s ÷ in-process limit, 32 connections", lambda f: f.limit_share(OURS, 32), 0.80, 0.88),
    ("texts/s ÷ in-process limit, 128 connections", lambda f: f.limit_share(OURS, 128), 0.80, 0.88),
    ("best ÷ best peer with the same file", lambda f: f.over_peer(f.best_peer()), 1.5, 1.4),
    ("best ÷ the book's Flask app in fp32", Figures.flask_fp32, 4.0, 4.0),
    ("limit ÷ limit of stock dynamic int8", Figures.over_stock, 0.95, 0.95),
    ("150 % load: goodput ÷ maximum", Figures.overload_goodput, 0.9, 0.9),
)
_MOST: tuple[tuple[str, Callable[[Figures], float | None], float, float, str], ...] = (
    ("one connection: median ÷ median of the graph alone", Figures.lone_median, 1.4, 1.1, ""),
    ("32 connections: p99 ÷ median", lambda f: f.tail(32), 1.6, 1.6, ""),
    ("50 % load: p99 ÷ median of the graph alone", Figures.half_load_p99, 4.0, 3.0, ""),
    ("150 % load: errors other than 429", Figures.overload_errors, 0.0, 0.0, ""),
    ("idle memory above the model file", Figures.memory_mb, 200.0, 250.0, "MB"),
    ("start to ready", Figures.ready_seconds, 3.0, 4.0, "s"),
)


def _targets(model: str, figures: Figures) -> Iterator[Target]:
    is_large = model == LARGE
    for what, measure, reference, large in _LEAST:
        least = large if is_large else reference
        if least is not None:
            yield Target(model=model, what=what, measured=measure(figures), bound=least)
    for what, measure, reference_most, large_most, unit in _MOST:
        yield Target(
            model=model,
            what=what,
            measured=measure(figures),
            bound=large_most if is_large else reference_most,
            is_cost=True,
            unit=unit,
        )


def _texts(load: Results) -> float:
    return float(load["texts_per_second"])


def _ratio(value: float | None, by: float | None) -> float | None:
    return value / by if value is not None and by else None
