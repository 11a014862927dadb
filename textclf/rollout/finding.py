"""What one metric says of a candidate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Phase = Literal["Successful", "Failed", "Inconclusive"]

SEVERITY: tuple[Phase, ...] = ("Successful", "Inconclusive", "Failed")

# Fewer trials than these hide a difference of several points, whatever a plan asks for.
LEAST_TRIALS = 100


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one metric says of a candidate.

    Attributes:
        metric: One of ``TESTS``, or ``answer_shape`` or ``score_range``.
        phase: What follows from it.
        n: Of the candidate, what it was measured on: requests, predictions, pairs or texts.
        value: What was seen, in the unit of the threshold; None if nothing was.
        lower: The least that it can be, at every look, but for the level; None if there is none.
        upper: The most.
        threshold: What the budget allows.
        reason: One line.
        seen: What else was seen, by name: a median, say, in the unit of what was compared.
    """

    metric: str
    phase: Phase
    n: int
    value: float | None
    lower: float | None
    upper: float | None
    threshold: float
    reason: str
    seen: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Terms:
    """What a metric is judged on besides the numbers.

    Attributes:
        level: Of the test.
        minimum: Trials that success needs.
        unit: Of the trials, in words.
        whose: What they are compared with, in words.
        least_reference: Trials without which the reference excuses nothing.
    """

    level: float
    minimum: int
    unit: str
    whose: str
    least_reference: int = 0


def percent(share: float) -> str:
    """Return a share as a percentage in words."""
    return f"{100 * share:.1f} %"
