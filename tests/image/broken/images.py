"""Images that are broken on purpose, each in one way, and what has to be said of each."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from tests.http.serving import PROJECT
from textclf.artifact import read_artifact

SOURCE = "/home/bentoml/bento/src/textclf"
MODEL = "/home/bentoml/bento/models/sentiment/*"
SITE_PACKAGES = "/app/.venv/lib/python3.11/site-packages"
ENTRYPOINT = "/home/bentoml/bento/env/docker/entrypoint.sh"
OWN_CONTAINERS = {"limits-401-429-504", "memory", "no-network", "sigterm-under-load"}
_FIRST = read_artifact(PROJECT / "models" / "reference").golden[0]
_PATCH = """
import pathlib, sys
path, old, new = pathlib.Path(sys.argv[1]), *sys.argv[2:]
code = path.read_text()
assert old in code, f"{path} has no {old}"
path.write_text(code.replace(old, new))
for compiled in path.parent.glob(f"__pycache__/{path.stem}.*.pyc"):
    compiled.unlink()
"""


@dataclass(frozen=True, kw_only=True)
class BrokenImage:
    """The good image with one thing changed.

    Attributes:
        dockerfile: What follows FROM; it runs as root, and the user is set back afterwards.
        check: Name of the check that is meant for this flaw.
        found: Part of what it has to say.
        also: Every other check that has to fail.
        exit_code: Of the run.
        files: What the Dockerfile may copy, by name.
        options: Of the run.
        made: Which checks are made: all of them, all but those that start containers of their own,
            or, to spare time, only those that have to fail.
    """

    dockerfile: str
    check: str
    found: str
    exit_code: int
    also: frozenset[str] = frozenset()
    files: Mapping[str, bytes] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    made: Literal["all", "most", "failing"] = "most"

    def options_for(self, checks: Sequence[str]) -> list[str]:
        """Return the options that choose which of all the checks are made."""
        if self.made == "all":
            return list(self.options)
        failing = {self.check, *self.also}
        made = failing if self.made == "failing" else set(checks) - OWN_CONTAINERS
        return [*self.options, *(f"--only={check}" for check in sorted(made))]


def run(*command: str) -> str:
    """Return the instruction that runs a program without a shell."""
    return f"RUN {json.dumps(command)}"


def patch(module: str, old: str, new: str) -> str:
    """Return the instruction that changes a module of the Bento; the build fails if it cannot."""
    return run("python", "-c", _PATCH, f"{SOURCE}/{module}.py", old, new)


def shell(script: str) -> str:
    """Return the instruction that runs a script."""
    return run("sh", "-euc", script)


def private_key() -> bytes:
    """Return what looks like a private key: a new one, so that none is kept with the project."""
    body = base64.encodebytes(os.urandom(600))
    return b"-----BEGIN " + b"PRIVATE KEY-----\n" + body + b"-----END " + b"PRIVATE KEY-----\n"


def reply(expression: str) -> str:
    """Return the instruction that changes the body of every answer of 200."""
    old = "        await self._transmit(200, answer.media_type, answer.body, answer.headers)"
    new = f"        body = answer.body\n        answer = answer._replace(body={expression})\n{old}"
    return patch("http/exchange", old, new)


BROKEN: Mapping[str, BrokenImage] = {
    'string "false"': BrokenImage(
        dockerfile=reply("""body.replace(b'"positive":false', b'"positive":"false"')"""),
        check="json-types",
        found='POST /predict: positive is "false", a string rather than a boolean',
        also=frozenset({"predict-agrees"}),
        exit_code=61,
    ),
    "NaN score": BrokenImage(
        dockerfile=reply("""__import__("re").sub(rb'"score":[^,]+', b'"score":NaN', body)"""),
        check="json-answers",
        found="POST /classify: the body is not JSON: it holds NaN, which JSON has not",
        also=frozenset(
            {"json-types", "golden", "ranges", "batch", "predict-agrees", "concurrent-clients"}
        ),
        exit_code=61,
    ),
    "500 on bad JSON": BrokenImage(
        dockerfile=patch("http/problems", "raise MalformedRequestError(detail)", "raise OSError"),
        check="malformed-400",
        found="POST /predict, no JSON: status 500, not 400",
        also=frozenset({"other-type-415"}),
        exit_code=61,
    ),
    "missing health endpoint": BrokenImage(
        dockerfile=patch("http/front", '"/healthz", ', ""),
        check="probes",
        found="GET /healthz: status 404, not 200",
        exit_code=61,
    ),
    "missing page": BrokenImage(
        dockerfile=patch("http/front", "if settings.ui else ()", "if False else ()"),
        check="probes",
        found="GET /ui: status 404, not 200",
        exit_code=61,
        made="failing",
    ),
    "missing protocol": BrokenImage(
        dockerfile=patch("http/front", "*inference_protocol.routes(lifecycle),", ""),
        check="probes",
        found="GET /v2/health/ready: status 404, not 200",
        exit_code=61,
        made="failing",
    ),
    "wrong port": BrokenImage(
        dockerfile="ENV PORT=3001",
        check="port",
        found="nothing answers HTTP on port 3000: after ",
        also=frozenset({"ready-in-time"}),
        exit_code=61,
        options=("--start-limit-seconds=8",),
    ),
    "flipped labels": BrokenImage(
        dockerfile=patch(
            "http/endpoints",
            "    counts.answer(predictions, stages)",
            '    other = {"negative": "positive", "positive": "negative"}\n'
            '    labels = [{"label": other[p.label]} for p in predictions]\n'
            "    predictions = [p.model_copy(update=u) for p, u in zip(predictions, labels)]\n"
            "    counts.answer(predictions, stages)",
        ),
        check="golden",
        found=f"recorded negative {_FIRST.score:.4f}, got positive 0.",
        also=frozenset({"concurrent-clients"}),
        exit_code=62,
    ),
    "batches out of order": BrokenImage(
        dockerfile=patch(
            "http/endpoints", "    return predictions\n", "    return predictions[::-1]\n"
        ),
        check="batch",
        found="alone ",
        also=frozenset({"golden"}),
        exit_code=62,
        made="failing",
    ),
    "root user": BrokenImage(
        dockerfile="USER root",
        check="user",
        found="the image's user is 'root', not a number other than 0",
        also=frozenset({"nothing-writable"}),
        exit_code=63,
        made="all",
    ),
    "secret in a layer": BrokenImage(
        dockerfile="COPY key.pem /home/bentoml/key.pem\nRUN rm /home/bentoml/key.pem",
        files={"key.pem": private_key()},
        check="no-credentials-in-layers",
        found="/home/bentoml/key.pem holds a private key",
        exit_code=63,
    ),
    "secret in a variable": BrokenImage(
        dockerfile="ENV AZURE_CLIENT_SECRET=correct-horse-battery",
        check="no-credentials-in-configuration",
        found="variable AZURE_CLIENT_SECRET holds a value for AZURE_CLIENT_SECRET",
        exit_code=63,
        made="failing",
    ),
    "corrupted model": BrokenImage(
        dockerfile=shell(f"for graph in {MODEL}/model.onnx; do echo >> $graph; done"),
        check="model-files",
        found="that was recorded for it",
        also=frozenset({"model-labels", "ready-in-time"}),
        exit_code=63,
        options=("--size-budget-mb=300",),  # the layer holds the graph once more
    ),
    "unpinned extra file": BrokenImage(
        dockerfile=f"COPY extra.py {SITE_PACKAGES}/extra.py",
        files={"extra.py": b"ANSWER = 42\n"},
        check="known-files",
        found=f"unpinned extra files: {SITE_PACKAGES}/extra.py",
        exit_code=63,
    ),
    "changed package": BrokenImage(
        dockerfile=shell(f"echo >> {SITE_PACKAGES}/idna/core.py"),
        check="whole-distributions",
        found=f"changed after they were installed: {SITE_PACKAGES}/idna/core.py",
        exit_code=63,
        made="failing",
    ),
    "a compiler": BrokenImage(
        dockerfile=shell("ln -s /bin/true /usr/local/bin/gcc"),
        check="no-tools",
        found="over the base there are /usr/local/bin/gcc",
        also=frozenset({"known-files"}),
        exit_code=63,
        made="failing",
    ),
    "files of the user": BrokenImage(
        dockerfile=shell(f"chown 1034 {SOURCE}/errors.py"),
        check="nothing-writable",
        found=f"user 1034 can write {SOURCE}/errors.py",
        exit_code=63,
        made="failing",
    ),
    "label of another model": BrokenImage(
        dockerfile="LABEL textclf.model.tag=sentiment:other-1",
        check="model-labels",
        found="label textclf.model.tag is 'sentiment:other-1'",
        exit_code=63,
        made="failing",
    ),
    "slow start": BrokenImage(
        dockerfile=f'ENTRYPOINT ["sh", "-c", "sleep 15; exec {ENTRYPOINT}"]',
        check="ready-in-time",
        found="s; the limit is 15 s",
        exit_code=64,
        options=("--start-limit-seconds=15",),
        made="all",
    ),
    "input in the log": BrokenImage(
        dockerfile=patch(
            "http/endpoints",
            "    counts.answer(predictions, stages)",
            '    __import__("logging").getLogger("textclf").info("asked: %s", texts)\n'
            "    counts.answer(predictions, stages)",
        ),
        check="no-text-in-logs",
        found="2 lines of the log hold the text of a request",
        exit_code=64,
    ),
    "requests lost on SIGTERM": BrokenImage(
        dockerfile=patch(
            "http/lifecycle", "loop.call_soon_threadsafe(drain)", '__import__("os")._exit(0)'
        ),
        check="sigterm-under-load",
        found="requests got no answer",
        exit_code=64,
        made="failing",
    ),
    "a path for a label": BrokenImage(
        dockerfile=patch(
            "http/exchange",
            "metrics().answered(self.route.name, ",
            "metrics().answered(self.path, ",
        ),
        check="metrics",
        found="GET /metrics: unknown paths become labels",
        exit_code=64,
        made="failing",
    ),
    "a log of plain lines": BrokenImage(
        dockerfile=patch("logs", "return _ENCODE(", "return str(entry) or _ENCODE("),
        check="json-logs",
        found="a line of the log is not a JSON object",
        exit_code=64,
        made="failing",
    ),
    "a start that takes a network": BrokenImage(
        dockerfile=f'ENTRYPOINT ["sh", "-c", "test -e /sys/class/net/eth0 && exec {ENTRYPOINT}"]',
        check="no-network",
        found="not healthy without a network",
        exit_code=63,
        made="failing",
    ),
    "telemetry": BrokenImage(
        dockerfile="ENV ORT_DISABLE_TELEMETRY=0",
        check="no-network",
        found="it looks up names",
        exit_code=63,
        made="failing",
    ),
}
