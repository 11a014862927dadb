"""When the service is ready, when it no longer is, and how it ends."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.http.serving import PROJECT, Served, free_port, serve
from tests.http.test_contract import assert_problem, post
from tests.http.test_limits import SLOW
from textclf import store
from textclf.artifact import (
    DESCRIPTION,
    GOLDEN,
    GRAPH,
    TOKENIZER,
    Artifact,
    read_artifact,
    write_description,
    write_golden,
)
from textclf.errors import SettingsError


def copy_of(reference: Artifact, folder: Path) -> Path:
    """Return a classifier folder below ``folder`` that a test may spoil."""
    return Path(shutil.copytree(reference.folder, folder / "model"))


def assert_never_ready(served: Served) -> None:
    """Check that the service lives, says it is not ready, and refuses to predict."""
    served.wait_for_log("not ready")
    with served.client() as client:
        assert client.get("/livez").status_code == 200
        for response in (client.get("/readyz"), post(client, "/predict", ["good"])):
            assert_problem(response, 503)
            assert int(response.headers["retry-after"]) > 1


def test_golden_mismatch_keeps_the_service_from_being_ready(
    tmp_path: Path, reference: Artifact
) -> None:
    """The log names the text, the recorded answer and the one it got."""
    folder = copy_of(reference, tmp_path)
    first = reference.golden[0]
    spoilt = first.model_copy(update={"score": first.score - 0.02})
    write_golden(folder / GOLDEN, [spoilt, *reference.golden[1:]])
    write_description(folder, reference.description)

    with serve(tmp_path, ready=False, MODEL=str(folder)) as served:
        assert_never_ready(served)
        log = served.log.read_text()
    assert f"recorded {spoilt.label} {spoilt.score:.4f}, got {first.label}" in log
    assert "import the fp32 export of its graph" in log


@pytest.mark.parametrize("name", [GRAPH, TOKENIZER, GOLDEN])
def test_changed_file_keeps_the_service_from_being_ready(
    tmp_path: Path, reference: Artifact, name: str
) -> None:
    """A byte that differs from what was imported is noticed, and the file is named."""
    folder = copy_of(reference, tmp_path)
    with (folder / name).open("ab") as file:
        file.write(b"\n")

    with serve(tmp_path, ready=False, MODEL=str(folder)) as served:
        assert_never_ready(served)
        assert f"{folder / name} has another sha256" in served.log.read_text()


def test_unknown_model_keeps_the_service_from_being_ready(tmp_path: Path) -> None:
    """A tag that the store lacks is named with the command that would help."""
    with serve(tmp_path, ready=False, MODEL="sentiment:nope") as served:
        assert_never_ready(served)
        assert "sentiment:nope" in served.log.read_text()


def test_bad_settings_stop_the_start(tmp_path: Path) -> None:
    """Every bad setting is named in one line, with what is wrong in files; nothing is served.

    A key in the clear is noticed before anyone relies on it, and is not repeated.
    """
    keys = tmp_path / "keys"
    keys.write_text("web:open-sesame")

    run = start_badly(
        tmp_path,
        TEXTCLF_INFERENCE_THREADS="many",
        TEXTCLF_MAX_BODY="1",
        TEXTCLF_MAX_QUEUE_TOKENS="10",
        TEXTCLF_MAX_BATCH_TOKENS="11",
        TEXTCLF_API_KEYS_FILE=str(keys),
    )

    assert run.returncode == SettingsError.exit_code
    (line,) = run.stderr.splitlines()
    assert line.startswith("cannot start: ")
    assert "TEXTCLF_INFERENCE_THREADS" in line
    assert "did you mean TEXTCLF_MAX_BODY_BYTES?" in line
    assert "TEXTCLF_MAX_QUEUE_TOKENS: less than a batch" in line
    assert f"{keys}, line 1 is not name:sha256" in line
    assert "open-sesame" not in line


def start_badly(home: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run `bentoml serve` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "bentoml", "serve", "--port", str(free_port())],
        cwd=PROJECT,
        env=os.environ | {"BENTOML_HOME": str(home / "bentoml")} | environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def wait_for_progress(served: Served, client: httpx.Client, *, requests: int) -> None:
    """Wait until that many requests have texts that wait or run."""
    served.wait_for(
        lambda: f"textclf_requests_in_progress {requests}.0" in client.get("/metrics").text,
        f"{requests} requests were never seen in progress",
    )


def test_sigterm_drains(tmp_path: Path) -> None:
    """Requests in flight are answered, new ones get 503 for the grace period, then exit 0."""
    with serve(tmp_path, DRAIN_SECONDS="2", INFERENCE_THREADS="1") as served:
        with served.client() as client, ThreadPoolExecutor(1) as pool:
            in_flight = pool.submit(post, client, "/classify", SLOW)
            wait_for_progress(served, client, requests=1)
            served.terminate()
            refusal = served.wait_for_status("/readyz", 503)
            refused = post(client, "/predict", ["good"])
            answered = in_flight.result()
            still_alive = client.get("/livez")
        exit_code = served.process.wait(timeout=30)

    assert_problem(refusal, 503)
    assert_problem(refused, 503)
    assert refused.headers["retry-after"] == "1"
    assert answered.status_code == 200
    assert len(answered.json()["predictions"]) == 64
    assert still_alive.status_code == 200
    assert exit_code == 0


def test_a_client_that_leaves_takes_its_work_along(tmp_path: Path) -> None:
    """Its texts give their place in the queue to those who still wait."""
    with serve(tmp_path, INFERENCE_THREADS="1") as served, served.client() as client:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{served.url}/classify", json=SLOW, timeout=0.2)

        wait_for_progress(served, client, requests=0)
        log = served.wait_for_log('"status": 499')
    assert '"status": 200' not in log


def test_an_unfinished_request_does_not_hold_up_the_end(tmp_path: Path) -> None:
    """A body that never comes is given up at the deadline, and the process ends with 0."""
    with (
        serve(tmp_path, REQUEST_TIMEOUT_SECONDS="1") as served,
        unfinished_request(served) as connection,
    ):
        served.terminate()

        assert served.process.wait(timeout=20) == 0
        assert connection.recv(4096).startswith(b"HTTP/1.1 504 ")


@contextmanager
def unfinished_request(served: Served) -> Iterator[socket.socket]:
    """Send a request but for the end of its body, once the server has begun to read it."""
    address = ("127.0.0.1", httpx.URL(served.url).port)
    with socket.create_connection(address, timeout=30) as connection:
        connection.sendall(
            b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Expect: 100-continue\r\nContent-Length: 8\r\n\r\n"
        )
        assert connection.recv(4096).startswith(b"HTTP/1.1 100 ")
        connection.sendall(b'["go')
        yield connection


def test_an_empty_store_leaves_the_reference(service: Served, reference: Artifact) -> None:
    """A fresh clone serves the model that came with it, and says so."""
    response = service.wait_for_status("/readyz", 200)

    assert response.headers["x-model"] == reference.tag
    assert "taking the reference model" in service.log.read_text()


def test_the_store_comes_before_the_reference(
    tmp_path: Path, classifier_folder: Path, bentoml_home: Path
) -> None:
    """What was imported is served, here from the store that `serve` uses."""
    committed = store.commit(read_artifact(classifier_folder))
    assert committed.path.is_relative_to(bentoml_home)

    with serve(tmp_path) as served:
        assert served.wait_for_status("/readyz", 200).headers["x-model"] == committed.tag


def test_a_changed_description_keeps_the_service_from_being_ready(
    tmp_path: Path, classifier_folder: Path, bentoml_home: Path
) -> None:
    """Labels that were exchanged in the store are noticed: the store knows that file's hash too."""
    path = store.commit(read_artifact(classifier_folder)).path / DESCRIPTION
    assert path.is_relative_to(bentoml_home)
    path.write_text(path.read_text("utf-8").replace('"negative"', '"other"'), "utf-8")

    with serve(tmp_path, ready=False) as served:
        assert_never_ready(served)
        assert f"{path} has another sha256 than model.yaml records" in served.log.read_text()


def test_a_folder_that_cannot_be_read_is_not_shown(tmp_path: Path) -> None:
    """Paths of the host are no business of a client's."""
    with serve(tmp_path, ready=False, MODEL=str(tmp_path / "nowhere")) as served:
        assert_never_ready(served)
        assert "nowhere" not in str(served.wait_for_status("/livez", 200).headers)
