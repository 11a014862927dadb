"""What a soak showed: a row for each fault, what nothing excuses, and how memory moved."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tests.soak.asking import VERDICTS
from tests.soak.episodes import BETWEEN, Episode, Found, longest_silence, sort_out
from tests.soak.lanes import FAULTS, Soak
from tests.soak.processes import Sample, Slope, fit_slope

MEMORY_BOUND_MB_PER_HOUR = 20.0
MEMORY_FROM_MINUTES = 20.0  # a shorter run tells too little of an hour
_SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class Row:
    """What came of one fault, over all its plantings.

    Attributes:
        planted: How often.
        notes: What was planted, the last time.
        counts: Requests by verdict, ``sent`` and ``retried`` among them.
        recovery_seconds: The longest of all, from when the fault was gone.
        silence_seconds: The longest without a right answer.
        flaws: What nothing excuses, in words.
        skipped: Why it was never planted.
    """

    fault: str
    promise: str
    planted: int
    note: str
    counts: dict[str, int]
    recovery_seconds: float | None
    silence_seconds: float | None
    flaws: list[str]
    skipped: str

    @property
    def passed(self) -> bool:
        """Whether its promise was kept."""
        return not self.flaws and not self.skipped


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a soak showed.

    Attributes:
        rows: One for each fault, and one for the time between them.
        slope: Of the memory after the first round of faults.
        memory: Says how that is judged.
        flaws: What nothing excuses, beyond the rows.
    """

    seconds: float
    model: str
    rows: list[Row]
    slope: Slope | None
    memory: str
    flaws: list[str]
    samples: list[Sample]
    windows: list[tuple[str, float, float]]

    @property
    def passed(self) -> bool:
        """Whether nothing is off; a fault that could not be planted is not."""
        return not self.flaws and not any(row.flaws for row in self.rows)

    @property
    def requests(self) -> int:
        """Of all clients."""
        return sum(row.counts["sent"] for row in self.rows)

    def to_json(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        rows = [{**asdict(row), "passed": row.passed} for row in self.rows]
        return {
            "passed": self.passed,
            "requests": self.requests,
            **asdict(self),
            "rows": rows,
            "samples": [sample._asdict() for sample in self.samples],
        }


def judge_soak(soak: Soak, *, began: float, ended: float) -> Verdict:
    """Count every request, and find what nothing excuses."""
    counts: dict[str, Counter[str]] = {}
    found: list[Found] = []
    for played in soak.played:
        counted, unexcused = sort_out(played.outcomes, played.episodes, FAULTS)
        for name, count in counted.items():
            counts.setdefault(name, Counter()).update(count)
        found += unexcused
        for episode in played.episodes:
            episode.silence_seconds = longest_silence(played.outcomes, episode)
    episodes = [episode for played in soak.played for episode in played.episodes]
    rows = [_row(fault.name, fault.promise, counts, found, episodes) for fault in soak.faults]
    rows.append(_row(BETWEEN, "every answer is right", counts, found, episodes))
    # The first round is the warm-up: each kind of request has then been there once.
    warm = soak.cycle_ends[0] if len(soak.cycle_ends) > 1 else began
    slope = fit_slope([sample for sample in soak.samples if sample.at >= warm])
    long_enough = soak.minutes >= MEMORY_FROM_MINUTES
    return Verdict(
        seconds=ended - began,
        model=soak.answers.model,
        rows=rows,
        slope=slope,
        memory=_memory_in_words(slope, judged=long_enough),
        flaws=soak.flaws + _skipped_flaws(rows) + (_memory_flaws(slope) if long_enough else []),
        samples=soak.samples,
        windows=[
            (episode.fault, episode.planted, episode.released)
            for episode in _longest(soak)
            if not episode.skipped
        ],
    )


def _row(
    name: str,
    promise: str,
    counts: dict[str, Counter[str]],
    found: Sequence[Found],
    episodes: Sequence[Episode],
) -> Row:
    own = [episode for episode in episodes if episode.fault == name]
    planted = [episode for episode in own if not episode.skipped]
    unexcused = [one.outcome for one in found if one.fault == name]
    flaws = [flaw for episode in planted for flaw in episode.flaws]
    for verdict, times in Counter(outcome.verdict for outcome in unexcused).items():
        first = next(outcome for outcome in unexcused if outcome.verdict == verdict)
        flaws.append(f"{times} {verdict}, the first of a {first.kind} client: {first.detail}")
    skipped = next((episode.skipped for episode in own if episode.skipped), "")
    if not own and name != BETWEEN:
        skipped = "the soak ended before"
    return Row(
        fault=name,
        promise=promise,
        planted=len(planted),
        note=planted[-1].note if planted else "",
        counts={key: counts.get(name, Counter())[key] for key in ("sent", *VERDICTS, "retried")},
        recovery_seconds=max((e.recovery_seconds for e in planted), default=None),
        silence_seconds=max((e.silence_seconds for e in planted), default=None),
        flaws=flaws[:_SHOWN],
        skipped="" if planted else skipped,
    )


def _longest(soak: Soak) -> Sequence[Episode]:
    return max((played.episodes for played in soak.played), key=len, default=())


def _memory_in_words(slope: Slope | None, *, judged: bool) -> str:
    if slope is None:
        return "too short to say how memory moves"
    said = f"{slope.mb_per_hour:+.1f} ± {slope.uncertainty:.1f} MB an hour"
    if judged:
        return f"{said}; at most {MEMORY_BOUND_MB_PER_HOUR:g} are allowed"
    return f"{said}; not judged in less than {MEMORY_FROM_MINUTES:g} minutes"


def _skipped_flaws(rows: Sequence[Row]) -> list[str]:
    """Let nothing be left out where every part must be."""
    if os.environ.get("TEXTCLF_REQUIRE_ALL") != "1":
        return []
    return [f"{row.fault}: {row.skipped}" for row in rows if row.skipped]


def _memory_flaws(slope: Slope | None) -> list[str]:
    """Refuse growth over the bound, and a measurement that does not rule out twice as much.

    Half an hour of faults leaves an uncertainty of 4 to 28 MB an hour, by how quiet the machine is:
    to rule out anything over the bound itself would fail a steady service for its noise.
    """
    if slope is None:
        return ["memory was not measured"]
    said = f"{slope.mb_per_hour:.1f} MB an hour, give or take {slope.uncertainty:.1f}"
    if slope.mb_per_hour - slope.uncertainty > MEMORY_BOUND_MB_PER_HOUR:
        return [f"memory grows by {said}"]
    most = slope.mb_per_hour + slope.uncertainty
    if slope.mb_per_hour > MEMORY_BOUND_MB_PER_HOUR or most > 2 * MEMORY_BOUND_MB_PER_HOUR:
        return [f"memory may grow: by {said}; run a longer soak"]
    return []
