"""Every expression of the dashboard and of the alerts has an answer where the service runs."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from scripts import render_dashboard, write_dashboard
from tests.conftest import require
from tests.http.serving import PROJECT, Served, serve
from tests.rollout.stage import run_prometheus, wait_until
from textclf.artifact import Artifact
from textclf.drift.distance import LEAST_TEXTS

RULES = PROJECT / "deploy" / "prometheus" / "rules.yml"
DASHBOARD: dict[str, Any] = json.loads(write_dashboard.DASHBOARD.read_text("utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = [(p["title"], target["expr"]) for p in PANELS for target in p["targets"]]
GROUPS = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
RECORDED = [rule["record"] for group in GROUPS for rule in group["rules"] if "record" in rule]
ALERTS = {rule["alert"]: rule["expr"] for g in GROUPS for rule in g["rules"] if "alert" in rule}
BY_MODEL = next(expression for title, expression in EXPRESSIONS if title == "Requests by model")
CHOSEN = {"$__rate_interval": "20s", "$job": ".*", "$instance": ".*"}


class Watched(NamedTuple):
    """A Prometheus, and until when it saw load, in seconds since 1970."""

    url: str
    until: float

    def query(self, expression: str) -> list[Any]:
        """Return what there was for an expression when the load ended."""
        return query(self.url, expression, self.until)


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory, reference: Artifact) -> Iterator[Watched]:
    """A Prometheus that has scraped a service under load, with the rules of the project."""
    require(shutil.which("prometheus") is not None, "there is no prometheus; run `make parts`")
    folder = tmp_path_factory.mktemp("dashboard")
    rules = folder / "rules.yml"
    rules.write_text(RULES.read_text("utf-8").replace("interval: 30s", "interval: 1s"), "utf-8")
    model = str(PROJECT / "models" / "reference")
    with serve(folder, MODEL=model, CACHE_TEXTS="8", LOG_LEVEL="WARNING") as served:
        target = served.url.removeprefix("http://")
        with run_prometheus(folder / "prometheus", [target], rules=[rules], textclf=1) as url:
            texts = [example.text for example in reference.golden]
            with ThreadPoolExecutor(2) as pool:
                loads = [pool.submit(load, served, url, texts[part::2]) for part in range(2)]
                for running in loads:
                    running.result()
            yield Watched(url, time.time())


def load(served: Served, prometheus: str, texts: list[str]) -> None:
    """Ask all there is to ask until Prometheus has seen enough of it."""
    window = "textclf_drift_window_texts"
    enough = f"{window} > {LEAST_TEXTS} and changes({window}[1m]) > 3"
    with served.client() as client:

        def ask_all() -> bool:
            for first in range(0, len(texts), 8):
                client.post("/classify", json={"texts": texts[first : first + 8]})
                client.post("/predict", json=[texts[first]])
                client.post("/predict", json=[" "])
                client.get("/nowhere")
            return bool(query(prometheus, enough, time.time()))

        wait_until(ask_all, "the load was never seen")


def query(prometheus: str, expression: str, at: float) -> list[Any]:
    """Return what Prometheus has for an expression at a time, in seconds since 1970."""
    asked: dict[str, str | float] = {"query": expression, "time": at}
    answer = httpx.get(f"{prometheus}/api/v1/query", params=asked).json()
    assert answer["status"] == "success", f"{expression}: {answer.get('error')}"
    return [found for found in answer["data"]["result"] if found["value"][1] != "NaN"]


@pytest.mark.parametrize(("panel", "expression"), EXPRESSIONS, ids=[e[0] for e in EXPRESSIONS])
def test_no_panel_is_empty(prometheus: Watched, panel: str, expression: str) -> None:
    """Each query of each panel finds numbers in what the service says under load."""
    expression = chosen(expression)

    assert prometheus.query(expression), f"{panel}: {expression}"


def chosen(expression: str) -> str:
    """Return an expression with a choice for each of the dashboard's variables."""
    for variable, value in CHOSEN.items():
        expression = expression.replace(variable, value)
    return expression


def test_two_models_on_one_replica_share_its_requests(tmp_path: Path) -> None:
    """While its workers serve two, as after a new import, the panel counts no request twice."""
    require(shutil.which("promtool") is not None, "promtool is not installed")
    replica = 'job="textclf",instance="{}:3000"'.format
    series = {
        f'textclf_requests_total{{{replica("a")},route="/predict"}}': "0+60x60",
        f'textclf_requests_total{{{replica("b")},route="/predict"}}': "0+30x60",
        f'textclf_model_info{{{replica("a")},model="m:1"}}': "1x60",
        f'textclf_model_info{{{replica("a")},model="m:2"}}': "1x60",
        f'textclf_model_info{{{replica("b")},model="m:1"}}': "1x60",
    }
    expected = {
        "expr": chosen(BY_MODEL),
        "eval_time": "30s",
        "exp_samples": [
            {"labels": '{model="m:1"}', "value": 60},
            {"labels": '{model="m:2"}', "value": 30},
        ],
    }
    test = {
        "interval": "1s",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [expected],
    }
    file = tmp_path / "test.yml"
    content = {"evaluation_interval": "1s", "tests": [test]}
    file.write_text(yaml.safe_dump(content), "utf-8")

    done = subprocess.run(
        ["promtool", "test", "rules", str(file)], check=False, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", RECORDED)
def test_every_ratio_is_recorded(prometheus: Watched, name: str) -> None:
    """Prometheus itself evaluates the rules that alerts stand on."""
    assert prometheus.query(name)


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_compares_what_there_is(prometheus: Watched, name: str) -> None:
    """An alert that reads a metric nobody has would be silent for ever; these compare numbers."""
    compared = re.sub(r" (>=|==|>|<) ", r" \1 bool ", ALERTS[name])
    assert compared != ALERTS[name]

    assert prometheus.query(compared)
    assert prometheus.query(f'ALERTS{{alertname="{name}",alertstate="firing"}}') == []


def test_the_picture_has_every_panel(prometheus: Watched, tmp_path: Path) -> None:
    """The script that draws the picture of the docs asks the same Prometheus."""
    picture = tmp_path / "dashboard.svg"
    since = time.time() - prometheus.until + 60  # the load is in it, however long ago it ended
    options = ["--seconds", str(since), "--rate-interval", "20s", "--output", str(picture)]
    assert render_dashboard.main([prometheus.url, *options]) == 0
    drawn = picture.read_text("utf-8")

    assert [panel["title"] for panel in PANELS if panel["title"] not in drawn] == []
    assert render_dashboard.PICTURE.stat().st_size < 200_000


def test_dashboard_is_what_the_script_writes() -> None:
    """The file is not edited by hand."""
    assert write_dashboard.render() == write_dashboard.DASHBOARD.read_text("utf-8")


def test_dashboard_keeps_to_the_schema() -> None:
    """Grafana's own models know every field of it; what they do not know they would drop."""
    register_default_plugins()

    assert lost(DASHBOARD) == []


@pytest.mark.parametrize(
    ("place", "mistake"),
    [
        (("panels", 1), "heading"),
        (("panels", 1, "targets", 0), "expression"),
        (("panels", 1, "fieldConfig", "defaults", "custom"), "fillOpaqueness"),
        (("templating", "list", 1), "allValues"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_mistake_in_the_dashboard_is_found(place: tuple[str | int, ...], mistake: str) -> None:
    """A field that Grafana does not know is told."""
    register_default_plugins()
    dashboard = json.loads(json.dumps(DASHBOARD))
    spot = dashboard
    for step in place:
        spot = spot[step]
    spot[mistake] = "oops"

    assert [path.rpartition("/")[2] for path in lost(dashboard)] == [mistake]


def lost(dashboard: dict[str, Any]) -> list[str]:
    """Return the fields that Grafana's models read otherwise than they were written."""
    read: Any = json.loads(JSONEncoder().encode(Dashboard.from_json(dashboard)))
    return [*_differences(dashboard, read, "")]


def _differences(written: Any, read: Any, path: str) -> Iterator[str]:
    if isinstance(written, dict) and isinstance(read, dict):
        for key, value in written.items():
            yield from _differences(value, read.get(key), f"{path}/{key}")
    elif isinstance(written, list) and isinstance(read, list) and len(written) == len(read):
        for index, value in enumerate(written):
            yield from _differences(value, read[index], f"{path}/{index}")
    elif written != read:
        yield path


@pytest.mark.parametrize("file", ["datasources/prometheus.yml", "dashboards/textclf.yml"])
def test_grafana_finds_its_files(file: str) -> None:
    """What the provisioning names is where compose.yaml puts it."""
    folder = PROJECT / "deploy" / "grafana"
    content = yaml.safe_load((folder / "provisioning" / file).read_text("utf-8"))
    compose = yaml.safe_load((PROJECT / "deploy" / "compose.yaml").read_text("utf-8"))
    mounted = dict(volume.split(":")[:2] for volume in compose["services"]["grafana"]["volumes"])

    if "providers" in content:
        (provider,) = content["providers"]
        assert mounted["./grafana/dashboards"] == provider["options"]["path"]
        assert (folder / "dashboards" / "textclf.json").is_file()
    else:
        (source,) = content["datasources"]
        assert httpx.URL(source["url"]).host in compose["services"]
    assert Path(mounted["./grafana/provisioning"]) == Path("/etc/grafana/provisioning")
