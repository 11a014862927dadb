"""Source to draft to store: a model is fetched, verified, described and committed."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

from bentoml import Tag

import textclf
from textclf import store
from textclf.artifact import (
    DESCRIPTION,
    GOLDEN,
    GRAPH,
    TOKENIZER,
    Artifact,
    read_artifact,
    write_description,
    write_golden,
)
from textclf.classifier import Classifier
from textclf.description import (
    BatchInvariance,
    ClassifierDescription,
    GoldenExample,
    Lineage,
    Precision,
)
from textclf.errors import GraphError, ModelImportError, TokenizerError
from textclf.golden import read_texts, record_golden
from textclf.graph_signature import place_graph, read_signature
from textclf.labels import DEFAULT_LABELS, choose_positive, find_labels
from textclf.sources import FetchedModel, Source
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
    """

    name: str | None = None
    version: str | None = None
    tokenizer: str | None = None
    labels: list[str] | None = None
    positive_label: str | None = None
    max_tokens: int | None = None
    golden_texts: Path | None = None


@dataclass(frozen=True, kw_only=True)
class ImportReport:
    """What an import did.

    Attributes:
        tag: Tag of the model in the store.
        already_there: Whether the store held the same model before.
        dry_run: Whether nothing was written on purpose.
        description: Of the imported classifier.
        warnings: What the user should know of it.
    """

    tag: str
    already_there: bool
    dry_run: bool
    description: ClassifierDescription
    warnings: list[str]


def import_model(source: Source, options: ImportOptions, *, dry_run: bool = False) -> ImportReport:
    """Bring a model into the store, or leave the store as it was.

    Args:
        source: Where the model comes from.
        options: What overrides the source.
        dry_run: Do everything but write to the store.

    Raises:
        TextClassifierError: Of the kind that says what is wrong; the message names the object and
            the next step.
    """
    warnings: list[str] = []
    with _scratch_folder() as scratch:
        target, draft = scratch / "fetched", scratch / "classifier"
        target.mkdir()
        draft.mkdir()
        model = source.fetch(target)
        _LOGGER.info("importing %s", model.uri)
        build = _adopt if (model.path / DESCRIPTION).is_file() else _assemble
        write_description(draft, build(model, options, draft, warnings))
        artifact = read_artifact(draft)
        _replay(artifact)
        already_there = store.holds(artifact) if dry_run else store.commit(artifact).already_there
    return ImportReport(
        tag=artifact.tag,
        already_there=already_there,
        dry_run=dry_run,
        description=artifact.description,
        warnings=warnings,
    )


@contextmanager
def _scratch_folder() -> Iterator[Path]:
    try:
        with TemporaryDirectory(prefix="textclf-import-") as folder:
            yield Path(folder)
    except OSError as exc:
        if gettempdir() not in str(exc.filename) and exc.errno != errno.ENOSPC:
            raise ModelImportError(f"cannot read the model: {exc}; mend that and retry") from exc
        raise ModelImportError(
            f"cannot write a draft of the model below {gettempdir()}: {exc}; free some space there "
            "or set TMPDIR to another folder"
        ) from exc


def _adopt(
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


def _assemble(
    model: FetchedModel, options: ImportOptions, draft: Path, warnings: list[str]
) -> ClassifierDescription:
    """Make a classifier folder of a bare graph and its tokenizer."""
    lineage = _lineage(
        {
            "source": model.source,
            "uri": model.uri,
            "name": options.name or model.name,
            "version": options.version or model.version,
            "imported_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "importer": f"textclf {textclf.__version__}",
            "sdk": model.sdk,
        }
    )
    signature = read_signature(model.path)
    place_graph(model.path, signature, draft / GRAPH)
    folder = _tokenizer_folder(model, options)
    tokenizer = convert_tokenizer(folder, draft / TOKENIZER, max_tokens=options.max_tokens)
    if not tokenizer.adds_special_tokens:
        warnings.append(f"the tokenizer in {folder} adds no special tokens to a text")
    labels, positive_label = _labels([model.path.parent, folder], options, warnings)
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
    )
    texts = read_texts(options.golden_texts)
    verified = verify(draft, description, texts, embedding_rows=signature.embedding_rows)
    warnings += verified.warnings
    golden = record_golden(texts, verified.scores, labels)
    write_golden(draft / GOLDEN, golden)
    _warn_of_golden(golden, len(texts), warnings)
    _warn_of_batches(verified.batch_invariance, warnings)
    return description.model_copy(update={"batch_invariance": verified.batch_invariance})


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


def _replay(artifact: Artifact) -> None:
    """Check the golden texts just as the service will when it starts."""
    _LOGGER.info("replaying %d golden texts", len(artifact.golden))
    classifier = Classifier(artifact)
    try:
        asyncio.run(classifier.replay_golden())
    finally:
        classifier.close()


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
