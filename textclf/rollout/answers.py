"""What of an answer is kept, and pairs of them as lines of JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from textclf.errors import EvidenceError
from textclf.rollout.observation import Answer, Pair

_OK = 200


def read_answer(status: int, seconds: float, body: bytes) -> Answer:
    """Keep of an answer its shape, its labels and its scores.

    A label is what is read in it, whatever its JSON type: ``"false"`` is the same label as
    ``false``, and another shape. A score that is no number is NaN.
    """
    if status != _OK:
        return Answer(status=status, seconds=seconds)
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return Answer(status=status, seconds=seconds)
    predictions = _predictions(content)
    return Answer(
        status=status,
        seconds=seconds,
        shape=tuple(sorted(_members(content))),
        labels=tuple(_label(prediction) for prediction in predictions),
        scores=tuple(_score(p["score"]) for p in predictions if "score" in p),
    )


def _members(content: Any, path: str = "") -> Iterator[str]:
    """Yield name and JSON type of everything below ``content``; the whole is named ``$``."""
    yield f"{path or '$'}:{_json_type(content)}"
    members: Any = ()
    if isinstance(content, dict):
        members = content.items()
    elif isinstance(content, list):
        members = enumerate(content)
    for name, member in members:
        yield from _members(member, f"{path}.{name}" if path else str(name))


def _json_type(value: Any) -> str:
    if isinstance(value, bool):  # which is an int to Python
        return "boolean"
    if isinstance(value, float) and not math.isfinite(value):
        return "no-json-number"  # Python reads NaN and Infinity; JSON has neither
    names = {dict: "object", list: "array", str: "string", int: "number", float: "number"}
    return names.get(type(value), "null")


def _predictions(content: Any) -> list[dict[str, Any]]:
    """Return the members of ``/classify``'s answer, or the one that ``/predict``'s comes to."""
    if not isinstance(content, dict):
        return []
    if "positive" in content:
        return [{"label": content["positive"]}]
    predictions = content.get("predictions")
    return [p for p in predictions if isinstance(p, dict)] if isinstance(predictions, list) else []


def _label(prediction: dict[str, Any]) -> str:
    label = prediction.get("label")
    return label if isinstance(label, str) else json.dumps(label)


def _score(score: Any) -> float:
    return float(score) if _json_type(score) == "number" else math.nan


def encode_pair(pair: Pair, *, body: str | None = None) -> str:
    """Return a line of JSON, without its end.

    Args:
        pair: Two answers.
        body: Of the request, where texts may be kept.
    """
    record = asdict(pair) | ({} if body is None else {"body": body})
    for answer in (record["stable"], record["candidate"]):
        answer["scores"] = [s if math.isfinite(s) else "NaN" for s in answer["scores"]]
    return json.dumps(record, separators=(",", ":"), allow_nan=False)


def read_pairs(path: Path, offset: int = 0) -> tuple[list[Pair], int]:
    """Read the pairs that were recorded after ``offset``.

    Args:
        path: A recorder's file.
        offset: In bytes: 0, or what the last reading returned.

    Returns:
        The pairs, and the offset to read on from. A line without its end is read next time.

    Raises:
        EvidenceError: The file cannot be read, is shorter than it was, or holds something else.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(offset)
            lines, _, _ = file.read().rpartition(b"\n")
    except OSError as exc:
        raise EvidenceError(f"cannot read {path}: {exc}; is its recorder running?") from exc
    if size < offset:
        raise EvidenceError(
            f"{path} has {size} bytes and had {offset}; something else writes it: start the "
            "recorder again with a file of its own"
        )
    try:
        pairs = [_decode_pair(line) for line in lines.splitlines()]
    except (ValueError, TypeError, LookupError) as exc:
        raise EvidenceError(
            f"{path} holds a line after byte {offset} that no recorder wrote: {exc}; start the "
            "recorder again with a file of its own"
        ) from exc
    return pairs, offset + len(lines) + bool(lines)


def _decode_pair(line: bytes) -> Pair:
    record = json.loads(line)
    return Pair(
        request_id=record["request_id"],
        texts_sha256=record["texts_sha256"],
        stable=_decode_answer(record["stable"]),
        candidate=_decode_answer(record["candidate"]),
    )


def _decode_answer(record: dict[str, Any]) -> Answer:
    return Answer(
        status=record["status"],
        seconds=record["seconds"],
        shape=tuple(record["shape"]),
        labels=tuple(record["labels"]),
        scores=tuple(float(score) for score in record["scores"]),
    )
