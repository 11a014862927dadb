"""What every source of metrics does, and how samples become an observation."""

from __future__ import annotations

import itertools
import math
import ssl
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Literal, NamedTuple, Protocol

import httpx

from textclf.errors import EvidenceError
from textclf.rollout.observation import Observation, Reading

Version = Literal["stable", "candidate", "baseline"]

REQUESTS = "textclf_requests_total"
PREDICTIONS = "textclf_predictions_total"
SECONDS_BUCKET = "textclf_request_seconds_bucket"
ROUTES = ("/predict", "/classify")
_REFUSAL, _SERVER_ERROR = 400, 500


class Metrics(Protocol):
    """What versions count of themselves."""

    def read(self, version: str) -> Reading:
        """Return what each replica of a version has counted since it started.

        Args:
            version: ``stable``, ``candidate`` or ``baseline``.

        Raises:
            EvidenceError: It cannot be read, is too old, or lacks what a service counts.
        """
        ...


class Sample(NamedTuple):
    """One number, as it was exposed."""

    name: str
    labels: Mapping[str, str]
    value: float


@cache
def tls_context() -> ssl.SSLContext:
    """Return what every request shares: reading all certificates takes longer than most answers."""
    return httpx.create_ssl_context()


def observe(samples: Iterable[Sample], *, where: str) -> Observation:
    """Add the samples of one replica up to an observation.

    Counts of predicting routes begin at 0, and those of probes and scrapes with the first, so that
    none at all means that the metrics have vanished.

    Args:
        samples: Of one replica of a version.
        where: They come from, for the error.

    Raises:
        EvidenceError: They are not those of a service.
    """
    seen, requests, refused, errors = False, 0.0, 0.0, 0.0
    labels: dict[str, float] = defaultdict(float)
    cumulated: dict[float, float] = defaultdict(float)
    try:
        for name, of, value in samples:
            if name == REQUESTS:
                seen = True
                predicting, status = of["route"] in ROUTES, int(of["status"])
                requests += value * predicting
                refused += value * (predicting and _REFUSAL <= status < _SERVER_ERROR)
                errors += value * (predicting and status >= _SERVER_ERROR)
            elif name == PREDICTIONS:
                labels[of["label"]] += value
            elif name == SECONDS_BUCKET and of["route"] in ROUTES:
                cumulated[float(of["le"])] += value
        counts = {label: int(count) for label, count in labels.items()}
        edges, latencies = _part(cumulated)
        observation = Observation(
            requests=int(requests),
            errors=int(errors),
            refused=int(refused),
            labels=counts,
            latency_edges_seconds=edges,
            latency_counts=latencies,
        )
    except (LookupError, ValueError) as exc:
        raise EvidenceError(
            f"{where} has metrics that are not a service's: {exc!r}; is it the version it is "
            "named as?"
        ) from exc
    if not seen:
        raise EvidenceError(
            f"{where} has no {REQUESTS}; see that the version runs and shows its metrics"
        )
    return observation


def _part(cumulated: Mapping[float, float]) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """Return the edges of buckets, and what is in each, from counts up to each edge."""
    if not cumulated:
        return (), (0,)
    edges = sorted(cumulated)
    if not math.isinf(edges[-1]):
        raise ValueError("its histogram has no bucket without an upper edge")
    up_to = [0, *(int(cumulated[edge]) for edge in edges)]
    return tuple(edges[:-1]), tuple(b - a for a, b in itertools.pairwise(up_to))
