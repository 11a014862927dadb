"""``make rollout-demo``: a good candidate is promoted, a bad one sent back, in a terminal.

Real services, a real nginx before them and clients that ask all the while; nothing but this machine
is reached, and nothing is left.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

from tests.http.serving import PROJECT
from tests.rollout.rehearsal import MODEL, TEXTS
from tests.rollout.stage import Stage, set_stage, wait_until
from textclf.errors import RolledBackError
from textclf.rollout.traffic import Weights

_RATE = 40.0
_STEP = Weights(candidate_percent=20, baseline_percent=20)
_PLAN = """\
strategy: canary
baseline: true
shadow: {noise_pairs: 100, minimum_pairs: 80, limit_seconds: 60}
steps:
  - {weight_percent: 20, pause_seconds: 2, minimum_requests: 40}
  - {weight_percent: 50, pause_seconds: 2, minimum_requests: 80}
budgets: {latency_ratio: 3.0}  # a machine of a few CPUs runs three versions and their clients
look_seconds: 2
hold_limit_seconds: 30
"""


def main() -> int:
    """Show both, and return 0 if each ended as it should."""
    logging.disable(logging.INFO)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _say("starting three versions, nginx and Prometheus")
        with set_stage(folder) as stage:
            (folder / "rollout.yaml").write_text(_PLAN, "utf-8")
            _say("a good candidate: rollout.yaml says")
            print(textwrap.indent(_PLAN, "    "), flush=True)  # noqa: T201
            promoted = _roll_out(stage, "good")
            stage.reset()
            _say("a bad candidate: once it has traffic, every request to it fails")
            sent_back = _roll_out(stage, "bad", fault="errors")
    return int(promoted != 0 or sent_back != RolledBackError.exit_code)


def _roll_out(stage: Stage, name: str, *, fault: str = "") -> int:
    line = [sys.executable, "-m", "scripts.rollout", "canary", "--yes", "--traffic=nginx"]
    line += [f"--{version}={url}" for version, url in stage.urls.items()]
    line += [
        f"--plan={stage.folder / 'rollout.yaml'}",
        f"--state={stage.folder / name}",
        f"--model={MODEL}",
        f"--recorder={stage.recorder}",
        f"--nginx-folder={stage.folder / 'nginx'}",
    ]
    before = stage.sent()
    with stage.load(_RATE, texts=TEXTS) as load:
        process = subprocess.Popen(line, cwd=PROJECT)
        if fault:
            wait_until(lambda: stage.nginx.read() == _STEP or process.poll(), "no step was taken")
            stage.plant(fault)
        ended = process.wait()
    sent = (stage.sent() - before)["candidate"]
    _say(
        f"exit code {ended}; of {len(load.replies)} requests {sent} went to the candidate and "
        f"{load.failures.total()} failed; nginx is at {stage.nginx.read()}"
    )
    return ended


def _say(words: str) -> None:
    print(f"\n==> {words}", flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
