"""What Prometheus and the versions themselves say, and what they no longer say."""

from __future__ import annotations

import contextlib
from pathlib import Path

import httpx
import pytest

from tests.http.serving import free_port
from tests.rollout.stage import VERSIONS, Stage, run_prometheus, wait_until
from textclf.errors import EvidenceError
from textclf.rollout.metrics import Metrics
from textclf.rollout.metrics.prometheus import PrometheusMetrics
from textclf.rollout.metrics.scrape import ScrapedMetrics
from textclf.rollout.observation import Observation, Reading
from textclf.rollout.traffic import Weights


def read(metrics: Metrics) -> dict[str, Observation]:
    """Return what there is of every version, of all its replicas."""
    return {version: metrics.read(version).since({}) for version in VERSIONS}


def test_prometheus_and_the_versions_say_the_same(stage: Stage) -> None:
    """Every request is counted once, by the version that nginx sent it to; so is every error."""
    stage.plant("some errors")
    stage.nginx.move(Weights(candidate_percent=50, baseline_percent=20))
    sent, before = stage.sent(), read(stage.scraped())
    with stage.load(rate=100) as load:
        load.wait_for(300)
    after = read(stage.scraped())
    wait_until(lambda: read(stage.gathered()) == after, "Prometheus says something else")
    sent = stage.sent() - sent
    seen = {version: after[version].since(before[version]) for version in VERSIONS}

    assert {version: seen[version].requests for version in VERSIONS} == sent
    assert sum(observation.requests for observation in seen.values()) == len(load.replies)
    assert seen["candidate"].errors == load.failures["500"] == load.failures.total() > 0
    assert seen["stable"].errors == seen["baseline"].errors == 0
    for observation in seen.values():
        assert sum(observation.latency_counts) == observation.requests
        assert sum(observation.labels.values()) == observation.requests - observation.errors


def test_metrics_that_vanish_are_missed(stage: Stage) -> None:
    """A version that answers and shows no counts any more is no evidence, from either source."""
    stage.plant("no metrics")

    with pytest.raises(EvidenceError, match=r"the candidate version at .* no textclf_requests"):
        stage.scraped().read("candidate")
    wait_until(lambda: _fails(stage.gathered(), "candidate"), "Prometheus still has its metrics")
    assert stage.gathered().read("stable")


def _fails(metrics: Metrics, version: str) -> str:
    try:
        metrics.read(version)
    except EvidenceError as exc:
        return str(exc)
    return ""


def test_metrics_that_are_old_are_none(stage: Stage) -> None:
    """What was scraped too long ago says nothing of now."""
    values = {"stable": stage.urls["stable"].removeprefix("http://")}
    old = PrometheusMetrics(stage.prometheus, label="instance", values=values, oldest_seconds=-1)

    with pytest.raises(EvidenceError, match="was scraped"):
        old.read("stable")


def test_counts_are_as_old_as_those_of_the_stalest_replica(stage: Stage, tmp_path: Path) -> None:
    """Of two targets, the one that is scraped less often says how old a reading is."""
    instance = stage.urls["stable"].removeprefix("http://")

    def read_both(metrics: Metrics, oldest: float) -> Reading | None:
        with contextlib.suppress(EvidenceError):  # it takes seconds to find its targets
            reading = metrics.read("stable")
            if len(reading.replicas) == 2 and reading.age_seconds > oldest:
                return reading
        return None

    with run_prometheus(tmp_path / "prometheus", [instance], often=1, seldom=8) as url:
        metrics = PrometheusMetrics(url, label="instance", values={"stable": instance})
        reading = wait_until(lambda: read_both(metrics, 4.0), "no reading was old")

    assert reading.age_seconds < 8 + 2


def test_versions_that_nobody_scrapes_are_missed(stage: Stage) -> None:
    """A label that no target has is told with how many were scraped."""
    unknown = PrometheusMetrics(stage.prometheus, label="job", values={"stable": "nobody"})

    with pytest.raises(EvidenceError, match="at 0 of 0 targets"):
        unknown.read("stable")


def test_versions_of_several_replicas_are_added_up(stage: Stage) -> None:
    """A label that all targets share has what they counted together."""
    together = PrometheusMetrics(stage.prometheus, label="job", values={"stable": "textclf"})
    total = sum(observation.requests for observation in read(stage.gathered()).values())

    reading = together.read("stable")
    assert len(reading.replicas) == len(VERSIONS)
    assert reading.since({}).requests == total


@pytest.mark.parametrize("kind", ["scrape", "prometheus"])
def test_nobody_answers(kind: str) -> None:
    """A port that nobody listens on is missing evidence, whichever source it belongs to."""
    url = f"http://127.0.0.1:{free_port()}"
    metrics: Metrics = ScrapedMetrics({"stable": url})
    if kind == "prometheus":
        metrics = PrometheusMetrics(url, label="instance", values={"stable": "any"})

    with pytest.raises(EvidenceError, match=f"{url}.*see that it runs"):
        metrics.read("stable")
    with pytest.raises(EvidenceError, match="candidate version has no"):
        metrics.read("candidate")


def test_prometheus_has_one_target_a_version(stage: Stage) -> None:
    """All are up, so that what the other tests see is theirs."""
    targets = httpx.get(f"{stage.prometheus}/api/v1/targets").json()["data"]["activeTargets"]

    assert [target["health"] for target in targets] == ["up"] * 3
