"""scripts/assess_pairs.py takes what is mirrored to it, and its exit code is the verdict."""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import pytest
import yaml

from tests.http.serving import PROJECT, free_port

PLAN = {
    "strategy": "shadow",
    "shadow": {
        "mirror_percent": 100,
        "minimum_pairs": 20,
        "noise_pairs": 100,
        "limit_seconds": 30.0,
    },
    "budgets": {"latency_ratio": 100.0},  # stubs have no latency worth comparing
    "look_seconds": 0.2,
    "hold_limit_seconds": 30.0,
}


@contextmanager
def serve(answer: object) -> Iterator[str]:
    """Serve a version that always answers the same."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._reply(b"")

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self._reply(json.dumps(answer).encode())

        def _reply(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        ({"positive": True}, 0, '"phase": "Successful"'),
        ({"positive": "true"}, 77, "positive is a string, was a boolean"),
    ],
    ids=["the same", "another type"],
)
def test_the_exit_code_is_the_verdict(answer: object, code: int, said: str, tmp_path: Path) -> None:
    """A gateway mirrors from another machine: the recorder listens beyond loopback."""
    plan = tmp_path / "rollout.yaml"
    plan.write_text(yaml.safe_dump(PLAN))
    port = free_port()
    with ExitStack() as stack:
        stable = stack.enter_context(serve({"positive": True}))
        candidate = stack.enter_context(serve(answer))
        process = stack.enter_context(
            subprocess.Popen(
                [
                    sys.executable,
                    "scripts/assess_pairs.py",
                    f"--stable={stable}",
                    f"--candidate={candidate}",
                    f"--recorder=http://0.0.0.0:{port}",
                    f"--plan={plan}",
                ],
                cwd=PROJECT,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        stack.callback(process.kill)
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            with suppress(httpx.HTTPError):
                httpx.post(f"http://127.0.0.1:{port}/predict", json=["a text"], trust_env=False)
            time.sleep(0.02)
        out, err = process.communicate(timeout=10)

    assert (process.returncode, said in out + err) == (code, True), out + err
