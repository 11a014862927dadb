"""Which variant of a graph is served: built, asked, timed, and judged by the gate."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from textclf.artifact import GRAPH
from textclf.description import ClassifierDescription, Precision, PrecisionChoice, TriedVariant
from textclf.errors import GraphError, ModelLoadError, PrecisionError, QuantizationError
from textclf.inference import Graph, pad
from textclf.optimization.fusion import fuse
from textclf.optimization.gate import Answers, Comparison, compare, refusals
from textclf.optimization.per_token import has_large_products
from textclf.optimization.timing import Times, speedup, time_in_turns
from textclf.optimization.variants import INT8_VARIANTS, Feeds, Variant
from textclf.optimization.weights import graph_bytes, read_graph
from textclf.verification import measure_batch_invariance, score_alone

_CALIBRATION_TEXTS = 128
_SPARE_BYTES = 250_000_000  # of the 500 MB that an import may take besides twice the graph
_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Texts:
    """What variants are asked.

    Attributes:
        golden: The input_ids of each golden text; at least one.
        labelled: The input_ids of each labelled text.
        expected: Labels of those as indices of logits, of shape ``(texts,)``.
    """

    golden: Sequence[Sequence[int]]
    labelled: Sequence[Sequence[int]]
    expected: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The variant that is served.

    Attributes:
        graph: Its file; large weights may lie beside it.
        precision: What it is, and the table of all that were tried.
        answers: What it answers.
    """

    graph: Path
    precision: Precision
    answers: Answers


@dataclass(frozen=True, kw_only=True)
class _Trial:
    """A variant that was built, with all that was measured of it."""

    variant: Variant
    path: Path
    answers: Answers
    comparison: Comparison
    times: Times
    speedup: float

    @property
    def refusals(self) -> list[str]:
        return refusals(self.comparison, self.answers.batch_invariance)


def choose_variant(
    folder: Path,
    description: ClassifierDescription,
    texts: Texts,
    found: Answers,
    requested: PrecisionChoice,
) -> Chosen:
    """Try the variants of an fp32 graph and return the fastest that the gate lets pass.

    Args:
        folder: Holds model.onnx, whose large weights may lie beside it; variants are written there.
        description: Of the classifier.
        texts: What variants are asked.
        found: What the graph itself answers to them.
        requested: With ``fp32`` only fusion is tried; with ``int8`` a variant that is no faster
            is taken too, and with ``auto`` none that is not faster than the graph as found.

    Raises:
        PrecisionError: ``int8`` was asked for and the gate refused every such variant.
    """
    bench = _Bench(folder, description, texts, found)
    int8 = requested != "fp32" and bench.has_large_products
    bench.try_all(INT8_VARIANTS if int8 else ())
    chosen = _fastest(bench.trials, requested, bench.failures)
    return Chosen(
        graph=chosen.path,
        precision=Precision(
            weights=chosen.variant.weights,
            method=chosen.variant.method,
            variants=[
                *(_describe(trial, trial is chosen) for trial in bench.trials),
                *(TriedVariant(name=name, verdict=why) for name, why in bench.failures.items()),
            ],
        ),
        answers=chosen.answers,
    )


class _Bench:
    """Builds variants of one graph, asks them, and times them against it.

    Attributes:
        trials: The graph as found and every variant that runs.
        failures: Name of each other variant to the reason.
    """

    def __init__(
        self, folder: Path, description: ClassifierDescription, texts: Texts, found: Answers
    ) -> None:
        self._folder = folder
        self._description = description
        self._texts = texts
        self._found = found
        self._calibration = [
            pad([ids], inputs=description.inputs, pad_token_id=description.pad_token_id)
            for ids in texts.golden[:_CALIBRATION_TEXTS]
        ]
        self.trials: list[_Trial] = []
        self.failures: dict[str, str] = {}

    @property
    def has_large_products(self) -> bool:
        """Whether int8 can save anything."""
        return has_large_products(read_graph(self._folder / GRAPH))

    def try_all(self, variants: Sequence[Variant]) -> None:
        """Try the graph as found, fused, and each variant of the faster of these."""
        found = Variant(name="fp32", weights="fp32", method="as found", build=_nothing)
        fused = Variant(
            name="fp32 fused",
            weights="fp32",
            method="attention, layer norms and activations fused",
            build=self._fuse,
        )
        self._measure(found, self._folder / GRAPH)
        self._try(fused, self._folder / GRAPH)
        source = self._folder / GRAPH
        if len(self.trials) > 1 and not self.trials[-1].refusals:
            source = self.trials[-1].path
        for variant in variants:
            held = {trial.variant.name for trial in self.trials if not trial.refusals}
            if variant.instead_of not in held:
                self._try(variant, source)

    def _try(self, variant: Variant, source: Path) -> None:
        path = self._folder / f"variant-{len(self.trials) + len(self.failures)}.onnx"
        _LOGGER.info("trying %s", variant.name)
        try:
            self._require_memory(variant, source)
            variant.build(source, path, self._calibration)
            self._measure(variant, path)
        except (GraphError, ModelLoadError, QuantizationError) as exc:
            self.failures[variant.name] = f"not tried: {str(exc).splitlines()[0]}"

    @staticmethod
    def _require_memory(variant: Variant, source: Path) -> None:
        size = graph_bytes(source)
        if variant.memory_factor * size > 2 * size + _SPARE_BYTES:
            raise QuantizationError(
                f"it takes {variant.memory_factor} times the graph in memory, and an import keeps "
                "to twice the graph and 500 MB"
            )

    def _measure(self, variant: Variant, path: Path) -> None:
        graph = Graph(path, self._description)
        answers = self._answers(graph) if self.trials else self._found
        # Opened here, since it takes as much memory as a variant takes to be built.
        exact = Graph(self._folder / GRAPH, self._description)
        times, exact_times = time_in_turns(
            (graph, exact),
            max(self._texts.golden, key=len),
            max_tokens=self._description.max_tokens,
        )
        self.trials.append(
            _Trial(
                variant=variant,
                path=path,
                answers=answers,
                comparison=compare(answers, self._found, self._texts.expected),
                times=times,
                speedup=speedup(times, exact_times) if self.trials else 1.0,
            )
        )

    def _answers(self, graph: Graph) -> Answers:
        ids = [*self._texts.golden, *self._texts.labelled]
        scores = score_alone(graph, ids)
        golden, labelled = np.split(scores, [len(self._texts.golden)])
        return Answers(
            golden=golden,
            labelled=labelled,
            batch_invariance=measure_batch_invariance(graph, ids, scores),
        )

    def _fuse(self, source: Path, target: Path, _texts: Sequence[Feeds]) -> None:
        graph = read_graph(source)
        fused = fuse(graph, inputs=self._description.inputs)
        if len(fused.graph.node) == len(graph.graph.node):
            raise QuantizationError("nothing in the graph can be fused")
        onnx.save_model(fused, target)


def _nothing(_source: Path, _target: Path, _texts: Sequence[Feeds]) -> None:
    """The graph as found is there already."""


def _fastest(
    trials: Sequence[_Trial], requested: PrecisionChoice, failures: dict[str, str]
) -> _Trial:
    found, *others = trials
    held = [trial for trial in others if not trial.refusals]
    if requested == "int8":
        held = [trial for trial in held if trial.variant.weights == "int8"]
        if not held:
            raise PrecisionError(
                "no int8 variant of the graph may be served: "
                + (
                    "; ".join(_reasons(others, failures))
                    or "it has no product that is large enough"
                )
                + ". Import it with --precision fp32"
            )
        return max(held, key=lambda trial: trial.speedup)
    return max([found, *held], key=lambda trial: trial.speedup)


def _reasons(trials: Sequence[_Trial], failures: dict[str, str]) -> Iterator[str]:
    for trial in trials:
        if trial.variant.weights == "int8":
            yield f"{trial.variant.name}: {', '.join(trial.refusals)}"
    for variant in INT8_VARIANTS:
        if variant.name in failures:
            yield f"{variant.name}: {failures[variant.name]}"


def _describe(trial: _Trial, is_chosen: bool) -> TriedVariant:
    comparison, invariance = trial.comparison, trial.answers.batch_invariance
    verdict = "refused: " + ", ".join(trial.refusals) if trial.refusals else "slower"
    return TriedVariant(
        name=trial.variant.name,
        verdict="chosen" if is_chosen else verdict,
        size_bytes=graph_bytes(trial.path),
        milliseconds={
            f"{texts}x{tokens}": round(milliseconds, 3)
            for (texts, tokens), milliseconds in trial.times.items()
        },
        speedup=round(trial.speedup, 3),
        agreement=round(comparison.agreement, 6),
        accuracy=None if comparison.accuracy is None else round(comparison.accuracy, 6),
        largest_score_shift=min(round(comparison.largest_score_shift, 6), 1.0),
        batch_score_shift=invariance.largest_score_shift,
        batch_labels_flipped=invariance.labels_flipped,
    )
