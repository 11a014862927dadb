"""Each alert fires when it should, alone, and none does while all is well."""

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

RULES = PROJECT / "deploy" / "prometheus" / "rules.yml"
ALERTS: dict[str, dict[str, Any]] = {
    rule["alert"]: rule
    for group in yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    for rule in group["rules"]
    if "alert" in rule
}
DAYS = 24 * 60  # in minutes, one sample each
Series = dict[str, str]


def series(name: str, *, instance: str = "a:3000", **labels: str) -> str:
    """Return how a series of a replica is called."""
    chosen = {"job": "textclf", "instance": instance, **labels}
    return f"textclf_{name}{{{','.join(f'{key}={value!r}' for key, value in chosen.items())}}}"


def steady(value: float, minutes: int = 100 * 60) -> str:
    """Return a gauge that stays as it is."""
    return f"{value}x{minutes}"


def growing(*phases: tuple[int, float]) -> str:
    """Return a count that grows so many minutes by so much in each, one phase after the other."""
    parts, reached = [], 0.0
    for minutes, each in phases:
        parts.append(f"{reached:g}+{each:g}x{minutes}")
        reached += each * (minutes + 1)
    return " ".join(parts)


def traffic(*phases: tuple[int, float, float, float]) -> Series:
    """Return requests of so many minutes: how many a minute, how many fail, how many are slow."""
    of = {"route": "/predict", "method": "POST"}
    seconds = {"route": "/predict"}
    answered = growing(*((m, n - bad) for m, n, bad, _ in phases))
    everything = growing(*((m, n) for m, n, _, _ in phases))
    return {
        series("requests_total", status="200", **of): answered,
        series("requests_total", status="500", **of): growing(*((m, b) for m, _, b, _ in phases)),
        series("requests_total", route="/metrics", method="GET", status="500"): "0+999x200",
        series("request_seconds_bucket", le="0.265", **seconds): growing(
            *((m, n - slow) for m, n, _, slow in phases)
        ),
        series("request_seconds_bucket", le="+Inf", **seconds): everything,
        series("request_seconds_count", **seconds): everything,
    }


def refusals(each: float, reason: str = "queue_full") -> Series:
    """Return so many requests a minute that are refused."""
    return {series("refused_requests_total", reason=reason): growing((100 * 60, each))}


def self_check(passed: int, checked: str = "0+60x6000") -> Series:
    """Return what a replica says of its golden texts."""
    return {
        series("self_check_passed"): steady(passed),
        series("self_check_timestamp_seconds"): checked,
    }


def stages(*phases: tuple[int, float, float]) -> Series:
    """Return stages of so many minutes: seconds a minute of waiting, seconds of running."""
    return {
        series("stage_seconds_sum", stage="tokenise"): growing(*((m, 0.1) for m, *_ in phases)),
        series("stage_seconds_sum", stage="queue"): growing(*((m, q) for m, q, _ in phases)),
        series("stage_seconds_sum", stage="infer"): growing(*((m, i) for m, _, i in phases)),
    }


def drift(
    distance: float, threshold: float, *, source: str = "given", silent: bool = False
) -> Series:
    """Return how far the traffic of a replica is from the reference, and how far it may be.

    Args:
        distance: From the reference.
        threshold: How far it may be.
        source: What the reference was made of.
        silent: Every other scrape meets a worker whose window has too few texts yet.
    """
    labels = {"model": "sentiment:tiny-1", "feature": "lengths"}
    reference = {
        name: steady(872) if name == source else "_x6000" for name in ("given", "golden", "none")
    }

    def compared(value: float) -> str:
        return f"{value} stale " * 1000 if silent else steady(value)

    return {
        series("drift_distance", **labels): compared(distance),
        series("drift_threshold", **labels): compared(threshold),
        **{
            series("drift_reference_texts", model=labels["model"], source=name): values
            for name, values in reference.items()
        },
    }


def healthy(minutes: int) -> Series:
    """Return all that alerts read, of a service that is well."""
    return {
        **traffic((minutes, 100, 0.05, 0.5)),
        **refusals(0),
        **self_check(1),
        **stages((minutes, 0.5, 3)),
        **drift(0.01, 0.25),
        series("ready"): steady(1),
        series("start_time_seconds"): steady(1),
        series("keys_file_broken"): steady(0),
    }


def starts(*minutes: int) -> Series:
    """Return a replica that started then."""
    began = 1
    values = []
    for before, at in zip((0, *minutes), (*minutes, 10 * DAYS), strict=True):
        values += [f"{began}x{at - before - 1}"]
        began = at * 60
    return {series("start_time_seconds"): " ".join(values)}


CASES: list[Any] = [
    pytest.param(100, {}, set(), id="all is well"),
    pytest.param(
        94 * 60,
        traffic((4 * DAYS, 1000, 0.9, 9)),
        set(),
        id="as many bad requests as the objectives allow",
    ),
    pytest.param(
        300,
        traffic((180, 100, 0, 0), (200, 100, 5, 0)),
        {"TextclfAvailabilityFastBurn", "TextclfAvailabilitySlowBurn"},
        id="five of a hundred fail",
    ),
    pytest.param(
        300,
        traffic((180, 100, 0, 0), (20, 100, 50, 0), (300, 100, 0, 0)),
        {"TextclfAvailabilitySlowBurn"},
        id="they failed, and do no more: nobody is woken",
    ),
    pytest.param(
        300,
        traffic((280, 100, 0, 0), (4, 100, 20, 0), (300, 100, 0, 0)),
        {"TextclfAvailabilitySlowBurn"},
        id="they failed for minutes: nobody is woken",
    ),
    pytest.param(300, traffic((400, 0.2, 0.02, 0)), set(), id="few fail, and few there are"),
    pytest.param(
        7 * 60,
        traffic((12 * 60, 100, 0.9, 0)),
        {"TextclfAvailabilityFastBurn", "TextclfAvailabilitySlowBurn"},
        id="nine of a thousand fail for hours",
    ),
    pytest.param(
        94 * 60,
        traffic((4 * DAYS, 100, 0.2, 0)),
        {"TextclfAvailabilitySlowBurn"},
        id="two of a thousand fail for days",
    ),
    pytest.param(
        300,
        traffic((180, 100, 0, 0), (200, 100, 0, 40)),
        {"TextclfLatencyFastBurn", "TextclfLatencySlowBurn"},
        id="four of ten are slow",
    ),
    pytest.param(
        94 * 60,
        traffic((4 * DAYS, 100, 0, 2)),
        {"TextclfLatencySlowBurn"},
        id="two of a hundred are slow for days",
    ),
    pytest.param(100, {series("ready"): steady(0)}, {"TextclfNoReplicaReady"}, id="not ready"),
    pytest.param(
        100, {series("ready"): "1x40 stale"}, {"TextclfNoReplicaReady"}, id="scraped no more"
    ),
    pytest.param(100, {series("ready"): "_x200"}, {"TextclfNoReplicaReady"}, id="never scraped"),
    pytest.param(
        100,
        {series("ready"): steady(0), series("ready", instance="b:3000"): steady(1)},
        set(),
        id="one of two is ready",
    ),
    pytest.param(
        100,
        {series("ready"): "1x40 stale", series("ready", instance="b:3000"): steady(1)},
        set(),
        id="one of two is gone",
    ),
    pytest.param(
        100,
        {series("ready"): "1x40 stale", series("ready", job="other"): steady(1)},
        {"TextclfNoReplicaReady"},
        id="one of two jobs is gone",
    ),
    pytest.param(
        27 * 60,
        {series("ready"): "1x40 stale", series("ready", job="other"): steady(1)},
        set(),
        id="one of two jobs has been gone for a day",
    ),
    pytest.param(100, starts(75, 80, 90), {"TextclfRestarting"}, id="three starts"),
    pytest.param(100, starts(75, 90), set(), id="two starts"),
    pytest.param(
        100, stages((80, 0.5, 3), (30, 7, 3)), {"TextclfSaturated"}, id="waiting longer than run"
    ),
    pytest.param(
        100, stages((92, 0.5, 3), (30, 7, 3)), set(), id="waiting longer than run, for minutes"
    ),
    pytest.param(100, stages((200, 2.5, 3)), set(), id="waiting nearly as long as run"),
    pytest.param(100, stages((200, 0, 0)), set(), id="nothing runs"),
    pytest.param(100, refusals(2), {"TextclfRefusingLoad"}, id="refused for lack of room"),
    pytest.param(100, refusals(2, "deadline"), {"TextclfRefusingLoad"}, id="too late"),
    pytest.param(
        100, refusals(2, "client_deadline"), set(), id="too late for clients that give little time"
    ),
    pytest.param(100, refusals(2, "invalid"), set(), id="refused for what was sent"),
    pytest.param(100, self_check(0), {"TextclfSelfCheckFailed"}, id="wrong answers"),
    pytest.param(
        100, self_check(0, "0x6000") | {series("ready"): "0x97 1x9"}, set(), id="starting"
    ),
    pytest.param(
        100, self_check(1, "0+60x40 2400x6000"), {"TextclfSelfCheckStale"}, id="checked long ago"
    ),
    pytest.param(100, drift(0.3, 0.25), {"TextclfDrift"}, id="drifted"),
    pytest.param(
        100, drift(0.3, 0.25, silent=True), {"TextclfDrift"}, id="drifted, says one of two workers"
    ),
    pytest.param(100, drift(0.2, 0.25, silent=True), set(), id="a worker says nothing"),
    pytest.param(
        100, drift(0.3, 0.25, source="golden"), set(), id="unlike golden texts, as traffic may be"
    ),
    pytest.param(
        100, {series("keys_file_broken"): steady(1)}, {"TextclfKeysFileBroken"}, id="no keys file"
    ),
]


@pytest.mark.parametrize(("at_minute", "changed", "expected"), CASES)
def test_alerts(at_minute: int, changed: Series, expected: set[str], tmp_path: Path) -> None:
    """Prometheus' own tool says which alerts fire on series that go like this."""
    require(shutil.which("promtool") is not None, "promtool is not installed")
    test = {
        "interval": "1m",
        "input_series": [
            {"series": k, "values": v} for k, v in (healthy(at_minute + 5) | changed).items()
        ],
        "promql_expr_test": [
            {
                "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                "eval_time": f"{at_minute}m",
                "exp_samples": [
                    {"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(expected)
                ],
            }
        ],
    }
    file = tmp_path / "test.yml"
    every = "1m" if at_minute < DAYS else "2h"  # each evaluation of days reads all of them
    content = {"rule_files": [str(RULES)], "evaluation_interval": every, "tests": [test]}
    content["group_eval_order"] = ["textclf-objectives", "textclf-alerts"]
    file.write_text(yaml.safe_dump(content), "utf-8")

    done = subprocess.run(
        ["promtool", "test", "rules", str(file)], check=False, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_is_fired_by_a_case() -> None:
    """A new alert needs a case that fires it."""
    assert set(ALERTS) == set().union(*(case.values[2] for case in CASES))


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_what_to_do(name: str) -> None:
    """It has a summary, a severity, and a heading of its own in the runbook."""
    alert = ALERTS[name]
    page, _, anchor = alert["annotations"]["runbook"].partition("#")
    headings = re.findall(r"^#+ (.+)$", (PROJECT / page).read_text("utf-8"), re.MULTILINE)

    assert alert["labels"]["severity"] in {"page", "ticket"}
    assert alert["annotations"]["summary"]
    assert anchor == name.lower()
    assert anchor in [heading.lower().strip("`") for heading in headings]
