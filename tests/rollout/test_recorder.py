"""Mirrored requests become pairs of answers, and no client waits for them."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.http.serving import PROJECT, free_port
from tests.rollout.load import Load
from tests.rollout.stage import Stage, new_site, run_nginx, wait_until
from textclf.rollout.observation import Pair
from textclf.rollout.recorder import read_pairs
from textclf.rollout.traffic import Weights

PREDICTED = ("$:object", "positive:boolean")
CLASSIFIED = (
    "$:object",
    "model:string",
    "predictions.0.label:string",
    "predictions.0.score:number",
    "predictions.0.truncated:boolean",
    "predictions.0:object",
    "predictions:array",
)


@contextmanager
def recording(port: int, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a recorder, until it answers at least."""
    command = [sys.executable, "-m", "textclf.rollout.recorder", "--port", str(port), *options]
    process = subprocess.Popen(command, cwd=PROJECT)
    try:
        wait_until(lambda: _counts(port), "the recorder never answered")
        yield process
    finally:
        process.terminate()
        assert process.wait(timeout=30) == 0


def _counts(port: int) -> dict[str, int] | None:
    try:
        return dict(httpx.get(f"http://127.0.0.1:{port}/").json())
    except httpx.TransportError:
        return None


def record(stage: Stage, output: Path, *, requests: int, **asked: Any) -> list[Pair]:
    """Mirror requests of clients and return what was recorded of them."""
    urls = stage.urls
    port = stage.recorder_port
    with recording(
        port, f"--stable={urls['stable']}", f"--candidate={urls['candidate']}", f"--output={output}"
    ):
        stage.nginx.move(Weights(mirror_percent=100))
        with Load(stage.port, rate=60, **asked) as load:
            load.wait_for(requests)
        assert load.failures == {}
        wait_until(
            lambda: (_counts(port) or {}).get("written", 0) >= len(load.replies),
            "pairs are missing",
        )
    pairs, offset = read_pairs(output)
    assert read_pairs(output, offset) == ([], offset)
    assert len(pairs) == len(load.replies)
    return pairs


def test_equal_versions_answer_alike(stage: Stage, tmp_path: Path) -> None:
    """Of every request there is one pair, with nginx's id and the same answer twice."""
    pairs = record(stage, tmp_path / "pairs.jsonl", requests=60)
    logged = (stage.folder / "nginx" / "access.log").read_text().split()

    assert {pair.stable.status for pair in pairs} == {200}
    assert {pair.stable.shape for pair in pairs} == {PREDICTED, CLASSIFIED}
    assert {pair.stable.labels for pair in pairs} == {
        (label,) for label in ("true", "false", "positive", "negative")
    }
    for pair in pairs:
        assert pair.request_id in logged
        assert replace(pair.candidate, seconds=0) == replace(pair.stable, seconds=0)


def test_no_text_is_kept(stage: Stage, tmp_path: Path) -> None:
    """A file of pairs holds a hash of each request and no word of it."""
    output = tmp_path / "pairs.jsonl"
    record(stage, output, requests=20, texts=["unmistakable words"])

    assert "unmistakable" not in output.read_text()
    lines = output.read_text().splitlines()
    assert {len(json.loads(line)["texts_sha256"]) for line in lines} == {64}


def test_texts_are_sampled_where_that_is_asked_for(stage: Stage, tmp_path: Path) -> None:
    """All of them at 100 percent; whoever reads the pairs is not disturbed."""
    output, port = tmp_path / "pairs.jsonl", free_port()
    with recording(
        port,
        f"--stable={stage.urls['stable']}",
        f"--candidate={stage.urls['stable']}",
        f"--output={output}",
        "--sample-percent=100",
    ):
        httpx.post(f"http://127.0.0.1:{port}/predict", json=["kept words"])

    assert json.loads(json.loads(output.read_text())["body"]) == ["kept words"]
    assert len(read_pairs(output)[0]) == 1


@pytest.mark.parametrize(
    ("fault", "shapes", "agree"),
    [
        ("text for a boolean", {("$:object", "positive:string"), CLASSIFIED}, True),
        ("flipped labels", {PREDICTED, CLASSIFIED}, False),
    ],
)
def test_a_change_that_no_client_notices_shows(
    stage: Stage, tmp_path: Path, fault: str, shapes: set[tuple[str, ...]], agree: bool
) -> None:
    """``"false"`` for ``false`` is another shape of the same label; another label shows as one."""
    stage.plant(fault)
    pairs = record(stage, tmp_path / "pairs.jsonl", requests=20)

    assert {pair.candidate.shape for pair in pairs} == shapes
    assert {pair.candidate.labels == pair.stable.labels for pair in pairs} == {agree}


def test_clients_do_not_wait_for_versions_that_hang(stage: Stage, tmp_path: Path) -> None:
    """They get every answer at once; what the recorder cannot hold is dropped, and counted."""
    output, port = tmp_path / "pairs.jsonl", free_port()
    with socket.create_server(("127.0.0.1", 0), backlog=100) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        site = new_site(timeout_seconds=3, keepalive_seconds=60)  # so that a client would notice
        upstreams = replace(stage.upstreams, recorder=f"http://127.0.0.1:{port}")
        options = [f"--stable={url}", f"--candidate={url}", f"--output={output}"]
        options += ["--queue-requests=5", "--concurrency=1", "--timeout-seconds=25"]
        with run_nginx(tmp_path / "nginx", site, upstreams) as nginx, recording(port, *options):
            nginx.move(Weights(mirror_percent=100))
            with Load(int(site.listen.rpartition(":")[2]), rate=50, keep_alive=True) as load:
                load.wait_for(100)
            counts = _counts(port)

    assert load.failures == {}
    assert max(reply.seconds for reply in load.replies) < 2
    assert counts == {"taken": 6, "dropped": len(load.replies) - 6, "written": 0}


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """The recorder ends with the exit code of missing evidence, and names the file."""
    command = [sys.executable, "-m", "textclf.rollout.recorder", "--port", str(free_port())]
    command += ["--stable", "http://127.0.0.1:9", "--candidate", "http://127.0.0.1:9"]
    ended = subprocess.run(
        [*command, "--output", str(tmp_path)], cwd=PROJECT, check=False, capture_output=True
    )

    assert ended.returncode == 73
    assert str(tmp_path) in ended.stderr.decode()
