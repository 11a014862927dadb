"""A rollout's surroundings in memory: an engine, versions that count, a clock, and a bomb."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from textclf.errors import EvidenceError, PreflightError, TrafficError
from textclf.rollout.controller import Controller
from textclf.rollout.evidence import Comparison, Sources
from textclf.rollout.identity import begin
from textclf.rollout.observation import Answer, Observation, Pair, Reading
from textclf.rollout.pairs import PairSummary, summarise
from textclf.rollout.plan import Plan, Shadow, Step
from textclf.rollout.state import Look, State, Version
from textclf.rollout.store import Store
from textclf.rollout.traffic.traffic import Weights

EDGES = (0.01, 0.1, 1.0)
REQUESTS_PER_SECOND = 40
CANARY = Plan(
    strategy="canary",
    shadow=Shadow(minimum_pairs=50, noise_pairs=100, limit_seconds=300.0),
    steps=(
        Step(weight_percent=10, pause_seconds=20.0, minimum_requests=40),
        Step(weight_percent=50, pause_seconds=20.0, minimum_requests=100),
    ),
    baseline=True,
    look_seconds=5.0,
    hold_limit_seconds=60.0,
)
BLUEGREEN = Plan(
    strategy="bluegreen",
    steps=(Step(weight_percent=100, pause_seconds=20.0, minimum_requests=100),),
    look_seconds=5.0,
    hold_limit_seconds=60.0,
)
SHADOW = Plan(strategy="shadow", shadow=CANARY.shadow, look_seconds=5.0, hold_limit_seconds=60.0)


class Killed(BaseException):
    """The controller's process is gone; nothing of ours catches this."""


@dataclass
class Bomb:
    """Kills at the n-th time that the world is touched; every write, move and read is a time."""

    at: int | None = None
    ticks: int = 0

    def tick(self) -> None:
        """Count one touch."""
        self.ticks += 1
        if self.ticks == self.at:
            raise Killed


@dataclass
class World:
    """Clients, three versions and an engine; time passes only where somebody sleeps.

    Attributes:
        errors_percent: Of the candidate's answers.
        disagreement_percent: Of mirrored texts.
        answers: Whether the candidate's metrics can be read.
        unready: What keeps the candidate from being ready.
        stable_unready: What keeps the stable version from being ready, and from being read.
        fails_preflight: What its preflight finds.
        refuses: Weights that the engine refuses to move to.
        scraped: Returns the age of the counts that are read, given the time.
        meddle: Is called with the world after every second.
        journal: What was written of traffic, and how it was moved, in order.
    """

    errors_percent: float = 0.0
    disagreement_percent: float = 0.0
    answers: bool = True
    unready: str = ""
    stable_unready: str = ""
    fails_preflight: str = ""
    refuses: Callable[[Weights], bool] = lambda _: False
    scraped: Callable[[float], float] = lambda _: 0.0
    meddle: Callable[[World], None] = lambda _: None
    bomb: Bomb = field(default_factory=Bomb)
    weights: Weights = field(default_factory=Weights)
    now: float = 1_000_000.0
    served: dict[str, float] = field(
        default_factory=lambda: {"stable": 5000.0, "candidate": 300.0, "baseline": 0.0}
    )
    failed: float = 0.0
    pairs: dict[Comparison, list[Pair]] = field(default_factory=lambda: {"noise": [], "shadow": []})
    recording: Comparison | None = None
    moved: list[Weights] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    journal: list[str] = field(default_factory=list)

    def pass_time(self, seconds: float) -> None:
        """Let clients ask for so long."""
        self.bomb.tick()
        self.now += seconds
        requests = REQUESTS_PER_SECOND * seconds
        for part in self.served:
            share = getattr(self.weights, f"{part}_percent") / 100
            self.served[part] += requests * share
            if part == "candidate":
                self.failed += requests * share * self.errors_percent / 100
        if self.weights.mirror_percent and self.recording:
            pairs = self.pairs[self.recording]
            pairs += [self._pair(len(pairs) + i) for i in range(int(requests))]
        self.meddle(self)

    def _pair(self, number: int) -> Pair:
        differs = self.recording == "shadow" and number % 100 < self.disagreement_percent
        answers = [
            Answer(
                status=200,
                seconds=0.05,
                shape=("positive:boolean",),
                labels=(label,),
                scores=(0.9,),
            )
            for label in ("true", "false" if differs else "true")
        ]
        return Pair(
            request_id=str(number), texts_sha256="", stable=answers[0], candidate=answers[1]
        )


@dataclass
class Engine:
    """Moves the world's traffic."""

    world: World
    name: str = "memory"
    has_baseline: bool = True
    mirrors: bool = True

    def read(self) -> Weights:
        """Return how traffic is shared out."""
        self.world.bomb.tick()
        return self.world.weights

    def move(self, weights: Weights) -> None:
        """Share traffic out, or refuse to."""
        self.world.bomb.tick()
        if self.world.refuses(weights):
            raise TrafficError("the engine refuses")
        self.world.weights = weights
        self.world.moved.append(weights)
        self.world.journal.append(f"moved {weights}")
        self.world.bomb.tick()


@dataclass
class Counts:
    """Reads what the world's versions have counted."""

    world: World

    def read(self, version: str) -> Reading:
        """Return counts since the start, as they were when they were last scraped."""
        self.world.bomb.tick()
        if version == "candidate" and not self.world.answers:
            raise EvidenceError("metrics: the candidate cannot be read")
        if version == "stable" and self.world.stable_unready:
            raise EvidenceError("metrics: the stable version cannot be read")
        failed = self.world.failed if version == "candidate" else 0.0
        errors, good = round(failed), round(self.world.served[version] - failed)
        requests = errors + good
        observation = Observation(
            requests=requests,
            errors=errors,
            labels={"positive": good // 2, "negative": good - good // 2},
            latency_edges_seconds=EDGES,
            latency_counts=(requests // 2, requests - requests // 2, 0, 0),
        )
        return Reading(
            replicas={"one": observation}, age_seconds=self.world.scraped(self.world.now)
        )


@dataclass
class Recording:
    """Records the world's pairs."""

    world: World

    def record(self, comparison: Comparison) -> None:
        """Record from now on."""
        self.world.bomb.tick()
        self.world.recording = comparison

    def read(self, comparison: Comparison) -> PairSummary:
        """Return what was recorded."""
        self.world.bomb.tick()
        return summarise(self.world.pairs[comparison])

    def stop(self) -> None:
        """Record no more."""
        self.world.recording = None


@dataclass
class Clock:
    """The world's time."""

    world: World

    def now(self) -> float:
        """Return it."""
        return self.world.now

    def sleep(self, seconds: float) -> None:
        """Let it pass."""
        self.world.pass_time(seconds)


class FragileStore(Store):
    """A store whose process may be killed before and after everything that it writes."""

    def __init__(self, folder: Path, world: World) -> None:
        super().__init__(folder)
        self._world = world
        self._bomb = world.bomb

    def save(self, state: State) -> None:
        """Write the state."""
        self._bomb.tick()
        super().save(state)
        at = f"intends {state.intent.weights}" if state.intent else f"is at {state.weights}"
        self._world.journal.append(at)
        self._bomb.tick()

    def add_look(self, look: Look) -> None:
        """Write a look."""
        self._bomb.tick()
        super().add_look(look)
        self._world.journal.append("looked")
        self._bomb.tick()


def make_controller(world: World, folder: Path) -> Controller:
    """Return a controller of the world."""

    def preflight() -> None:
        world.bomb.tick()
        if world.fails_preflight:
            raise PreflightError(world.fails_preflight)

    folder.mkdir(exist_ok=True)
    sources = Sources(
        traffic=Engine(world),
        metrics=Counts(world),
        pairs=Recording(world),
        find_unready=lambda: world.unready,
    )
    return Controller(
        store=FragileStore(folder, world),
        sources=sources,
        preflight=preflight,
        find_stable_unready=lambda: world.stable_unready,
        tell=world.told.append,
        clock=Clock(world),
    )


def run(world: World, plan: Plan, folder: Path) -> State:
    """Run a rollout as the command does: from its state, or from the beginning."""
    controller = make_controller(world, folder)
    with controller.store.lock():
        versions = {
            part: Version(name=part, url=f"http://{part}") for part in ("stable", "candidate")
        }
        state = controller.store.load() or begin(
            plan, traffic="memory", versions=versions, records_pairs=True, now=world.now
        )
        return controller.run(state)
