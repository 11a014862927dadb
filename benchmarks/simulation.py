"""The queue of textclf.batching in simulated time: what it wastes on padding, how long texts wait.

Beside it, on the same arrivals: batches in the order of arrival, as most servers make them, and a
clairvoyant that has every text before the first is run and sorts them all by length. No order
wastes less than that one on padding; what it makes texts wait is of no use as a comparison.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from textclf.batching import BatchLimits, BatchQueue
from textclf.cost import CostModel
from textclf.tables import markdown_table

MOST_TEXTS = 16  # in a batch


@dataclass(frozen=True)
class Arrival:
    """A text that is asked for.

    Attributes:
        at_seconds: When.
        tokens: Its length.
        patience_seconds: After so long the client leaves, if the text is still waiting.
    """

    at_seconds: float
    tokens: int
    patience_seconds: float = float("inf")


@dataclass
class Outcome:
    """What became of the texts, by their place in the arrivals.

    Attributes:
        batches: What ran together, in the order in which it was taken.
        waited_seconds: From arrival to the start of the run.
        left: Those that nobody waited for any more when they would have been taken.
        busy_seconds: Of all threads together.
        end_seconds: When the last run ended.
        tokens: That were run, padding included.
        text_tokens: The same without padding.
    """

    batches: list[list[int]] = field(default_factory=list)
    waited_seconds: dict[int, float] = field(default_factory=dict)
    left: set[int] = field(default_factory=set)
    busy_seconds: float = 0.0
    end_seconds: float = 0.0
    tokens: int = 0
    text_tokens: int = 0

    @property
    def padding(self) -> float:
        """Share of all tokens that is padding."""
        return 1 - self.text_tokens / max(self.tokens, 1)


class Policy(Protocol):
    """What a queue has to do."""

    def put(self, length: int, item: int, /) -> int:
        """Let a text wait; return its ticket."""
        ...

    def take(self, idle_threads: int = 0, /) -> list[int]:
        """Return what runs next."""
        ...

    def discard(self, tickets: Sequence[int], /) -> None:
        """Forget texts."""
        ...


class FirstInFirstOut:
    """Batches in the order of arrival."""

    def __init__(self, limits: BatchLimits) -> None:
        self._most = limits.texts
        self._waiting: deque[int] = deque()

    def put(self, _length: int, item: int, /) -> int:
        """Let a text wait; it is its own ticket."""
        self._waiting.append(item)
        return item

    def take(self, _idle_threads: int = 0, /) -> list[int]:
        """Return the oldest texts."""
        count = min(self._most, len(self._waiting))
        return [self._waiting.popleft() for _ in range(count)]

    def discard(self, tickets: Sequence[int], /) -> None:
        """Forget texts."""
        gone = set(tickets)
        self._waiting = deque(item for item in self._waiting if item not in gone)


def simulate(
    arrivals: Sequence[Arrival], policy: Policy, cost: CostModel, *, threads: int = 2
) -> Outcome:
    """Run texts in simulated time.

    Args:
        arrivals: In the order of time.
        policy: The queue.
        cost: What a run takes.
        threads: Runs at once.
    """
    outcome, tickets = Outcome(), {}
    free = [0.0] * threads
    due: deque[int] = deque(range(len(arrivals)))
    waiting: set[int] = set()
    now = 0.0
    while due or waiting:
        now = max(now, heapq.heappop(free))
        if not waiting:
            now = max(now, arrivals[due[0]].at_seconds)
        while due and arrivals[due[0]].at_seconds <= now:
            index = due.popleft()
            tickets[index] = policy.put(arrivals[index].tokens, index)
            waiting.add(index)
        gone = [i for i in waiting if now - arrivals[i].at_seconds > arrivals[i].patience_seconds]
        policy.discard([tickets[index] for index in gone])
        outcome.left.update(gone)
        waiting.difference_update(gone)
        idle = sum(other <= now for other in free)
        batch = policy.take(idle)
        waiting.difference_update(batch)
        heapq.heappush(free, now + _run(outcome, batch, arrivals, cost, now))
    outcome.end_seconds = max(free)
    return outcome


def _run(
    outcome: Outcome, batch: list[int], arrivals: Sequence[Arrival], cost: CostModel, now: float
) -> float:
    if not batch:
        return 0.0
    lengths = [arrivals[index].tokens for index in batch]
    taken = cost.seconds(len(batch), max(lengths))
    outcome.batches.append(batch)
    outcome.waited_seconds |= {index: now - arrivals[index].at_seconds for index in batch}
    outcome.busy_seconds += taken
    outcome.tokens += len(batch) * max(lengths)
    outcome.text_tokens += sum(lengths)
    return taken


def clairvoyant_padding(lengths: Sequence[int], most_texts: int) -> float:
    """Return the share of padding if all texts are sorted by length before the first is run."""
    ordered = sorted(lengths)
    batches = [ordered[i : i + most_texts] for i in range(0, len(ordered), most_texts)]
    return 1 - sum(ordered) / sum(len(batch) * batch[-1] for batch in batches)


def poisson(lengths: Sequence[int], rate_per_second: float, seed: int) -> list[Arrival]:
    """Return texts of these lengths that arrive at random."""
    chance, now, arrivals = random.Random(seed), 0.0, []  # noqa: S311 - a simulation
    for tokens in lengths:
        now += chance.expovariate(rate_per_second)
        arrivals.append(Arrival(now, tokens))
    return arrivals


@dataclass(frozen=True, kw_only=True)
class Compared:
    """What came of one order at one load.

    Attributes:
        load: Texts that arrive in a second, over those that could be run without padding.
        order: In words.
        outcome: Of the simulation.
        share_run: Texts that were run in a second, over the same.
    """

    load: float
    order: str
    outcome: Outcome
    share_run: float


def make_lengths() -> list[int]:
    """Return lengths as they are of sentences, in tokens."""
    chance = random.Random(0)  # noqa: S311 - a simulation
    return [max(3, min(128, round(chance.lognormvariate(3.05, 0.6)))) for _ in range(20_000)]


def compare_orders(lengths: Sequence[int]) -> Iterator[Compared]:
    """Run texts of these lengths through this queue and through one in the order of arrival."""
    cost = CostModel(4e-4, 9e-5, 1e-7)
    limits = BatchLimits(texts=MOST_TEXTS, tokens=512)
    capacity = 2 * len(lengths) / sum(map(cost.text_seconds, lengths))
    policies: dict[str, Callable[[], Policy]] = {
        "this queue": lambda: BatchQueue(limits, cost),
        "first in, first out": lambda: FirstInFirstOut(BatchLimits(texts=8)),
    }
    for load in (0.5, 0.8, 0.95, 1.5):
        arrivals = poisson(lengths, load * capacity, seed=1)
        for order, policy in policies.items():
            outcome = simulate(arrivals, policy(), cost)
            share_run = len(lengths) / outcome.end_seconds / capacity
            yield Compared(load=load, order=order, outcome=outcome, share_run=share_run)


def main() -> int:
    """Print a table of orders at several loads."""
    lengths = make_lengths()
    rows = []
    for compared in compare_orders(lengths):
        outcome = compared.outcome
        waits = np.array(list(outcome.waited_seconds.values())) * 1000
        rows.append(
            [
                f"{compared.load:.0%}",
                compared.order,
                f"{outcome.padding:.1%}",
                f"{np.mean([len(batch) for batch in outcome.batches]):.1f}",
                f"{compared.share_run:.2f}",
                f"{np.median(waits):.1f}",
                f"{np.percentile(waits, 99):.1f}",
            ]
        )
    clairvoyant = clairvoyant_padding(lengths, MOST_TEXTS)
    rows.append(["", "clairvoyant", f"{clairvoyant:.1%}", *[""] * 4])
    print(markdown_table(_HEAD, rows))  # noqa: T201
    return 0


_HEAD = ["load", "order", "padding", "texts", "of capacity", "wait p50 ms", "wait p99 ms"]

if __name__ == "__main__":
    raise SystemExit(main())
