"""Weights change under load, and no client notices."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from scipy.stats import binom

from scripts._rollout_arguments import parse
from tests.http.serving import PROJECT, free_port, serve
from tests.rollout.load import Load
from tests.rollout.stage import Stage, kill, new_site, run_nginx, wait_until
from textclf.errors import TrafficError
from textclf.rollout.engines import load_engine
from textclf.rollout.traffic import Weights
from textclf.rollout.traffic.nginx import Nginx
from textclf.rollout.traffic.nginx_config import Site, Upstreams

ONE_IN_A_MILLION = 1e-6


def test_weights_change_and_no_request_is_lost(stage: Stage) -> None:
    """Twelve moves under load: each holds when it returns, none costs an answer."""
    moves = [
        Weights(candidate_percent=c, baseline_percent=b, mirror_percent=m)
        for c, b, m in ((5, 5, 0), (20, 20, 10), (50, 50, 0), (100, 0, 0), (0, 0, 100), (0, 0, 0))
    ]
    with stage.load(rate=100) as load:
        for weights in moves * 2:
            stage.nginx.move(weights)
            assert stage.nginx.read() == weights
            load.wait_for(20)

    assert load.failures == {}
    assert len(load.replies) > 200


def test_requests_are_shared_out_as_the_weights_say(stage: Stage) -> None:
    """Each version's requests lie within what chance allows once in a million times."""
    stage.nginx.move(Weights(candidate_percent=20, baseline_percent=10))
    before = stage.sent()
    with stage.load(rate=150) as load:
        load.wait_for(600)
    wait_until(
        lambda: (stage.sent() - before).total() == len(load.replies), "nginx logged too little"
    )
    sent = stage.sent() - before

    assert load.failures == {}
    for version, share in (("stable", 0.7), ("candidate", 0.2), ("baseline", 0.1)):
        at_least, at_most = binom.interval(1 - ONE_IN_A_MILLION, sent.total(), share)
        assert at_least <= sent[version] <= at_most


def test_a_move_that_changes_nothing_reloads_nothing(stage: Stage) -> None:
    """The workers stay."""
    stage.nginx.move(Weights(candidate_percent=3))
    log = stage.folder / "nginx" / "error.log"
    before = log.stat().st_size
    stage.nginx.move(Weights(candidate_percent=3))

    assert log.stat().st_size == before


def test_every_version_sees_the_id_of_the_request(stage: Stage) -> None:
    """The client's own id if the service takes it, one of nginx's if not."""
    url = f"http://127.0.0.1:{stage.port}/predict"
    given = httpx.post(url, json=["fine"], headers={"X-Request-Id": "order-66"})
    refused = httpx.post(url, json=["fine"], headers={"X-Request-Id": "no good id"})

    assert given.headers["X-Request-Id"] == "order-66"
    assert len(refused.headers["X-Request-Id"]) == 32


def test_what_nginx_answers_itself_is_a_problem(tmp_path: Path) -> None:
    """No version that answers, or a body beyond all bounds, is told as the service would."""
    site, nobody_there = new_site(), f"http://127.0.0.1:{free_port()}"
    with run_nginx(tmp_path / "nginx", site, Upstreams(stable=nobody_there)):
        nobody = httpx.post(f"http://{site.listen}/predict", json=["fine"])
        too_large = httpx.post(f"http://{site.listen}/predict", content=b" " * 3_000_000)

    for answer, status in ((nobody, 503), (too_large, 413)):
        assert answer.status_code == status
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["request_id"] == answer.headers["X-Request-Id"]


def test_a_refused_configuration_changes_nothing(stage: Stage) -> None:
    """What nginx does not take is told, and the weights, the file and the answers stay."""
    stage.nginx.move(Weights(candidate_percent=10))
    folder = stage.folder / "nginx"
    before = (folder / "nginx.conf").read_text()
    unknown = Nginx(folder, replace(stage.upstreams, candidate="http://nowhere.invalid"))

    with pytest.raises(TrafficError, match=r"(?s)host not found .*; nothing was moved"):
        unknown.move(Weights(candidate_percent=50))

    assert (folder / "nginx.conf").read_text() == before
    assert not (folder / "nginx.conf.next").exists()
    assert stage.nginx.read() == Weights(candidate_percent=10)


def test_a_reload_that_fails_is_taken_back(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that passes the test and cannot be taken up leaves the one before in its place."""
    monkeypatch.setattr("textclf.rollout.traffic.nginx._RELOAD_SECONDS", 1.0)
    folder, site = tmp_path / "nginx", new_site()
    with run_nginx(folder, site, stage.upstreams) as nginx:
        before = (folder / "nginx.conf").read_text()
        taken = site.model_copy(update={"listen": stage.site.listen})
        (folder / "site.json").write_text(taken.model_dump_json())
        with pytest.raises(TrafficError, match="still answers from the configuration before"):
            nginx.move(Weights(candidate_percent=50))

        assert (folder / "nginx.conf").read_text() == before
        assert nginx.read() == Weights()


def test_shares_of_unnamed_versions_are_not_ours(stage: Stage) -> None:
    """Who names other versions is told where requests go, rather than that none do."""
    stage.nginx.move(Weights(candidate_percent=25))
    other = Nginx(stage.folder / "nginx", replace(stage.upstreams, candidate="http://127.0.0.1:9"))

    with pytest.raises(TrafficError, match=r"25 % to 127\.0\.0\.1"):
        other.read()


def test_the_folder_of_another_nginx_is_told(stage: Stage, tmp_path: Path) -> None:
    """Where no configuration is, nothing is moved."""
    elsewhere = Nginx(tmp_path / "nowhere", stage.upstreams)

    with pytest.raises(TrafficError, match="name the folder of the nginx that runs"):
        elsewhere.move(Weights(candidate_percent=1))
    assert stage.nginx.read() == Weights()


def test_a_promoted_candidate_is_the_next_stable_version(stage: Stage) -> None:
    """Shares are known by address, so that the next rollout reads them as its own."""
    stage.nginx.move(Weights(candidate_percent=100))
    following = Nginx(
        stage.folder / "nginx",
        replace(
            stage.upstreams,
            stable=stage.urls["candidate"],
            candidate=stage.urls["baseline"],
            baseline=None,
        ),
    )

    assert following.read() == Weights()


def test_a_killed_stable_version_costs_no_answer(stage: Stage, tmp_path: Path) -> None:
    """While a candidate has a share, it answers for a stable version that is gone."""
    model = str(PROJECT / "models" / "reference")
    with serve(tmp_path, MODEL=model, INFERENCE_THREADS="1") as doomed:
        site = new_site(timeout_seconds=3)
        upstreams = Upstreams(stable=doomed.url, candidate=stage.urls["candidate"])
        with run_nginx(tmp_path / "nginx", site, upstreams) as nginx:
            nginx.move(Weights(candidate_percent=10))
            with Load(int(site.listen.rpartition(":")[2]), rate=50) as load:
                load.wait_for(50)
                kill(doomed)
                load.wait_for(100)

    assert load.failures == {}


def test_a_candidate_that_was_taken_back_is_asked_no_more(stage: Stage, tmp_path: Path) -> None:
    """Not even if the stable version is gone: its answers may be wrong, and a 503 is not."""
    upstreams = Upstreams(
        stable=f"http://127.0.0.1:{free_port()}", candidate=stage.urls["candidate"]
    )
    site = new_site()
    with run_nginx(tmp_path / "nginx", site, upstreams) as nginx:
        nginx.move(Weights(candidate_percent=10))
        during = httpx.post(f"http://{site.listen}/predict", json=["fine"])
        nginx.move(Weights())
        after = httpx.post(f"http://{site.listen}/predict", json=["fine"])

    assert (during.status_code, after.status_code) == (200, 503)
    assert after.headers["Retry-After"] == "1"


def test_rollouts_leave_what_clients_use_as_it_is(stage: Stage, tmp_path: Path) -> None:
    """Where nginx listens and what it allows is its own command's to say, and no rollout's."""
    site = new_site(keepalive_seconds=75, timeout_seconds=7, body_bytes=5_000)
    options = [f"--{version}={url}" for version, url in stage.urls.items()]
    command = parse(["canary", *options, f"--nginx-folder={tmp_path}"])
    with run_nginx(tmp_path, site, Upstreams(stable=stage.urls["stable"])):
        rollout = load_engine("nginx").build(command)
        rollout.move(Weights(candidate_percent=10))
        moved = (tmp_path / "nginx.conf").read_text()
        answer = httpx.post(f"http://{site.listen}/predict", json=["fine"])
        too_large = httpx.post(f"http://{site.listen}/predict", content=b" " * 5_001)

        assert rollout.read() == Weights(candidate_percent=10)
    assert answer.headers["Connection"] == "keep-alive"
    assert too_large.status_code == 413
    for kept in (f"listen {site.listen};", "keepalive_timeout 75;", "proxy_read_timeout 7s;"):
        assert kept in moved


def test_a_folder_has_one_site(tmp_path: Path, stage: Stage) -> None:
    """Started again, nginx is as it was; asked to be another, it says what differs."""
    nginx = Nginx(tmp_path, Upstreams(stable=stage.urls["stable"]))
    nginx.prepare(Site(listen="127.0.0.1:1234", keepalive_seconds=75))
    laid = (tmp_path / "nginx.conf").read_text()
    nginx.prepare(Site())
    nginx.prepare(Site(keepalive_seconds=75))

    with pytest.raises(TrafficError, match=r"listen 127\.0\.0\.1:1234, not 127\.0\.0\.1:80;"):
        nginx.prepare(Site(listen="127.0.0.1:80", keepalive_seconds=75))
    assert (tmp_path / "nginx.conf").read_text() == laid


@pytest.mark.parametrize("name", ["nginx.conf.next", "nginx.conf.previous"])
def test_a_full_disk_moves_nothing(name: str, stage: Stage) -> None:
    """The error names the file that could not be written, and the weights stay."""
    folder = stage.folder / "nginx"
    before = (folder / "nginx.conf").read_text()
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to("/dev/full")

    with pytest.raises(TrafficError, match=rf"{name}: No space left on device; .*retry"):
        stage.nginx.move(Weights(candidate_percent=50))
    assert (folder / "nginx.conf").read_text() == before
    assert stage.nginx.read() == Weights()


def reset_each(server: socket.socket) -> None:
    """Take connections and reset each, until the server is closed."""
    with contextlib.suppress(OSError):
        while True:
            connection, _ = server.accept()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()


@pytest.mark.parametrize("fault", ["refuses", "resets", "hangs"])
def test_what_nginx_hides_of_a_version_is_counted(fault: str, stage: Stage, tmp_path: Path) -> None:
    """Clients get an answer of the stable version; how often the candidate gave none is told."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as broken:
        upstreams = Upstreams(
            stable=stage.urls["stable"],
            candidate=f"http://127.0.0.1:{broken.getsockname()[1]}",
        )
        if fault == "refuses":
            broken.close()
        elif fault == "resets":
            threading.Thread(target=reset_each, args=(broken,), daemon=True).start()
        site = new_site(timeout_seconds=1)
        with run_nginx(tmp_path, site, upstreams) as nginx:
            before = nginx.passed_over()
            nginx.move(Weights(candidate_percent=50))
            url = f"http://{site.listen}/predict"
            answers = [httpx.post(url, json=["fine"], timeout=30) for _ in range(12)]
            log = wait_until(lambda: _lines(tmp_path / "access.log", 12), "nginx logged too little")
            counted, read_anew = nginx.passed_over(), Nginx(tmp_path, upstreams).passed_over()
        with contextlib.suppress(OSError):
            broken.shutdown(socket.SHUT_RDWR)  # ends the thread

    candidates = sum(line.split()[2] == "candidate" for line in log)
    assert {answer.status_code for answer in answers} == {200}
    assert before == Counter()
    assert counted == read_anew == Counter(candidate=candidates)
    assert candidates > 0


def _lines(path: Path, count: int) -> list[str]:
    lines = path.read_text("utf-8").splitlines()
    return lines if len(lines) >= count else []


def test_a_command_runs_nginx_in_the_foreground(stage: Stage, tmp_path: Path) -> None:
    """It serves the stable version, and ends on SIGTERM."""
    listen, status_port = f"127.0.0.1:{free_port()}", free_port()
    command = [sys.executable, "-m", "textclf.rollout.traffic.nginx"]
    command += ["--stable", stage.urls["stable"], "--nginx-folder", str(tmp_path / "nginx")]
    command += ["--nginx-listen", listen, "--nginx-status-port", str(status_port)]
    process = subprocess.Popen(command, cwd=PROJECT)

    def answer() -> httpx.Response | None:
        try:
            return httpx.post(f"http://{listen}/predict", json=["fine"])
        except httpx.TransportError:
            return None

    try:
        assert wait_until(answer, "nginx never answered").status_code == 200
        status = httpx.get(f"http://127.0.0.1:{status_port}/traffic")
        assert json.loads(status.text)["mirror_percent"] == 0
    finally:
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(timeout=30) == 0
