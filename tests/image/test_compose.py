"""`docker compose up` runs an image with Prometheus beside it, both in narrow bounds."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.conftest import require
from tests.http.serving import PROJECT, free_port
from tests.image.built import base_image, docker_answers
from textclf.image.docker import load_image, run_docker
from textclf.settings import Settings

COMPOSE_FILE = PROJECT / "deploy" / "compose.yaml"
PROMETHEUS_CONFIG = PROJECT / "deploy" / "prometheus" / "prometheus.yml"
BASE_IMAGE = base_image()
WAIT_SECONDS = 120
PROMETHEUS_DOCKERFILE = f"""\
FROM {BASE_IMAGE}
COPY prometheus /bin/prometheus
RUN mkdir /prometheus && chown 65534:65534 /prometheus
WORKDIR /prometheus
ENTRYPOINT ["/bin/prometheus"]
"""


@dataclass(frozen=True)
class Running:
    """A project of compose that is up."""

    name: str
    service: str
    prometheus: str

    def container(self, service: str) -> dict[str, Any]:
        """Return what docker says of the one container of a service."""
        (found,) = containers(self.name, service)
        (described,) = json.loads(run_docker("inspect", found))
        return dict(described)

    def query(self, expression: str) -> list[Any]:
        """Return what Prometheus has for an expression."""
        answer = httpx.get(f"{self.prometheus}/api/v1/query", params={"query": expression})
        return list(answer.json()["data"]["result"])


def compose_command() -> list[str]:
    """Return the compose that is at hand: docker's own, or the older program."""
    for command in (["docker", "compose"], ["docker-compose"]):
        with suppress(FileNotFoundError):
            if subprocess.run([*command, "version"], check=False, capture_output=True).stdout:
                return command
    return []


def compose(*arguments: str, name: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run compose on deploy/compose.yaml under a project name."""
    command = compose_command()
    require(bool(command), "there is no compose; install docker-compose or Docker's plugin")
    return subprocess.run(
        [*command, "--file", str(COMPOSE_FILE), "--project-name", name, *arguments],
        env={k: v for k, v in os.environ.items() if k != "TEXTCLF_IMAGE"} | variables,
        check=False,
        capture_output=True,
        text=True,
    )


def containers(project: str, service: str | None = None) -> list[str]:
    """Return the ids of a project's containers, or of one of its services."""
    labels = [f"label=com.docker.compose.project={project}"]
    labels += [f"label=com.docker.compose.service={service}"] if service else []
    filters = [part for label in labels for part in ("--filter", label)]
    return run_docker("ps", "--all", "--quiet", *filters).split()


def left_of(project: str) -> list[str]:
    """Return every container, network and volume that docker has for a project."""
    label = f"label=com.docker.compose.project={project}"
    kinds = ("network", "volume")
    others = [run_docker(kind, "ls", "--quiet", "--filter", label) for kind in kinds]
    return containers(project) + " ".join(others).split()


def first_event(container: dict[str, Any], event: str) -> int:
    """Return when an event of a container first was, in nanoseconds."""
    seen = run_docker(
        "events", "--since", container["Created"], "--until", f"{time.time():.6f}",
        "--filter", f"container={container['Id']}", "--filter", f"event={event}",
        "--format", "{{.TimeNano}}",
    )  # fmt: skip
    return int(seen.split()[0])


def image_under_test() -> str:
    """Return the image that was built: of dist/image.json."""
    record = PROJECT / "dist" / "image.json"
    require(record.is_file(), "there is no dist/image.json; build an image: make image")
    return load_image(str(json.loads(record.read_text("utf-8"))["reference"]))


def wait_for(look: Callable[[], object], otherwise: str) -> None:
    """Call ``look`` until it returns something true."""
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        with suppress(httpx.TransportError):
            if look():
                return
        time.sleep(0.2)
    raise AssertionError(otherwise)


@pytest.fixture(scope="module")
def prometheus_image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An image of this machine's Prometheus, laid out as prom/prometheus is."""
    require(docker_answers(), "docker does not answer")
    program = shutil.which("prometheus")
    require(program is not None, "there is no prometheus; install Debian's package prometheus")
    folder = tmp_path_factory.mktemp("prometheus")
    shutil.copy(str(program), folder / "prometheus")
    (folder / "Dockerfile").write_text(PROMETHEUS_DOCKERFILE)
    tag = f"textclf-test-prometheus:{uuid.uuid4().hex[:12]}"
    run_docker("build", "--quiet", "--network", "none", "--tag", tag, str(folder))
    yield tag
    run_docker("image", "rm", "--force", tag)


@pytest.fixture(scope="module")
def running(prometheus_image: str) -> Iterator[Running]:
    """The image under test with Prometheus, as `docker compose up` leaves them."""
    name = f"textclf-test-{uuid.uuid4().hex[:12]}"
    ports = {"TEXTCLF_PORT": str(free_port()), "PROMETHEUS_PORT": str(free_port())}
    images = {"TEXTCLF_IMAGE": image_under_test(), "PROMETHEUS_IMAGE": prometheus_image}
    try:
        # Of Grafana there is no image here to run.
        up = compose("up", "--detach", "textclf", "prometheus", name=name, **images, **ports)
        logs = up.stderr if up.returncode == 0 else compose("logs", name=name, **images).stdout
        assert up.returncode == 0, up.stderr + logs[-3000:]
        yield Running(
            name=name,
            service=f"http://127.0.0.1:{ports['TEXTCLF_PORT']}",
            prometheus=f"http://127.0.0.1:{ports['PROMETHEUS_PORT']}",
        )
    finally:
        down = compose("down", "--volumes", name=name, **images, **ports)
        assert down.returncode == 0, down.stderr
    assert left_of(name) == []


def test_prometheus_accepts_its_configuration() -> None:
    """`promtool check config` finds nothing to object to."""
    require(shutil.which("promtool") is not None, "there is no promtool; install prometheus")
    checked = subprocess.run(
        ["promtool", "check", "config", str(PROMETHEUS_CONFIG)],
        check=False,
        capture_output=True,
        text=True,
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_compose_asks_which_image() -> None:
    """Without an image it stops and names the variable; with one the file is valid."""
    without = compose("config", name="textclf-test")
    valid = compose("config", name="textclf-test", TEXTCLF_IMAGE="textclf:1.2.3")

    assert without.returncode != 0
    assert "TEXTCLF_IMAGE" in without.stderr
    assert valid.returncode == 0, valid.stderr
    assert "textclf:1.2.3" in valid.stdout
    assert "prom/prometheus:v" in valid.stdout
    assert re.search(r"grafana/grafana:\d+\.\d+\.\d+$", valid.stdout, re.MULTILINE)


def test_prometheus_starts_when_the_service_is_healthy(running: Running) -> None:
    """Compose waits for the health check that the image brings."""
    healthy = first_event(running.container("textclf"), "health_status: healthy")

    assert healthy < first_event(running.container("prometheus"), "start")


@pytest.mark.parametrize("service", ["textclf", "prometheus"])
def test_bounds(running: Running, service: str) -> None:
    """Neither may write, gain rights, take more than its share, or be reached from elsewhere."""
    container = running.container(service)
    host = container["HostConfig"]
    bindings = [binding for port in host["PortBindings"].values() for binding in port]

    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert host["SecurityOpt"] in (["no-new-privileges:true"], ["no-new-privileges"])
    assert host["Memory"] > 0
    assert host["NanoCpus"] > 0
    assert host["PidsLimit"] > 0
    assert host["RestartPolicy"]["Name"] == "unless-stopped"
    assert list(host["Tmpfs"]) == ["/tmp"]  # noqa: S108 - in the container
    assert [binding["HostIp"] for binding in bindings] == ["127.0.0.1"]
    assert container["Config"]["User"].partition(":")[0] not in {"", "0", "root"}


def test_stopping_waits_for_the_drain(running: Running) -> None:
    """Docker kills later than the drain and the longest request together can last."""
    settings = Settings()
    longest = settings.drain_seconds + settings.request_timeout_seconds

    assert running.container("textclf")["Config"]["StopTimeout"] > longest


def test_prometheus_scrapes_the_service(running: Running) -> None:
    """The target is up, and a prediction is counted in Prometheus."""
    answer = httpx.post(f"{running.service}/predict", json=["a fine cup"])
    assert answer.status_code == 200

    wait_for(
        lambda: running.query('up{job="textclf"} == 1'),
        "Prometheus never says that the target is up",
    )
    wait_for(
        lambda: running.query('sum(textclf_requests_total{route="/predict",status="200"}) >= 1'),
        "the prediction is never counted",
    )
    targets = httpx.get(f"{running.prometheus}/api/v1/targets").json()["data"]["activeTargets"]
    assert [(target["labels"]["job"], target["health"]) for target in targets] == [
        ("textclf", "up")
    ]
