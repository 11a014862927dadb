"""What was counted over time, from a Prometheus or from saved pages of /metrics."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from prometheus_client.parser import text_string_to_metric_families

from textclf.drift.monitor import COUNTS
from textclf.drift.window import Counts, Key
from textclf.errors import EvidenceError

_SHARES = "textclf_drift_reference_share"
_REFERENCE = "textclf_drift_reference_texts"
_OF_FEATURE = "textclf_drift_reference_feature_texts"
_POINTS = 240  # of a range: as many as a plot can show
_TIMEOUT_SECONDS = 30.0
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")


class _Sample(NamedTuple):
    at: float
    name: str
    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, kw_only=True)
class Recording:
    """What the texts of one model were like, as counts that grow from 0.

    Attributes:
        model: Its tag.
        others: Tags of the other models in the same metrics.
        shares: Share of each bin in the reference, by feature; bins are in order.
        reference_texts: How many texts the reference was made of.
        feature_texts: How many of them say something of a feature; all where it is not in here.
        origin: Of these texts: ``given`` or ``golden``.
        times: In seconds since 1970, ascending.
        counts: At each of these times, over all replicas.
    """

    model: str
    others: Sequence[str]
    shares: Mapping[str, Mapping[str, float]]
    reference_texts: int
    feature_texts: Mapping[str, float]
    origin: str
    times: Sequence[float]
    counts: Sequence[Counts]


def from_pages(paths: Sequence[Path], model: str | None = None) -> Recording:
    """Read pages of /metrics of one service, saved when their files were last changed.

    Raises:
        EvidenceError: A file is no such page, or the metrics have no two points in time.
    """
    return _assemble(list(chain.from_iterable(map(_read_page, paths))), model)


def from_prometheus(
    url: str, start: datetime, end: datetime, *, selector: str = "", model: str | None = None
) -> Recording:
    """Ask a Prometheus what all replicas counted between two times.

    Args:
        url: Of the Prometheus.
        start: Of the range.
        end: Of the range.
        selector: Matchers such as ``job="textclf"``, where it scrapes more than one service.
        model: Tag; None for the one with most texts.

    Raises:
        EvidenceError: Prometheus does not answer as it should, or has no two points in time.
    """
    names = f"{COUNTS}|{_SHARES}|{_REFERENCE}|{_OF_FEATURE}"
    query = f'{{__name__=~"{names}"{"," if selector else ""}{selector}}}'
    step = max((end - start).total_seconds() / _POINTS, 1)
    try:
        answer = httpx.get(
            f"{url.rstrip('/')}/api/v1/query_range",
            params={
                "query": query,
                "start": start.timestamp(),
                "end": end.timestamp(),
                "step": f"{step:.0f}",
            },
            timeout=_TIMEOUT_SECONDS,
            trust_env=False,
        )
        content: Any = answer.json()
        if content["status"] != "success":
            raise EvidenceError(f"Prometheus at {url} refuses {query}: {content.get('error')}")
        samples = [
            _Sample(float(at), series["metric"]["__name__"], series["metric"], float(value))
            for series in content["data"]["result"]
            for at, value in series["values"]
        ]
    except (httpx.HTTPError, ValueError, TypeError, LookupError) as exc:
        raise EvidenceError(
            f"Prometheus at {url} does not answer as it should: {exc!r}; see that it runs, or save "
            "pages of /metrics and name these"
        ) from exc
    return _assemble(samples, model)


def _read_page(path: Path) -> Iterator[_Sample]:
    try:
        at, text = path.stat().st_mtime, path.read_text("utf-8")
        wanted = [line for line in text.split("\n") if line.startswith("textclf_drift_")]
        families = list(text_string_to_metric_families("\n".join(wanted) + "\n"))
    except (OSError, ValueError) as exc:
        raise EvidenceError(
            f"cannot read {path}: {exc}; save a page with `curl -o {path.name} …/metrics`"
        ) from exc
    for family in families:
        for sample in family.samples:
            yield _Sample(at, sample.name, sample.labels, sample.value)


def _assemble(samples: Sequence[_Sample], model: str | None) -> Recording:
    counted = [sample for sample in samples if sample.name == COUNTS]
    texts: dict[str, float] = defaultdict(float)
    for sample in counted:
        texts[sample.labels["model"]] = max(texts[sample.labels["model"]], sample.value)
    model = model or max(texts, key=lambda name: texts[name], default=None)
    counted = [sample for sample in counted if sample.labels["model"] == model]
    times = sorted({sample.at for sample in counted})
    if model is None or len(times) < 2:
        raise EvidenceError(
            f"{model or 'no model'} has {COUNTS} at {len(times)} points in time, and two are "
            f"needed; the metrics are of: {', '.join(sorted(texts)) or 'none'}. A model without a "
            "reference distribution counts nothing: import it with --reference-texts"
        )
    own = [sample for sample in samples if sample.labels.get("model") == model]
    reference = max((sample for sample in own if sample.name == _REFERENCE), key=lambda s: s.at)
    shares: dict[str, dict[str, float]] = defaultdict(dict)
    for sample in own:
        if sample.name == _SHARES:
            shares[sample.labels["feature"]][sample.labels["bin"]] = sample.value
    return Recording(
        model=model,
        others=sorted(texts.keys() - {model}),
        shares={
            feature: dict(sorted(bins.items(), key=_in_order)) for feature, bins in shares.items()
        },
        reference_texts=int(reference.value),
        feature_texts={s.labels["feature"]: s.value for s in own if s.name == _OF_FEATURE},
        origin=reference.labels["source"],
        times=times,
        counts=list(_add_up(counted, times)),
    )


def _add_up(samples: Iterable[_Sample], times: Sequence[float]) -> Iterator[Counts]:
    """Yield the sums over all replicas, each of which may have begun again at 0."""
    values: dict[float, dict[tuple[Key, str], float]] = defaultdict(dict)
    for sample in samples:
        labels = dict(sample.labels)
        key = (labels.pop("feature"), labels.pop("bin"))
        values[sample.at][key, repr(sorted(labels.items()))] = sample.value
    last = dict(values[times[0]])
    totals: dict[Key, float] = dict.fromkeys((key for key, _ in last), 0.0)
    yield dict(totals)
    for at in times[1:]:
        for series, value in values[at].items():
            before = last.get(series, 0.0)
            totals[series[0]] = totals.get(series[0], 0.0) + value - before * (value >= before)
            last[series] = value
        yield dict(totals)


def _in_order(item: tuple[str, float]) -> tuple[float, str]:
    """Sort bins of numbers by number; labels have none, or one that sorts them too."""
    name = item[0]
    found = _NUMBER.search(name)
    if found is None or not name.startswith(("<=", ">", found[0])):
        return (0.0, name)
    return (float(found[0]) - (1e-9 if name.startswith("<=") else 0), "~" * name.startswith(">"))
