"""What is said of drift depends on nothing but what was sent, and on how much of it."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, generate_latest

from textclf.drift import (
    LEAST_TEXTS,
    DriftMonitor,
    FeatureCounts,
    Observation,
    Reference,
    describe_texts,
)
from textclf.drift.monitor import COUNTS, read_counts
from textclf.drift.window import SlidingWindow

MODEL = "sentiment:tiny-1"


def observation(**changes: object) -> Observation:
    """Return a text with other properties than most."""
    plain = Observation("positive", 0.9, 10, 40, 0, truncated=False)
    return plain._replace(**changes)  # type: ignore[arg-type]


def draw(seed: int, number: int) -> list[Observation]:
    """Return texts of all kinds."""
    generator = random.Random(seed)  # noqa: S311 - not for cryptography
    return [
        Observation(
            label=generator.choice(["negative", "positive"]),
            score=round(generator.uniform(0.5, 1), 6),
            tokens=(tokens := generator.randint(3, 128)),
            characters=tokens * generator.randint(3, 6),
            unknown=generator.choice([0, 0, 0, 1]),
            truncated=tokens == 128,
        )
        for _ in range(number)
    ]


@pytest.fixture(scope="module")
def reference() -> Reference:
    """Describe a thousand texts."""
    found = describe_texts(draw(1, 1_000), ["negative", "positive"], "given")
    assert found
    return found


def test_bins_have_like_shares(reference: Reference) -> None:
    """Ten of them where values allow; each text is in one bin of each feature it speaks of."""
    features = {feature.name: feature for feature in reference.features}

    assert list(features) == [
        "labels", "scores", "lengths", "characters_per_token", "unknown_tokens",
    ]  # fmt: skip
    for name in ("scores", "lengths"):
        assert len(features[name].bins) == 10
        assert min(features[name].counts) >= 80
        assert features[name].texts == 1_000
    assert features["characters_per_token"].texts < 1_000  # truncated ones do not count


@pytest.mark.parametrize(
    ("answers", "bins", "counted"),
    [
        ({"a": 60}, ["a", "b"], [60, 0]),
        ({"a": 60, "c": 1}, ["a", "(others)"], [60, 1]),
        ({"a": 50, "b": 10, "c": 1}, ["a", "b", "c"], [50, 10, 1]),
    ],
    ids=["never given", "rare", "rare alone"],
)
def test_rare_labels_share_a_bin(
    answers: dict[str, int], bins: list[str], counted: list[int]
) -> None:
    """Two or more labels that were hardly seen are one bin: chance makes much of a rare one."""
    labels = sorted({*answers, *bins, "b"} - {"(others)"})
    texts = [observation(label=label) for label, times in answers.items() for _ in range(times)]
    found = describe_texts(texts, labels, "given")

    assert found
    assert (found.features[0].bins, found.features[0].counts) == (bins, counted)


def test_what_never_varied_is_seen_when_it_does() -> None:
    """Where all reference texts are alike there is a bin for more, which was empty."""
    found = describe_texts([observation()] * 50, ["negative", "positive"], "golden")
    assert found
    features = {feature.name: feature for feature in found.features}

    assert features["unknown_tokens"].bins == ["<= 0", "> 0"]
    assert features["unknown_tokens"].counts == [50, 0]
    assert features["lengths"].edges == [10]


def test_few_texts_are_no_reference() -> None:
    """49 texts are too few; a tokenizer without unknown tokens has no such feature."""
    some = [observation(unknown=None)] * 50
    found = describe_texts(some, ["positive"], "given")

    assert describe_texts(some[1:], ["positive"], "given") is None
    assert found
    assert "unknown_tokens" not in {feature.name for feature in found.features}


class Page:
    """A service's counts and what it says of them."""

    def __init__(self, reference: Reference | None) -> None:
        self.registry = CollectorRegistry()
        texts = Counter(COUNTS, "Texts.", ["model", "feature", "bin"], registry=self.registry)
        self.counts = FeatureCounts(reference, MODEL, texts) if reference else None
        self.seconds = 0.0
        self.monitor = DriftMonitor(
            MODEL, reference, generate_latest(self.registry), lambda: self.seconds
        )

    def send(self, observations: Sequence[Observation]) -> None:
        """Count some texts."""
        assert self.counts
        self.counts.add(map(self.counts.place, observations))
        self.counts.write()

    def scrape(self) -> dict[str, float]:
        """Return the value of each series."""
        lines = self.monitor.render(generate_latest(self.registry)).decode().splitlines()
        series = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return {
            re.sub(rf',?model="{MODEL}"(,(?=\w))?', "", name): float(value)
            for name, _, value in series
        }

    def over(self) -> set[str]:
        """Return which features have drifted."""
        page = self.scrape()
        distances = {
            found[1]: value
            for name, value in page.items()
            if (found := re.fullmatch(r'textclf_drift_distance{feature="(\w+)"}', name))
        }
        return {
            feature
            for feature, value in distances.items()
            if value > page[f'textclf_drift_threshold{{feature="{feature}"}}']
        }


def test_the_same_traffic_is_quiet_in_any_order(reference: Reference) -> None:
    """More of what the reference is made of is no drift, and its order changes no number."""
    traffic = draw(2, 600)
    pages = [Page(reference), Page(reference)]
    pages[0].send(traffic)
    pages[1].send(sorted(traffic))

    assert pages[0].scrape() == pages[1].scrape()
    assert pages[0].over() == set()
    assert pages[0].scrape()['textclf_drift_window_texts{feature="labels"}'] == 600


@pytest.mark.parametrize(
    ("change", "feature"),
    [
        ({"label": "positive"}, "labels"),
        ({"score": 0.99}, "scores"),
        ({"tokens": 120}, "lengths"),
        ({"characters": 90, "tokens": 60}, "characters_per_token"),
        ({"unknown": 3}, "unknown_tokens"),
    ],
    ids=["one class", "sure", "long", "chopped up", "unknown"],
)
def test_each_feature_sees_its_own_drift(
    reference: Reference, change: dict[str, object], feature: str
) -> None:
    """What is planted into one feature is said of that feature."""
    page = Page(reference)
    page.send([one._replace(**change) for one in draw(3, 400)])  # type: ignore[arg-type]

    assert feature in page.over()


def test_few_texts_say_nothing(reference: Reference) -> None:
    """One text short of the least there is no distance and no threshold, but their number."""
    page = Page(reference)
    page.send([observation()] * (LEAST_TEXTS - 1))
    few = page.scrape()
    page.send([observation()])

    assert not any("distance" in name or "threshold" in name for name in few)
    assert few['textclf_drift_window_texts{feature="labels"}'] == LEAST_TEXTS - 1
    assert "labels" in page.over()


def test_without_a_reference_that_is_all_it_says() -> None:
    """A model that was imported before drift was measured says that it has nothing to compare."""
    assert Page(None).scrape() == {'textclf_drift_reference_texts{source="none"}': 0}


def test_texts_are_kept_in_no_form(reference: Reference) -> None:
    """What waits to be counted is bounded, and holds numbers of bins alone."""
    page = Page(reference)
    assert page.counts
    for one in draw(4, 3_000):
        page.counts.add([page.counts.place(one)])
        assert len(page.counts._waiting) < 1_024
    assert all(index is None or index < 10 for bins in page.counts._waiting for index in bins)


def labels(texts: float) -> dict[tuple[str, str], float]:
    """Return counts of so many texts."""
    return {("labels", "positive"): texts, ("lengths", "<= 3"): texts}


def test_the_window_is_bounded_by_time() -> None:
    """What came a day ago is forgotten, and so are its marks."""
    window = SlidingWindow(0, labels(0))
    window.look(300, labels(100))
    for minute in range(10, 3 * 24 * 60, 5):
        seconds, found = window.look(minute * 60, labels(100 + minute))

    assert 23.5 * 3600 < seconds <= 24 * 3600
    assert found[("labels", "positive")] == pytest.approx(seconds / 60, abs=1)
    assert len(window._marks) <= 24 * 12 + 2


def test_the_window_is_bounded_by_texts() -> None:
    """A busy service looks no further back than its newest 10,000 texts, to the next mark."""
    window = SlidingWindow(0, labels(0))
    for minute in range(5, 600, 5):
        seconds, found = window.look(minute * 60, labels(1_000 * minute))

    assert (seconds, found[("labels", "positive")]) == (600, 10_000)


def test_a_service_that_nobody_asks_keeps_its_start() -> None:
    """The first look after two days sees all that came."""
    seconds, found = SlidingWindow(0, labels(7)).look(48 * 3600, labels(507))

    assert (seconds, found[("labels", "positive")]) == (48 * 3600, 500)


@settings(max_examples=50)
@given(steps=st.lists(st.tuples(st.floats(0, 1e4), st.integers(0, 5_000)), min_size=1, max_size=60))
def test_a_window_never_counts_what_did_not_come(steps: list[tuple[float, int]]) -> None:
    """However it is asked, it counts between nothing and all, and at least what is needed."""
    window, at, texts = SlidingWindow(0, labels(0)), 0.0, 0
    for seconds, more in steps:
        at, texts = at + seconds, texts + more
        span, found = window.look(at, labels(texts))
        assert 0 <= span <= at
        assert more * (seconds >= 300) <= found[("labels", "positive")] <= texts


def test_counts_are_read_from_a_page() -> None:
    """Labels with any sign in them survive, other models and metrics are left out."""
    registry = CollectorRegistry()
    texts = Counter(COUNTS, "Texts.", ["model", "feature", "bin"], registry=registry)
    texts.labels(MODEL, "labels", 'a "b" \\ {c}, d\n').inc(3)
    texts.labels("sentiment:other-1", "labels", "x").inc(5)
    Counter("other_total", "Others.", registry=registry).inc()

    assert read_counts(generate_latest(registry), MODEL) == {("labels", 'a "b" \\ {c}, d\n'): 3}
