"""Texts to predictions: the one thing the HTTP layer knows of the model."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from textclf.artifact import Artifact
from textclf.batching import plan_batches
from textclf.description import SCORE_TOLERANCE, ClassifierDescription, GoldenExample
from textclf.errors import GoldenMismatchError, QueueFullError
from textclf.inference import Graph
from textclf.schema import Prediction
from textclf.tokenization import Tokenizer


class Classifier:
    """Owns a model's tokenizer, its graph and the threads it runs on."""

    def __init__(
        self,
        artifact: Artifact,
        *,
        threads: int = 0,
        max_batch_texts: int = 8,
        max_queue_texts: int = 1024,
    ) -> None:
        """Load the model of ``artifact``.

        Args:
            artifact: A classifier folder.
            threads: Batches that run at once; 0 stands for one per usable CPU.
            max_batch_texts: Most texts in one batch.
            max_queue_texts: Most texts waiting or running at a time.

        Raises:
            ArtifactError: The tokenizer cannot be read.
            ModelLoadError: onnxruntime cannot open the graph.
        """
        description = artifact.description
        self.artifact = artifact
        self._labels = description.labels
        self._tokenizer = Tokenizer(artifact.tokenizer_path, max_tokens=description.max_tokens)
        self._graph = Graph(artifact.graph_path, description)
        self._max_batch_texts = max_batch_texts if description.batch_invariance.invariant else 1
        self._max_queue_texts = max_queue_texts
        self._queued_texts = 0
        self._threads = ThreadPoolExecutor(threads or usable_cpus(), thread_name_prefix="inference")

    async def classify(self, texts: Sequence[str]) -> list[Prediction]:
        """Return one prediction per text, in order.

        An answer does not depend on the other texts. Cancelling drops what has not started.

        Raises:
            QueueFullError: Too many texts are waiting.
        """
        if self._queued_texts + len(texts) > self._max_queue_texts:
            raise QueueFullError(
                f"{self._queued_texts} texts are waiting; try again in a second",
                headers={"Retry-After": "1"},
            )
        self._queued_texts += len(texts)
        try:
            return await self._classify(texts)
        finally:
            self._queued_texts -= len(texts)

    async def replay_golden(self) -> None:
        """Check the answers to the golden texts, each alone and then in batches as served.

        Raises:
            GoldenMismatchError: Names the texts that got another answer, and by how much.
        """
        golden = self.artifact.golden
        texts = [example.text for example in golden]
        alone = [(await self._classify([text]))[0] for text in texts]
        batched = await self._classify(texts)
        mismatches = [
            _describe_mismatch(example, prediction)
            for example, prediction in zip(golden * 2, alone + batched, strict=True)
            if not agrees(example, prediction)
        ]
        if mismatches:
            raise GoldenMismatchError(
                f"{self.artifact.tag} gives other answers on this CPU than were recorded: "
                f"{len(mismatches)} of {2 * len(golden)}; {_remedy(self.artifact.description)}: "
                + "; ".join(mismatches)
            )

    def close(self) -> None:
        """Let running batches end and drop the rest."""
        self._threads.shutdown(cancel_futures=True)

    async def _classify(self, texts: Sequence[str]) -> list[Prediction]:
        loop = asyncio.get_running_loop()
        tokenized = await loop.run_in_executor(self._threads, self._tokenizer.encode, texts)
        batches = plan_batches(
            [len(text.input_ids) for text in tokenized],
            max_texts=self._max_batch_texts,
            equal_lengths=not self._graph.has_mask,
        )
        runs = [
            loop.run_in_executor(
                self._threads, self._graph.scores, [tokenized[i].input_ids for i in batch]
            )
            for batch in batches
        ]
        scores = dict(
            zip(
                chain.from_iterable(batches),
                chain.from_iterable(await asyncio.gather(*runs)),
                strict=True,
            )
        )
        return [
            self._prediction(scores[index], truncated=text.truncated)
            for index, text in enumerate(tokenized)
        ]

    def _prediction(self, scores: NDArray[np.float32], *, truncated: bool) -> Prediction:
        winner = int(scores.argmax())
        score = round(float(scores[winner]), 6)
        return Prediction(label=self._labels[winner], score=min(score, 1.0), truncated=truncated)


def agrees(example: GoldenExample, prediction: Prediction) -> bool:
    """Say whether a prediction is the recorded one, within ``SCORE_TOLERANCE``."""
    same_label = prediction.label == example.label
    return same_label and abs(prediction.score - example.score) <= SCORE_TOLERANCE


def _remedy(description: ClassifierDescription) -> str:
    if description.precision.weights == "fp32":
        return "import it again from its source"
    if description.recipe is None:
        return "import the fp32 export of its graph"
    return "import it again from its source with --precision fp32 and another --version"


def _describe_mismatch(recorded: GoldenExample, found: Prediction) -> str:
    return (
        f"{recorded.text[:60]!r}: recorded {recorded.label} {recorded.score:.4f}, "
        f"got {found.label} {found.score:.4f}"
    )


def usable_cpus() -> int:
    """Return how many CPUs this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
