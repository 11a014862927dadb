"""Texts to predictions: the one thing the HTTP layer knows of the model."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple, Self

from textclf.admission import QueueLimits
from textclf.artifact import GRAPH, Artifact
from textclf.batching import BatchLimits, BatchQueue
from textclf.cpus import usable_cpus
from textclf.description import SCORE_TOLERANCE, ClassifierDescription, GoldenExample
from textclf.drift import FeatureCounts, Observation
from textclf.drift.counting import Bins
from textclf.engine import Engine, Scores
from textclf.errors import GoldenMismatchError
from textclf.inference import Graph
from textclf.metrics import Stages, metrics
from textclf.schema import MAX_TEXTS, Prediction
from textclf.settings import Settings
from textclf.tokenization import TokenizedText, Tokenizer
from textclf.tuning import Tuning, read_tuning, this_machine, tune, write_tuning

# A text of so many characters is tokenised in about the time that a hop to a thread and back takes
# from the event loop; more of them hold it up for longer than that.
_INLINE_CHARACTERS = 4_096
_ALONE = 32  # golden texts that a start replays with no company; an import does with all


@dataclass(frozen=True, kw_only=True)
class ServingOptions:
    """How a classifier is run.

    Attributes:
        threads: Batches that run at once; 0 stands for one per usable CPU.
        lone_text_threads: CPUs that a text is spread over while nothing else runs; 0: as tuned.
        max_batch_texts: Most texts in one batch.
        max_batch_tokens: Most tokens in one batch; 0: as tuned.
        queue: How much may wait or run at a time.
        cache_texts: How many answers are kept for texts that come again.
        tune: Measure the graph first.
        tuning_file: Where the measurements are kept.
    """

    threads: int = 0
    lone_text_threads: int = 0
    max_batch_texts: int = 16
    max_batch_tokens: int = 0
    queue: QueueLimits = field(default_factory=QueueLimits)
    cache_texts: int = 0
    tune: bool = False
    tuning_file: Path | None = None

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Return how a service runs its model."""
        return cls(
            threads=settings.inference_threads,
            lone_text_threads=settings.lone_text_threads,
            max_batch_texts=settings.max_batch_texts,
            max_batch_tokens=settings.max_batch_tokens,
            queue=QueueLimits(
                texts=settings.max_queue_texts,
                tokens=settings.max_queue_tokens,
                seconds=settings.max_queue_seconds,
            ),
            cache_texts=settings.cache_texts,
            tune=True,
            tuning_file=settings.tuning_file,
        )


class Classifier:
    """Owns a model's tokenizer, its graph and the threads it runs on."""

    def __init__(self, artifact: Artifact, options: ServingOptions | None = None) -> None:
        """Load the model of ``artifact``.

        Args:
            artifact: A classifier folder.
            options: How it is run.

        Raises:
            ArtifactError: The tokenizer cannot be read.
            ModelLoadError: onnxruntime cannot open the graph.
            TuningError: The tuning file cannot be read or written.
        """
        options = options or ServingOptions()
        description = artifact.description
        self.artifact = artifact
        self._labels = description.labels
        self._tokenizer = Tokenizer(artifact.tokenizer_path, max_tokens=description.max_tokens)
        self._cache = _Cache(options.cache_texts)
        self._drift = self._count_features()
        cpus = options.threads or usable_cpus()
        graph = cache(lambda threads: Graph(artifact.graph_path, description, threads=threads))
        self.tuning = self._tune(graph, options, cpus) if options.tune else Tuning()
        spread = options.lone_text_threads or self.tuning.lone_text_threads
        limits = BatchLimits(
            texts=options.max_batch_texts if description.batch_invariance.invariant else 1,
            tokens=options.max_batch_tokens or self.tuning.max_batch_tokens,
            equal_lengths=not graph(1).has_mask,
        )
        self._engine = Engine(
            graph(1),
            BatchQueue(limits, self.tuning.cost),
            threads=cpus,
            wide=graph(spread) if spread > 1 else None,
            limits=options.queue,
        )

    async def classify(
        self, texts: Sequence[str], stages: Stages | None = None
    ) -> list[Prediction]:
        """Return one prediction per text, in order.

        An answer does not depend on the other texts. Cancelling drops what has not started.

        Args:
            texts: At least one.
            stages: Told what the model did for them; of cached answers it did nothing.

        Raises:
            QueueFullError: Too many texts are waiting.
            InferenceError: The graph fails on one of these texts.
        """
        answers = await self._look_up(texts, stages)
        if self._drift:
            self._drift.add(answer.bins for answer in answers)
        return [answer.prediction for answer in answers]

    async def _look_up(self, texts: Sequence[str], stages: Stages | None) -> list[_Answer]:
        if not self._cache.most:
            return await self._classify(texts, stages)
        known = {text: answer for text in texts if (answer := self._cache.get(text))}
        metrics().cached_texts.inc(sum(text in known for text in texts))
        if unknown := [text for text in dict.fromkeys(texts) if text not in known]:
            for text, answer in zip(unknown, await self._classify(unknown, stages), strict=True):
                known[text] = answer
                self._cache.put(text, answer)
        return [known[text] for text in texts]

    async def replay_golden(self, *, alone: int = _ALONE) -> None:
        """Check the answers to the golden texts, in batches as served, and to some of them alone.

        Args:
            alone: To how many at most, spread over all of them.

        Raises:
            GoldenMismatchError: Names the texts that got another answer, and by how much.
        """
        golden = self.artifact.golden
        requests = [golden[i : i + MAX_TEXTS] for i in range(0, len(golden), MAX_TEXTS)]
        requests += [(example,) for example in golden[:: -(-len(golden) // alone)]]
        await self.replay(requests)

    async def replay(self, requests: Iterable[Sequence[GoldenExample]]) -> None:
        """Check the answers to golden texts; those of a request are asked for together.

        Raises:
            GoldenMismatchError: Names the texts that got another answer, and by how much.
            QueueFullError: Too many texts are waiting.
            InferenceError: The graph fails on one of these texts.
        """
        replayed = [
            (example, answer.prediction)
            for examples in requests
            for example, answer in zip(
                examples, await self._classify([e.text for e in examples]), strict=True
            )
        ]
        mismatches = [_describe_mismatch(*pair) for pair in replayed if not agrees(*pair)]
        if mismatches:
            raise GoldenMismatchError(
                f"{self.artifact.tag} gives other answers on this CPU than were recorded: "
                f"{len(mismatches)} of {len(replayed)}; {_remedy(self.artifact.description)}: "
                + "; ".join(mismatches)
            )

    def overloaded_seconds(self) -> int | None:
        """Return when to come again if every call is refused by now, whatever its texts are."""
        return None if self._cache.most else self._engine.overloaded_seconds()

    def close(self) -> None:
        """Let running batches end and drop the rest."""
        self._engine.close()
        if self._drift:
            metrics().gathered.forget(self._drift)
            self._drift.write()

    def _count_features(self) -> FeatureCounts | None:
        """Return what counts for drift; None for a model that has nothing to compare with."""
        if self.artifact.reference is None:
            return None
        own = metrics()
        counts = FeatureCounts(self.artifact.reference, self.artifact.tag, own.drift_texts)
        own.gathered.look(counts, counts.write)
        return counts

    def _tune(
        self, open_graph: Callable[[int], Graph], options: ServingOptions, cpus: int
    ) -> Tuning:
        description = self.artifact.description
        machine = this_machine(description.files[GRAPH], cpus)
        if options.tuning_file and (known := read_tuning(options.tuning_file, machine)):
            return known
        golden = self._tokenizer.encode([example.text for example in self.artifact.golden])
        tuning = tune(
            open_graph,
            max((text.input_ids for text in golden), key=len),
            max_tokens=description.max_tokens,
            cpus=cpus,
        )
        if options.tuning_file:
            write_tuning(options.tuning_file, machine, tuning)
        return tuning

    async def _classify(self, texts: Sequence[str], stages: Stages | None = None) -> list[_Answer]:
        stages = stages or Stages()
        with self._engine.places(len(texts)):
            stages.began = time.perf_counter()
            if sum(map(len, texts)) <= _INLINE_CHARACTERS:
                tokenized = self._tokenizer.encode(texts)
            else:
                tokenized = await asyncio.to_thread(self._tokenizer.encode, texts)
            input_ids = [text.input_ids for text in tokenized]
            stages.tokens = [len(ids) for ids in input_ids]
            stages.tokenised = time.perf_counter()
            scores = await self._engine.scores(input_ids, stages)
        return [
            self._answer(text, row, tokens)
            for text, row, tokens in zip(texts, scores, tokenized, strict=True)
        ]

    def _answer(self, text: str, scores: Scores, tokenized: TokenizedText) -> _Answer:
        winner = int(scores.argmax())
        label, score = self._labels[winner], min(round(float(scores[winner]), 6), 1.0)
        prediction = Prediction(label=label, score=score, truncated=tokenized.truncated)
        if self._drift is None:
            return _Answer(prediction, ())
        ids = tokenized.input_ids
        unknown = self._tokenizer.count_unknown(ids)
        observation = Observation(label, score, len(ids), len(text), unknown, tokenized.truncated)
        return _Answer(prediction, self._drift.place(observation))


class _Answer(NamedTuple):
    """A prediction, and what of its text is counted; nothing where drift is not measured."""

    prediction: Prediction
    bins: Bins


class _Cache:
    """The answers to the texts that were asked last."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._answers: OrderedDict[str, _Answer] = OrderedDict()

    def get(self, text: str) -> _Answer | None:
        if found := self._answers.get(text):
            self._answers.move_to_end(text)
        return found

    def put(self, text: str, answer: _Answer) -> None:
        self._answers[text] = answer
        self._answers.move_to_end(text)
        if len(self._answers) > self.most:
            self._answers.popitem(last=False)


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
