"""This project and its peers: how each is started, asked and understood.

Every peer serves the graph and the tokenizer of the model it is given, on 127.0.0.1, with usage
reporting off and no network. Each logs as it does by default. ``python -m benchmarks.catalogue``
starts them one after another and checks their answers.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks.environments import PEERS, python_of
from benchmarks.paths import KEPT, ROOT
from benchmarks.systems import Launch, Model, Route, System

_QUIET = {
    "BENTOML_DO_NOT_TRACK": "True",
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "INFINITY_ANONYMOUS_USAGE_STATS": "0",
    "ORT_DISABLE_TELEMETRY": "1",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # elsewhere too: no cluster, so 127.0.0.1
    "RAY_USAGE_STATS_ENABLED": "0",
}
STATE = KEPT / "state"


def _as_json(shape: Callable[[Sequence[str]], object]) -> Callable[[Sequence[str]], bytes]:
    return lambda texts: json.dumps(shape(texts), ensure_ascii=False).encode()


def _counted(start: bytes, end: bytes, *each: bytes) -> Callable[[bytes, int], bool]:
    """Accept a body that starts and ends so and has as many of ``each`` as there were texts."""

    def accepts(body: bytes, texts: int) -> bool:
        framed = body.startswith(start) and body.rstrip().endswith(end)
        return framed and sum(map(body.count, each)) == texts

    return accepts


def _booleans(start: bytes, end: bytes) -> Callable[[bytes, int], bool]:
    return _counted(start, end, b"true", b"false")


def _launch_textclf(model: Model, port: int) -> Launch:
    return Launch(
        argv=[
            *(str(python_of("")), "-m", "bentoml", "serve", "service:TextClassifier"),
            *("--host", "127.0.0.1", "--port", str(port)),
        ],
        env=_QUIET
        | {
            "TEXTCLF_MODEL": str(model.folder.resolve()),
            "TEXTCLF_DRAIN_SECONDS": "0",
            "BENTOML_HOME": str(STATE / "textclf"),
        },
        cwd=ROOT,
    )


def _served(model: Model, port: int, *, graph: Path) -> dict[str, str]:
    """Return the environment that ``peers/model.py`` and the servers read."""
    described = json.loads((model.folder / "classifier.json").read_text("utf-8"))
    return {
        "MODEL_FILE": str(graph.resolve()),
        "TOKENIZER_FILE": str((model.folder / "tokenizer.json").resolve()),
        "MAX_TOKENS": str(described["max_tokens"]),
        "PAD_TOKEN_ID": str(described["pad_token_id"]),
        "POSITIVE_INDEX": str(described["labels"].index(described["positive_label"])),
        "PORT": str(port),
        "PYTHONPATH": str(ROOT),
    }


def _peer(
    peer: str, argv: Sequence[str], *, fp32: bool = False, env: Mapping[str, str] | None = None
) -> Callable[[Model, int], Launch]:
    """Return how to launch a peer.

    Args:
        peer: Folder of ``benchmarks/peers``, in which it runs.
        argv: A command of its environment and its arguments; ``{port}`` stands for the port.
        fp32: It serves the graph in fp32.
        env: Added to its environment; ``{port}`` stands for the port here too.
    """

    def launch(model: Model, port: int) -> Launch:
        command, *arguments = [part.replace("{port}", str(port)) for part in argv]
        served = _served(model, port, graph=model.fp32 if fp32 else model.folder / "model.onnx")
        own = {name: value.replace("{port}", str(port)) for name, value in (env or {}).items()}
        return Launch(
            argv=[str(python_of(peer).with_name(command)), *arguments],
            env=_QUIET | served | own,
            cwd=PEERS / peer,
        )

    return launch


def _bentoml(file: str) -> Callable[[Model, int], Launch]:
    serve = ("python", "-m", "bentoml", "serve", f"{file}:TextClassifier")
    where = ("--host", "127.0.0.1", "--port", "{port}")
    return _peer("bentoml", [*serve, *where], env={"BENTOML_HOME": str(STATE / "bentoml")})


def _bentoml_texts(path: str) -> Route:
    return Route(
        path=path,
        encode=_as_json(lambda texts: {"texts": list(texts)}),
        accepts=_booleans(b"[", b"]"),
    )


_POSITIVE_TEXTS = Route(
    path="/predict",
    encode=_as_json(lambda texts: {"texts": list(texts)}),
    accepts=_booleans(b'{"positive":[', b"]}"),
)
_BARE_ARRAY = Route(
    path="/predict",
    encode=_as_json(list),
    accepts=_booleans(b"[", b"]"),
)
_BOOK = Route(path="/predict", encode=_as_json(list), accepts=_booleans(b'{"positive":', b"e}"))
# https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol
_OPEN_INFERENCE = Route(
    path="/v2/models/classifier/infer",
    encode=_as_json(
        lambda texts: {
            "inputs": [
                {
                    "name": "texts",
                    "shape": [len(texts), 1],
                    "datatype": "BYTES",
                    "data": list(texts),
                }
            ]
        }
    ),
    accepts=_booleans(b'{"model_name":"classifier"', b"]}]}"),
)
_INFINITY = Route(
    path="/classify",
    encode=_as_json(lambda texts: {"model": "classifier", "input": list(texts)}),
    accepts=_counted(b'{"object":"classify","data":[', b"}", b"[{"),
)

SYSTEMS: tuple[System, ...] = (
    System(
        name="textclf",
        peer="",
        launch=_launch_textclf,
        ready="/readyz",
        one=_BOOK,
        many=Route(
            path="/classify",
            encode=_as_json(lambda texts: {"texts": list(texts)}),
            accepts=_counted(b'{"model":', b"]}", b'"label"'),
        ),
    ),
    System(
        name="Flask, fp32",
        peer="flask",
        launch=_peer("flask", ["python", "app.py"], fp32=True),
        ready="/",
        one=_BOOK,
        many=None,
    ),
    System(
        name="Flask, int8",
        peer="flask",
        launch=_peer("flask", ["python", "app.py"]),
        ready="/",
        one=_BOOK,
        many=None,
    ),
    System(
        name="FastAPI",
        peer="fastapi",
        launch=_peer(
            "fastapi",
            [
                *("python", "-m", "uvicorn", "app:app", "--host", "127.0.0.1", "--port", "{port}"),
                *("--loop", "uvloop", "--http", "httptools"),
            ],
        ),
        ready="/openapi.json",
        one=_POSITIVE_TEXTS,
        many=_POSITIVE_TEXTS,
    ),
    System(
        name="BentoML",
        peer="bentoml",
        launch=_bentoml("documented"),
        ready="/readyz",
        one=Route(
            path="/predict",
            encode=_as_json(lambda texts: {"text": texts[0]}),
            accepts=_booleans(b"", b"e"),
        ),
        many=_bentoml_texts("/classify"),
    ),
    System(
        name="BentoML, batchable",
        peer="bentoml",
        launch=_bentoml("batchable"),
        ready="/readyz",
        one=_bentoml_texts("/predict"),
        many=_bentoml_texts("/predict"),
    ),
    System(
        name="LitServe",
        peer="litserve",
        launch=_peer("litserve", ["python", "server.py"]),
        ready="/health",
        one=_POSITIVE_TEXTS,
        many=_POSITIVE_TEXTS,
    ),
    System(
        name="MLServer",
        peer="mlserver",
        launch=_peer(
            "mlserver",
            ["mlserver", "start", "."],
            env={
                "MLSERVER_HOST": "127.0.0.1",
                "MLSERVER_HTTP_PORT": "{port}",
                "MLSERVER_METRICS_DIR": str(STATE / "mlserver"),
                "MLSERVER_ENVIRONMENTS_DIR": str(STATE / "mlserver"),
            },
        ),
        ready="/v2/models/classifier/ready",
        one=_OPEN_INFERENCE,
        many=_OPEN_INFERENCE,
    ),
    System(
        name="Ray Serve",
        peer="ray",
        launch=_peer("ray", ["python", "app.py"]),
        ready="/-/healthz",
        one=_BARE_ARRAY,
        many=_BARE_ARRAY,
    ),
    System(
        name="infinity",
        peer="infinity",
        launch=_peer(
            "infinity", ["python", "serve.py"], env={"HUB_FOLDER": str(STATE / "infinity")}
        ),
        ready="/health",
        one=_INFINITY,
        many=_INFINITY,
    ),
)

if __name__ == "__main__":
    from benchmarks.checking import main

    sys.exit(main())
