"""What of an answer is kept, and that it is read as it was written."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textclf.errors import EvidenceError
from textclf.rollout.answers import encode_pair, read_answer, read_pairs
from textclf.rollout.observation import Answer, Pair

CLASSIFIED = {
    "model": "m:1",
    "predictions": [{"label": "positive", "score": 0.75, "truncated": False}],
}
CLASSIFIED_SHAPE = (
    "$:object",
    "model:string",
    "predictions.0.label:string",
    "predictions.0.score:number",
    "predictions.0.truncated:boolean",
    "predictions.0:object",
    "predictions:array",
)


@pytest.mark.parametrize(
    ("body", "shape", "labels", "scores"),
    [
        (b'{"positive": true}', ("$:object", "positive:boolean"), ("true",), ()),
        (b'{"positive": "false"}', ("$:object", "positive:string"), ("false",), ()),
        (b'{"positive": 1}', ("$:object", "positive:number"), ("1",), ()),
        (b'{"positive": null}', ("$:object", "positive:null"), ("null",), ()),
        (json.dumps(CLASSIFIED).encode(), CLASSIFIED_SHAPE, ("positive",), (0.75,)),
        (b"[]", ("$:array",), (), ()),
        (b"true", ("$:boolean",), (), ()),
        (b"no json", (), (), ()),
        (b"\xff", (), (), ()),
        (b"[" * 100_000, (), (), ()),
    ],
    ids=[
        "predict",
        "text",
        "number",
        "null",
        "classify",
        "array",
        "bare",
        "words",
        "bytes",
        "deep",
    ],
)
def test_answers(
    body: bytes, shape: tuple[str, ...], labels: tuple[str, ...], scores: tuple[float, ...]
) -> None:
    """A label keeps its name whatever its type, which the shape has."""
    expected = Answer(status=200, seconds=0.5, shape=shape, labels=labels, scores=scores)

    assert read_answer(200, 0.5, body) == expected


@pytest.mark.parametrize("status", [0, 204, 404, 500])
def test_other_statuses_have_no_shape(status: int) -> None:
    """A problem is no prediction."""
    assert read_answer(status, 0.5, b'{"positive": true}') == Answer(status=status, seconds=0.5)


@pytest.mark.parametrize(
    ("score", "json_type"),
    [
        ("NaN", "no-json-number"),
        ("Infinity", "no-json-number"),
        ("null", "null"),
        ('"1"', "string"),
    ],
)
def test_scores_that_are_no_numbers(score: str, json_type: str) -> None:
    """They are NaN, in their place, and their type shows."""
    answer = read_answer(200, 0.5, b'{"predictions": [{"score": %s}]}' % score.encode())

    assert len(answer.scores) == 1
    assert math.isnan(answer.scores[0])
    assert f"predictions.0.score:{json_type}" in answer.shape


answers = st.builds(
    Answer,
    status=st.integers(0, 599),
    seconds=st.floats(0, 60),
    shape=st.tuples(st.text()),
    labels=st.lists(st.text()).map(tuple),
    scores=st.lists(st.floats(allow_nan=False, allow_infinity=False)).map(tuple),
)


@given(answers, answers, st.text(), st.none() | st.text())
def test_pairs_are_read_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory,
    stable: Answer,
    candidate: Answer,
    request_id: str,
    body: str | None,
) -> None:
    """Whatever a version answers, a pair is one line, and the same pair again."""
    pair = Pair(request_id=request_id, texts_sha256="0", stable=stable, candidate=candidate)
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    path.write_text(encode_pair(pair, body=body) + "\n")

    assert read_pairs(path)[0] == [pair]


def test_nan_is_written_as_json(tmp_path: Path) -> None:
    """Every line can be read by anybody, and gives NaN here."""
    answer = Answer(status=200, seconds=0.1, scores=(math.nan, 0.5))
    line = encode_pair(Pair(request_id="", texts_sha256="", stable=answer, candidate=answer))
    path = tmp_path / "pairs.jsonl"
    path.write_text(line + "\n")
    ((read,), _) = read_pairs(path)

    json.loads(line, parse_constant=pytest.fail)
    assert math.isnan(read.candidate.scores[0])


def test_a_file_is_read_on_line_by_line(tmp_path: Path) -> None:
    """A line whose end is missing is read once it has one."""
    answer = Answer(status=200, seconds=0.1)
    pairs = [
        Pair(request_id=f"{n}", texts_sha256="", stable=answer, candidate=answer) for n in range(3)
    ]
    lines = "".join(encode_pair(pair) + "\n" for pair in pairs).encode()
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(lines[: len(lines) // 2])
    first, offset = read_pairs(path)
    path.write_bytes(lines)
    rest, end = read_pairs(path, offset)

    assert (first, rest) == (pairs[:1], pairs[1:])
    assert end == len(lines)


@pytest.mark.parametrize(
    ("content", "offset", "words"),
    [
        (None, 0, "is its recorder running"),
        (b"{}\n", 9, "something else writes it"),
        (b"{}\n", 0, "no recorder wrote"),
        (b"no json\n", 0, "no recorder wrote"),
    ],
)
def test_files_that_are_no_recorders(
    tmp_path: Path, content: bytes | None, offset: int, words: str
) -> None:
    """What cannot be read is missing evidence, and says what to do."""
    path = tmp_path / "pairs.jsonl"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(EvidenceError, match=words):
        read_pairs(path, offset)
