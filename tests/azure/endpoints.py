"""Endpoints whose versions share traffic, and what Azure refuses to do to them."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field


class RefusedError(Exception):
    """Azure does not do that; ``status`` is that of its answer."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class KubernetesEndpoint:
    """An ``AksEndpoint`` of SDK v1.

    Attributes:
        percentiles: Of each version; what they leave of 100 is the default version's.
        default: Name of the default version.
        broken: Versions that answer every request with 500.
        spelling: Versions that answer "true" and "false" for true and false.
        answered: How many requests each version answered.
        history: Effective shares after each change, the first ones included.
        busy: An operation is under way.
    """

    name: str
    percentiles: dict[str, int]
    default: str
    broken: set[str] = field(default_factory=set)
    spelling: set[str] = field(default_factory=set)
    answered: Counter[str] = field(default_factory=Counter)
    history: list[dict[str, int]] = field(default_factory=list)
    busy: bool = False

    def __post_init__(self) -> None:
        """Start the history."""
        self.history.append(self.shares)

    @property
    def shares(self) -> dict[str, int]:
        """Percent of requests that each version answers; together 100."""
        remainder = 100 - sum(self.percentiles.values())
        return {
            name: percent + (remainder if name == self.default else 0)
            for name, percent in self.percentiles.items()
        }

    def change(self, percentiles: dict[str, int], default: str) -> None:
        """Take over what one request asks for, all or nothing.

        Raises:
            RefusedError: A percentile cannot be, they give away more than there is, or the last
                change is still under way.
        """
        if self.busy:
            raise RefusedError("The service is being updated.", 409)
        if not all(0 <= percent <= 100 for percent in percentiles.values()):
            raise RefusedError("trafficPercentile has to lie between 0 and 100.")
        if sum(percentiles.values()) > 100:
            raise RefusedError(
                "The sum of trafficPercentile of all versions cannot exceed 100, got "
                f"{sum(percentiles.values())}."
            )
        self.percentiles, self.default = percentiles, default
        self.history.append(self.shares)


@dataclass
class ManagedEndpoint:
    """An online endpoint of SDK v2.

    Attributes:
        traffic: Percent of each deployment.
        mirror_traffic: Percent of requests that a deployment gets a copy of.
        compute: None unless it runs on Kubernetes, where nothing is mirrored.
        state: Of its last operation.
        history: What each request came to, the first state included.
    """

    name: str
    traffic: dict[str, int]
    mirror_traffic: dict[str, int] = field(default_factory=dict)
    compute: str | None = None
    state: str = "Succeeded"
    history: list[tuple[dict[str, int], dict[str, int]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Start the history."""
        self.deployments = list(self.traffic)
        self.history.append((self.traffic, self.mirror_traffic))

    def change(self, traffic: dict[str, int], mirror_traffic: dict[str, int]) -> None:
        """Take over what one request asks for, all or nothing.

        Raises:
            RefusedError: Azure does not share traffic out like that, or not yet.
        """
        if self.state == "Updating":
            raise RefusedError("Already running method: update.", 409)
        unknown = (traffic.keys() | mirror_traffic.keys()) - set(self.deployments)
        if unknown:
            raise RefusedError(f"The deployment {', '.join(sorted(unknown))} does not exist.")
        if sum(traffic.values()) not in {0, 100}:
            raise RefusedError(
                f"The traffic must add up to 0 or 100 percent, got {sum(traffic.values())}."
            )
        if len(mirror_traffic) > 1 or sum(mirror_traffic.values()) > 50:
            raise RefusedError("One deployment can get at most 50 percent of mirrored traffic.")
        if {name for name in mirror_traffic if traffic.get(name)}:
            raise RefusedError("A deployment gets either live or mirrored traffic, not both.")
        self.traffic, self.mirror_traffic = traffic, mirror_traffic
        self.history.append((traffic, mirror_traffic))


@dataclass
class Operations:
    """Updates that take a while.

    Attributes:
        polls: How often a client has to ask until one is done.
        fail: They fail at their end.
        done: What happens at the end of each.
    """

    polls: int = 0
    fail: bool = False
    done: dict[str, Callable[[], None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Number them from 1 on."""
        self._numbers = itertools.count(1)
        self._left: dict[str, int] = {}

    def start(self, done: Callable[[], None]) -> str:
        """Return the id of a new operation."""
        number = str(next(self._numbers))
        self._left[number], self.done[number] = self.polls, done
        return number

    def poll(self, number: str) -> bool:
        """Tell whether an operation is at its end."""
        if self._left[number]:
            self._left[number] -= 1
            return False
        self.done.pop(number, lambda: None)()
        return True
