"""What waits: for how long, until when, and for whom."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.http.serving import Served, serve
from tests.http.test_contract import JSON, assert_problem, post
from tests.http.test_lifecycle import wait_for_progress
from tests.http.test_limits import SLOW

LEFT = {"texts": [f"{i} whoever asked has left before it was run" for i in range(64)]}


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Serve on one thread, with a queue of two large requests."""
    folder = tmp_path_factory.mktemp("narrow")
    with serve(
        folder,
        MAX_QUEUE_TEXTS="128",
        MAX_QUEUE_SECONDS="60",
        REQUEST_TIMEOUT_SECONDS="60",
        INFERENCE_THREADS="1",
    ) as served:
        yield served


def tokens_run(client: httpx.Client) -> int:
    """Return how many tokens were run so far."""
    metrics = client.get("/metrics").text
    (found,) = re.findall(r"^textclf_tokens_total(?:\{.*\})? (\S+)$", metrics, re.MULTILINE)
    return int(float(found))


def wait_for_tokens(served: Served, client: httpx.Client) -> None:
    """Wait until texts wait or run that are tokenised."""
    served.wait_for(
        lambda: re.search(
            r"^textclf_queue_tokens(\{.*\})? [1-9]", client.get("/metrics").text, re.MULTILINE
        ),
        "no tokens were ever seen in the queue",
    )


def test_who_comes_again_when_told_is_admitted(narrow: Served) -> None:
    """The time in Retry-After is that of the queue, and no more than a few times as long."""
    with narrow.client() as client, ThreadPoolExecutor(2) as pool:
        began = time.monotonic()
        before = [pool.submit(post, client, "/classify", SLOW) for _ in range(2)]
        wait_for_progress(narrow, client, requests=2)
        refused = post(client, "/predict", ["good"])
        told = time.monotonic()
        assert_problem(refused, 429)
        assert [request.result().status_code for request in before] == [200, 200]
        took = time.monotonic() - began
        seconds = int(refused.headers["retry-after"])
        time.sleep(max(0.0, told + seconds - time.monotonic()))

        assert post(client, "/predict", ["good"]).status_code == 200
        assert seconds < 3 * took + 1


def test_work_of_a_client_that_left_is_not_done(narrow: Served) -> None:
    """What still waits when its connection is closed is never run: no token of it is counted."""
    with narrow.client() as client, ThreadPoolExecutor(1) as pool:
        start = tokens_run(client)
        assert post(client, "/classify", SLOW).status_code == 200
        assert post(client, "/predict", ["good"]).status_code == 200
        narrow.wait_for(lambda: tokens_run(client) > start, "no token was counted")
        cost = tokens_run(client) - start
        before = pool.submit(post, client, "/classify", SLOW)
        wait_for_tokens(narrow, client)
        with narrow.client() as leaving, pytest.raises(httpx.ReadTimeout):
            leaving.post("/classify", json=LEFT, timeout=0.2)
        assert not before.done()
        narrow.wait_for_log('"status": 499')
        assert before.result().status_code == 200
        assert post(client, "/predict", ["good"]).status_code == 200  # comes after all that waited

        narrow.wait_for(lambda: tokens_run(client) - start >= 2 * cost, "too few tokens are run")
        assert tokens_run(client) - start == 2 * cost


@pytest.mark.parametrize("given", ["0", "60001", "soon", "1.5", ""])
def test_wrong_timeout_gets_400(narrow: Served, given: str) -> None:
    """The problem names the field."""
    headers = JSON | {"X-Request-Timeout-Ms": given}
    with narrow.client() as client:
        response = client.post("/predict", content=b'["good"]', headers=headers)

    assert "X-Request-Timeout-Ms" in assert_problem(response, 400)["detail"]


def test_client_may_want_its_answer_sooner(narrow: Served) -> None:
    """It has its 504 after that time; behind a queue that is longer, its 429 at once."""
    hurried = {"X-Request-Timeout-Ms": "50"}
    with narrow.client() as client, ThreadPoolExecutor(1) as pool:
        late = client.post("/classify", json=SLOW, headers=hurried)
        timely = client.post("/predict", json=["good"], headers={"X-Request-Timeout-Ms": "60000"})
        before = pool.submit(post, client, "/classify", SLOW)
        wait_for_tokens(narrow, client)
        behind = client.post("/predict", json=["good"], headers=hurried)
        assert not before.done()
        assert before.result().status_code == 200

    assert_problem(late, 504)
    assert timely.status_code == 200
    assert_problem(behind, 429)
    assert int(behind.headers["retry-after"]) >= 1
