"""Metrics from where the services show them: /metrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import httpx
from prometheus_client.parser import text_string_to_metric_families

from textclf.errors import EvidenceError
from textclf.rollout.metrics.metrics import Sample, observe, tls_context
from textclf.rollout.observation import Reading


class ScrapedMetrics:
    """Reads each version's own /metrics; for one process a version."""

    def __init__(self, urls: Mapping[str, str], *, timeout_seconds: float = 10.0) -> None:
        """Take the URL of each version."""
        self._urls = dict(urls)
        self._timeout_seconds = timeout_seconds

    def read(self, version: str) -> Reading:
        """Return what a version has counted since it started.

        Raises:
            EvidenceError: It does not answer, or not as a service does.
        """
        if version not in self._urls:
            raise EvidenceError(f"the {version} version has no URL; name it")
        url = f"{self._urls[version].rstrip('/')}/metrics"
        try:
            answer = httpx.get(
                url, timeout=self._timeout_seconds, trust_env=False, verify=tls_context()
            )
            answer.raise_for_status()
            samples = list(_parse(answer.text))
        except (httpx.HTTPError, ValueError) as exc:
            raise EvidenceError(
                f"cannot read the metrics of the {version} version at {url}: {exc}; see that it "
                "runs"
            ) from exc
        return Reading(replicas={url: observe(samples, where=f"the {version} version at {url}")})


def _parse(text: str) -> Iterator[Sample]:
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            yield Sample(sample.name, sample.labels, sample.value)
