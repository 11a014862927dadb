"""Samples become observations, or it is said why they cannot."""

from __future__ import annotations

import argparse

import pytest

from textclf.errors import EvidenceError
from textclf.rollout import metrics
from textclf.rollout.metrics.metrics import Sample, observe
from textclf.rollout.metrics.prometheus import PrometheusMetrics
from textclf.rollout.metrics.scrape import ScrapedMetrics
from textclf.rollout.observation import Observation


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
