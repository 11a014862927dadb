"""What Prometheus compares with the scrape before is there from the first scrape on."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

from prometheus_client import REGISTRY, CollectorRegistry, multiprocess
from starlette.responses import PlainTextResponse

from tests.unit.test_metrics import errors
from textclf.errors import RequestError
from textclf.http.front import FrontDoor
from textclf.http.lifecycle import Lifecycle
from textclf.metrics import metrics
from textclf.settings import Settings

ROUTES = ("/predict", "/classify", "/v2/models/{model}/infer")
SERVER_ERRORS = {kind.http_status for kind in errors(RequestError) if kind.http_status >= 500}
FILES: Any = multiprocess  # its functions carry no types


def test_counts_of_availability_begin_at_0() -> None:
    """The first failure of a replica has a rate, for there was a 0 before it."""
    metrics().requests.clear()  # of what other tests asked
    metrics().answered.cache_clear()
    settings = Settings()
    FrontDoor(PlainTextResponse(), Lifecycle(settings), settings)

    for route, status in product(ROUTES, {200} | SERVER_ERRORS):
        labels = {"route": route, "method": "POST", "status": str(status)}
        assert REGISTRY.get_sample_value("textclf_requests_total", labels) == 0, labels


def test_the_death_of_a_worker_is_no_start(tmp_path: Path) -> None:
    """The time of the youngest worker stays until another one is started."""
    environ = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    script = "import os; from textclf.metrics import metrics; metrics(); print(os.getpid())"

    def start() -> int:
        command = [sys.executable, "-c", script]
        return int(subprocess.run(command, env=environ, check=True, capture_output=True).stdout)

    def shown() -> float:
        registry = CollectorRegistry()
        FILES.MultiProcessCollector(registry, str(tmp_path))
        return registry.get_sample_value("textclf_start_time_seconds") or 0.0

    older, dying = start(), start()
    before = shown()
    FILES.mark_process_dead(dying, str(tmp_path))
    after = shown()
    replaced = start()

    assert before == after > 0
    assert shown() > after
    assert len({older, dying, replaced}) == 3
