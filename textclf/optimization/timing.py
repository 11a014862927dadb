"""How fast two graphs are, measured in turns so that a noisy machine is noisy for both."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping, Sequence

from textclf.inference import Graph
from textclf.tokenization import stretch

LENGTHS = (8, 32, 128)
BATCHES = (1, 8)
_LEAST_ROUNDS = 5
_MOST_ROUNDS = 40
_BUDGET_SECONDS = 0.25  # for each length and batch size, where that allows the least rounds

Shape = tuple[int, int]
Times = Mapping[Shape, float]


def time_in_turns(
    graphs: Sequence[Graph], ids: Sequence[int], *, max_tokens: int
) -> tuple[Times, ...]:
    """Run graphs in turns on batches of several sizes and lengths.

    Args:
        graphs: To compare.
        ids: The input_ids of one text, repeated to the length wanted.
        max_tokens: Longest input of the graphs.

    Returns:
        For each graph the median milliseconds of a run, by ``(texts, tokens)``.
    """
    times: tuple[dict[Shape, float], ...] = tuple({} for _ in graphs)
    for tokens in sorted({min(length, max_tokens) for length in LENGTHS}):
        text = stretch(ids, tokens)
        for texts in BATCHES:
            for found, milliseconds in zip(times, _medians(graphs, [text] * texts), strict=True):
                found[texts, tokens] = milliseconds
    return times


def speedup(times: Times, exact: Times) -> float:
    """Return how many times faster than ``exact``: the geometric mean over all shapes."""
    return math.exp(statistics.mean(math.log(exact[shape] / times[shape]) for shape in times))


def _medians(graphs: Sequence[Graph], batch: Sequence[Sequence[int]]) -> list[float]:
    for graph in graphs:
        graph.scores(batch)  # the first run of a shape allocates
    runs: list[list[float]] = [[] for _ in graphs]
    end = time.perf_counter() + _BUDGET_SECONDS
    for done in range(_MOST_ROUNDS):
        if done >= _LEAST_ROUNDS and time.perf_counter() > end:
            break
        for graph, taken in zip(graphs, runs, strict=True):
            start = time.perf_counter()
            graph.scores(batch)
            taken.append(1000 * (time.perf_counter() - start))
    return [statistics.median(taken) for taken in runs]
