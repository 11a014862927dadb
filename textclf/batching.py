"""Which waiting texts run together, and when. Pure: no clock, no thread, no model.

::

    put ──► by arrival: 7 3 9 1 8 …       the oldest is in the next batch, always
            older half, by length: 9 7 3  and its neighbours here fill it, nearest first
                                   └┬┘
                                    └──► take

A free thread takes what waits at once, so nothing waits for company. The oldest text goes first, so
a text that found n others waiting is in one of the next n + 1 batches, whatever comes later. Its
company is of like length: a text is added while that makes the batch cheaper for what it does, and
costs less in padding than a run of its own would.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

from textclf.cost import UNMEASURED, CostModel

Item = TypeVar("Item")
# Company comes from the older half of what waits: from all of it, batches are a little fuller, but
# rare lengths wait so much longer than common ones that p99 is twice the median, not 1.6 times it.
_LEAST_REACH = 8
_MOST_REACH = 64  # sorted for each batch


@dataclass(frozen=True, kw_only=True)
class BatchLimits:
    """What a batch may be.

    Attributes:
        texts: Most texts.
        tokens: Most tokens, padding included; one text may be longer.
        equal_lengths: Only texts of the same length, for a graph without a mask.
    """

    texts: int = 16
    tokens: int = 512
    equal_lengths: bool = False


class BatchQueue(Generic[Item]):
    """Texts that wait to be run.

    Attributes:
        limits: What a batch may be.
        cost: What a batch costs.
        work: Seconds that the texts would take by it, but for what their runs cost by themselves.
    """

    def __init__(self, limits: BatchLimits, cost: CostModel = UNMEASURED) -> None:
        self.limits = limits
        self.cost = cost
        self.work = 0.0
        self._waiting: OrderedDict[int, tuple[int, Item]] = OrderedDict()
        self._tickets = 0

    def __len__(self) -> int:
        """Return how many texts wait."""
        return len(self._waiting)

    def put(self, length: int, item: Item) -> int:
        """Let a text of ``length`` tokens wait; return the ticket it is known by."""
        self._tickets += 1
        self._waiting[self._tickets] = (length, item)
        self.work += self.cost.text_seconds(length)
        return self._tickets

    def take(self, idle_threads: int = 0) -> list[Item]:
        """Remove the next batch and return it, longest text first; empty if nothing waits.

        Args:
            idle_threads: Others that wait for work too, which a share is left for.
        """
        if not self._waiting:
            return []
        most = min(self.limits.texts, -(-len(self._waiting) // (idle_threads + 1)))
        oldest = next(iter(self._waiting))
        reach = min(max(_LEAST_REACH, len(self._waiting) // 2), _MOST_REACH)
        reached = islice(self._waiting.items(), reach)
        by_length = sorted((length, ticket) for ticket, (length, _) in reached)
        start = by_length.index((self._waiting[oldest][0], oldest))
        first, after = self._window([length for length, _ in by_length], start, most)
        taken = [self._pop(ticket) for _, ticket in reversed(by_length[first:after])]
        return [item for _, item in taken]

    def discard(self, tickets: Iterable[int]) -> None:
        """Forget texts that nobody waits for any more; those already taken are not here."""
        for ticket in tickets:
            if ticket in self._waiting:
                self._pop(ticket)

    def _pop(self, ticket: int) -> tuple[int, Item]:
        length, item = self._waiting.pop(ticket)
        # no rounding is left over once nothing waits
        self.work = self.work - self.cost.text_seconds(length) if self._waiting else 0.0
        return length, item

    def _window(self, lengths: Sequence[int], start: int, most: int) -> tuple[int, int]:
        """Return where in ``lengths``, sorted, the batch of the text at ``start`` lies."""
        first, after, longest = start, start + 1, lengths[start]
        work = self.cost.text_seconds(longest)
        taken = self.cost.seconds(1, longest)
        while after - first < most:
            grown = [
                (self.cost.seconds(after - first + 1, max(longest, length)), length, step)
                for length, step in self._neighbours(lengths, first, after)
                if self._fits(after - first + 1, longest, length)
            ]
            # the least padding, for a longer neighbour makes more work besides
            grown.sort(key=lambda found: found[0] - self.cost.text_seconds(found[1]))
            if not grown:
                break
            longer, length, step = grown[0]
            more = work + self.cost.text_seconds(length)
            if longer * work >= taken * more or longer - taken >= self.cost.seconds(1, length):
                break
            taken, work, longest = longer, more, max(longest, length)
            first, after = first - (step < 0), after + (step > 0)
        return first, after

    @staticmethod
    def _neighbours(lengths: Sequence[int], first: int, after: int) -> Iterator[tuple[int, int]]:
        if first > 0:
            yield lengths[first - 1], -1
        if after < len(lengths):
            yield lengths[after], 1

    def _fits(self, texts: int, longest: int, length: int) -> bool:
        if self.limits.equal_lengths and length != longest:
            return False
        return texts * max(longest, length) <= self.limits.tokens
