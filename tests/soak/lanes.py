"""The two lanes of a soak, side by side: a service that lives all the while, and others that end.

The first one is what memory is measured on, so that nothing that ends a process is planted in it.
"""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.rollout.stage import new_site, run_nginx
from tests.soak.answers import KnownAnswers
from tests.soak.client_faults import CLIENT_FAULTS
from tests.soak.episodes import Episode, Fault, Scene
from tests.soak.ground import Ground, lay_ground
from tests.soak.process_faults import (
    CLOCK_JUMPED,
    KILLED,
    KILLED_ON_FULL_DISK,
    MACHINE_FAULTS,
    RESTARTED_ON_TRUNCATED,
    TERMINATED,
    clock_environment,
)
from tests.soak.processes import Sample, Watch
from tests.soak.traffic import Kind, Outcome, Traffic
from tests.soak.wire import LostError
from textclf.rollout.traffic import Weights
from textclf.rollout.traffic.nginx_config import Upstreams

_GAP_SECONDS = 1.0
_HALF = Weights(candidate_percent=50)
_END_SECONDS = 30.0
_FEW: tuple[Kind, ...] = ("good", "good", "pipelined", "bad")
Say = Callable[[str], None]


@dataclass(frozen=True)
class Played:
    """What was played before one crowd of clients.

    Attributes:
        outcomes: Of every request.
        episodes: In order of time.
    """

    outcomes: Sequence[Outcome]
    episodes: Sequence[Episode]


@dataclass
class Soak:
    """One soak.

    Attributes:
        folder: For what it writes.
        answers: What is known before.
        minutes: Its length; every fault is planted once at least.
        hold_seconds: How long a fault lasts that has no length of its own.
        say: Tells what happens.
        faults: Which are planted.
        bento: Folder of the Bento that is served; None for this tree.
        played: What was.
        flaws: Why it ended early.
        samples: Of the memory of the service that lives all the while.
        cycle_ends: When each round of its faults was over, monotonic.
    """

    folder: Path
    answers: KnownAnswers
    minutes: float
    hold_seconds: float
    say: Say
    faults: Sequence[Fault]
    bento: Path | None = None
    played: list[Played] = field(default_factory=list)
    flaws: list[str] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    cycle_ends: list[float] = field(default_factory=list)

    def run(self) -> None:
        """Play both lanes to their end."""
        self._end = time.monotonic() + self.minutes * 60
        self._failed = threading.Event()
        with ThreadPoolExecutor(2) as pool:
            lanes = [pool.submit(lane) for lane in (self._live, self._end_and_begin)]
            try:
                for lane in lanes:
                    lane.result()
            except BaseException:
                self._failed.set()
                raise

    def _live(self) -> None:
        """One service, and every fault that it has to outlive, over and over."""
        if not self._plants(_LIVING):
            return
        folder = self._new_folder("living")
        with (
            self._failing(),
            lay_ground(folder, bento=self.bento, small_disk=True) as ground,
            Watch(lambda: ground.pid) as watch,
            self._scene(ground.port, ground) as (scene, episodes),
        ):
            for _ in self._rounds():
                for fault in _LIVING:
                    self._play(fault, scene, episodes)
                self.cycle_ends.append(time.monotonic())
            self.samples = watch.samples

    def _end_and_begin(self) -> None:
        """Services that are killed, restarted and ended."""
        plays = (
            (_DYING, self._play_deaths),
            ((CLOCK_JUMPED,), self._play_clock),
            ((RESTARTED,), self._play_restarts),
        )
        for number in self._rounds():
            for index, (faults, play) in enumerate(plays):
                if self._plants(faults):
                    with self._failing():
                        play(self._new_folder(f"{number}-{index}"))

    def _play_deaths(self, folder: Path) -> None:
        with (
            lay_ground(folder, bento=self.bento, small_disk=True) as ground,
            self._scene(ground.port, ground) as (scene, episodes),
        ):
            for fault in _DYING:
                self._play(fault, scene, episodes)

    def _play_clock(self, folder: Path) -> None:
        environ = clock_environment(folder)
        with (
            lay_ground(folder, bento=self.bento, environ=environ) as ground,
            self._scene(ground.port, ground, _FEW) as (scene, episodes),
        ):
            self._play(CLOCK_JUMPED, scene, episodes)

    def _play_restarts(self, folder: Path) -> None:
        """Restart two replicas one after the other, behind an nginx."""
        with contextlib.ExitStack() as stack:
            replicas = [_Replica(stack, folder / name, self.bento) for name in ("one", "two")]
            with ThreadPoolExecutor(2) as pool:
                list(pool.map(_Replica.start, replicas))
            stable, candidate = (replica.url for replica in replicas)
            site = new_site(timeout_seconds=20)
            upstreams = Upstreams(stable=stable, candidate=candidate)
            nginx = stack.enter_context(run_nginx(folder / "nginx", site, upstreams))
            nginx.move(_HALF)
            port = int(site.listen.rpartition(":")[2])
            ground = replicas[0].ground
            with self._scene(port, ground, ("good",) * 4) as (scene, episodes):
                self._play(_restarting(replicas), scene, episodes)

    @contextlib.contextmanager
    def _scene(
        self, port: int, ground: Ground, kinds: Sequence[Kind] | None = None
    ) -> Iterator[tuple[Scene, list[Episode]]]:
        given = {"kinds": kinds} if kinds else {}
        episodes: list[Episode] = []
        traffic = Traffic(port, self.answers, seed=len(self.played), **given)
        try:
            with traffic:
                time.sleep(_GAP_SECONDS)
                yield Scene(ground, traffic, self.hold_seconds), episodes
        finally:
            self.played.append(Played(traffic.outcomes, episodes))

    def _play(self, fault: Fault, scene: Scene, episodes: list[Episode]) -> None:
        if self._failed.is_set() or fault.name not in {one.name for one in self.faults}:
            return
        scene.marks = {}
        self.say(f"{fault.name}: {fault.promise}")
        episode = fault.play(scene)
        episodes.append(episode)
        if episode.skipped:
            self.say(f"{fault.name}: skipped, {episode.skipped}")
            return
        told = [episode.note, f"recovered after {episode.recovery_seconds:.2f} s", *episode.flaws]
        self.say(f"{fault.name}: {'; '.join(filter(None, told))}")
        if not fault.ends:
            time.sleep(_GAP_SECONDS)

    def _plants(self, faults: Sequence[Fault]) -> bool:
        return not {one.name for one in faults}.isdisjoint(one.name for one in self.faults)

    def _rounds(self) -> Iterator[int]:
        number = 0
        while not number or (time.monotonic() < self._end and not self._failed.is_set()):
            yield number
            number += 1

    def _new_folder(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir()
        return folder

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        """Let the other lane end soon, if this one cannot go on."""
        try:
            yield
        except (AssertionError, LostError, OSError, subprocess.SubprocessError) as exc:
            self._failed.set()
            self.flaws.append(f"the soak could not go on: {exc}")
        except BaseException:
            self._failed.set()
            raise


class _Replica:
    """A service that is started again at the same port."""

    def __init__(self, stack: contextlib.ExitStack, folder: Path, bento: Path | None) -> None:
        self._stack = stack
        self._folder = folder
        self._bento = bento
        self._starts = 0
        self._port: int | None = None

    def start(self) -> None:
        """Start it, and wait until it is ready."""
        self._starts += 1
        folder = self._folder / str(self._starts)
        folder.mkdir(parents=True)
        self.ground = self._stack.enter_context(
            lay_ground(folder, bento=self._bento, port=self._port)
        )
        self._port = self.ground.port
        self.url = self.ground.served.url

    def restart(self) -> None:
        """Send SIGTERM, wait for the end, and start it again."""
        self.ground.served.terminate()
        self.ground.served.process.wait(timeout=_END_SECONDS)
        self.start()


def _restarting(replicas: Sequence[_Replica]) -> Fault:
    def restart(_scene: Scene) -> str:
        for replica in replicas:
            replica.restart()
        return f"{len(replicas)} replicas, one after the other"

    return Fault(
        name="replicas restarted behind nginx",
        promise="no request fails",
        plant=restart,
    )


RESTARTED = _restarting(())
_LIVING = (*CLIENT_FAULTS, *MACHINE_FAULTS)
# A worker that started on a full disk has no metrics to see by what SIGTERM meets.
_DYING = (KILLED, KILLED_ON_FULL_DISK, RESTARTED_ON_TRUNCATED, TERMINATED)
FAULTS: tuple[Fault, ...] = (*_LIVING, *_DYING, CLOCK_JUMPED, RESTARTED)
