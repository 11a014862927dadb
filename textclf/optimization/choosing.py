"""Which variant of a graph is served: built, asked, timed, and judged by the gate."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import version_converter

from textclf.artifact import GRAPH
from textclf.description import ClassifierDescription, Precision, PrecisionChoice, TriedVariant
from textclf.errors import (
    GraphError,
    InferenceError,
    ModelLoadError,
    PrecisionError,
    QuantizationError,
)
from textclf.inference import Graph
from textclf.optimization.attention_fusion import MICROSOFT
from textclf.optimization.calibration import Feeds, calibration_feeds
from textclf.optimization.fusion import LAYER_NORM_OPSET, fuse
from textclf.optimization.gate import Answers, compare
from textclf.optimization.graph_walk import opset_of
from textclf.optimization.products import has_large_products
from textclf.optimization.timing import speedup, time_in_turns
from textclf.optimization.trial import Texts, Trial, ask, describe_trial
from textclf.optimization.variants import INT8_VARIANTS, Variant
from textclf.optimization.weights import graph_bytes, read_graph

_LEAST_SPEEDUP = 1.03  # less may be noise
_SPARE_BYTES = 250_000_000  # of the 500 MB that an import may take besides twice the graph
_LOGGER = logging.getLogger(__name__)


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
    chosen = fastest(bench.trials, requested, bench.failures)
    return Chosen(
        graph=chosen.path,
        precision=Precision(
            weights=chosen.variant.weights,
            method=chosen.variant.method,
            variants=[
                *(describe_trial(trial, is_chosen=trial is chosen) for trial in bench.trials),
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
        self._calibration = calibration_feeds(texts.golden, description)
        self.trials: list[Trial] = []
        self.failures: dict[str, str] = {}

    @property
    def has_large_products(self) -> bool:
        """Whether int8 can save anything."""
        return has_large_products(read_graph(self._folder / GRAPH))

    def try_all(self, variants: Sequence[Variant]) -> None:
        """Try the graph as found, fused, and each variant of the fused one if that holds."""
        found = Variant(name="fp32", weights="fp32", method="as found", build=_nothing)
        fused = Variant(
            name="fp32 fused",
            weights="fp32",
            method="attention, layer norms and activations fused",
            build=self._fuse,
        )
        source = self._folder / GRAPH
        self._measure(found, source)
        source = as_exported = self._with_recent_opset(source)
        self._try(fused, source)
        if len(self.trials) > 1 and not self.trials[-1].refusals:
            source = self.trials[-1].path
            as_exported = self._with_exported_attention(as_exported)
        for variant in variants:
            held = {trial.variant.name for trial in self.trials if not trial.refusals}
            if variant.fused_attention and held.isdisjoint(variant.instead_of):
                self._try(variant, source)
            elif (
                not variant.fused_attention
                and as_exported != source
                and _has_fused_attention(source)
            ):
                self._try(variant, as_exported)

    def _with_recent_opset(self, path: Path) -> Path:
        """Raise an opset that has no operators for int8 products, or no LayerNormalization."""
        graph = read_graph(path)
        opset = opset_of(graph)
        if opset >= LAYER_NORM_OPSET:
            return path
        raised = path.with_name("raised.onnx")
        try:
            onnx.save_model(version_converter.convert_version(graph, LAYER_NORM_OPSET), raised)
        except Exception:  # noqa: BLE001  # its errors share no base; not each operator has a way
            _LOGGER.info("its opset %d cannot be raised to %d", opset, LAYER_NORM_OPSET)
            return path
        return raised

    def _with_exported_attention(self, path: Path) -> Path:
        """Fuse all but attention."""
        target = path.with_name("attention-as-exported.onnx")
        graph = fuse(read_graph(path), inputs=self._description.inputs, attention=False)
        onnx.save_model(graph, target)
        return target

    def _try(self, variant: Variant, source: Path) -> None:
        path = self._folder / f"variant-{len(self.trials) + len(self.failures)}.onnx"
        _LOGGER.info("trying %s", variant.name)
        try:
            self._require_memory(variant, source)
            variant.build(source, path, self._calibration)
            self._measure(variant, path)
        except (GraphError, InferenceError, ModelLoadError, QuantizationError) as exc:
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
        answers = self._found
        if self.trials:
            answers = ask(graph, self._texts, self._description.max_tokens)
        # Opened here, since it takes as much memory as a variant takes to be built.
        exact = Graph(self._folder / GRAPH, self._description)
        times, exact_times = time_in_turns(
            (graph, exact),
            max(self._texts.golden, key=len),
            max_tokens=self._description.max_tokens,
        )
        self.trials.append(
            Trial(
                variant=variant,
                path=path,
                answers=answers,
                comparison=compare(answers, self._found, self._texts.expected),
                times=times,
                speedup=speedup(times, exact_times) if self.trials else 1.0,
            )
        )

    def _fuse(self, source: Path, target: Path, _texts: Sequence[Feeds]) -> None:
        graph = read_graph(source)
        fused = fuse(graph, inputs=self._description.inputs)
        if _fused_operators(fused) == _fused_operators(graph):
            raise QuantizationError("nothing in the graph can be fused")
        onnx.save_model(fused, target)


def _has_fused_attention(path: Path) -> bool:
    return any(node.op_type == "MultiHeadAttention" for node in read_graph(path).graph.node)


def _fused_operators(model: onnx.ModelProto) -> int:
    return sum(
        node.domain == MICROSOFT or node.op_type == "LayerNormalization"
        for node in model.graph.node
    )


def _nothing(_source: Path, _target: Path, _texts: Sequence[Feeds]) -> None:
    """The graph as found is there already."""


def fastest(trials: Sequence[Trial], requested: PrecisionChoice, failures: dict[str, str]) -> Trial:
    """Return the trial whose graph is served.

    Args:
        trials: The graph as found, then every variant that runs.
        requested: As for ``choose_variant``.
        failures: Name of each variant that does not run to the reason.

    Raises:
        PrecisionError: ``int8`` was asked for, and no such variant may be served.
    """
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
    faster = [trial for trial in held if trial.speedup >= _LEAST_SPEEDUP]
    return max([found, *faster], key=lambda trial: trial.speedup)


def _reasons(trials: Sequence[Trial], failures: dict[str, str]) -> Iterator[str]:
    for trial in trials:
        if trial.variant.weights == "int8":
            yield f"{trial.variant.name}: {', '.join(trial.refusals)}"
    for variant in INT8_VARIANTS:
        if variant.name in failures:
            yield f"{variant.name}: {failures[variant.name]}"
