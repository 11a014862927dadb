"""Keys, their rates and the metrics' own port, with two workers behind one address."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.http.serving import Served, free_port, serve
from tests.http.test_contract import JSON, assert_problem
from tests.soak import processes
from tests.unit.test_keys import sha256

LINES = {"web": "open sesame", "busy": "so many", "slow": "so few"}
LIMITS = {"busy": ":rate=0.001,burst=6", "slow": ":rate=0.001,burst=10"}
HOST = "127.0.0.2"  # not what a port of its own would take where it did not know the service's
LISTENING = "0A"  # in /proc/net/tcp
TWO_WORKERS = {"BENTOML_CONFIG_OPTIONS": "services.textclf.workers=2"}
SECONDS_UNTIL_IN_FORCE = 10


@dataclass(frozen=True)
class Guarded:
    """A service with keys, and what it was given."""

    served: Served
    secret: Path
    metrics_url: str

    def replace_keys(self, **keys: str) -> None:
        """Put other keys there as Kubernetes does: a new folder, then one link that is turned."""
        self.put("".join(f"{name}:{sha256(key)}\n" for name, key in keys.items()))

    def put(self, content: str) -> None:
        """Let the file hold something else, from one moment to the next."""
        folder = self.secret / f"..{time.time_ns()}"
        folder.mkdir()
        (folder / "keys").write_text(content)
        (self.secret / "..tmp").symlink_to(folder.name)
        (self.secret / "..tmp").rename(self.secret / "..data")

    def metrics(self) -> str:
        """Return what the metrics' port has."""
        return httpx.get(self.metrics_url, timeout=30).text

    def refused(self, reason: str) -> float:
        """Return how many requests were refused for a reason so far."""
        name = f'textclf_refused_requests_total{{reason="{reason}"}}'
        (found,) = re.findall(rf"^{re.escape(name)} (\S+)$", self.metrics(), re.MULTILINE)
        return float(found)

    def workers(self) -> set[int]:
        """Return the processes that answer."""
        return set(processes.workers(self.served.process.pid))

    def holder(self) -> int:
        """Return the process that listens on the metrics' port."""
        port = httpx.URL(self.metrics_url).port
        sockets = {
            f"socket:[{fields[9]}]"
            for fields in map(str.split, Path("/proc/self/net/tcp").read_text().splitlines())
            if fields[1].endswith(f":{port:04X}") and fields[3] == LISTENING
        }
        (found,) = (
            worker
            for worker in self.workers()
            if sockets & {str(file.readlink()) for file in Path(f"/proc/{worker}/fd").iterdir()}
        )
        return found

    @contextlib.contextmanager
    def client_of_each(self) -> Iterator[list[httpx.Client]]:
        """Return a client for each worker: the others stand still while its connection is made."""
        workers = self.workers()
        with contextlib.ExitStack() as stack:
            yield [stack.enter_context(self._client_of(one, workers - {one})) for one in workers]

    @contextlib.contextmanager
    def _client_of(self, worker: int, others: set[int]) -> Iterator[httpx.Client]:
        assert worker not in others
        with self.served.client() as client:
            for other in others:
                os.kill(other, signal.SIGSTOP)
            try:
                client.get("/livez").raise_for_status()
            finally:
                for other in others:
                    os.kill(other, signal.SIGCONT)
            yield client


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """Serve with two workers, keys and a port for metrics."""
    folder = tmp_path_factory.mktemp("guarded")
    secret, port = folder / "secret", free_port()
    secret.mkdir()
    lines = [f"{name}:{sha256(key)}{LIMITS.get(name, '')}" for name, key in LINES.items()]
    (secret / "..first").mkdir()
    (secret / "..first" / "keys").write_text("\n".join(lines))
    (secret / "..data").symlink_to("..first")
    (secret / "keys").symlink_to("..data/keys")
    keys = str(secret / "keys")
    with serve(
        folder, host=HOST, environ=TWO_WORKERS, API_KEYS_FILE=keys, METRICS_PORT=str(port)
    ) as served:
        guarded = Guarded(served, secret, f"http://{HOST}:{port}/metrics")
        wait_until_all_are_ready(guarded)
        yield guarded


def wait_until_all_are_ready(guarded: Guarded) -> None:
    """Wait until both workers give predictions."""

    def look() -> bool:
        if len(guarded.workers()) != 2:
            return False
        with contextlib.suppress(httpx.TransportError), guarded.client_of_each() as clients:
            return {client.get("/readyz").status_code for client in clients} == {200}
        return False

    guarded.served.wait_for(look, "two workers were never ready")


def ask(client: httpx.Client, key: str, texts: int = 1) -> httpx.Response:
    """Ask for the labels of a few texts."""
    headers = JSON | {"Authorization": f"Bearer {key}"}
    return client.post("/classify", json={"texts": ["good"] * texts}, headers=headers)


@pytest.mark.parametrize("path", ["/predict", "/classify", "/v2/models/sentiment/infer"])
@pytest.mark.parametrize(
    "key", [None, "", "Basic open sesame", "Bearer web", f"Bearer {sha256('open sesame')}"]
)
def test_predicting_asks_for_a_key(guarded: Guarded, path: str, key: str | None) -> None:
    """Whatever else is sent in its place gets the same 401, whether or not a name is right."""
    with guarded.served.client() as client:
        response = client.post(path, headers={} if key is None else {"Authorization": key})

    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert "this route asks for a key" in response.text


def test_no_body_is_read_for_whoever_has_no_key(guarded: Guarded) -> None:
    """A body without end is cut off after a little; the refusals are counted as such."""
    sent = 0
    before = guarded.refused("unauthorized")

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 1 << 30:
            sent += 65_536
            yield b" " * 65_536

    with guarded.served.client() as client:
        assert_problem(client.post("/predict", content=endless(), headers=JSON), 401)

    assert sent < 1 << 26
    assert guarded.refused("unauthorized") == before + 1


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz", "/docs.json", "/", "/v2"])
def test_what_holds_no_secret_stays_open(guarded: Guarded, path: str) -> None:
    """Probes have no key; the document and the page are the same for every service."""
    with guarded.served.client() as client:
        assert client.get(path).status_code == 200


def test_metrics_are_on_their_own_port_alone(guarded: Guarded) -> None:
    """The service's port, which clients reach, has none; the other has nothing else."""
    with guarded.served.client() as client:
        assert_problem(client.get("/metrics"), 404)
    address = guarded.metrics_url.removesuffix("/metrics")

    assert httpx.get(f"{address}/predict").status_code == 404
    assert httpx.post(guarded.metrics_url).status_code == 501
    assert httpx.head(guarded.metrics_url).content == b""
    assert "textclf_requests_total" in guarded.metrics()


def test_the_name_of_a_key_is_told_and_the_key_is_not(guarded: Guarded) -> None:
    """The log and the metrics say who asked; a 401 has no name."""
    with guarded.served.client() as client:
        known, unknown = ask(client, LINES["web"]), ask(client, "something else")
    log = guarded.served.wait_for_log(unknown.headers["x-request-id"])
    lines = {
        entry["request_id"]: entry
        for entry in map(json.loads, log.splitlines())
        if "request_id" in entry
    }

    assert lines[known.headers["x-request-id"]]["key"] == "web"
    assert "key" not in lines[unknown.headers["x-request-id"]]
    assert 'textclf_key_requests_total{key="web",status="200"}' in guarded.metrics()
    assert "something else" not in guarded.metrics() + log
    assert not [key for key in LINES.values() if key in guarded.metrics() + log]


def test_a_rate_holds_for_all_workers_together(guarded: Guarded) -> None:
    """Two workers let in as many requests as one would."""
    before = guarded.refused("rate_limited")
    with guarded.client_of_each() as clients:
        statuses = [ask(client, LINES["busy"]).status_code for client in clients * 6]
        other = ask(clients[0], LINES["web"]).status_code

    assert statuses == [200] * 6 + [429] * 6
    assert other == 200
    assert 'textclf_key_requests_total{key="busy",status="429"} 6.0' in guarded.metrics()
    assert guarded.refused("rate_limited") == before + 6


def test_a_rate_counts_texts(guarded: Guarded) -> None:
    """What a request of many takes beyond the burst is waited for, and the client is told."""
    with guarded.client_of_each() as (first, second):
        assert ask(first, LINES["slow"], texts=64).status_code == 200
        refused = ask(second, LINES["slow"])

    assert_problem(refused, 429)
    assert 54_000 <= int(refused.headers["retry-after"]) <= 55_000
    assert refused.headers["ratelimit-policy"] == '"texts";q=10;w=10000'


def test_changed_keys_are_in_force_in_every_worker(guarded: Guarded) -> None:
    """Within seconds, without a restart; a broken file changes nothing, and is told."""
    workers = guarded.workers()
    with guarded.client_of_each() as clients:

        def statuses(key: str) -> list[int]:
            return [ask(client, key).status_code for client in clients]

        def wait_for(key: str, status: int) -> None:
            began = time.monotonic()
            guarded.served.wait_for(
                lambda: statuses(key) == [status] * 2, f"{key} never got {status} everywhere"
            )
            assert time.monotonic() - began < SECONDS_UNTIL_IN_FORCE

        assert statuses(LINES["web"]) == [200, 200]
        guarded.replace_keys(partner="a new key")
        wait_for("a new key", 200)
        wait_for(LINES["web"], 401)

        guarded.put("partner:a key in the clear\n")
        guarded.served.wait_for(
            lambda: "textclf_keys_file_broken 1.0" in guarded.metrics(), "it was not told"
        )
        assert statuses("a new key") == [200, 200]
        assert "the keys of before stay in force" in guarded.served.log.read_text()
        guarded.replace_keys(partner="a newer key")
        wait_for("a newer key", 200)
        wait_for("a new key", 401)
        assert "textclf_keys_file_broken 0.0" in guarded.metrics()
    assert guarded.workers() == workers
    assert "in the clear" not in guarded.served.log.read_text()


def test_the_port_of_metrics_survives_the_worker_that_had_it(guarded: Guarded) -> None:
    """Another takes it over, and has the counts of the dead one too."""
    with guarded.client_of_each() as clients:
        assert [ask(client, "no key").status_code for client in clients] == [401, 401]
    before = guarded.refused("unauthorized")
    os.kill(guarded.holder(), signal.SIGKILL)
    killed = time.monotonic()

    def answered() -> float | None:
        with contextlib.suppress(httpx.TransportError):
            return guarded.refused("unauthorized")
        return None

    after = guarded.served.wait_for(answered, "nobody took the port over")
    assert time.monotonic() - killed < SECONDS_UNTIL_IN_FORCE
    assert after == before
