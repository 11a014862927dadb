"""What was counted lately: a window over counts that only ever grow."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

MOST_SECONDS = 24 * 3600.0
MOST_TEXTS = 10_000
_MARK_SECONDS = 300.0

Key = tuple[str, str]  # a feature and one of its bins
Counts = Mapping[Key, float]


@dataclass(frozen=True, slots=True)
class _Mark:
    at: float
    texts: float
    counts: Counts


class SlidingWindow:
    """Remembers the counts every few minutes, and says what came since one of these marks.

    It goes back to the newest mark that leaves enough texts, else to the oldest: a busy service
    sees a change within minutes, a quiet one gathers texts for a day. The counts are sums over all
    workers, so it does not matter which of them is asked, nor in which order the texts came.
    """

    def __init__(
        self,
        at: float,
        counts: Counts,
        *,
        most_texts: float = MOST_TEXTS,
        most_seconds: float = MOST_SECONDS,
        mark_seconds: float = _MARK_SECONDS,
    ) -> None:
        """Begin now.

        Args:
            at: The time, in seconds of a clock that only goes forward.
            counts: What was counted so far.
            most_texts: Going back ends with the first mark that leaves so many.
            most_seconds: Older marks are forgotten, unless there is no other.
            mark_seconds: Between two marks; with ``most_seconds`` it bounds the memory.
        """
        self._marks = deque([_Mark(at, _texts(counts), counts)])
        self._most_texts = most_texts
        self._most_seconds = most_seconds
        self._mark_seconds = mark_seconds

    def look(self, at: float, counts: Counts) -> tuple[float, Counts]:
        """Return the seconds that the window spans, and what was counted in it."""
        marks, texts = self._marks, _texts(counts)
        while len(marks) > 1 and at - marks[0].at > self._most_seconds:
            marks.popleft()
        enough = (mark for mark in reversed(marks) if texts - mark.texts >= self._most_texts)
        base = next(enough, marks[0])
        if at - marks[-1].at >= self._mark_seconds:
            marks.append(_Mark(at, texts, counts))
        return at - base.at, {
            key: max(0.0, count - base.counts.get(key, 0.0)) for key, count in counts.items()
        }


def _texts(counts: Counts) -> float:
    return sum(count for (feature, _), count in counts.items() if feature == "labels")
