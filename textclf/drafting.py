"""A fetched model to a draft of its classifier folder: taken over as it is, or put together."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from bentoml import Tag

import textclf
from textclf.artifact import (
    DESCRIPTION,
    GOLDEN,
    GRAPH,
    TOKENIZER,
    hash_file,
    read_artifact,
    write_golden,
)
from textclf.description import (
    BatchInvariance,
    ClassifierDescription,
    Evaluation,
    GoldenExample,
    Lineage,
    Precision,
    PrecisionChoice,
    Recipe,
)
from textclf.errors import GraphError, ModelImportError, PrecisionError, TokenizerError
from textclf.evaluation import LabelledText, read_labelled
from textclf.golden import read_texts, record_golden
from textclf.graph_signature import GraphSignature, external_files, read_signature
from textclf.labels import DEFAULT_LABELS, choose_positive, find_labels
from textclf.optimization.choosing import Chosen, Texts, choose_variant
from textclf.optimization.gate import Answers
from textclf.optimization.weights import lay_aside, pack
from textclf.sources import FetchedModel
from textclf.tables import text_table, variant_rows
from textclf.tokenization import Tokenizer
from textclf.tokenizer_conversion import convert_tokenizer, find_tokenizer
from textclf.verification import verify

_FEW_GOLDEN_TEXTS = 20
_NOT_MEASURED = BatchInvariance(invariant=True, texts=1, largest_score_shift=0, labels_flipped=0)

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """What overrides the source; None leaves it as found.

    Attributes:
        name: Name in the store tag.
        version: Version in the store tag.
        tokenizer: Folder or Hugging Face id.
        labels: In the order of the logits.
        positive_label: The one that ``/predict`` answers ``true`` for.
        max_tokens: Longest input, special tokens included.
        golden_texts: File with one text a line.
        precision: How the graph may be stored; auto unless given.
        evaluate: File of labelled texts, to measure the accuracy of every precision on.
    """

    name: str | None = None
    version: str | None = None
    tokenizer: str | None = None
    labels: list[str] | None = None
    positive_label: str | None = None
    max_tokens: int | None = None
    golden_texts: Path | None = None
    precision: PrecisionChoice | None = None
    evaluate: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All of a classifier that is known before its graph is run.

    Attributes:
        description: Complete but for what running the graph shows.
        graph: The graph as it was fetched.
        signature: Of that graph.
        golden_texts: To record the answers to.
        labelled: To measure accuracy on; empty without a file of them.
        precision: How the graph may be stored.
    """

    description: ClassifierDescription
    graph: Path
    signature: GraphSignature
    golden_texts: Sequence[str]
    labelled: Sequence[LabelledText]
    evaluated_on: str
    precision: PrecisionChoice


def adopt(
    model: FetchedModel, options: ImportOptions, draft: Path, warnings: list[str]
) -> ClassifierDescription:
    """Check a classifier folder and take it over as it is."""
    given = read_artifact(model.path)
    _refuse_overrides(model, options)
    signature = read_signature(given.graph_path)
    description = given.description
    if (signature.inputs, signature.output) != (description.inputs, description.output):
        raise GraphError(
            f"{given.graph_path} has other inputs or outputs than {DESCRIPTION} beside it says; "
            "import the graph alone"
        )
    if signature.has_external_data:
        raise GraphError(f"{given.graph_path} keeps weights in other files; import it alone")
    for name in (GRAPH, TOKENIZER, GOLDEN):
        (draft / name).symlink_to(given.folder / name)
    texts = [example.text for example in given.golden]
    verified = verify(draft, description, texts, embedding_rows=signature.embedding_rows)
    warnings += verified.warnings
    measured = verified.batch_invariance
    if description.batch_invariance.invariant and not measured.invariant:
        warnings.append(f"{DESCRIPTION} says that batches do not change an answer, but they do")
        description = description.model_copy(update={"batch_invariance": measured})
    _warn_of_batches(description.batch_invariance, warnings)
    lineage = description.lineage.model_dump()
    overrides = {"name": options.name, "version": options.version}
    lineage |= {field: value for field, value in overrides.items() if value is not None}
    return description.model_copy(update={"lineage": _lineage(lineage)})


def plan(model: FetchedModel, options: ImportOptions, draft: Path, warnings: list[str]) -> Plan:
    """Read a bare graph and write its tokenizer into the draft."""
    lineage = _lineage(
        {
            "source": model.source,
            "uri": model.uri,
            "name": options.name or model.name,
            "version": options.version or model.version,
            "workspace": model.workspace,
            "registered_by": model.registered_by,
            "registered_at": model.registered_at,
            "imported_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "importer": f"textclf {textclf.__version__}",
            "sdk": model.sdk,
        }
    )
    signature = read_signature(model.path)
    folder = _tokenizer_folder(model, options)
    tokenizer = convert_tokenizer(folder, draft / TOKENIZER, max_tokens=options.max_tokens)
    if not tokenizer.adds_special_tokens:
        warnings.append(f"the tokenizer in {folder} adds no special tokens to a text")
    labels, positive_label = _labels([model.path.parent, folder], options, warnings)
    texts = read_texts(options.golden_texts)
    labelled = read_labelled(options.evaluate, labels=len(labels)) if options.evaluate else []
    precision = options.precision or "auto"
    description = ClassifierDescription(
        labels=labels,
        positive_label=positive_label,
        inputs=signature.inputs,
        output=signature.output,
        pad_token_id=tokenizer.pad_token_id,
        max_tokens=tokenizer.max_tokens,
        batch_invariance=_NOT_MEASURED,
        lineage=lineage,
        precision=Precision(weights=signature.weights),
        recipe=Recipe(
            graph_sha256=_hash_graph(model.path, signature),
            golden_texts_sha256=_hash(json.dumps(texts)),
            evaluation_sha256=hash_file(options.evaluate) if options.evaluate else None,
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
    texts = [*plan.golden_texts, *(text.text for text in plan.labelled)]
    rows = plan.signature.embedding_rows
    verified = verify(bench, description, texts, embedding_rows=rows)
    warnings += verified.warnings
    golden, labelled = np.split(verified.scores, [len(plan.golden_texts)])
    found = Answers(golden=golden, labelled=labelled, batch_invariance=verified.batch_invariance)
    chosen = _choose(plan, bench, found)
    if chosen.graph == bench / GRAPH and not plan.signature.has_external_data:
        (draft / GRAPH).symlink_to(plan.graph)
    else:
        pack(chosen.graph, draft / GRAPH)
    examples = record_golden(plan.golden_texts, chosen.answers.golden, description.labels)
    write_golden(draft / GOLDEN, examples)
    _warn_of_golden(examples, len(plan.golden_texts), warnings)
    _warn_of_batches(chosen.answers.batch_invariance, warnings)
    return description.model_copy(
        update={
            "batch_invariance": chosen.answers.batch_invariance,
            "precision": chosen.precision,
            "evaluations": _evaluations(plan, found, chosen),
        }
    )


def _choose(plan: Plan, bench: Path, found: Answers) -> Chosen:
    weights, description = plan.signature.weights, plan.description
    if weights != "fp32":
        if plan.precision not in {"auto", weights}:
            raise PrecisionError(
                f"{plan.graph} has {weights} weights, of which no {plan.precision} can be made; "
                "import its fp32 export, or leave out --precision"
            )
        return Chosen(graph=bench / GRAPH, precision=description.precision, answers=found)
    tokenizer = Tokenizer(bench / TOKENIZER, max_tokens=description.max_tokens)
    texts = Texts(
        golden=[text.input_ids for text in tokenizer.encode(plan.golden_texts)],
        labelled=[t.input_ids for t in tokenizer.encode([text.text for text in plan.labelled])],
        expected=np.array([text.label for text in plan.labelled], dtype=np.int64),
    )
    chosen = choose_variant(bench, description, texts, found, plan.precision)
    _LOGGER.info("%s", text_table(variant_rows(chosen.precision.variants)))
    return chosen


def _evaluations(plan: Plan, found: Answers, chosen: Chosen) -> list[Evaluation]:
    if not plan.labelled:
        return []
    answers = {plan.signature.weights: found, chosen.precision.weights: chosen.answers}
    expected = np.array([text.label for text in plan.labelled])
    return [
        Evaluation(
            dataset=plan.evaluated_on,
            sentences=len(expected),
            precision=precision,
            accuracy=round(float((answer.labelled.argmax(axis=1) == expected).mean()), 6),
        )
        for precision, answer in answers.items()
    ]


def _refuse_overrides(model: FetchedModel, options: ImportOptions) -> None:
    given = [
        field.name
        for field in fields(options)
        if field.name not in {"name", "version"} and getattr(options, field.name) is not None
    ]
    if given:
        flags = ", ".join("--" + name.replace("_", "-") for name in given)
        raise ModelImportError(
            f"{model.path} is a classifier folder, which says that itself: leave out {flags}, or "
            f"import its {GRAPH} alone"
        )


def _lineage(content: dict[str, str | None]) -> Lineage:
    """Return a lineage whose name and version make a tag.

    Raises:
        ModelImportError: They do not.
    """
    name, number = content["name"], content["version"]
    try:
        lineage = Lineage.model_validate(content)
        Tag("sentiment", f"{name}-{number}".lower())
    except ValueError as exc:  # pydantic's is one too
        raise ModelImportError(
            f"name {name!r} and version {number!r} make no store tag: use lower-case letters "
            "(in a version any), digits and . _ - in at most 62 characters together, with a letter "
            "or a digit at both ends; give --name and --version"
        ) from exc
    return lineage


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


def _warn_of_golden(golden: Sequence[GoldenExample], texts: int, warnings: list[str]) -> None:
    if len(golden) < _FEW_GOLDEN_TEXTS:
        warnings.append(
            f"only {len(golden)} of {texts} golden texts have a clear answer; give more texts of "
            "the model's domain as --golden-texts"
        )
    if len({example.label for example in golden}) == 1:
        warnings.append(
            f"every golden text gets the label {golden[0].label}; check the tokenizer and the "
            "labels"
        )


def _warn_of_batches(measured: BatchInvariance, warnings: list[str]) -> None:
    if not measured.invariant:
        warnings.append(
            "an answer depends on the texts that share its batch: of "
            f"{measured.texts} texts {measured.labels_flipped} labels flip, and a score moves by "
            f"up to {measured.largest_score_shift:.4f}; the model is served one text at a time"
        )
