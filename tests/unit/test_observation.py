"""Counts rise, start anew and vanish, replica by replica; what came since a moment is their sum."""

from __future__ import annotations

from dataclasses import replace

import pytest

from textclf.errors import EvidenceError
from textclf.rollout.observation import Observation, Reading, add

EARLIER = Observation(
    requests=100,
    errors=50,
    refused=10,
    labels={"positive": 30, "negative": 10},
    latency_edges_seconds=(0.1, 1.0),
    latency_counts=(60, 30, 10),
)


def served(requests: int) -> Observation:
    """Return the counts of a healthy replica."""
    return Observation(
        requests=requests,
        errors=0,
        labels={"positive": requests},
        latency_edges_seconds=(0.1,),
        latency_counts=(requests, 0),
    )


def test_what_came_after() -> None:
    """Each count is the difference; a label that is new had none."""
    now = Observation(
        requests=130,
        errors=55,
        refused=15,
        labels={"positive": 40, "negative": 15, "neutral": 5},
        latency_edges_seconds=(0.1, 1.0),
        latency_counts=(80, 35, 15),
    )

    assert now.since(EARLIER) == Observation(
        requests=30,
        errors=5,
        refused=5,
        labels={"positive": 10, "negative": 5, "neutral": 5},
        latency_edges_seconds=(0.1, 1.0),
        latency_counts=(20, 5, 5),
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"requests": 90},
        {"requests": 120, "errors": 0},
        {"requests": 120, "refused": 0},
        {"requests": 120, "errors": 90},
        {"labels": {"positive": 300, "negative": 9}},
        {"labels": {"positive": 300}},
        {"latency_counts": (59, 31, 10)},
        {"latency_edges_seconds": (0.2, 1.0)},
    ],
    ids=["requests", "errors", "refusals", "answers", "label", "label gone", "bucket", "edges"],
)
def test_any_count_that_fell_means_a_restart(changes: dict[str, object]) -> None:
    """All that a process which started anew has counted came after; nothing is below zero."""
    now = Observation(**{**vars(EARLIER), **changes})

    assert now.since(EARLIER) == now


def test_a_replica_that_is_gone_takes_nothing_and_adds_nothing() -> None:
    """Of three replicas that become two, what came since is what the two answered."""
    before = {"a": served(10_000), "b": served(10_100), "c": served(10_200)}
    now = Reading(replicas={"a": served(10_050), "b": served(10_150)})

    assert now.since(before) == served(100)


def test_replicas_that_start() -> None:
    """One that started anew and one that is new count from their start."""
    before = {"a": served(1000), "b": served(1000)}
    now = Reading(replicas={"a": served(1010), "b": served(20), "c": served(30)})

    assert now.since(before) == served(60)


def test_nothing_is_the_sum_of_nothing() -> None:
    """A version without replicas, or with idle ones that have no buckets yet, has zero of all."""
    idle = replace(served(0), labels={}, latency_edges_seconds=(), latency_counts=(0,))

    assert add([]) == idle
    assert add([idle, served(5), idle]) == served(5)


def test_replicas_with_other_buckets_have_no_sum() -> None:
    """They are of different images; counts in buckets that differ mean nothing together."""
    other = replace(served(5), latency_edges_seconds=(0.3,))

    with pytest.raises(EvidenceError, match="different buckets"):
        add([served(5), other])
