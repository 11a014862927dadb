"""Which texts run together: nothing is lost, nothing waits without end, little is padded."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.simulation import (
    Arrival,
    FirstInFirstOut,
    Outcome,
    clairvoyant_padding,
    poisson,
    simulate,
)
from textclf.batching import BatchLimits, BatchQueue
from textclf.cost import CostModel

LENGTHS = st.lists(st.integers(1, 512), max_size=100)
COST = CostModel(4e-4, 9e-5, 1e-7)


def taken_from(queue: BatchQueue[int]) -> list[list[int]]:
    """Return every batch that is left in a queue."""
    batches = []
    while batch := queue.take():
        batches.append(batch)
    return batches


def filled(lengths: list[int], limits: BatchLimits) -> BatchQueue[int]:
    """Return a queue in which a text of each length waits."""
    queue: BatchQueue[int] = BatchQueue(limits, COST)
    for index, length in enumerate(lengths):
        queue.put(length, index)
    return queue


@given(LENGTHS, st.integers(1, 16), st.integers(1, 1024), st.booleans())
def test_every_text_is_in_exactly_one_batch(
    lengths: list[int], texts: int, tokens: int, equal: bool
) -> None:
    """No text is lost or run twice, and no batch is larger than allowed, but for one long text."""
    limits = BatchLimits(texts=texts, tokens=tokens, equal_lengths=equal)

    batches = taken_from(filled(lengths, limits))

    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    assert all(len(batch) <= texts for batch in batches)
    padded = [len(batch) * max(lengths[index] for index in batch) for batch in batches]
    assert all(p <= tokens or len(b) == 1 for p, b in zip(padded, batches, strict=True))


@given(LENGTHS, st.integers(1, 16))
def test_the_oldest_text_is_in_the_next_batch(lengths: list[int], texts: int) -> None:
    """So a text that found n others waiting is in one of the next n + 1 batches."""
    batches = taken_from(filled(lengths, BatchLimits(texts=texts)))

    taken: set[int] = set()
    for batch in batches:
        assert min(set(range(len(lengths))) - taken) in batch
        taken.update(batch)


@given(LENGTHS, st.integers(1, 16))
def test_without_a_mask_nothing_is_padded(lengths: list[int], texts: int) -> None:
    """A graph that cannot tell padding from text gets texts of one length."""
    limits = BatchLimits(texts=texts, tokens=10_000, equal_lengths=True)
    for batch in taken_from(filled(lengths, limits)):
        assert len({lengths[index] for index in batch}) == 1


@given(st.lists(st.integers(1, 512), min_size=1, max_size=100), st.integers(2, 16))
def test_company_never_costs_more_than_it_saves(lengths: list[int], texts: int) -> None:
    """A batch is cheaper than its texts one by one."""
    for batch in taken_from(filled(lengths, BatchLimits(texts=texts, tokens=10_000))):
        together = COST.seconds(len(batch), max(lengths[index] for index in batch))
        assert together <= sum(COST.seconds(1, lengths[index]) for index in batch) + 1e-9


@given(LENGTHS, st.data())
def test_what_is_discarded_is_not_run(lengths: list[int], data: st.DataObject) -> None:
    """The others are, and discarding again does nothing."""
    queue: BatchQueue[int] = BatchQueue(BatchLimits(), COST)
    tickets = [queue.put(length, index) for index, length in enumerate(lengths)]
    gone = data.draw(st.sets(st.sampled_from(range(len(lengths))))) if lengths else set()

    for _ in range(2):
        queue.discard([tickets[index] for index in gone])

    assert len(queue) == len(lengths) - len(gone)
    left = {index for batch in taken_from(queue) for index in batch}
    assert left == set(range(len(lengths))) - gone


@pytest.mark.parametrize(("idle", "sizes"), [(0, [8]), (1, [4, 4]), (3, [2, 2, 2, 2])])
def test_idle_threads_get_a_share(idle: int, sizes: list[int]) -> None:
    """Texts that come together are spread over the threads that have nothing to do."""
    queue = filled([20] * 8, BatchLimits())

    assert [len(queue.take(others)) for others in range(idle, -1, -1)] == sizes


def make_arrivals(rows: list[tuple[float, int, float]]) -> list[Arrival]:
    """Return arrivals whose gaps, lengths and patience are given."""
    now, arrivals = 0.0, []
    for gap, tokens, patience in rows:
        now += gap
        arrivals.append(Arrival(now, tokens, patience))
    return arrivals


ARRIVALS = st.lists(
    st.tuples(st.floats(0, 0.02), st.integers(1, 256), st.one_of(st.just(9.0), st.floats(0, 0.01))),
    max_size=60,
).map(make_arrivals)


@given(ARRIVALS, st.integers(1, 4))
def test_texts_that_come_and_go_over_time(arrivals: list[Arrival], threads: int) -> None:
    """Each is run once, or was left; no more batches overtake it than texts were before it."""
    outcome = simulate(arrivals, BatchQueue(BatchLimits(texts=4), COST), COST, threads=threads)

    ran = [index for batch in outcome.batches for index in batch]
    assert sorted([*ran, *outcome.left]) == list(range(len(arrivals)))
    assert all(wait >= 0 for wait in outcome.waited_seconds.values())
    for number, batch in enumerate(outcome.batches):
        for index in batch:
            arrived = arrivals[index].at_seconds
            starts = [started(outcome, arrivals, other) for other in outcome.batches[:number]]
            before = sum(
                other.at_seconds <= arrived and ended(outcome, arrivals, place) > arrived
                for place, other in enumerate(arrivals[:index])
            )
            assert sum(start > arrived for start in starts) <= before


def started(outcome: Outcome, arrivals: list[Arrival], batch: list[int]) -> float:
    """Return when a batch was taken."""
    return arrivals[batch[0]].at_seconds + outcome.waited_seconds[batch[0]]


def ended(outcome: Outcome, arrivals: list[Arrival], index: int) -> float:
    """Return when a text stopped waiting, or infinity if it left at an unknown moment."""
    return arrivals[index].at_seconds + outcome.waited_seconds.get(index, float("inf"))


@dataclass(frozen=True)
class Trace:
    """Texts that come at 1.5 times what the threads can do, in both orders."""

    lengths: list[int]
    ours: Outcome
    fifo: Outcome


@pytest.fixture(scope="module")
def overload() -> Trace:
    """Simulate it once."""
    chance = random.Random(3)  # noqa: S311 - a simulation
    lengths = [max(3, min(128, round(chance.lognormvariate(3.05, 0.6)))) for _ in range(5_000)]
    capacity = 2 * len(lengths) / sum(map(COST.text_seconds, lengths))
    arrivals = poisson(lengths, 1.5 * capacity, seed=4)
    ours = simulate(arrivals, BatchQueue(BatchLimits(), COST), COST)
    fifo = simulate(arrivals, FirstInFirstOut(BatchLimits(texts=8)), COST)
    return Trace(lengths, ours, fifo)


def test_padding_is_near_what_a_clairvoyant_wastes(overload: Trace) -> None:
    """And far from what the order of arrival wastes; so more is done in the same time."""
    assert overload.ours.padding < 0.03
    assert overload.fifo.padding > 0.3
    assert clairvoyant_padding(overload.lengths, 16) < overload.ours.padding + 0.03
    assert overload.ours.end_seconds < 0.75 * overload.fifo.end_seconds


def test_no_thread_is_idle_while_a_text_waits(overload: Trace) -> None:
    """Under overload both are busy from the first text to the last."""
    assert overload.ours.busy_seconds > 0.99 * 2 * overload.ours.end_seconds
