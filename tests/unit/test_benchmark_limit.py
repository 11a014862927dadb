"""The in-process limit of a classifier of a few kilobytes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.limit import BATCH_TEXTS, Setting, Subject, run_in_threads
from textclf.artifact import GRAPH

_REFERENCE = Path(__file__).parents[2] / "models" / "reference"
_TEXTS = [("word " * count).strip() for count in range(1, 41)]


@pytest.fixture(scope="module")
def subject() -> Subject:
    """Return the reference model and texts of 1 to 40 words."""
    return Subject(_REFERENCE, _REFERENCE / GRAPH, _TEXTS)


def test_batches_hold_every_text_once_beside_its_like(subject: Subject) -> None:
    """Sorted by length, cut, and spread over the order."""
    batches = subject.batches(8)

    assert [size for size, _ in batches] == [8] * 5
    widths = [feeds["input_ids"].shape[1] for _, feeds in batches]
    assert sorted(widths) == [10, 18, 26, 34, 42]  # of 8, 16, … words and two special tokens
    assert widths != sorted(widths)
    assert sum(int(feeds["attention_mask"].sum()) for _, feeds in batches) == sum(
        map(len, subject.ids)
    )


class _Session:
    """Counts its runs."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def run(self, _outputs: None, feeds: dict[str, Any]) -> None:
        self.seen.append(feeds["batch"])


def test_threads_share_the_batches() -> None:
    """Each batch is run as often as the others, whichever thread takes it."""
    session = _Session()

    rate = run_in_threads(session, [(4, {"batch": n}) for n in range(3)], 2, 0.05)  # type: ignore[dict-item]  # the fake reads no arrays

    runs = [session.seen.count(number) for number in range(3)]
    assert max(runs) - min(runs) <= 1
    assert rate > 0


@pytest.mark.parametrize("kind", ["limit", "calibration", "lengths"])
def test_the_command_prints_json(kind: str, tmp_path: Path) -> None:
    """Each of its three measurements is JSON on stdout."""
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("good\nnot so good\n", "utf-8")
    setting = json.dumps({"callers": 1, "threads": 1, "batch_texts": 2})
    options = {"limit": [], "calibration": ["--setting", setting], "lengths": ["--lengths"]}
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.limit", "--folder", str(_REFERENCE)),
            *("--corpus", str(corpus), "--seconds", "0.1", *options[kind]),
        ],
        capture_output=True,
        text=True,
        check=True,
    )

    found = json.loads(done.stdout)
    if kind == "lengths":
        assert [entry["tokens"] for entry in found] == [8, 16, 32, 64, 128]  # max_tokens is 128
        assert all(entry["texts_per_second"] > 0 for entry in found)
    else:
        assert found["texts_per_second"] > 0
        Setting(**found["setting"])
    if kind == "limit":
        assert {trial["batch_texts"] for trial in found["tried"]} == set(BATCH_TEXTS)
        assert found["single_median_ms"] > 0
