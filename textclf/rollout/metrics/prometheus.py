"""Metrics from a Prometheus that scrapes every version."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import httpx

from textclf.errors import EvidenceError
from textclf.rollout.metrics.metrics import (
    PREDICTIONS,
    REQUESTS,
    SECONDS_BUCKET,
    Sample,
    observe,
    tls_context,
)
from textclf.rollout.observation import Reading

# Of the service itself; every other label of a series tells which replica was scraped.
_COUNTED_BY = frozenset({"__name__", "route", "method", "status", "label", "le"})


class PrometheusMetrics:
    """Reads the newest sample of each series; one label tells the versions apart."""

    def __init__(
        self,
        url: str,
        *,
        label: str,
        values: Mapping[str, str],
        oldest_seconds: float = 60.0,
        timeout_seconds: float = 10.0,
    ) -> None:
        """Say where and what to ask.

        Args:
            url: Of Prometheus.
            label: Its name, such as ``instance`` or ``job``.
            values: Its value for each version.
            oldest_seconds: Age of a sample, beyond which it says nothing of a version any more.
            timeout_seconds: Longest wait for an answer.
        """
        self._url = url.rstrip("/")
        self._label = label
        self._values = dict(values)
        self._oldest_seconds = oldest_seconds
        self._timeout_seconds = timeout_seconds

    def read(self, version: str) -> Reading:
        """Return what each replica of a version has counted since it started, as last scraped.

        Raises:
            EvidenceError: Prometheus does not answer, has no such series, only old ones, or could
                not scrape every replica.
        """
        if version not in self._values:
            raise EvidenceError(f"the {version} version has no {self._label}; name it")
        chosen = f"{{{self._label}={json.dumps(self._values[version])}}}"
        where = f"the {version} version, {chosen} in {self._url},"
        up = self._query(f"up{chosen}")
        if not up or any(value != 1 for _, value in up):
            scraped = sum(value == 1 for _, value in up)
            raise EvidenceError(
                f"{where} was scraped at {scraped} of {len(up)} targets; see that it runs and that "
                "Prometheus finds it"
            )
        # Asked for before the counts, which then are no older.
        ages = self._query(f"time() - min(timestamp({REQUESTS}{chosen}))")
        age_seconds = ages[0][1] if ages else 0.0
        if age_seconds > self._oldest_seconds:
            raise EvidenceError(
                f"{where} was scraped {age_seconds:.0f} s ago; see that Prometheus still does"
            )
        names = f"{REQUESTS}|{PREDICTIONS}|{SECONDS_BUCKET}"
        replicas: dict[str, list[Sample]] = defaultdict(list)
        for labels, value in self._query(f'{{__name__=~"{names}",{chosen[1:]}'):
            replicas[_replica(labels)].append(Sample(labels["__name__"], labels, value))
        return Reading(
            replicas={
                replica: observe(samples, where=where)
                for replica, samples in (replicas or {"": []}).items()
            },
            age_seconds=age_seconds,
        )

    def _query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        try:
            answer = httpx.post(
                f"{self._url}/api/v1/query",
                data={"query": expression},
                timeout=self._timeout_seconds,
                trust_env=False,
                verify=tls_context(),
            )
            content: Any = answer.json()
            if content["status"] != "success":
                raise EvidenceError(
                    f"Prometheus at {self._url} refuses {expression}: {content.get('error')}"
                )
            return [
                (dict(series["metric"]), float(series["value"][1]))
                for series in content["data"]["result"]
            ]
        except (httpx.HTTPError, ValueError, TypeError, LookupError) as exc:
            raise EvidenceError(
                f"Prometheus at {self._url} does not answer as it should: {exc!r}; see that it "
                "runs, or leave it out to read the services' own metrics"
            ) from exc


def _replica(labels: Mapping[str, str]) -> str:
    return ",".join(f"{name}={labels[name]}" for name in sorted(labels.keys() - _COUNTED_BY))
