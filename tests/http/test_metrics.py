"""What /metrics says is true of all workers together, and no client makes it longer."""

from __future__ import annotations

import math
import os
import re
import secrets
import signal
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from pathlib import Path

import httpx
import pytest
from bentoml._internal import server
from prometheus_client.parser import text_string_to_metric_families

from tests.http.serving import PROJECT, Served, serve
from textclf.artifact import Artifact
from textclf.metrics import STAGES, refusal_reasons
from textclf.settings import Settings

WORKERS = 2
REQUESTS = 120
Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


class Page:
    """What /metrics said."""

    def __init__(self, client: httpx.Client) -> None:
        text = client.get("/metrics").raise_for_status().text
        self.series: Series = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def since(self, before: Page) -> Page:
        """Return what was counted after another page."""
        grown = copy(self)
        grown.series = {of: value - before.series.get(of, 0) for of, value in self.series.items()}
        return grown

    def sum(self, name: str, **labels: str) -> float:
        """Return the sum of the series of a name that have these labels; NaN if there is none."""
        found = [
            value
            for (own, of), value in self.series.items()
            if own == f"textclf_{name}" and labels.items() <= dict(of).items()
        ]
        return sum(found) if found else math.nan

    def histogram(self, name: str, **labels: str) -> tuple[float, float]:
        """Return how many observations a histogram says there are, and how many its buckets do."""
        buckets = defaultdict(list)
        for (own, of), value in self.series.items():
            if own == f"textclf_{name}_bucket" and labels.items() <= dict(of).items():
                buckets[of - {("le", dict(of)["le"])}].append((float(dict(of)["le"]), value))
        (counted,) = (sorted(found) for found in buckets.values())
        values = [value for _, value in counted]
        assert values == sorted(values), "a bucket holds what those below it hold"
        return self.sum(f"{name}_count", **labels), values[-1]


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Serve with two workers."""
    with serve(
        tmp_path_factory.mktemp("workers"),
        environ={"BENTOML_CONFIG_OPTIONS": f"services.textclf.workers={WORKERS}"},
        MODEL=str(PROJECT / "models" / "reference"),
        INFERENCE_THREADS="1",
    ) as served:
        wait_for_all(served)
        yield served


def wait_for_all(served: Served) -> Page:
    """Wait until every worker is ready and says so."""

    def look() -> Page | None:
        with served.client() as client:
            page = Page(client)
        return page if (page.sum("workers"), page.sum("ready")) == (WORKERS, 1) else None

    return served.wait_for(look, "not all workers became ready")


def worker_ids(served: Served) -> set[int]:
    """Return the processes that have files of counts."""
    folder = served.log.parent / "bentoml" / "prometheus_multiproc_dir"
    return {int(file.stem.rpartition("_")[2]) for file in folder.glob("gauge_livesum_*.db")}


def ask(served: Served, path: str, content: object) -> int:
    """Send a request on a connection of its own, which any worker may take; return the status."""
    return httpx.post(f"{served.url}{path}", json=content, timeout=30).status_code


def settled(served: Served, before: Page, requests: float) -> Page:
    """Wait until so many more requests are counted and what they gathered is written."""

    def look() -> Page | None:
        with served.client() as client:
            page = Page(client)
        grown = page.since(before)
        counted = grown.sum("requests_total", method="POST")
        written = grown.sum("stage_seconds_count", stage="infer")
        answered = grown.sum("requests_total", method="POST", status="200")
        return page if (counted, written) == (requests, answered) else None

    return served.wait_for(look, f"{requests} requests were never counted")


def test_workers_count_together(workers: Served, reference: Artifact) -> None:
    """Every request is counted once, whoever answered it, and every histogram has all of it."""
    bodies = [("/predict", ["fine"]), ("/classify", {"texts": ["fine", "dull", "fine"]})]
    bodies.append(("/predict", ["  "]))
    asked = [bodies[number % len(bodies)] for number in range(REQUESTS)]
    each = REQUESTS / len(bodies)
    before = wait_for_all(workers)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda body: ask(workers, *body), asked))
    page = settled(workers, before, REQUESTS).since(before)

    assert len(worker_ids(workers)) == WORKERS
    assert page.sum("requests_total", route="/predict", status="200") == each
    assert page.sum("requests_total", route="/classify", status="200") == each
    assert page.sum("refused_requests_total", reason="invalid") == each
    assert page.histogram("request_seconds", route="/predict") == (2 * each, 2 * each)
    for stage in STAGES:
        assert page.histogram("stage_seconds", stage=stage) == (2 * each, 2 * each)
    for name in ("score", "input_tokens"):
        assert page.histogram(name) == (4 * each, 4 * each)
    assert page.sum("predictions_total") == 4 * each
    assert page.sum("batch_texts_sum") == 4 * each, "golden texts are run at the start alone"
    assert page.sum("batch_tokens_sum") == page.sum("tokens_total") + page.sum(
        "padding_tokens_total"
    )
    assert {
        dict(of)["label"] for name, of in page.series if name.endswith("predictions_total")
    } == (set(reference.description.labels))


def test_what_is_true_of_each_worker_is_shown_once(workers: Served, reference: Artifact) -> None:
    """One model, its check and its limits; nothing waits any more."""
    page = wait_for_all(workers)
    (info,) = (dict(of) for name, of in page.series if name == "textclf_model_info")

    assert page.sum("model_info") == 1
    assert info["model"] == reference.tag
    assert info["precision"] == reference.description.precision.weights
    assert page.sum("self_check_passed") == 1
    assert 0 < page.sum("self_check_seconds") < 60
    assert page.sum("queue_texts_limit") == WORKERS * Settings().max_queue_texts
    assert [page.sum(f"queue_{of}") for of in ("texts", "tokens")] == [0, 0]
    assert page.sum("requests_in_progress") == 0
    assert page.sum("resident_memory_bytes") > 50e6 * WORKERS
    assert page.sum("cpu_seconds_total") > 0
    assert 0 < page.sum("open_files") < page.sum("open_files_limit")
    reasons = {dict(of)["reason"] for name, of in page.series if "refused" in name}
    assert reasons == refusal_reasons()


def test_a_worker_that_is_killed_takes_no_count_with_it(workers: Served) -> None:
    """Its counts stay, its queue and its limits go, and another takes its place."""
    start = wait_for_all(workers)
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda _: ask(workers, "/predict", ["fine"]), range(32)))
    before = settled(workers, start, len(statuses))
    killed = min(worker_ids(workers))
    os.kill(killed, signal.SIGKILL)

    def replaced() -> bool:
        with workers.client() as client:
            client.get("/livez")
        return len(worker_ids(workers) - {killed}) == WORKERS

    workers.wait_for(replaced, "the worker was not replaced")
    after = wait_for_all(workers)

    assert killed not in worker_ids(workers)
    name = "requests_total"
    assert after.sum(name, method="POST") == before.sum(name, method="POST") > 0
    assert after.sum("queue_texts_limit") == before.sum("queue_texts_limit")
    assert after.sum("start_time_seconds") > before.sum("start_time_seconds")
    assert after.sum("model_info") == 1


def test_no_client_makes_a_series(client: httpx.Client) -> None:
    """Two hundred paths that do not exist leave no trace but a count, in BentoML's metrics too."""
    folders = ("", "static_content/", "static_content/../", "v2/models/", "livez/", "ui/")

    def roam() -> Counter[int]:
        statuses: Counter[int] = Counter()
        for number in range(200):
            path = f"/{folders[number % len(folders)]}{secrets.token_hex(8)}"
            method = ("GET", "POST", "DELETE")[number % 3]
            statuses[client.request(method, path).status_code] += 1
        return statuses

    for _ in range(2):  # the page counts itself only when it is asked for again
        roam()
        before = Page(client)
    statuses = roam()
    after = Page(client)

    assert after.series.keys() == before.series.keys()
    assert any(name.startswith("bentoml_") for name, _ in after.series)
    assert statuses.keys() <= {404, 405}
    grown = after.since(before)
    for status, requests in statuses.items():
        assert grown.sum("requests_total", status=str(status)) == requests
    assert grown.sum("refused_requests_total") == 200


def test_files_that_exist_are_served_and_counted(client: httpx.Client) -> None:
    """The page of BentoML has its scripts and styles."""
    folder = Path(server.__file__).parent / "static_content"
    names = [file.name for file in folder.iterdir()]

    assert [client.get(f"/static_content/{name}").status_code for name in names] == [200] * len(
        names
    )


def test_the_page_names_every_metric(client: httpx.Client) -> None:
    """Whatever /metrics shows of ours is in docs/metrics.md, and nothing there is missing."""
    docs = (PROJECT / "docs" / "metrics.md").read_text("utf-8")
    described = set(re.findall(r"^\| `(textclf_\w+?)(?:_total)?` \|", docs, re.MULTILINE))
    text = client.get("/metrics").text
    shown = {
        family.name
        for family in text_string_to_metric_families(text)
        if family.name.startswith("textclf_")
    }
    of_drift = {name for name in shown if name.startswith("textclf_drift_")}
    unused = {"textclf_key_requests"}  # until there are keys

    assert shown - of_drift == described - of_drift - unused
    assert len(of_drift) > 1
