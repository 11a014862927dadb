#!/usr/bin/env python
"""Write deploy/grafana/dashboards/textclf.json, the dashboard of what the service measures."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DASHBOARD = Path(__file__).resolve().parents[1] / "deploy/grafana/dashboards/textclf.json"
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
OF = 'job=~"$job",instance=~"$instance"'
PREDICTING = 'route=~"/predict|/classify|/v2/.+/infer"'
_COLUMNS = 24
_HEIGHT = 8


@dataclass(frozen=True)
class Panel:
    """One picture.

    Attributes:
        title: What it shows.
        meaning: What to read from it, shown on a touch.
        queries: Expression to legend; ``$of`` stands for the chosen replicas.
        unit: As Grafana names units.
        kind: Type of the panel.
        width: Of 24 columns.
        stack: Show the queries on top of each other.
    """

    title: str
    meaning: str
    queries: dict[str, str]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8
    stack: bool = False


def rate(metric: str, labels: str = "") -> str:
    """Return how fast a count of the chosen replicas grows."""
    return f"rate(textclf_{metric}{{$of{labels}}}[$__rate_interval])"


def mean(metric: str, by: str = "") -> str:
    """Return the mean of a histogram."""
    grouped = f" by ({by})" if by else ""
    return f"sum{grouped} ({rate(metric + '_sum')}) / sum{grouped} ({rate(metric + '_count')})"


def quantiles(metric: str, labels: str = "") -> dict[str, str]:
    """Return the median, the 90th and the 99th percentile of a histogram."""
    buckets = f"sum by (le) ({rate(metric + '_bucket', labels)})"
    return {
        f"histogram_quantile({share}, {buckets})": f"p{share * 100:g}" for share in (0.5, 0.9, 0.99)
    }


def heatmap(metric: str) -> dict[str, str]:
    """Return how many observations a second fall into each bucket of a histogram."""
    return {f"sum by (le) ({rate(metric + '_bucket')})": "{{le}}"}


ROWS: dict[str, list[Panel]] = {
    "Traffic": [
        Panel(
            "Requests by route",
            "How many requests a second are answered, whatever the answer.",
            {f"sum by (route) ({rate('requests_total')})": "{{route}}"},
            "reqps",
        ),
        Panel(
            "Requests by model",
            "In a rollout there are two. The model is what the replica says that it serves; one "
            "whose workers serve several counts for each of them in equal parts.",
            {
                "sum by (model) (textclf_model_info{$of} * on (job, instance) group_left () ("
                f"sum by (job, instance) ({rate('requests_total', ',' + PREDICTING)}) "
                "/ count by (job, instance) (textclf_model_info{$of})))": "{{model}}"
            },
            "reqps",
        ),
        Panel(
            "Texts",
            "Texts that were classified, and those of them that the cache had.",
            {
                f"sum ({rate('predictions_total')})": "classified",
                f"sum ({rate('cached_texts_total')})": "from the cache",
            },
            "ops",
        ),
        Panel(
            "Served models",
            "What each replica serves: store tag, version of textclf, precision, graph.",
            {"textclf_model_info{$of}": ""},
            kind="table",
            width=24,
        ),
    ],
    "Errors": [
        Panel(
            "Answers by status",
            "5xx spend the error budget; 4xx are the clients' doing, 429 asks for more room.",
            {f"sum by (status) ({rate('requests_total')})": "{{status}}"},
            "reqps",
        ),
        Panel(
            "Refused requests by reason",
            "docs/errors.md says what each means.",
            {f"sum by (reason) ({rate('refused_requests_total')})": "{{reason}}"},
            "reqps",
        ),
        Panel(
            "Bad requests of the last hour",
            "Objectives: 0.1 % unavailable, 1 % slower than 265 ms. 14.4 times as many in an hour "
            "page somebody.",
            {
                'job:textclf_unavailable:ratio_rate1h{job=~"$job"}': "{{job}} unavailable",
                'job:textclf_slow:ratio_rate1h{job=~"$job"}': "{{job}} slow",
            },
            "percentunit",
        ),
    ],
    "Latency": [
        Panel(
            "Time of predicting requests",
            "From a request's head to the end of its answer.",
            quantiles("request_seconds", "," + PREDICTING),
            "s",
        ),
        Panel(
            "Mean time by stage",
            "Where the time goes: tokenised, waiting for a batch, and from then to the last score. "
            "Where queue is longer than infer for minutes, an alert says so.",
            {mean("stage_seconds", "stage"): "{{stage}}"},
            "s",
            stack=True,
        ),
        Panel(
            "99th percentile by stage",
            "A tail in queue asks for more CPUs, one in infer is long texts or large requests.",
            {
                f"histogram_quantile(0.99, sum by (le, stage) ({rate('stage_seconds_bucket')}))": (
                    "{{stage}}"
                )
            },
            "s",
        ),
    ],
    "Saturation": [
        Panel(
            "Queue in texts",
            "Texts that are tokenised, waiting or running, and how many there may be. It is full "
            "at the start of an overload only: once a request was refused it is kept short.",
            {
                "sum (textclf_queue_texts{$of})": "texts",
                "sum (textclf_queue_texts_limit{$of})": "limit",
            },
        ),
        Panel(
            "Queue in tokens",
            "The same in tokens: a few long texts fill it too.",
            {
                "sum (textclf_queue_tokens{$of})": "tokens",
                "sum (textclf_queue_tokens_limit{$of})": "limit",
            },
        ),
        Panel(
            "CPUs in use",
            "Of all workers of a replica; at as many as it may use, requests begin to wait.",
            {f"sum by (instance) ({rate('cpu_seconds_total')})": "{{instance}}"},
        ),
    ],
    "Batches": [
        Panel(
            "Texts in a batch",
            "How many texts a second run in batches of at most so many.",
            heatmap("batch_texts"),
            "ops",
            kind="heatmap",
        ),
        Panel(
            "Mean batch",
            "Texts, and tokens with their padding.",
            {mean("batch_texts"): "texts", mean("batch_tokens"): "tokens"},
        ),
        Panel(
            "Padding",
            "Share of what is run that is no text: work for nothing.",
            {
                f"sum ({rate('padding_tokens_total')}) / (sum ({rate('tokens_total')}) + "
                f"sum ({rate('padding_tokens_total')}))": "padding"
            },
            "percentunit",
        ),
    ],
    "Predictions and scores": [
        Panel(
            "Share of each label",
            "A label that vanishes, or is the only one left, is seldom the world's doing.",
            {
                f"sum by (label) ({rate('predictions_total')}) / ignoring (label) group_left () "
                f"sum ({rate('predictions_total')})": "{{label}}"
            },
            "percentunit",
            width=6,
            stack=True,
        ),
        Panel(
            "Scores",
            "Of the labels that won; near 1 the model is sure.",
            heatmap("score"),
            "ops",
            kind="heatmap",
            width=6,
        ),
        Panel(
            "Tokens of a text",
            "As the model reads them, special ones included.",
            quantiles("input_tokens"),
            width=6,
        ),
        Panel(
            "Truncated texts",
            "Share of which the model read only the beginning.",
            {
                f"sum ({rate('truncated_texts_total')}) / sum ({rate('predictions_total')})": (
                    "truncated"
                )
            },
            "percentunit",
            width=6,
        ),
    ],
    "Drift": [
        Panel(
            "Distance from the reference",
            "Population stability index of the window, by feature.",
            {"max by (feature) (textclf_drift_distance{$of})": "{{feature}}"},
        ),
        Panel(
            "Distance over its threshold",
            "Beyond 1 a feature has drifted, and after a quarter of an hour an alert says so.",
            {
                "max by (feature) (textclf_drift_distance{$of} / textclf_drift_threshold{$of})": (
                    "{{feature}}"
                )
            },
            "percentunit",
        ),
        Panel(
            "Texts in the window",
            "What the distances stand on; with too few there is no distance.",
            {"max by (feature) (textclf_drift_window_texts{$of})": "{{feature}}"},
        ),
    ],
    "Self-check": [
        Panel(
            "Golden answers",
            "1 while they are as recorded; each minute a few of them are compared.",
            {"min by (instance) (textclf_self_check_passed{$of})": "{{instance}}"},
        ),
        Panel(
            "Since the last comparison",
            "It is put off while the queue is full.",
            {
                "max by (instance) (time() - textclf_self_check_timestamp_seconds{$of})": (
                    "{{instance}}"
                )
            },
            "s",
        ),
        Panel(
            "Time of a comparison",
            "The first, at a start, has all golden texts.",
            {"max by (instance) (textclf_self_check_seconds{$of})": "{{instance}}"},
            "s",
        ),
    ],
    "Process": [
        Panel(
            "Ready replicas and workers",
            "A replica is ready when all its workers are.",
            {"sum (textclf_ready{$of})": "ready", "sum (textclf_workers{$of})": "workers"},
            width=6,
        ),
        Panel(
            "Memory",
            "Of all workers of a replica.",
            {"sum by (instance) (textclf_resident_memory_bytes{$of})": "{{instance}}"},
            "bytes",
            width=6,
        ),
        Panel(
            "Open files and sockets",
            "Share of what a worker may have.",
            {
                "max by (instance) (textclf_open_files{$of} / textclf_open_files_limit{$of})": (
                    "{{instance}}"
                )
            },
            "percentunit",
            width=6,
        ),
        Panel(
            "Time since a worker started",
            "A saw with short teeth is a worker that crashes.",
            {"min by (instance) (time() - textclf_start_time_seconds{$of})": "{{instance}}"},
            "s",
            width=6,
        ),
    ],
}


def main() -> int:
    """Write the file, and say where."""
    DASHBOARD.parent.mkdir(parents=True, exist_ok=True)
    DASHBOARD.write_text(render(), "utf-8")
    print(DASHBOARD)
    return 0


def render() -> str:
    """Return the dashboard in Grafana's JSON."""
    panels: list[dict[str, Any]] = []
    y = 0
    for row, members in ROWS.items():
        panels.append(_place({"type": "row", "title": row, "collapsed": False}, 0, y, 24, 1))
        y, x = y + 1, 0
        for panel in members:
            if x + panel.width > _COLUMNS:
                x, y = 0, y + _HEIGHT
            panels.append(_place(_render(panel), x, y, panel.width, _HEIGHT))
            x += panel.width
        y += _HEIGHT
    for number, content in enumerate(panels, 1):
        content["id"] = number
    dashboard = {
        "uid": "textclf",
        "title": "textclf",
        "tags": ["textclf"],
        "editable": True,
        "graphTooltip": 1,
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": _variables()},
        "panels": panels,
    }
    return json.dumps(dashboard, indent=1) + "\n"


def _variables() -> list[dict[str, Any]]:
    source = {"name": "datasource", "label": "Prometheus", "type": "datasource"}
    chosen = [
        {
            "name": name,
            "label": name,
            "type": "query",
            "datasource": SOURCE,
            "query": query,
            "refresh": 2,
            "multi": True,
            "includeAll": True,
            "allValue": ".*",
            "current": {"selected": True, "text": "All", "value": "$__all"},
        }
        for name, query in (
            ("job", "label_values(textclf_ready, job)"),
            ("instance", 'label_values(textclf_ready{job=~"$job"}, instance)'),
        )
    ]
    return [source | {"query": "prometheus"}, *chosen]


def _place(content: dict[str, Any], x: int, y: int, width: int, height: int) -> dict[str, Any]:
    return content | {"gridPos": {"h": height, "w": width, "x": x, "y": y}}


def _render(panel: Panel) -> dict[str, Any]:
    instant = panel.kind == "table"
    defaults: dict[str, Any] = {"unit": panel.unit}
    if panel.kind == "timeseries":
        mode = "normal" if panel.stack else "none"
        defaults["custom"] = {
            "fillOpacity": 60 if panel.stack else 8,
            "showPoints": "never",
            "stacking": {"group": "A", "mode": mode},
        }
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.meaning,
        "datasource": SOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": _OPTIONS[panel.kind],
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": SOURCE,
                "expr": expression.replace("$of", OF),
                "legendFormat": legend,
                "format": panel.kind if panel.kind != "timeseries" else "time_series",
                "range": not instant,
                "instant": instant,
            }
            for index, (expression, legend) in enumerate(panel.queries.items())
        ],
    }


_OPTIONS: dict[str, dict[str, Any]] = {
    "timeseries": {
        "legend": {
            "displayMode": "list",
            "placement": "bottom",
            "showLegend": True,
            "calcs": ["lastNotNull"],
        },
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "table": {"showHeader": True},
    "heatmap": {
        "calculate": False,
        "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64},
        "yAxis": {"axisPlacement": "left", "unit": "short"},
    },
}


if __name__ == "__main__":
    sys.exit(main())
