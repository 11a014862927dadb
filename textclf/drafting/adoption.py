"""A classifier folder, checked and taken over as it is."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from textclf.artifact import DESCRIPTION, GOLDEN, GRAPH, TOKENIZER, read_artifact
from textclf.description import ClassifierDescription
from textclf.drafting.concerns import of_batches
from textclf.drafting.lineage import adopted_lineage
from textclf.drafting.options import ImportOptions
from textclf.drafting.reference import draft_reference, keep_reference, read_reference_texts
from textclf.errors import GraphError, ModelImportError
from textclf.graph_signature import read_signature
from textclf.sources import FetchedModel
from textclf.verification import verify

_OWN = {"name", "version", "reference_texts"}  # what a folder does not decide


def adopt(
    model: FetchedModel, options: ImportOptions, draft: Path, warnings: list[str]
) -> ClassifierDescription:
    """Check a classifier folder and take it over as it is, but for where it comes from.

    Args:
        model: The folder.
        options: A name, a version and reference texts at the most, since the folder says the rest.
        draft: Gets links to its files.
        warnings: Added to.

    Raises:
        TextClassifierError: Of the kind that says what is wrong.
    """
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
    warnings += of_batches(description.batch_invariance)
    if options.reference_texts:
        draft_reference(draft, description, read_reference_texts(options.reference_texts))
    else:
        warnings += keep_reference(draft, given.folder, given.reference)
    lineage = adopted_lineage(description.lineage, model, options)
    return description.model_copy(update={"lineage": lineage})


def _refuse_overrides(model: FetchedModel, options: ImportOptions) -> None:
    given = [
        field.name
        for field in fields(options)
        if field.name not in _OWN and getattr(options, field.name) is not None
    ]
    if given:
        flags = ", ".join("--" + name.replace("_", "-") for name in given)
        raise ModelImportError(
            f"{model.path} is a classifier folder, which says that itself: leave out {flags}, or "
            f"import its {GRAPH} alone"
        )
