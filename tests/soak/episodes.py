"""One fault at a time: planted, taken away, and waited for until the service is itself again."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from tests.soak.asking import Questions, Verdict
from tests.soak.ground import Ground
from tests.soak.traffic import Outcome, Traffic
from tests.soak.wire import LostError

BETWEEN = "between faults"
_IN_A_ROW = 3
_GIVE_UP_SECONDS = 120.0
_PAUSE_SECONDS = 0.02


class BrokenError(Exception):
    """A promise was broken that no answer shows; the message says which."""


@dataclass
class Scene:
    """Where a fault is planted.

    Attributes:
        ground: The service.
        traffic: Clients that ask it all the while.
        hold_seconds: How long a fault lasts, if it has no length of its own.
        marks: Moments that the judgement of outcomes needs, by name.
        draw: For what is random.
    """

    ground: Ground
    traffic: Traffic
    hold_seconds: float
    marks: dict[str, float] = field(default_factory=dict)
    draw: random.Random = field(default_factory=lambda: random.Random(7))  # noqa: S311 - an order

    @property
    def questions(self) -> Questions:
        """Requests for the fault itself."""
        return Questions(self.traffic.answers, self.draw)

    def until_over(self, *, every_seconds: float = 0.1) -> Iterator[None]:
        """Go on, now and again, for as long as a fault lasts."""
        end = time.monotonic() + self.hold_seconds
        while time.monotonic() < end:
            yield
            time.sleep(every_seconds)


@dataclass
class Episode:
    """One planting of a fault; moments are monotonic.

    Attributes:
        fault: Its name.
        planted: When it began.
        released: When it was taken away.
        recovered: When the service first answered as before; infinity if it never did.
        note: What was planted, in words.
        marks: Moments within.
        flaws: Promises that were broken, beyond those that outcomes show.
        skipped: Why it was not planted; empty if it was.
        silence_seconds: The longest time without a right answer, from its beginning on.
        ends: The service ended with it, so that it lasts until the clients end too.
    """

    fault: str
    planted: float = 0.0
    released: float = 0.0
    recovered: float = 0.0
    note: str = ""
    marks: dict[str, float] = field(default_factory=dict)
    flaws: list[str] = field(default_factory=list)
    skipped: str = ""
    silence_seconds: float = 0.0
    ends: bool = False

    @property
    def recovery_seconds(self) -> float:
        """Time from when the fault was gone to the first right answer."""
        return self.recovered - self.released

    def covers(self, outcome: Outcome) -> bool:
        """Say whether any of it passed while that request was under way."""
        over = outcome.began >= self.recovered and not self.ends
        return outcome.ended > self.planted and not over


Permit = Callable[[Outcome, Episode], bool]


def permit(*verdicts: Verdict) -> Permit:
    """Return who lets these pass until the service has recovered."""
    return lambda outcome, _episode: outcome.verdict in verdicts


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What goes wrong, and what may come of it.

    Attributes:
        name: In the report.
        promise: What holds all the same.
        plant: Plants it, holds it and takes it away; returns what was planted, in words.
        permits: Says whether an outcome that is not right may be.
        recovery_seconds: Most that it may take until the service answers as before.
        ends: The service has ended with it.
        missing: Says why it cannot be planted here; empty if it can.
    """

    name: str
    promise: str
    plant: Callable[[Scene], str]
    permits: Permit = field(default=permit())
    recovery_seconds: float = 10.0
    ends: bool = False
    missing: Callable[[Scene], str] = field(default=lambda _scene: "")

    def play(self, scene: Scene) -> Episode:
        """Plant it once, and wait until the service has recovered."""
        began = time.monotonic()
        episode = Episode(self.name, planted=began, marks=scene.marks, ends=self.ends)
        if reason := self.missing(scene):
            episode.skipped = reason
            return episode
        try:
            episode.note = self.plant(scene)
        except (BrokenError, LostError, AssertionError) as exc:
            episode.flaws.append(str(exc))
        episode.released = time.monotonic()
        episode.recovered = episode.released if self.ends else _wait_for_recovery(scene)
        if episode.recovery_seconds > self.recovery_seconds:
            episode.flaws.append(
                f"recovered after {episode.recovery_seconds:.1f} s, more than "
                f"{self.recovery_seconds:g} s"
            )
        return episode


@dataclass(frozen=True)
class Found:
    """An outcome that no fault excuses."""

    fault: str
    outcome: Outcome


def sort_out(
    outcomes: Sequence[Outcome], episodes: Sequence[Episode], faults: Sequence[Fault]
) -> tuple[dict[str, Counter[str]], list[Found]]:
    """Count the outcomes under each fault, and return those that none excuses.

    Args:
        outcomes: Of one traffic.
        episodes: Of the same, in order of time.
        faults: Each that was planted.
    """
    by_name = {fault.name: fault for fault in faults}
    counts: dict[str, Counter[str]] = {}
    found = []
    for outcome in outcomes:
        episode = next((one for one in episodes if not one.skipped and one.covers(outcome)), None)
        name = episode.fault if episode else BETWEEN
        count = counts.setdefault(name, Counter())
        count["sent"] += 1
        count[outcome.verdict] += 1
        count["retried"] += outcome.retried
        if outcome.verdict == "right":
            continue
        if episode is None or not by_name[name].permits(outcome, episode):
            found.append(Found(name, outcome))
    return counts, found


def longest_silence(outcomes: Sequence[Outcome], episode: Episode) -> float:
    """Return the longest time without a right answer to a good client, in seconds."""
    right = sorted(one.ended for one in outcomes if one.verdict == "right" and one.kind == "good")
    before = [moment for moment in right if moment < episode.planted]
    after = [moment for moment in right if moment >= episode.planted]
    within = [moment for moment in after if moment <= episode.recovered]
    moments = [*(before[-1:] or [episode.planted]), *within, *after[len(within) :][:1]]
    return max((b - a for a, b in pairwise(moments)), default=0.0)


def _wait_for_recovery(scene: Scene) -> float:
    """Return when the first of a few right answers in a row was there."""
    deadline = time.monotonic() + _GIVE_UP_SECONDS
    row: list[Outcome] = []
    while len(row) < _IN_A_ROW:
        if time.monotonic() > deadline:
            return float("inf")
        (outcome,) = scene.traffic.ask("recovery", scene.questions.good())
        row = [*row, outcome] if outcome.verdict == "right" else []
        time.sleep(_PAUSE_SECONDS)
    return row[0].ended
