"""What pairs of answers to the same requests come to."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from textclf.rollout.observation import Answer, Pair

_OK = 200
_REFUSALS = range(400, 500)
_OF_THE_MOMENT = (408, 429)  # refuse a request for when it came, not for what it is
_MOST_WORDS = 5
_SEVERAL = 3
_QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "most": 1.0}

# Steps of 10 %, from 0.1 ms to more than two minutes: finer than any ratio that is worth a budget.
LATENCY_EDGES_SECONDS = tuple(float(f"{0.0001 * 1.1**i:.4g}") for i in range(148))
_EDGES = np.array(LATENCY_EDGES_SECONDS)


def _no_counts() -> NDArray[np.int64]:
    return np.zeros(len(LATENCY_EDGES_SECONDS) + 1, np.int64)


def _no_orders() -> NDArray[np.int64]:
    return np.zeros(len(LATENCY_EDGES_SECONDS), np.int64)


@dataclass(kw_only=True)
class PairSummary:
    """Counts over pairs; a pair is "answered" if both versions gave status 200.

    A version refuses a request with a status from 400 to 499, and fails with one from 500 or none.

    Attributes:
        known_labels: Right labels by ``texts_sha256``, where somebody knows them.
        pairs: In all.
        answered: Of them, with two answers of status 200.
        candidate_failures_alone: Pairs that the stable version alone answered with 200, or refused
            and the candidate failed.
        shape_breaks: Answered pairs whose members differ in name or JSON type, and pairs that one
            version answered and the other refused.
        first_shape_breaks: The first of these in words.
        invalid_scores: Candidate's answers with a score that is no number from 0 to 1.
        first_invalid_scores: The first of these in words.
        compared: Answered pairs with as many labels on both sides, at least one.
        disagreement: Sum over these pairs of the share of a pair's texts with different labels.
        score_shifts: Of each answered pair with scores, the largest difference of a text.
        stable_latency_counts: Answered pairs by bucket of latency; one more than there are edges.
        candidate_latency_counts: The same for the candidate.
        candidate_slower_alone: For each edge, pairs that it parts with the candidate above it.
        stable_slower_alone: The same with the stable version above it.
        texts_known: Compared texts with a known label.
        stable_right_alone: Of them, that the stable version alone labels rightly.
        candidate_right_alone: Of them, that the candidate alone labels rightly.
    """

    known_labels: Mapping[str, Sequence[str]] = field(default_factory=dict, repr=False)
    pairs: int = 0
    answered: int = 0
    candidate_failures_alone: int = 0
    shape_breaks: int = 0
    first_shape_breaks: list[str] = field(default_factory=list)
    invalid_scores: int = 0
    first_invalid_scores: list[str] = field(default_factory=list)
    compared: int = 0
    disagreement: float = 0.0
    score_shifts: list[float] = field(default_factory=list, repr=False)
    stable_latency_counts: NDArray[np.int64] = field(default_factory=_no_counts, repr=False)
    candidate_latency_counts: NDArray[np.int64] = field(default_factory=_no_counts, repr=False)
    candidate_slower_alone: NDArray[np.int64] = field(default_factory=_no_orders, repr=False)
    stable_slower_alone: NDArray[np.int64] = field(default_factory=_no_orders, repr=False)
    texts_known: int = 0
    stable_right_alone: int = 0
    candidate_right_alone: int = 0

    def extend(self, pairs: Iterable[Pair]) -> Self:
        """Count more pairs, each in the same short time, and return the summary."""
        for pair in pairs:
            self._count(pair)
        return self

    def score_shift_quantiles(self) -> dict[str, float]:
        """Return quantiles of the score shifts by name; none if no pair has scores."""
        if not self.score_shifts:
            return {}
        values = np.quantile(self.score_shifts, list(_QUANTILES.values()))
        return dict(zip(_QUANTILES, values.tolist(), strict=True))

    def _count(self, pair: Pair) -> None:
        stable, candidate = pair.stable, pair.candidate
        self.pairs += 1
        self.candidate_failures_alone += stable.status == _OK != candidate.status or (
            stable.status in _REFUSALS and _has_failed(candidate)
        )
        if candidate.status == _OK:
            self._check_scores(pair)
        if any(
            one.status == _OK and _is_refused(other)
            for one, other in ((stable, candidate), (candidate, stable))
        ):
            self._break(f"status is {candidate.status}, was {stable.status}", pair)
        if stable.status == _OK == candidate.status:
            self.answered += 1
            self._compare_shapes(pair)
            self._compare_labels(pair)
            self._compare_scores(stable, candidate)
            self._compare_latencies(stable.seconds, candidate.seconds)

    def _check_scores(self, pair: Pair) -> None:
        wrong = [score for score in pair.candidate.scores if not 0 <= score <= 1]
        if wrong:
            self.invalid_scores += 1
            if len(self.first_invalid_scores) < _MOST_WORDS:
                self.first_invalid_scores.append(f"{wrong[0]} in request {pair.request_id}")

    def _compare_shapes(self, pair: Pair) -> None:
        if set(pair.stable.shape) != set(pair.candidate.shape):
            self._break(describe_break(pair.stable.shape, pair.candidate.shape), pair)

    def _break(self, words: str, pair: Pair) -> None:
        self.shape_breaks += 1
        if len(self.first_shape_breaks) < _MOST_WORDS:
            self.first_shape_breaks.append(f"{words} in request {pair.request_id}")

    def _compare_labels(self, pair: Pair) -> None:
        ours, theirs = pair.stable.labels, pair.candidate.labels
        if not ours or len(ours) != len(theirs):
            return
        differing = sum(one != other for one, other in zip(ours, theirs, strict=True))
        self.compared += 1
        self.disagreement += differing / len(ours)
        known = self.known_labels.get(pair.texts_sha256, ())
        if len(known) == len(ours):
            self.texts_known += len(known)
            for right, one, other in zip(known, ours, theirs, strict=True):
                self.stable_right_alone += one == right != other
                self.candidate_right_alone += other == right != one

    def _compare_scores(self, stable: Answer, candidate: Answer) -> None:
        if not stable.scores or len(stable.scores) != len(candidate.scores):
            return
        same = [True] * len(stable.scores)
        if len(stable.labels) == len(candidate.labels) == len(same):
            same = [a == b for a, b in zip(stable.labels, candidate.labels, strict=True)]
        shifts = [
            # Of different labels, the candidate gives the stable one's at most the rest of its own.
            abs(one - other) if alike else max(0.0, one + other - 1)
            for one, other, alike in zip(stable.scores, candidate.scores, same, strict=True)
        ]
        if all(math.isfinite(shift) for shift in shifts):
            self.score_shifts.append(max(shifts))

    def _compare_latencies(self, stable: float, candidate: float) -> None:
        ours, theirs = np.searchsorted(_EDGES, (stable, candidate))
        self.stable_latency_counts[ours] += 1
        self.candidate_latency_counts[theirs] += 1
        self.candidate_slower_alone[ours:theirs] += 1
        self.stable_slower_alone[theirs:ours] += 1


def summarise(
    pairs: Iterable[Pair], known_labels: Mapping[str, Sequence[str]] | None = None
) -> PairSummary:
    """Return what pairs come to.

    Args:
        pairs: In any order.
        known_labels: Right labels by ``texts_sha256``, in the order of the texts.
    """
    return PairSummary(known_labels=known_labels or {}).extend(pairs)


def _has_failed(answer: Answer) -> bool:
    return answer.status == 0 or answer.status >= _REFUSALS.stop


def _is_refused(answer: Answer) -> bool:
    return answer.status in _REFUSALS and answer.status not in _OF_THE_MOMENT


def describe_break(stable: Sequence[str], candidate: Sequence[str]) -> str:
    """Say in which members two shapes differ: ``positive is a string, was a boolean``."""
    was, now = (dict(part.rpartition(":")[::2] for part in shape) for shape in (stable, candidate))
    words = [
        f"{name} is missing" if name not in now else f"{name} is {_a(now[name])}, was {_a(kind)}"
        for name, kind in was.items()
        if now.get(name) != kind
    ]
    words += [f"{name} is new" for name in now if name not in was]
    if len(words) > _SEVERAL:
        words = [*words[:_SEVERAL], f"{len(words) - _SEVERAL} more"]
    return "; ".join(words)


def _a(kind: str) -> str:
    if kind == "null":
        return kind
    return f"an {kind}" if kind[:1] in "aeio" else f"a {kind}"
