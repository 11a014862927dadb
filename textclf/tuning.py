"""What a model costs on this machine, measured before it serves.

Three things follow from it: what a batch costs, by which batches are chosen; how many tokens a
batch should hold; and whether a text that has every CPU to itself should be spread over them.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import onnxruntime as ort
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from textclf.cost import UNMEASURED, CostModel, fit_cost
from textclf.errors import TuningError
from textclf.inference import Graph, cpu_model
from textclf.tokenization import stretch

_LENGTHS = (8, 64)
_BATCH_LENGTH = 32  # tokens of the texts that the size of a batch is tried with
_MOST_TEXTS = 16
_WORTH_DOUBLING = 1.02  # what a batch twice as large has to gain for each text
_WORTH_WAITING = 1.05  # a smaller batch is taken if no larger one is faster by more for each text
_WORTH_SPREADING = 1.15  # what a text has to gain from more than one CPU
_SHAPE_SECONDS = 0.04
_MOST_RUNS = 5


class _Stored(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Machine(_Stored):
    """What a measurement holds for."""

    cpu: str
    cpus: int
    onnxruntime: str
    graph_sha256: str


class Run(_Stored):
    """A measured run; the best of several."""

    texts: int
    tokens: int
    threads: int
    seconds: Annotated[float, Field(gt=0)]


class Tuning(_Stored):
    """How a model is best run.

    Attributes:
        max_batch_tokens: Most tokens in a batch, padding included.
        lone_text_threads: CPUs that a text is spread over while nothing else runs.
        runs: What that follows from.
    """

    max_batch_tokens: Annotated[int, Field(ge=1)] = 512
    lone_text_threads: Annotated[int, Field(ge=1)] = 1
    runs: tuple[Run, ...] = ()

    @property
    def cost(self) -> CostModel:
        """What a batch costs on one thread."""
        measured = {(r.texts, r.tokens): r.seconds for r in self.runs if r.threads == 1}
        return fit_cost(measured) if measured else UNMEASURED

    @property
    def summary(self) -> dict[str, object]:
        """The whole of it for a log: milliseconds by texts x tokens x threads."""
        return {
            "max_batch_tokens": self.max_batch_tokens,
            "lone_text_threads": self.lone_text_threads,
            "milliseconds": {
                f"{run.texts}x{run.tokens}x{run.threads}": round(run.seconds * 1000, 2)
                for run in self.runs
            },
        }


class _TuningFile(_Stored):
    machine: Machine
    tuning: Tuning


def this_machine(graph_sha256: str, cpus: int) -> Machine:
    """Return what measurements of a graph hold for here."""
    return Machine(
        cpu=f"{cpu_model()} ({platform.machine()})",
        cpus=cpus,
        onnxruntime=ort.__version__,
        graph_sha256=graph_sha256,
    )


def read_tuning(path: Path, machine: Machine) -> Tuning | None:
    """Return the tuning in a file; None if it holds none, or one of another machine.

    Raises:
        TuningError: The file cannot be read.
    """
    try:
        stored = _TuningFile.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):  # of another version, maybe: measured again
        return None
    except OSError as exc:
        raise TuningError(f"cannot read the tuning in {path}: {exc}; name another file") from exc
    return stored.tuning if stored.machine == machine else None


def write_tuning(path: Path, machine: Machine, tuning: Tuning) -> None:
    """Write a tuning, whole or not at all.

    Raises:
        TuningError: The file cannot be written.
    """
    content = _TuningFile(machine=machine, tuning=tuning).model_dump_json(indent=2) + "\n"
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        try:
            temporary.write_text(content, "utf-8")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as exc:
        raise TuningError(
            f"cannot write the tuning to {path}: {exc}; name a file in a folder that may be written"
        ) from exc


def tune(
    open_graph: Callable[[int], Graph], ids: Sequence[int], *, max_tokens: int, cpus: int
) -> Tuning:
    """Measure a graph, within about a second.

    Args:
        open_graph: Gives it on so many threads.
        ids: The input_ids of a text, repeated to the lengths wanted.
        max_tokens: Longest input of the graph.
        cpus: That may be used.

    Raises:
        InferenceError: The graph fails.
    """
    texts = {tokens: stretch(ids, min(tokens, max_tokens)) for tokens in (*_LENGTHS, _BATCH_LENGTH)}
    graph = open_graph(1)
    runs = [_measure(graph, [texts[tokens]]) for tokens in _LENGTHS]
    grown = [_measure(graph, [texts[_BATCH_LENGTH]])]
    while grown[-1].texts < _MOST_TEXTS and _gains(grown):
        grown.append(_measure(graph, [texts[_BATCH_LENGTH]] * grown[-1].texts * 2))
    each = [run.seconds / run.texts for run in grown]
    best = next(run for run in grown if run.seconds / run.texts <= _WORTH_WAITING * min(each))
    spread = grown[0]
    if cpus > 1:
        spread = _measure(open_graph(cpus), [texts[_BATCH_LENGTH]], cpus)
        runs.append(spread)
    return Tuning(
        max_batch_tokens=max(best.texts * best.tokens, max_tokens),
        lone_text_threads=cpus if grown[0].seconds > _WORTH_SPREADING * spread.seconds else 1,
        runs=(*runs, *grown),
    )


def _gains(grown: Sequence[Run]) -> bool:
    """Say whether the last batch was worth being larger than the one before."""
    if len(grown) == 1:
        return True
    before, last = (run.seconds / run.texts for run in grown[-2:])
    return before >= _WORTH_DOUBLING * last


def _measure(graph: Graph, batch: Sequence[Sequence[int]], threads: int = 1) -> Run:
    graph.scores(batch)  # the first run of a shape allocates
    taken: list[float] = []
    while len(taken) < _MOST_RUNS and sum(taken) < _SHAPE_SECONDS:
        began = time.perf_counter()
        graph.scores(batch)
        taken.append(time.perf_counter() - began)
    return Run(texts=len(batch), tokens=len(batch[0]), threads=threads, seconds=min(taken))
