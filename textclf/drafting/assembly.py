"""A bare graph and its tokenizer, put together to a classifier folder."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from textclf.artifact import (
    GOLDEN,
    GRAPH,
    TOKENIZER,
    hash_file,
    write_golden,
)
from textclf.description import (
    BatchInvariance,
    ClassifierDescription,
    Evaluation,
    Precision,
    PrecisionChoice,
    Recipe,
)
from textclf.drafting.concerns import of_batches, of_golden
from textclf.drafting.lineage import new_lineage
from textclf.drafting.options import ImportOptions
from textclf.drafting.reference import (
    draft_golden_reference,
    draft_reference,
    read_reference_texts,
)
from textclf.errors import GraphError, PrecisionError, TokenizerError
from textclf.evaluation import LabelledText, read_labelled
from textclf.golden import read_texts, record_golden
from textclf.graph_signature import GraphSignature, external_files, read_signature
from textclf.labels import DEFAULT_LABELS, choose_positive, find_labels
from textclf.optimization.choosing import Chosen, choose_variant
from textclf.optimization.gate import Answers
from textclf.optimization.trial import Texts, ask
from textclf.optimization.weights import lay_aside, pack
from textclf.sources import FetchedModel
from textclf.tables import text_table, variant_rows
from textclf.tokenizer_conversion import convert_tokenizer, find_tokenizer
from textclf.verification import company, try_out

_NOT_MEASURED = BatchInvariance(invariant=True, texts=1, largest_score_shift=0, labels_flipped=0)

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All of a classifier that is known before its graph is run.

    Attributes:
        description: Complete but for what running the graph shows.
        graph: The graph as it was fetched.
        signature: Of that graph.
        golden_texts: To record the answers to.
        labelled: To measure accuracy on; empty without a file of them.
        evaluated_on: Name of that file.
        reference_texts: To compare the traffic with; empty without a file of them.
        precision: How the graph may be stored.
    """

    description: ClassifierDescription
    graph: Path
    signature: GraphSignature
    golden_texts: Sequence[str]
    labelled: Sequence[LabelledText]
    evaluated_on: str
    reference_texts: Sequence[str]
    precision: PrecisionChoice


def plan(model: FetchedModel, options: ImportOptions, draft: Path, warnings: list[str]) -> Plan:
    """Read a bare graph and write its tokenizer into the draft."""
    signature = read_signature(model.path)
    folder = _tokenizer_folder(model, options)
    tokenizer = convert_tokenizer(folder, draft / TOKENIZER, max_tokens=options.max_tokens)
    if not tokenizer.adds_special_tokens:
        warnings.append(f"the tokenizer in {folder} adds no special tokens to a text")
    labels, positive_label = _labels([model.path.parent, folder], options, warnings)
    texts = read_texts(options.golden_texts)
    labelled = read_labelled(options.evaluate, labels=len(labels)) if options.evaluate else []
    reference = read_reference_texts(options.reference_texts) if options.reference_texts else []
    precision = options.precision or "auto"
    description = ClassifierDescription(
        labels=labels,
        positive_label=positive_label,
        inputs=signature.inputs,
        output=signature.output,
        pad_token_id=tokenizer.pad_token_id,
        max_tokens=tokenizer.max_tokens,
        batch_invariance=_NOT_MEASURED,
        lineage=new_lineage(model, options),
        precision=Precision(weights=signature.weights),
        recipe=Recipe(
            graph_sha256=_hash_graph(model.path, signature),
            golden_texts_sha256=_hash(json.dumps(texts)),
            evaluation_sha256=hash_file(options.evaluate) if options.evaluate else None,
            reference_texts_sha256=_hash(json.dumps(reference)) if reference else None,
            precision=precision,
        ),
        files={TOKENIZER: hash_file(draft / TOKENIZER)},
    )
    return Plan(
        description=description,
        graph=model.path,
        signature=signature,
        golden_texts=texts,
        labelled=labelled,
        evaluated_on=options.evaluate.name if options.evaluate else "",
        reference_texts=reference,
        precision=precision,
    )


def assemble(plan: Plan, draft: Path, bench: Path, warnings: list[str]) -> ClassifierDescription:
    """Run a planned classifier, choose its precision, and write its graph and golden texts.

    Args:
        plan: Of the classifier.
        draft: Holds its tokenizer.
        bench: An empty folder to try variants of the graph in.
        warnings: Added to.
    """
    description = plan.description
    lay_aside(plan.graph, bench / GRAPH)
    (bench / TOKENIZER).symlink_to(draft / TOKENIZER)
    texts, found = _ask_found(plan, bench, warnings)
    chosen = _choose(plan, bench, texts, found)
    if chosen.graph == bench / GRAPH and not plan.signature.has_external_data:
        (draft / GRAPH).symlink_to(plan.graph)
    else:
        pack(chosen.graph, draft / GRAPH)
    _require_unchanged(plan)
    examples = record_golden(plan.golden_texts, chosen.answers.golden, description.labels)
    write_golden(draft / GOLDEN, examples)
    if plan.reference_texts:
        draft_reference(draft, description, plan.reference_texts)
    else:
        golden = chosen.answers.golden
        warnings.append(draft_golden_reference(draft, description, plan.golden_texts, golden))
    warnings += of_golden(examples, len(plan.golden_texts))
    warnings += of_batches(chosen.answers.batch_invariance)
    return description.model_copy(
        update={
            "batch_invariance": chosen.answers.batch_invariance,
            "precision": chosen.precision,
            "evaluations": _evaluations(plan, texts.expected, found, chosen),
        }
    )


def _ask_found(plan: Plan, bench: Path, warnings: list[str]) -> tuple[Texts, Answers]:
    tried = try_out(bench, plan.description, embedding_rows=plan.signature.embedding_rows)
    warnings += tried.warnings
    labelled = [text.text for text in plan.labelled]
    golden, evaluated, others = (
        [text.input_ids for text in tried.tokenizer.encode(texts)]
        for texts in (plan.golden_texts, labelled, company([*plan.golden_texts, *labelled]))
    )
    expected = np.array([text.label for text in plan.labelled], dtype=np.int64)
    texts = Texts(golden=golden, labelled=evaluated, company=others, expected=expected)
    return texts, ask(tried.graph, texts, plan.description.max_tokens)


def _choose(plan: Plan, bench: Path, texts: Texts, found: Answers) -> Chosen:
    weights, description = plan.signature.weights, plan.description
    if weights != "fp32":
        if plan.precision not in {"auto", weights}:
            raise PrecisionError(
                f"{plan.graph} has {weights} weights, of which no {plan.precision} can be made; "
                "import its fp32 export, or leave out --precision"
            )
        return Chosen(graph=bench / GRAPH, precision=description.precision, answers=found)
    chosen = choose_variant(bench, description, texts, found, plan.precision)
    _LOGGER.info("%s", text_table(variant_rows(chosen.precision.variants)))
    return chosen


def _evaluations(
    plan: Plan, expected: NDArray[np.int64], found: Answers, chosen: Chosen
) -> list[Evaluation]:
    if not plan.labelled:
        return []
    answers = {plan.signature.weights: found, chosen.precision.weights: chosen.answers}
    return [
        Evaluation(
            dataset=plan.evaluated_on,
            sentences=len(expected),
            precision=precision,
            accuracy=round(answer.accuracy(expected), 6),
        )
        for precision, answer in answers.items()
    ]


def _require_unchanged(plan: Plan) -> None:
    recipe = plan.description.recipe
    if recipe and recipe.graph_sha256 != _hash_graph(plan.graph, plan.signature):
        raise GraphError(f"{plan.graph} changed while it was imported; import it again")


def _hash_graph(path: Path, signature: GraphSignature) -> str:
    if not signature.has_external_data:
        return hash_file(path)
    files = [path, *(path.parent / name for name in external_files(path))]
    return _hash("".join(map(hash_file, files)))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _tokenizer_folder(model: FetchedModel, options: ImportOptions) -> Path:
    if options.tokenizer is not None:
        return find_tokenizer(options.tokenizer)
    if model.tokenizer is None:
        raise TokenizerError(
            f"there is no tokenizer beside {model.path}; give its folder or its Hugging Face id as "
            "--tokenizer"
        )
    return model.tokenizer


def _labels(
    folders: Sequence[Path], options: ImportOptions, warnings: list[str]
) -> tuple[list[str], str]:
    labels = options.labels or find_labels(folders)
    if labels is None:
        labels = list(DEFAULT_LABELS)
        warnings.append(
            f"nothing names the labels: taken to be {', '.join(labels)}, in the order of the "
            "logits; if they are not, name them with --labels"
        )
    return labels, choose_positive(labels, options.positive_label)
