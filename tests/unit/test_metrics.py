"""What is added up in memory is what would have been counted one by one."""

from __future__ import annotations

import asyncio
from collections import Counter as CountOf
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram

from scripts import render_metrics
from textclf.errors import RequestError
from textclf.gathering import GatheredCounter, GatheredHistogram, GatheredLabels, Gathering
from textclf.metrics import Stages, metrics, refusal_reasons

BOUNDS = (0.5, 1, 2, 4)
AMOUNTS = st.lists(st.one_of(st.sampled_from(BOUNDS), st.floats(0, 9)), max_size=30)


def histogram(registry: CollectorRegistry) -> Histogram:
    """Return a histogram of nothing yet."""
    return Histogram("amounts", "of a test", buckets=BOUNDS, registry=registry)


def samples(registry: CollectorRegistry) -> dict[object, object]:
    """Return all that a registry shows, but when it was made."""
    return {
        (sample.name, *sample.labels.items()): pytest.approx(sample.value)
        for family in registry.collect()
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


@settings(max_examples=50)
@given(rounds=st.lists(AMOUNTS, max_size=3))
def test_a_gathered_histogram_is_the_histogram(rounds: list[list[float]]) -> None:
    """Amounts on a bound, below the first and above the last fall where they would have fallen."""
    one_by_one, together = CollectorRegistry(), CollectorRegistry()
    direct, gathered = histogram(one_by_one), GatheredHistogram(histogram(together))
    for amounts in rounds:
        for amount in amounts:
            direct.observe(amount)
            gathered.add(amount)
        gathered.write()

    assert samples(together) == samples(one_by_one)


def test_what_waits_is_written_soon_and_once() -> None:
    """Nothing is counted twice, however often and whoever writes; who looks is asked before."""
    registry = CollectorRegistry()
    texts = GatheredCounter(Counter("texts", "of a test", registry=registry))
    labels = GatheredLabels(Counter("labels", "of a test", ["label"], registry=registry))
    gathering = Gathering([texts, labels])
    looks: list[str] = []
    gathering.look("somebody", lambda: looks.append("look"))

    async def count() -> None:
        for label in ("good", "bad", "good"):
            with gathering.lock:
                texts.add(2)
                labels.add(label)
            gathering.write_soon()
        async with asyncio.timeout(10):
            while not looks:  # noqa: ASYNC110 - a timer sets no event
                await asyncio.sleep(0.01)

    for _ in range(2):  # each on a loop of its own
        looks.clear()
        asyncio.run(count())
    gathering.forget("somebody")
    gathering.write()

    assert looks == ["look"]
    assert registry.get_sample_value("texts_total") == 12
    assert registry.get_sample_value("labels_total", {"label": "good"}) == 4
    assert registry.get_sample_value("labels_total", {"label": "bad"}) == 2


def test_the_end_of_a_request_is_written_too() -> None:
    """Also when it was still running at the write that its beginning had asked for."""
    shown = "textclf_requests_in_progress"

    async def count() -> None:
        async def becomes(value: float) -> None:
            async with asyncio.timeout(10):
                while REGISTRY.get_sample_value(shown) != value:  # noqa: ASYNC110 - as above
                    await asyncio.sleep(0.01)

        with metrics().gathered.request():
            await becomes(1)
        await becomes(0)

    asyncio.run(count())


def errors(kind: type[RequestError]) -> Iterator[type[RequestError]]:
    """Return a class of refusals and all below it."""
    yield kind
    for below in kind.__subclasses__():
        yield from errors(below)


def test_each_refusal_has_a_reason_of_its_own() -> None:
    """The label tells them apart, and has no other values."""
    reasons = CountOf(kind.reason for kind in errors(RequestError))

    assert set(reasons) == refusal_reasons()
    assert [reason for reason, times in reasons.items() if times > 1] == []


def test_stages_begin_empty() -> None:
    """A stage that was not reached has no time."""
    assert [*Stages().periods(9.0)] == []
    assert [*Stages(began=1, tokenised=2).periods(9.0)] == [("tokenise", 1, 2), ("queue", 2, 9)]


def test_the_page_lists_the_metrics() -> None:
    """docs/metrics.md is as the catalogue is; run scripts/render_metrics.py after a change."""
    page = render_metrics.PAGE.read_text("utf-8")

    assert render_metrics.with_metrics(page) == page
    assert page.count("| `textclf_") > 20
