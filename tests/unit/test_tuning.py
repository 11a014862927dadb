"""What is measured before serving, and where it is kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from textclf import tuning as tuning_module
from textclf.cost import UNMEASURED
from textclf.errors import TuningError
from textclf.tuning import Machine, Tuning, read_tuning, this_machine, tune, write_tuning

MACHINE = Machine(cpu="a CPU", cpus=2, onnxruntime="1.0", graph_sha256="0" * 64)


class Clock:
    """Stands in for the time module."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def perf_counter(self) -> float:
        """Return the time."""
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Give the measurements a clock that only graphs move."""
    clock = Clock()
    monkeypatch.setattr(tuning_module, "time", clock)
    return clock


class Clockwork:
    """A graph whose runs take what a formula says, on a clock of its own."""

    def __init__(self, clock: Clock, threads: int, *, share: float, free_texts: int) -> None:
        self.clock = clock
        self.threads = threads
        self.share = share
        self.free_texts = free_texts
        self.ran: list[tuple[int, int]] = []

    def scores(self, batch: Sequence[Sequence[int]]) -> np.ndarray:
        """Take a millisecond for 32 tokens, and for as many texts as cost no more than one."""
        texts, tokens = len(batch), len(batch[0])
        self.ran.append((texts, tokens))
        milliseconds = tokens / 32 * max(1, texts / self.free_texts)
        self.clock.seconds += milliseconds / 1000 * (self.share if self.threads > 1 else 1)
        return np.full((texts, 2), 0.5, np.float32)


@pytest.mark.parametrize(
    ("share", "free_texts", "cpus", "expected"),
    [(0.5, 4, 2, (2, 8)), (0.99, 4, 2, (1, 8)), (0.5, 1, 2, (2, 2)), (0.5, 4, 1, (1, 8))],
    ids=["spreading pays", "it does not", "batches do not pay", "one CPU"],
)
def test_what_pays_is_chosen(
    clock: Clock, share: float, free_texts: int, cpus: int, expected: tuple[int, int]
) -> None:
    """Batches grow until they gain nothing; a lone text is spread where that is faster."""
    lone_text_threads, most_texts = expected
    graphs = {n: Clockwork(clock, n, share=share, free_texts=free_texts) for n in (1, cpus)}

    tuning = tune(lambda threads: graphs[threads], [5, 6, 7], max_tokens=64, cpus=cpus)  # type: ignore[arg-type,return-value]

    assert tuning.lone_text_threads == lone_text_threads
    assert max(texts for texts, _ in graphs[1].ran) <= most_texts
    assert tuning.max_batch_tokens <= most_texts * 32
    assert max(tokens for _, tokens in graphs[1].ran) == 64
    assert tuning.cost.text_seconds(32) < 0.01


def test_no_input_is_longer_than_the_graph_takes(clock: Clock) -> None:
    """A graph of 16 tokens is measured on 16."""
    graph = Clockwork(clock, 1, share=1, free_texts=1)

    tune(lambda _: graph, [5], max_tokens=16, cpus=1)  # type: ignore[arg-type,return-value]

    assert max(tokens for _, tokens in graph.ran) == 16


def test_file_is_for_one_machine(tmp_path: Path) -> None:
    """What was measured elsewhere, or of another graph, is measured again."""
    path = tmp_path / "tuning.json"
    tuning = Tuning(max_batch_tokens=128, lone_text_threads=2)
    assert read_tuning(path, MACHINE) is None

    write_tuning(path, MACHINE, tuning)

    assert read_tuning(path, MACHINE) == tuning
    assert read_tuning(path, MACHINE.model_copy(update={"cpus": 4})) is None
    assert [entry.name for entry in tmp_path.iterdir()] == ["tuning.json"]


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"machine": 1}'])
def test_file_of_something_else_is_written_anew(tmp_path: Path, content: str) -> None:
    """What an older version wrote keeps no service from starting."""
    path = tmp_path / "tuning.json"
    path.write_text(content)

    assert read_tuning(path, MACHINE) is None


def test_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A folder is none."""
    with pytest.raises(TuningError, match=rf"{tmp_path}.*name another file"):
        read_tuning(tmp_path, MACHINE)


def test_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    """Nothing was written, and the message says where it could not be."""
    with pytest.raises(TuningError, match="name a file in a folder"):
        write_tuning(tmp_path / "none" / "tuning.json", MACHINE, Tuning())


def test_nothing_measured_gives_a_cost_all_the_same() -> None:
    """Batches are chosen before anything was measured too."""
    assert Tuning().cost == UNMEASURED
    assert this_machine("0" * 64, 2).cpus == 2
