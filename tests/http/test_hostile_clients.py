"""Clients that are slow, silent, too many or out to be unpickled: the others never notice."""

from __future__ import annotations

import contextlib
import json
import pickle
import re
import resource
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import require
from tests.http.serving import PROJECT, Served, serve
from tests.http.test_contract import assert_problem, post

READ_SECONDS = 1.0
CONNECTIONS = 1000
HEAD = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
BODY = b'["good"]'
DECLARED = HEAD + b"Content-Length: 8\r\n\r\n"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Serve with little patience and room."""
    with serve(
        tmp_path_factory.mktemp("guarded"),
        READ_TIMEOUT_SECONDS=str(READ_SECONDS),
        MAX_CONNECTIONS=str(CONNECTIONS),
    ) as served:
        yield served


def connect(served: Served) -> socket.socket:
    """Open a connection."""
    url = httpx.URL(served.url)
    return socket.create_connection((url.host, url.port or 80), timeout=10)


def drip(connection: socket.socket, content: bytes) -> bytes:
    """Send a byte five times a second until the server says something; return that."""
    connection.settimeout(0.2)
    for byte in content:
        connection.sendall(bytes([byte]))
        with contextlib.suppress(TimeoutError):
            return connection.recv(65_536)
    return b""


def read_to_end(connection: socket.socket) -> bytes:
    """Return what comes until the server closes, with a reset if it had not read all."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65_536):
            received += part
    return received


def problem(received: bytes) -> dict[str, Any]:
    """Return the problem that an answer is, which closes its connection."""
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"connection: close" in head.lower()
    assert b"content-type: application/problem+json" in head.lower()
    found: dict[str, Any] = json.loads(body)
    assert f"x-request-id: {found['request_id']}".encode() in head
    return found


def slow_head(connection: socket.socket) -> bytes:
    """Send a head that takes seconds."""
    return drip(connection, DECLARED)


def slow_body(connection: socket.socket) -> bytes:
    """Send a body that takes seconds."""
    connection.sendall(HEAD + b"Content-Length: 60\r\n\r\n")
    return drip(connection, b" " * 60)


def slow_chunks(connection: socket.socket) -> bytes:
    """Send a body of chunks that never ends."""
    connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    return drip(connection, b"1\r\n \r\n" * 10)


def half_a_head(connection: socket.socket) -> bytes:
    """Send half a head and wait."""
    connection.sendall(DECLARED[:30])
    return read_to_end(connection)


def half_a_body(connection: socket.socket) -> bytes:
    """Send half a body and wait."""
    connection.sendall(DECLARED + BODY[:4])
    return read_to_end(connection)


@pytest.mark.parametrize("send", [slow_head, slow_body, slow_chunks, half_a_head, half_a_body])
def test_slow_client_gets_408(guarded: Served, send: Callable[[socket.socket], bytes]) -> None:
    """In the form of every other refusal, once the time is over."""
    began = time.monotonic()
    with connect(guarded) as connection:
        found = problem(send(connection))

    assert found["status"] == 408
    assert READ_SECONDS * 0.9 < time.monotonic() - began < 10


@pytest.fixture
def _many_descriptors() -> Iterator[None]:
    """Let this process hold the other ends of all the connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = hard == resource.RLIM_INFINITY or hard > CONNECTIONS + 500
    require(enough, f"{hard} open files are too few")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("_many_descriptors")
def test_a_thousand_idle_connections_harm_nobody(guarded: Served) -> None:
    """Beyond the limit the oldest make room, and after the limit of time all are closed."""
    with contextlib.ExitStack() as stack, guarded.client() as client:
        post(client, "/predict", ["good"])
        idle = []
        for number in range(CONNECTIONS + 50):
            idle.append(stack.enter_context(connect(guarded)))
            if number % 2 == 0:
                idle[-1].sendall(b"POST /pre")
        with guarded.client() as newcomer:
            began = time.monotonic()
            assert post(newcomer, "/predict", ["good"]).status_code == 200
            assert time.monotonic() - began < 10
        answers = [read_to_end(connection) for connection in idle]

    assert all(problem(received)["status"] == 408 for received in answers if received)
    assert sum(map(bool, answers[::2])) > CONNECTIONS / 3  # those evicted while they connected
    assert not any(answers[1::2])


def median_seconds(served: Served) -> float:
    """Return how long an answer takes."""
    took = []
    with served.client() as client:
        for _ in range(50):
            began = time.monotonic()
            assert post(client, "/predict", ["good"]).status_code == 200
            took.append(time.monotonic() - began)
    return statistics.median(took)


def test_slow_clients_do_not_slow_others(guarded: Served) -> None:
    """While fifty drip their heads and bodies, requests wait for none of them."""
    undisturbed = median_seconds(guarded)
    stop = threading.Event()

    def trouble(send: Callable[[socket.socket], bytes]) -> None:
        while not stop.is_set():
            with contextlib.suppress(OSError), connect(guarded) as connection:
                send(connection)

    senders = [slow_head, slow_body, half_a_head, half_a_body, slow_chunks] * 10
    threads = [threading.Thread(target=trouble, args=(send,)) for send in senders]
    for thread in threads:
        thread.start()
    try:
        disturbed = median_seconds(guarded)
    finally:
        stop.set()
        for thread in threads:
            thread.join()

    assert disturbed < 10 * undisturbed + READ_SECONDS / 4


@pytest.mark.parametrize(
    "fields",
    [b"A: " + b"x" * 1_000_000 + b"\r\n", b"A: x\r\n" * 5_000],
    ids=["a megabyte", "thousands of fields"],
)
def test_large_head_gets_431(guarded: Served, fields: bytes) -> None:
    """It is not kept, and the connection is closed."""
    received = b""
    with connect(guarded) as connection, contextlib.suppress(ConnectionError):
        with contextlib.suppress(ConnectionError):  # it is closed in the middle of the head
            connection.sendall(HEAD + fields + b"\r\n")
        while part := connection.recv(65_536):
            received += part

    assert problem(received)["status"] == 431


def test_large_head_is_refused_in_its_protocols_form(guarded: Served) -> None:
    """Once its path is known."""
    head = b"POST /v2/models/x/infer HTTP/1.1\r\nHost: x\r\n" + b"A: x\r\n" * 200 + b"\r\n"
    with connect(guarded) as connection:
        connection.sendall(head)
        received = read_to_end(connection)

    assert received.startswith(b"HTTP/1.1 431 ")
    assert set(json.loads(received.partition(b"\r\n\r\n")[2])) == {"error"}


_LIST_ROUTES = """
import json, service
from _bentoml_impl.server.app import ServiceAppFactory
service.TextClassifier.inject_config()
routes = ServiceAppFactory(service.TextClassifier, is_main=True).routes
print(json.dumps([[r.path, sorted(getattr(r, "methods", None) or [])] for r in routes]))
"""


class Canary:
    """Makes a file wherever it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        """Say how it is made again."""
        return Path.touch, (self.path,)


def test_no_route_takes_a_pickle_or_a_form(guarded: Served, tmp_path: Path) -> None:
    """Every route that BentoML has, by each method that has a body: none reads one."""
    listed = subprocess.run(
        [sys.executable, "-c", _LIST_ROUTES], cwd=PROJECT, capture_output=True, check=True
    )
    routes = dict(json.loads(listed.stdout.splitlines()[-1]))
    predicting = {path for path, methods in routes.items() if "POST" in methods}
    canary = tmp_path / "unpickled"
    body = pickle.dumps(Canary(canary))
    form = b'--x\r\nContent-Disposition: form-data; name="texts"\r\n\r\n["good"]\r\n--x--\r\n'
    types = {"application/vnd.bentoml+pickle": body, "multipart/form-data; boundary=x": form}

    with guarded.client() as client:
        for path in routes:
            for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
                for media_type, content in types.items():
                    headers = {"Content-Type": media_type, "Payload-Container": "ndarray"}
                    answer = client.request(method, path, content=content, headers=headers)
                    if method == "POST" and path in predicting:
                        assert_problem(answer, 415)
                    elif method in {"GET", "HEAD"}:
                        assert answer.status_code in {200, 404, 405}
                    else:
                        assert_problem(answer, answer.status_code)
                        assert answer.status_code in {404, 405}

    assert predicting == {"/predict", "/classify"}
    assert not canary.exists()
    assert pickle.loads(body) is None  # noqa: S301 - it would have been there
    assert canary.exists()


def test_what_is_refused_is_counted_and_logged(guarded: Served) -> None:
    """As any request is."""
    with connect(guarded) as connection:
        connection.sendall(b"HELLO\r\n\r\n")
        found = problem(read_to_end(connection))
    guarded.wait_for_log(found["request_id"])

    with guarded.client() as client:
        guarded.wait_for(
            lambda: re.search(
                r'textclf_requests_total\{method="other",route="other",status="400"\} [1-9]',
                client.get("/metrics").text,
            ),
            "the refusal is not counted",
        )
