"""What the service refuses to protect itself: 413, 429, 504."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.http.serving import Served, serve
from tests.http.test_contract import JSON, assert_problem, post

MIB = 1 << 20
SLOW = {"texts": [f"{i} " + "a long text to read " * 100 for i in range(64)]}


def test_body_of_the_limit_is_read(client: httpx.Client) -> None:
    """The limit itself is allowed: such a body is judged by its shape."""
    assert_problem(client.post("/predict", content=b" " * MIB, headers=JSON), 400)


@pytest.mark.parametrize("chunked", [False, True], ids=["declared", "chunked"])
def test_body_over_the_limit_gets_413(client: httpx.Client, chunked: bool) -> None:
    """One byte more is refused, whether its length was declared or not."""
    body = b" " * (MIB + 1)
    content = iter([body[:MIB], body[MIB:]]) if chunked else body

    response = client.post("/predict", content=content, headers=JSON)

    assert_problem(response, 413)
    assert response.headers["connection"] == "close"


def test_body_over_the_limit_is_not_read_to_its_end(client: httpx.Client) -> None:
    """A client that never stops sending has its answer after little more than the limit."""
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 1000 * MIB:
            sent += 65_536
            yield b" " * 65_536

    response = client.post("/predict", content=endless(), headers=JSON)

    assert_problem(response, 413)
    assert sent < 100 * MIB


def test_service_answers_after_refusing_a_body(client: httpx.Client) -> None:
    """What was not read is never taken for the next request."""
    smuggled = (
        b" " * MIB + b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\n" + b'["good"]'
    )
    assert_problem(client.post("/predict", content=smuggled, headers=JSON), 413)

    assert post(client, "/predict", ["good"]).status_code == 200


def test_full_queue_gets_429(tmp_path: Path) -> None:
    """While 64 texts fill the queue another is told when to come back; the 64 are answered."""
    with serve(tmp_path, MAX_QUEUE_TEXTS="64", INFERENCE_THREADS="1") as served:
        responses = _race(served, requests=8)

    refused = [response for response in responses if response.status_code == 429]
    assert {response.status_code for response in responses} == {200, 429}
    assert_problem(refused[0], 429)
    assert int(refused[0].headers["retry-after"]) >= 1


def _race(served: Served, *, requests: int) -> list[httpx.Response]:
    with served.client() as client, ThreadPoolExecutor(requests) as pool:
        return list(pool.map(lambda _: post(client, "/classify", SLOW), range(requests)))


def test_an_answer_that_takes_too_long_gets_504(tmp_path: Path) -> None:
    """The deadline holds, and the next request is served as if nothing had been."""
    with (
        serve(tmp_path, REQUEST_TIMEOUT_SECONDS="0.02", INFERENCE_THREADS="1") as served,
        served.client() as client,
    ):
        assert_problem(post(client, "/classify", SLOW), 504)
        served.wait_for(
            lambda: post(client, "/predict", ["good"]).status_code == 200,
            "the service did not recover",
        )
