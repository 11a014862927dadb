"""What waits: for how long, until when, and for whom."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import httpx
import pytest

from tests.http.serving import Served, serve
from tests.http.test_contract import JSON, assert_problem, post
from tests.http.test_hostile_clients import HEAD, connect
from tests.http.test_lifecycle import wait_for_progress
from tests.http.test_limits import SLOW

SLOW_TOKENS = 64 * 128  # each text is cut to the most that the model reads
LEFT = {"texts": [f"{i} whoever asked has left before it was run" for i in range(64)]}


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Serve on one thread, with a queue of three large requests."""
    folder = tmp_path_factory.mktemp("narrow")
    with serve(
        folder,
        MAX_QUEUE_TEXTS="192",
        MAX_QUEUE_SECONDS="60",
        REQUEST_TIMEOUT_SECONDS="60",
        INFERENCE_THREADS="1",
    ) as served:
        yield served


def tokens(client: httpx.Client, name: str) -> int:
    """Return what a metric without labels has."""
    metrics = client.get("/metrics").text
    (found,) = re.findall(rf"^textclf_{name}(?:\{{.*\}})? (\S+)$", metrics, re.MULTILINE)
    return int(float(found))


def ask_slowly(
    served: Served, client: httpx.Client, pool: ThreadPoolExecutor, *, requests: int = 2
) -> list[Future[httpx.Response]]:
    """Send large requests, and return them as soon as all wait or run, tokenised."""
    asked = [pool.submit(post, client, "/classify", SLOW) for _ in range(requests)]
    served.wait_for(
        lambda: tokens(client, "queue_tokens") == requests * SLOW_TOKENS,
        f"{requests} requests were never seen in the queue",
    )
    return asked


def are_done(asked: list[Future[httpx.Response]]) -> bool:
    """Say whether all requests are answered."""
    return all(request.done() for request in asked)


def test_who_comes_again_when_told_is_admitted(narrow: Served) -> None:
    """The time in Retry-After is that of the queue, and no more than three times as long."""
    with narrow.client() as client, ThreadPoolExecutor(3) as pool:
        began = time.monotonic()
        before = ask_slowly(narrow, client, pool, requests=3)
        refused = post(client, "/predict", ["good"])
        told = time.monotonic()
        assert_problem(refused, 429)
        assert [request.result().status_code for request in before] == [200, 200, 200]
        took = time.monotonic() - began
        seconds = int(refused.headers["retry-after"])
        time.sleep(max(0.0, told + seconds - time.monotonic()))

        assert post(client, "/predict", ["good"]).status_code == 200
        assert seconds < 3 * took + 1


def test_work_of_a_client_that_left_is_not_done(narrow: Served) -> None:
    """What still waits when its connection is closed is never run: no token of it is counted."""
    body = json.dumps(LEFT).encode()
    with narrow.client() as client, ThreadPoolExecutor(2) as pool:
        start = tokens(client, "tokens_total")
        assert post(client, "/predict", ["good"]).status_code == 200
        narrow.wait_for(lambda: tokens(client, "tokens_total") > start, "no token was counted")
        cost = 2 * SLOW_TOKENS + 2 * (tokens(client, "tokens_total") - start)
        before = ask_slowly(narrow, client, pool)
        with connect(narrow) as leaving:
            head = HEAD.replace(b"/predict", b"/classify")
            leaving.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            wait_for_progress(narrow, client, requests=3)
        assert not are_done(before)
        narrow.wait_for_log('"status": 499')
        assert [request.result().status_code for request in before] == [200, 200]
        assert post(client, "/predict", ["good"]).status_code == 200  # comes after all that waited

        narrow.wait_for(
            lambda: tokens(client, "tokens_total") - start >= cost, "too few tokens are run"
        )
        assert tokens(client, "tokens_total") - start == cost


@pytest.mark.parametrize("given", ["0", "1000000000", "soon", "1.5", ""])
def test_wrong_timeout_gets_400(narrow: Served, given: str) -> None:
    """The problem names the field."""
    headers = JSON | {"X-Request-Timeout-Ms": given}
    with narrow.client() as client:
        response = client.post("/predict", content=b'["good"]', headers=headers)

    assert "X-Request-Timeout-Ms" in assert_problem(response, 400)["detail"]


def test_client_may_want_its_answer_sooner(narrow: Served) -> None:
    """It has its 504 after that time; behind a queue that is longer, its 429 at once."""
    hurried = {"X-Request-Timeout-Ms": "50"}
    with narrow.client() as client, ThreadPoolExecutor(2) as pool:
        late = client.post("/classify", json=SLOW, headers=hurried)
        timely = client.post("/predict", json=["good"], headers={"X-Request-Timeout-Ms": "60000"})
        before = ask_slowly(narrow, client, pool)
        behind = client.post("/predict", json=["good"], headers=hurried)
        assert not are_done(before)
        assert [request.result().status_code for request in before] == [200, 200]

    assert_problem(late, 504)
    assert timely.status_code == 200
    assert_problem(behind, 429)
    assert int(behind.headers["retry-after"]) >= 1
