"""What is measured, for how long, and how long that takes in all. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from benchmarks.corpus import MANY

OURS = "textclf"
SHARES = (0.5, 0.8, 1.0, 1.5)  # of a system's own maximum, in the open loop
OPEN_CONNECTIONS = 256
QUICK_SYSTEMS = (OURS, "Flask, fp32", "Flask, int8", "FastAPI", "LitServe")
MOST_SECONDS = {"full": 28 * 60.0, "quick": 3.5 * 60.0}

# What the prediction adds to the seconds that are measured: generous means of what was seen.
_PROCESS_SECONDS = 2.0  # to start a program of ours and open the graph
_LOAD_SECONDS = 0.8  # to start the load generator and let its last answers arrive
_STOP_SECONDS = 1.5
_READY_SECONDS = {"Ray Serve": 16.0, "infinity": 11.0, "MLServer": 6.0, "LitServe": 4.0}
_OTHERS_READY_SECONDS = 3.0


@dataclass(frozen=True, kw_only=True)
class Point:
    """One load.

    Attributes:
        connections: Most requests in flight.
        texts: In a request.
        share: Of the system's own maximum in an open loop; None for a closed one.
        seconds: That are measured.
        warm_up_seconds: Before them.
    """

    connections: int
    texts: int = 1
    share: float | None = None
    seconds: float
    warm_up_seconds: float = 0.75

    def predicted_seconds(self, slowest: float) -> float:
        """Return how long it takes, with the answers to what is in flight at the end.

        Args:
            slowest: Texts a second that any system answers.
        """
        in_flight = self.connections * self.texts
        if self.share is not None and self.share < 1:
            in_flight = 0
        return self.warm_up_seconds + self.seconds + _LOAD_SECONDS + in_flight / slowest


@dataclass(frozen=True, kw_only=True)
class Visit:
    """One system that serves one model, from its start to its stop.

    Attributes:
        system: By its name in the catalogue.
        points: Loads, in order.
        settle_seconds: Idle time before its memory is read, twice.
    """

    system: str
    points: Sequence[Point]
    settle_seconds: float = 0.5

    def predicted_seconds(self, slowest: float) -> float:
        """Return how long it takes; ``slowest`` is that of ``Point``."""
        ready = _READY_SECONDS.get(self.system, _OTHERS_READY_SECONDS)
        points = sum(point.predicted_seconds(slowest) for point in self.points)
        return ready + points + 2 * self.settle_seconds + _STOP_SECONDS


@dataclass(frozen=True, kw_only=True)
class ModelPlan:
    """What is measured with one model.

    Attributes:
        visits: A calibration comes before the first, between them, and after the last.
        limit_seconds: Of the in-process limit.
        stock_seconds: Of the limit of the stock graph.
        lengths_seconds: Of the limit by length; 0 leaves it out.
        calibration_seconds: Of each calibration.
        scaling: The load for one core and for two; None leaves it out.
        slowest: Texts a second that any system answers, to predict with.
    """

    visits: Sequence[Visit]
    limit_seconds: float
    stock_seconds: float
    lengths_seconds: float
    calibration_seconds: float
    scaling: Point | None
    slowest: float

    def predicted_seconds(self) -> float:
        """Return how long it takes."""
        alone = [self.limit_seconds, self.stock_seconds, self.lengths_seconds]
        seconds = sum(part + _PROCESS_SECONDS for part in alone if part)
        # A calibration warms up for an eighth of its time; the stock graph is calibrated for too.
        calibration = self.calibration_seconds * 9 / 8 + _PROCESS_SECONDS
        seconds += calibration * (len(self.visits) + 2)
        if self.scaling is not None:
            once = Visit(system=OURS, points=[self.scaling]).predicted_seconds(self.slowest)
            seconds += 2 * (once + calibration)
        return seconds + sum(visit.predicted_seconds(self.slowest) for visit in self.visits)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A whole run.

    Attributes:
        mode: ``full`` or ``quick``.
        models: Each model's part, by the index of its name in ``models.NAMES``.
    """

    mode: str
    models: Sequence[ModelPlan] = field(default_factory=list)

    def predicted_seconds(self) -> float:
        """Return how long it takes, models and environments made before."""
        return sum(model.predicted_seconds() for model in self.models)


def make_plan(mode: str, systems: Sequence[tuple[str, bool]]) -> Plan:
    """Return the plan of a mode.

    Args:
        mode: ``full`` or ``quick``.
        systems: Name of each system, and whether it takes several texts a request.
    """
    if mode == "quick":
        return Plan(mode=mode, models=[_quick(systems)])
    return Plan(mode=mode, models=[_full(systems, slowest=150.0), _full(systems, slowest=60.0)])


def _quick(systems: Sequence[tuple[str, bool]]) -> ModelPlan:
    visits = []
    for name, _ in systems:
        if name in QUICK_SYSTEMS:
            points = [Point(connections=count, seconds=5.0) for count in (1, 32)]
            if name == OURS:
                points += _open_loop([0.5, 1.5], seconds=5.0)
            visits.append(Visit(system=name, points=points))
    return ModelPlan(
        visits=visits,
        limit_seconds=12.0,
        stock_seconds=10.0,
        lengths_seconds=0.0,
        calibration_seconds=1.5,
        scaling=None,
        slowest=150.0,
    )


def _full(systems: Sequence[tuple[str, bool]], *, slowest: float) -> ModelPlan:
    visits = []
    for name, takes_many in systems:
        seconds, open_seconds = (8.0, 6.0) if name == OURS else (3.0, 2.5)
        points = [Point(connections=count, seconds=seconds) for count in (1, 8, 32, 128)]
        if takes_many:
            points += [
                Point(connections=count, texts=MANY, seconds=min(seconds, 5.0)) for count in (8, 32)
            ]
        points += _open_loop(SHARES, seconds=open_seconds)
        visits.append(Visit(system=name, points=points))
    return ModelPlan(
        visits=visits,
        limit_seconds=20.0,
        stock_seconds=16.0,
        lengths_seconds=8.0,
        calibration_seconds=2.0,
        scaling=Point(connections=32, seconds=5.0),
        slowest=slowest,
    )


def _open_loop(shares: Sequence[float], *, seconds: float) -> Iterator[Point]:
    for share in shares:
        yield Point(connections=OPEN_CONNECTIONS, share=share, seconds=seconds)
