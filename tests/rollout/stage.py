"""A stage for rollouts: real services, a real nginx before them, and a real Prometheus.

The candidate is the same service on the same model, with faults that ``plant`` plants in it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from tests.conftest import require
from tests.http.serving import PROJECT, Served, free_port, serve
from tests.rollout.load import Load
from tests.rollout.planting import FAULT_FILE
from textclf.errors import EvidenceError, TextClassifierError
from textclf.rollout.metrics.prometheus import PrometheusMetrics
from textclf.rollout.metrics.scrape import ScrapedMetrics
from textclf.rollout.traffic import Weights
from textclf.rollout.traffic.nginx import Nginx
from textclf.rollout.traffic.nginx_config import Site, Upstreams

VERSIONS = ("stable", "candidate", "baseline")
SCRAPE_SECONDS = 1
WAIT_SECONDS = 90
_Seen = TypeVar("_Seen")


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What runs.

    Attributes:
        folder: For what a test writes.
        services: By version.
        site: What nginx is told that stays.
        upstreams: Where it sends requests.
        nginx: The engine; its process runs.
        prometheus: URL of the one that scrapes every version each second.
        fault_file: Names the candidate's fault.
    """

    folder: Path
    services: dict[str, Served]
    site: Site
    upstreams: Upstreams
    nginx: Nginx
    prometheus: str
    fault_file: Path

    @property
    def port(self) -> int:
        """Of loopback, that clients use."""
        return int(self.site.listen.rpartition(":")[2])

    @property
    def urls(self) -> dict[str, str]:
        """Where each version is."""
        return {version: served.url for version, served in self.services.items()}

    @property
    def recorder(self) -> str:
        """URL that requests are mirrored to; whoever records listens there."""
        return str(self.upstreams.recorder)

    @property
    def recorder_port(self) -> int:
        """Of loopback, of that URL."""
        return int(self.recorder.rpartition(":")[2])

    def load(self, rate: float, *, texts: Sequence[str] = ()) -> Load:
        """Return clients of nginx; a block begins and ends them."""
        return Load(self.port, rate=rate, texts=texts)

    def plant(self, fault: str) -> None:
        """Plant a fault in the candidate, or none."""
        following = self.fault_file.with_suffix(".next")
        following.write_text(fault, "utf-8")
        following.replace(self.fault_file)

    def reset(self) -> None:
        """Take every fault away, and put all traffic on the stable version."""
        self.plant("")
        for served in self.services.values():
            served.wait_for_status("/readyz", 200)
        self.nginx.move(Weights())

    def scraped(self) -> ScrapedMetrics:
        """Return what the versions say of themselves."""
        return ScrapedMetrics(self.urls)

    def gathered(self) -> PrometheusMetrics:
        """Return what Prometheus says of them."""
        values = {version: url.removeprefix("http://") for version, url in self.urls.items()}
        return PrometheusMetrics(self.prometheus, label="instance", values=values)

    def sent(self) -> Counter[str]:
        """Return how many requests nginx first sent to each version."""
        address = {url.removeprefix("http://"): version for version, url in self.urls.items()}
        lines = (self.folder / "nginx" / "access.log").read_text("utf-8").splitlines()
        return Counter(address[line.split()[3].rstrip(",")] for line in lines)


@contextlib.contextmanager
def set_stage(folder: Path) -> Iterator[Stage]:
    """Run everything in a folder."""
    for program in ("nginx", "prometheus"):
        require(shutil.which(program) is not None, f"there is no {program}; run `make parts`")
    fault_file = folder / "fault"
    with contextlib.ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.setenv(FAULT_FILE, str(fault_file))
        ports = {version: free_port() for version in VERSIONS}
        # First, since it looks for targets only seconds after its start.
        targets = [f"127.0.0.1:{port}" for port in ports.values()]
        prometheus = stack.enter_context(
            run_prometheus(folder / "prometheus", targets, textclf=SCRAPE_SECONDS)
        )
        services = _start_services(stack, folder, ports)
        site = new_site(timeout_seconds=3)
        upstreams = Upstreams(
            stable=services["stable"].url,
            candidate=services["candidate"].url,
            baseline=services["baseline"].url,
            recorder=f"http://127.0.0.1:{free_port()}",
        )
        stage = Stage(
            folder=folder,
            services=services,
            site=site,
            upstreams=upstreams,
            nginx=stack.enter_context(run_nginx(folder / "nginx", site, upstreams)),
            prometheus=prometheus,
            fault_file=fault_file,
        )
        for version in VERSIONS:
            wait_until(partial(_sees, stage, version), f"Prometheus never saw {version}")
        yield stage


def new_site(**others: Any) -> Site:
    """Return a site on ports of loopback that nobody has."""
    return Site(listen=f"127.0.0.1:{free_port()}", status_port=free_port(), **others)


@contextlib.contextmanager
def run_nginx(folder: Path, site: Site, upstreams: Upstreams) -> Iterator[Nginx]:
    """Run an nginx on this site, before these versions."""
    nginx = Nginx(folder, upstreams)
    nginx.prepare(site)
    with _running(nginx.command(), folder / "output.log"):
        wait_until(lambda: _reads(nginx), "nginx never answered")
        yield nginx


def wait_until(look: Callable[[], _Seen | None], otherwise: str) -> _Seen:
    """Look until there is something to see."""
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        if seen := look():
            return seen
        time.sleep(0.05)
    raise AssertionError(otherwise)


def kill(served: Served) -> None:
    """End a service and every worker of it at once, as a machine that fails does."""
    for number in [served.process.pid, *_descendants(served.process.pid)]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)
    served.process.wait()


def _descendants(parent: int) -> Iterator[int]:
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            after_name = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(after_name[1]) == parent:
                yield from (int(folder.name), *_descendants(int(folder.name)))


def _start_services(
    stack: contextlib.ExitStack, folder: Path, ports: dict[str, int]
) -> dict[str, Served]:
    """Start all at once, which takes less long than one after the other."""
    with ThreadPoolExecutor() as pool:
        contexts = [_service(folder, version, ports[version]) for version in VERSIONS]
        return dict(zip(VERSIONS, pool.map(stack.enter_context, contexts), strict=True))


@contextlib.contextmanager
def _service(folder: Path, version: str, port: int) -> Iterator[Served]:
    own = folder / version
    own.mkdir()
    with serve(
        own,
        port=port,
        target="tests.rollout.faulty:TextClassifier" if version == "candidate" else "",
        MODEL=str(PROJECT / "models" / "reference"),
        INFERENCE_THREADS="1",
        LOG_LEVEL="WARNING",
    ) as served:
        yield served


@contextlib.contextmanager
def run_prometheus(
    folder: Path,
    targets: Sequence[str],
    *,
    rules: Sequence[Path] = (),
    scrape: Mapping[str, object] | None = None,
    **every_seconds: int,
) -> Iterator[str]:
    """Run a Prometheus; each job that is named scrapes all targets every so many seconds.

    Args:
        folder: Its own; is made.
        targets: ``host:port`` of each.
        rules: Files of rules.
        scrape: More of each job's configuration.
        every_seconds: The interval of each job.
    """
    folder.mkdir()
    url = f"127.0.0.1:{free_port()}"
    config = {
        "rule_files": [str(file) for file in rules],
        "scrape_configs": [
            {
                "job_name": job,
                "scrape_interval": f"{every}s",
                "scrape_timeout": f"{SCRAPE_SECONDS}s",
                "static_configs": [{"targets": list(targets)}],
                **(scrape or {}),
            }
            for job, every in every_seconds.items()
        ],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
    command = [
        "prometheus",
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={url}",
        "--log.level=warn",
    ]
    with _running(command, folder / "output.log"):
        wait_until(lambda: _answers(f"http://{url}/-/ready"), "Prometheus is not ready")
        yield f"http://{url}"


def _answers(url: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(url).is_success
    return False


@contextlib.contextmanager
def _running(command: list[str], log: Path) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield
    finally:
        process.terminate()
        process.wait(timeout=WAIT_SECONDS)


def _reads(nginx: Nginx) -> bool:
    with contextlib.suppress(TextClassifierError):
        nginx.read()
        return True
    return False


def _sees(stage: Stage, version: str) -> bool:
    with contextlib.suppress(EvidenceError, httpx.HTTPError):
        stage.gathered().read(version)
        return True
    return False
