"""What the analyses ask Prometheus gives the right number, or none if there are few requests."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import require
from tests.http.serving import PROJECT
from tests.repo.manifests import build, find

Series = dict[str, str]
_ARGUMENTS = {"candidate": "new", "stable": "old", "minimum-requests": "500"}


def requests(version: str, ok: int, failed: int = 0) -> Series:
    """Return counts that grow by so many a minute, on two pods, and requests that do not count."""
    return {
        f'textclf_requests_total{{{_of(version)},pod="{pod}",route="{route}",status="{status}"}}': (
            f"0+{each}x10"
        )
        for pod, route, status, each in (
            ("a", "/classify", "200", ok - 10),
            ("b", "/predict", "200", 10),
            ("b", "/predict", "503", failed),
            ("b", "/metrics", "500", 1000),
        )
    }


def latency(version: str, fast: int, slow: int) -> Series:
    """Return requests a minute below 0.1 s and below 0.2 s."""
    name = "textclf_request_seconds"
    of = f'{_of(version)},route="/classify"'
    return {
        f'{name}_bucket{{{of},le="0.1"}}': f"0+{fast}x10",
        f'{name}_bucket{{{of},le="0.2"}}': f"0+{fast + slow}x10",
        f'{name}_bucket{{{of},le="+Inf"}}': f"0+{fast + slow}x10",
        f"{name}_count{{{of}}}": f"0+{fast + slow}x10",
    }


def labels(version: str, **a_minute: int) -> Series:
    """Return predictions a minute by label."""
    return {
        f'textclf_predictions_total{{{_of(version)},label="{label}"}}': f"0+{each}x10"
        for label, each in a_minute.items()
    }


def _of(version: str) -> str:
    return f'rollouts_pod_template_hash="{version}"'


CASES: list[Any] = [
    pytest.param(
        "textclf-compare",
        "error-rate-increase",
        requests("new", 200, 50) | requests("old", 400, 0),
        0.2,
        id="errors of the candidate",
    ),
    pytest.param(
        "textclf-compare",
        "error-rate-increase",
        requests("new", 180, 20) | requests("old", 380, 20),
        0.05,
        id="errors of both",
    ),
    pytest.param(
        "textclf-compare",
        "error-rate-increase",
        requests("new", 90) | requests("old", 400),
        None,
        id="few requests of the candidate",
    ),
    pytest.param(
        "textclf-compare",
        "error-rate-increase",
        requests("new", 400) | requests("old", 90),
        None,
        id="few requests of the stable version",
    ),
    pytest.param("textclf-compare", "error-rate-increase", {}, None, id="no requests"),
    pytest.param(
        "textclf-compare",
        "p99-latency-ratio",
        latency("new", 0, 400) | latency("old", 400, 0),
        0.199 / 0.099,
        id="slower",
    ),
    pytest.param(
        "textclf-compare",
        "p99-latency-ratio",
        latency("new", 0, 400) | latency("old", 90, 0),
        None,
        id="too few to compare with",
    ),
    pytest.param(
        "textclf-compare",
        "class-mix-shift",
        labels("new", positive=150, negative=50) | labels("old", positive=200, negative=200),
        0.25,
        id="another mix",
    ),
    pytest.param(
        "textclf-compare",
        "class-mix-shift",
        labels("new", positive=200) | labels("old", positive=200, negative=200),
        0.5,
        id="a label is missing",
    ),
    pytest.param(
        "textclf-compare",
        "class-mix-shift",
        labels("new", positive=100, neutral=100) | labels("old", positive=200),
        0.5,
        id="a label is new",
    ),
    pytest.param(
        "textclf-compare",
        "class-mix-shift",
        labels("new", positive=90) | labels("old", positive=200),
        None,
        id="few predictions",
    ),
    pytest.param(
        "textclf-watch", "error-rate", requests("new", 150, 50), 0.25, id="errors by themselves"
    ),
    pytest.param("textclf-watch", "error-rate", requests("new", 90), None, id="few by themselves"),
]


def test_queries_name_what_the_service_counts() -> None:
    """A metric that is renamed in the service is one that no analysis would see."""
    code = (PROJECT / "textclf" / "telemetry.py").read_text("utf-8")
    templates = [m for m in build("argo/canary") if m["kind"] == "AnalysisTemplate"]
    named = re.findall(r"\btextclf_[a-z_]+", yaml.safe_dump(templates))

    assert named
    assert [n for n in named if f'"{re.sub("_(bucket|count)$", "", n)}"' not in code] == []


@pytest.mark.parametrize(("template", "metric", "series", "expected"), CASES)
def test_queries(
    template: str, metric: str, series: Series, expected: float | None, tmp_path: Path
) -> None:
    """Prometheus' own tool evaluates each query on what it would have read in ten minutes."""
    require(shutil.which("promtool") is not None, "promtool is not installed")
    metrics = find(build("argo/canary"), "AnalysisTemplate", template)["spec"]["metrics"]
    (query,) = (m["provider"]["prometheus"]["query"] for m in metrics if m["name"] == metric)
    for name, value in _ARGUMENTS.items():
        query = query.replace(f"{{{{args.{name}}}}}", value)
    assert "{{" not in query
    samples = [] if expected is None else [{"labels": "{}", "value": round(expected, 4)}]
    test = {
        "interval": "1m",
        "input_series": [{"series": key, "values": value} for key, value in series.items()],
        "promql_expr_test": [
            {"expr": f"round({query}, 0.0001)", "eval_time": "10m", "exp_samples": samples}
        ],
    }
    file = tmp_path / "test.yaml"
    file.write_text(yaml.safe_dump({"tests": [test]}))

    done = subprocess.run(
        ["promtool", "test", "rules", str(file)], check=False, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stdout + done.stderr
