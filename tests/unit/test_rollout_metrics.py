"""Samples become observations, or it is said why they cannot."""

from __future__ import annotations

import argparse
from collections import Counter

import pytest

from textclf.errors import EvidenceError, TrafficError
from textclf.rollout import metrics
from textclf.rollout.metrics import MetricsPassedOver
from textclf.rollout.metrics.metrics import Sample, observe
from textclf.rollout.metrics.prometheus import PrometheusMetrics
from textclf.rollout.metrics.scrape import ScrapedMetrics
from textclf.rollout.observation import Observation, Reading, add


def requests(route: str, status: str, value: float) -> Sample:
    """Return a sample of the count of requests."""
    labels = {"route": route, "status": status, "method": "POST"}
    return Sample("textclf_requests_total", labels, value)


def bucket(route: str, le: str, value: float) -> Sample:
    """Return a sample of the histogram of latency."""
    return Sample("textclf_request_seconds_bucket", {"route": route, "le": le}, value)


def test_samples_of_routes_are_added_up() -> None:
    """Probes count for nothing; buckets are told apart again."""
    samples = [
        requests("/predict", "200", 5),
        requests("/predict", "422", 1),
        requests("/classify", "503", 2),
        requests("/predict", "500", 1),
        requests("/readyz", "503", 99),
        *(bucket("/predict", le, n) for le, n in (("0.1", 3), ("0.2", 6), ("+Inf", 7))),
        *(bucket("/classify", le, n) for le, n in (("0.1", 0), ("0.2", 1), ("+Inf", 2))),
        bucket("/readyz", "+Inf", 99),
        Sample("textclf_predictions_total", {"label": "positive"}, 4),
        Sample("textclf_predictions_total", {"label": "positive"}, 3),
        Sample("textclf_tokens_total", {}, 1000),
    ]

    assert observe(samples, where="here") == Observation(
        requests=9,
        errors=3,
        refused=1,
        labels={"positive": 7},
        latency_edges_seconds=(0.1, 0.2),
        latency_counts=(3, 4, 2),
    )


def test_a_version_that_answered_nothing_yet_is_no_mystery() -> None:
    """Its count of scrapes shows that it counts."""
    observation = observe([requests("/metrics", "200", 1)], where="here")

    assert observation.requests == 0
    assert observation.latency_counts == (0,)


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        ([], "here has no textclf_requests_total"),
        ([Sample("python_info", {}, 1)], "here has no textclf_requests_total"),
        ([Sample("textclf_requests_total", {}, 1)], "not a service's"),
        ([requests("/predict", "ok", 1)], "not a service's"),
        ([bucket("/predict", "0.1", 1)], "no bucket without an upper edge"),
        ([requests("/predict", "200", float("nan"))], "not a service's"),
    ],
    ids=["nothing", "others", "no labels", "no status", "no last bucket", "no number"],
)
def test_samples_of_something_else(samples: list[Sample], words: str) -> None:
    """They are missing evidence, never zero requests."""
    with pytest.raises(EvidenceError, match=words):
        observe(samples, where="here")


@pytest.mark.parametrize(
    ("options", "kind"),
    [([], ScrapedMetrics), (["--prometheus", "http://127.0.0.1:9090"], PrometheusMetrics)],
    ids=["without", "with"],
)
def test_a_prometheus_is_asked_if_one_is_named(options: list[str], kind: type[object]) -> None:
    """Else the versions themselves are."""
    parser = argparse.ArgumentParser()
    metrics.add_arguments(parser)
    arguments = parser.parse_args(options)
    arguments.stable, arguments.candidate = "http://127.0.0.1:1", "http://127.0.0.1:2"

    assert isinstance(metrics.build(arguments), kind)


class Engine:
    """Passes versions over as often as it is set to."""

    def __init__(self, **counts: int) -> None:
        self.counts: Counter[str] | None = Counter(counts)

    def passed_over(self) -> Counter[str]:
        """Return the counts, or fail."""
        if self.counts is None:
            raise TrafficError("its log is gone")
        return self.counts.copy()


class Idle:
    """Metrics of versions that count nothing."""

    def read(self, version: str) -> Reading:
        """Return the same for every version."""
        return Reading(replicas={version: observe([requests("/predict", "200", 1)], where="here")})


def test_requests_that_a_version_was_passed_over_for_are_its_errors() -> None:
    """From the first reading on, beside what it counts itself."""
    engine = Engine(candidate=100, stable=7)
    counted = MetricsPassedOver(Idle(), engine)
    before = {version: counted.read(version) for version in ("candidate", "stable")}
    engine.counts = Counter(candidate=105, stable=7)
    after = {version: counted.read(version).since(of.replicas) for version, of in before.items()}

    assert {version: add(tuple(of.replicas.values())).errors for version, of in before.items()} == {
        "candidate": 0,
        "stable": 0,
    }
    assert (after["candidate"].requests, after["candidate"].errors) == (5, 5)
    assert (after["stable"].requests, after["stable"].errors) == (0, 0)


def test_an_engine_that_cannot_tell_is_missing_evidence() -> None:
    """Never a version that was not passed over."""
    engine = Engine()
    engine.counts = None

    with pytest.raises(EvidenceError, match="its log is gone"):
        MetricsPassedOver(Idle(), engine).read("candidate")
