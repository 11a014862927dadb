"""The in-process limit: how fast the graph runs with no HTTP around it.

``python -m benchmarks.limit --folder models/reference`` prints it as JSON. All texts are tokenised
and padded beforehand and batched with others of like length, which no server can do: it has to take
the texts as they come.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from benchmarks.corpus import OWN, read_corpus
from textclf.artifact import read_artifact
from textclf.cpus import usable_cpus
from textclf.description import ClassifierDescription
from textclf.inference import open_session, pad
from textclf.tokenization import Tokenizer

BATCH_TEXTS = (8, 16, 32)
LENGTHS = (8, 16, 32, 64, 128, 256, 512)
_TOKENS_A_RUN = 256  # of the limit by length, so that one run stays short
_GOLDEN_RATIO = (math.sqrt(5) - 1) / 2

Feeds = Mapping[str, NDArray[np.int64]]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How batches are run.

    Attributes:
        callers: Threads, each of which runs one batch at a time in the one session.
        threads: Inside the session.
        batch_texts: Texts in a batch.
    """

    callers: int
    threads: int
    batch_texts: int


class Subject:
    """A graph and the texts it is measured with."""

    def __init__(self, folder: Path, graph: Path, texts: Sequence[str]) -> None:
        """Tokenise the texts as the classifier in ``folder`` does."""
        artifact = read_artifact(folder)
        self.description: ClassifierDescription = artifact.description
        self.graph = graph
        tokenizer = Tokenizer(artifact.tokenizer_path, max_tokens=self.description.max_tokens)
        self.ids = [text.input_ids for text in tokenizer.encode(texts)]

    def batches(self, batch_texts: int) -> list[tuple[int, Feeds]]:
        """Return the texts in padded batches of like length, with how many are in each.

        Lengths are spread over the order, so that any part of it stands for the whole.
        """
        ordered = sorted(self.ids, key=len)
        batches = [ordered[i : i + batch_texts] for i in range(0, len(ordered), batch_texts)]
        spread = sorted(range(len(batches)), key=lambda index: (index * _GOLDEN_RATIO) % 1)
        return [(len(batches[index]), self.pad(batches[index])) for index in spread]

    def pad(self, batch: Sequence[Sequence[int]]) -> Feeds:
        """Pad a batch as the service does."""
        description = self.description
        return pad(batch, inputs=description.inputs, pad_token_id=description.pad_token_id)


def measure_limit(subject: Subject, seconds: float) -> dict[str, Any]:
    """Return the best of all settings in texts a second, and the times of single runs in ms.

    Args:
        subject: What is run.
        seconds: For everything, about.
    """
    cpus = usable_cpus()
    kinds = [(cpus, 1), (1, cpus)] if cpus > 1 else [(1, 1)]
    share = seconds / (len(kinds) * (len(BATCH_TEXTS) + 1))
    tried, single = [], []
    for callers, threads in kinds:
        session = open_session(subject.graph, threads=threads)
        single.append({"threads": threads, **time_single_runs(subject, session, share)})
        for batch_texts in BATCH_TEXTS:
            setting = Setting(callers=callers, threads=threads, batch_texts=batch_texts)
            rate = run_batches(subject, session, setting, share)
            tried.append({**asdict(setting), "texts_per_second": round(rate, 2)})
        del session  # whose idle threads would spin beside the next one's
    best = max(tried, key=lambda trial: trial["texts_per_second"])
    return {
        "texts_per_second": best["texts_per_second"],
        "setting": {name: best[name] for name in Setting.__dataclass_fields__},
        "tried": tried,
        "single_median_ms": min(trial["median_ms"] for trial in single),
        "single": single,
        "mean_tokens": round(statistics.fmean(map(len, subject.ids)), 2),
    }


def calibrate(subject: Subject, setting: Setting, seconds: float) -> dict[str, Any]:
    """Measure one setting again, for a short time."""
    session = open_session(subject.graph, threads=setting.threads)
    run_batches(subject, session, setting, seconds / 8)
    rate = run_batches(subject, session, setting, seconds)
    return {"texts_per_second": round(rate, 2), "setting": asdict(setting)}


def measure_lengths(subject: Subject, seconds: float) -> list[dict[str, Any]]:
    """Return the limit for texts of one length each, up to the most that the model takes."""
    most = subject.description.max_tokens
    lengths = sorted({min(length, most) for length in LENGTHS})
    session = open_session(subject.graph)
    words = [word for ids in subject.ids for word in ids[1:-1]]
    first, last = subject.ids[0][0], subject.ids[0][-1]
    found = []
    for length in lengths:
        batch_texts = max(1, min(max(BATCH_TEXTS), _TOKENS_A_RUN // length))
        body = (words * (length // len(words) + 1))[: length - 2]
        batch = (batch_texts, subject.pad([[first, *body, last]] * batch_texts))
        rate = run_in_threads(session, [batch], usable_cpus(), seconds / len(lengths))
        found.append(
            {"tokens": length, "batch_texts": batch_texts, "texts_per_second": round(rate, 2)}
        )
    return found


def time_single_runs(
    subject: Subject, session: ort.InferenceSession, seconds: float
) -> dict[str, float]:
    """Return median and p99 of the times in ms that the graph takes for each text.

    They differ because the texts do: no server that answers every text has a smaller p99.
    """
    feeds = [subject.pad([ids]) for ids in subject.ids]
    session.run(None, dict(feeds[0]))
    times = []
    end = time.perf_counter() + seconds
    for index in count():
        start = time.perf_counter()
        if start >= end:
            break
        session.run(None, dict(feeds[index % len(feeds)]))
        times.append((time.perf_counter() - start) * 1000)
    median, p99 = np.percentile(times, (50, 99))
    return {"median_ms": round(float(median), 4), "p99_ms": round(float(p99), 4)}


def run_batches(
    subject: Subject, session: ort.InferenceSession, setting: Setting, seconds: float
) -> float:
    """Return texts a second with one setting."""
    batches = subject.batches(setting.batch_texts)
    return run_in_threads(session, batches, setting.callers, seconds)


def run_in_threads(
    session: ort.InferenceSession,
    batches: Sequence[tuple[int, Feeds]],
    callers: int,
    seconds: float,
) -> float:
    """Return texts a second while so many threads take the batches in turn, again and again."""
    turns = count()  # next() on it is atomic
    rates: list[float] = []
    barrier = threading.Barrier(callers)

    def run(feeds: Iterator[int]) -> None:
        barrier.wait()
        start = time.perf_counter()
        elapsed, texts = 0.0, 0
        while elapsed < seconds:
            size, batch = batches[next(feeds) % len(batches)]
            session.run(None, dict(batch))
            texts += size
            elapsed = time.perf_counter() - start
        rates.append(texts / elapsed)

    threads = [threading.Thread(target=run, args=(turns,)) for _ in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(rates)


def main() -> None:
    """Measure what the arguments name and print it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="classifier folder")
    parser.add_argument("--graph", type=Path, help="another graph than the folder's")
    parser.add_argument("--corpus", type=Path, default=OWN)
    parser.add_argument("--seconds", type=float, default=16.0)
    parser.add_argument("--setting", type=json.loads, help="as JSON: measure this one alone")
    parser.add_argument("--cpus", type=json.loads, default=[], help="as JSON: stay on these")
    parser.add_argument("--lengths", action="store_true", help="measure the limit by length")
    arguments = parser.parse_args()
    if arguments.cpus:
        os.sched_setaffinity(0, arguments.cpus)
    graph = arguments.graph or arguments.folder / "model.onnx"
    subject = Subject(arguments.folder, graph, read_corpus(arguments.corpus))
    found: Any
    if arguments.lengths:
        found = measure_lengths(subject, arguments.seconds)
    elif arguments.setting:
        found = calibrate(subject, Setting(**arguments.setting), arguments.seconds)
    else:
        found = measure_limit(subject, arguments.seconds)
    json.dump(found, sys.stdout, indent=2)
    print()  # noqa: T201


if __name__ == "__main__":
    main()
