"""What every engine that moves traffic does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class Weights:
    """How requests are shared out; what is left of 100 is the stable version's.

    Attributes:
        candidate_percent: Of requests that the candidate answers.
        baseline_percent: That a fresh copy of the stable version answers.
        mirror_percent: That are mirrored; nobody waits for what comes of them.
    """

    candidate_percent: int = 0
    baseline_percent: int = 0
    mirror_percent: int = 0

    def __post_init__(self) -> None:
        """Refuse shares that cannot be."""
        shares = (self.candidate_percent, self.baseline_percent, self.mirror_percent)
        if not all(0 <= share <= 100 for share in shares) or sum(shares[:2]) > 100:
            raise ValueError(f"shares must lie in 0-100 and not add up to more, got {self}")

    @property
    def stable_percent(self) -> int:
        """Percent of requests that the stable version answers."""
        return 100 - self.candidate_percent - self.baseline_percent


class Traffic(Protocol):
    """An engine, with the versions that it knows.

    Attributes:
        name: As the command line has it.
        has_baseline: Whether a share can go to a fresh copy of the stable version.
        mirrors: Whether requests can be mirrored.
    """

    name: str
    has_baseline: bool
    mirrors: bool

    def read(self) -> Weights:
        """Return how traffic is shared out at this moment, as the engine itself says.

        Raises:
            TrafficError: It does not answer, or shares in a way that is not ours.
        """
        ...

    def move(self, weights: Weights) -> None:
        """Share traffic out; returns when it holds, and changes nothing if it does already.

        Raises:
            TrafficError: It is refused; what was shared out before still is.
        """
        ...
