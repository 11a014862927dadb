"""The systems of the benchmark are asked and understood as they answer, from locks that hold."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from benchmarks import environments
from benchmarks.catalogue import SYSTEMS
from benchmarks.environments import PEERS, python_of
from benchmarks.errors import BenchmarkError
from benchmarks.systems import Model, System

TEXTS = [f"täxt {number}" for number in range(16)]
BOOLEANS = json.dumps([True, False] * 8, separators=(",", ":"))
PREDICTIONS = ",".join(['{"label":"positive","score":0.9,"truncated":false}'] * 16)
RANKED_LABELS = '[{"score":0.9,"label":"positive"},{"score":0.1,"label":"negative"}]'
OPEN_INFERENCE = (
    '{"model_name":"classifier","id":"7f","parameters":{},"outputs":[{"name":"positive",'
    '"shape":[%d,1],"datatype":"BOOL","parameters":{"content_type":"np"},"data":%s}]}'
)
INFINITY = (
    '{"object":"classify","data":[%s],"model":"classifier",'
    '"usage":{"prompt_tokens":42,"total_tokens":42},"id":"infinity-4947","created":1795274650}'
)
# By system: what is asked with one text, its answer, and the answer to 16.
SAMPLES: dict[str, tuple[object, str, str | None]] = {
    "textclf": (
        TEXTS[:1],
        '{"positive":true}',
        f'{{"model":"sentiment:reference-2","predictions":[{PREDICTIONS}]}}',
    ),
    "Flask, fp32": (TEXTS[:1], '{"positive":true}\n', None),
    "Flask, int8": (TEXTS[:1], '{"positive":false}\n', None),
    "FastAPI": ({"texts": TEXTS[:1]}, '{"positive":[true]}', f'{{"positive":{BOOLEANS}}}'),
    "BentoML": ({"text": TEXTS[0]}, "true", BOOLEANS),
    "BentoML, batchable": ({"texts": TEXTS[:1]}, "[false]", BOOLEANS),
    "LitServe": ({"texts": TEXTS[:1]}, '{"positive":[true]}', f'{{"positive":{BOOLEANS}}}'),
    "MLServer": (
        {
            "inputs": [
                {"name": "texts", "shape": [1, 1], "datatype": "BYTES", "data": TEXTS[:1]},
            ]
        },
        OPEN_INFERENCE % (1, "[true]"),
        OPEN_INFERENCE % (16, BOOLEANS),
    ),
    "Ray Serve": (TEXTS[:1], "[true]", BOOLEANS),
    "infinity": (
        {"model": "classifier", "input": TEXTS[:1]},
        INFINITY % RANKED_LABELS,
        INFINITY % ",".join([RANKED_LABELS] * 16),
    ),
}

systems = pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system.name)


def test_systems_stand_in_the_order_of_the_tables() -> None:
    """This project comes first, the book's app before what is tuned, and names differ."""
    names = [system.name for system in SYSTEMS]

    assert names == list(SAMPLES)
    assert [system.peer for system in SYSTEMS[:3]] == ["", "flask", "flask"]


@systems
def test_request_holds_the_texts(system: System) -> None:
    """One text goes as the system asks for it; of 16 each is in the body, and as UTF-8."""
    asked, _, _ = SAMPLES[system.name]

    assert json.loads(system.one.encode(TEXTS[:1])) == asked
    if system.many:
        body = system.many.encode(TEXTS).decode()
        assert json.loads(body)
        assert all(f'"{text}"' in body for text in TEXTS)


@systems
def test_answer_is_accepted_for_as_many_texts_as_it_answers(system: System) -> None:
    """One answer too few, a body cut short and a message of failure are no answers."""
    _, one, many = SAMPLES[system.name]

    assert system.one.accepts(one.encode(), 1)
    assert (system.many is None) is (many is None)
    if system.many and many:
        assert system.many.accepts(many.encode(), 16)
        assert not system.many.accepts(many.encode(), 15)
        assert not system.many.accepts(many.encode()[:-1], 16)
        assert not system.many.accepts(b'{"detail":"failed"}', 16)
    assert not system.one.accepts(one.rstrip().encode()[:-1], 1)
    assert not system.one.accepts(b'{"error":true}', 1)


@systems
def test_launch_names_the_model_and_listens_on_this_machine_alone(
    system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A peer is told the files, the port and not to report its use, and where to run."""
    monkeypatch.setattr(
        "benchmarks.catalogue.python_of", lambda peer: Path("/venv", peer, "python")
    )
    described = {"max_tokens": 7, "pad_token_id": 1, "labels": ["good", "bad"]}
    described["positive_label"] = "good"
    (tmp_path / "classifier.json").write_text(json.dumps(described))
    model = Model(
        name="m", folder=tmp_path, fp32=tmp_path / "fp32.onnx", stock=tmp_path / "stock.onnx"
    )

    launch = system.launch(model, 4321)

    said = " ".join([*launch.argv, *launch.env.values()])
    assert "4321" in said
    assert "{port}" not in said
    assert "0.0.0.0" not in said  # noqa: S104 - the opposite of binding to it
    assert launch.env["DO_NOT_TRACK"] == "1"
    assert launch.cwd is not None
    assert launch.cwd.is_dir()
    if system.peer:
        graph = "fp32.onnx" if system.name == "Flask, fp32" else "model.onnx"
        assert launch.env["MODEL_FILE"] == str(tmp_path / graph)
        assert launch.env["POSITIVE_INDEX"] == "0"
        assert launch.env["MAX_TOKENS"] == "7"


@pytest.mark.parametrize("peer", sorted({system.peer for system in SYSTEMS} - {""}))
def test_lock_pins_by_hash_and_names_no_host(peer: str) -> None:
    """What a lock installs is what was measured; torch is installed apart."""
    lock = (PEERS / peer / "requirements.txt").read_text("utf-8")
    named = re.findall(r"^([a-z0-9][\w.-]*==.*?)(?=^\S|\Z)", lock, re.MULTILINE | re.DOTALL)
    asked = (PEERS / peer / "requirements.in").read_text("utf-8")

    assert named
    assert all("--hash=sha256:" in requirement for requirement in named)
    assert len(named) == len(re.findall(r"^[a-z0-9]", lock, re.MULTILINE))
    assert not any(name.startswith(("torch==", "nvidia-cu")) for name in named)
    assert "://" not in lock + asked
    for line in asked.splitlines():
        name, _, version = line.partition("#")[0].strip().partition("==")
        assert f"\n{name.partition('[')[0]}=={version} " in f"\n{lock}"


def test_this_project_runs_with_its_own_interpreter() -> None:
    """No environment is made for it."""
    assert python_of("").is_file()


def test_peer_without_a_lock_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message says what to compile."""
    monkeypatch.setattr(environments, "PEERS", tmp_path)

    with pytest.raises(BenchmarkError, match=r"flask has no lock.*compile its requirements\.in"):
        python_of("flask")


def test_environment_that_cannot_be_built_leaves_no_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the peer and the next step; the folder is empty again."""
    (tmp_path / "flask").mkdir()
    (tmp_path / "flask" / "requirements.txt").write_text("no requirement at all\n")
    monkeypatch.setattr(environments, "PEERS", tmp_path)
    monkeypatch.setattr(environments, "ENVIRONMENTS", tmp_path / "environments")

    with pytest.raises(BenchmarkError, match=r"flask: its environment could not be made.*retry"):
        python_of("flask")
    assert list((tmp_path / "environments").iterdir()) == []
