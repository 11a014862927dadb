"""Source to draft to store: a model is fetched, drafted, replayed and committed."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

from textclf import store
from textclf.artifact import DESCRIPTION, Artifact, read_artifact, write_description
from textclf.classifier import Classifier
from textclf.description import ClassifierDescription
from textclf.drafting import ImportOptions, adopt, assemble, plan
from textclf.errors import ModelImportError
from textclf.sources import Source

__all__ = ["ImportOptions", "ImportReport", "import_model"]

_LOGGER = logging.getLogger(__name__)


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
        target, draft, bench = (scratch / name for name in ("fetched", "classifier", "bench"))
        target.mkdir()
        draft.mkdir()
        model = source.fetch(target)
        _LOGGER.info("importing %s", model.uri)
        is_folder = (model.path / DESCRIPTION).is_file()
        if is_folder:
            description = adopt(model, options, draft, warnings)
        else:
            planned = plan(model, options, draft, warnings)
            held = store.find(planned.description, by_recipe=True)
            if held is not None:
                if held.reference is None:
                    warnings.append(_without_reference(held.tag))
                return _report(held, warnings, dry_run=dry_run, already_there=True)
            bench.mkdir()
            description = assemble(planned, draft, bench, warnings)
        write_description(draft, description)
        artifact = read_artifact(draft)
        _replay(artifact)
        already_there = _commit(artifact, dry_run=dry_run, by_recipe=not is_folder)
        return _report(artifact, warnings, dry_run=dry_run, already_there=already_there)


def _commit(artifact: Artifact, *, dry_run: bool, by_recipe: bool) -> bool:
    if dry_run:
        return store.find(artifact.description, by_recipe=by_recipe) is not None
    return store.commit(artifact, by_recipe=by_recipe).already_there


def _report(
    artifact: Artifact, warnings: list[str], *, dry_run: bool, already_there: bool
) -> ImportReport:
    return ImportReport(
        tag=artifact.tag,
        already_there=already_there,
        dry_run=dry_run,
        description=artifact.description,
        warnings=warnings,
    )


def _without_reference(tag: str) -> str:
    return (
        f"{tag} was imported before drift was measured; to have it measured, remove it with "
        f"`bentoml models delete {tag}` and import it again"
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


def _replay(artifact: Artifact) -> None:
    """Check the golden texts as the service will when it starts, and each of them alone."""
    _LOGGER.info("replaying %d golden texts", len(artifact.golden))
    classifier = Classifier(artifact)
    try:
        asyncio.run(classifier.replay_golden(alone=len(artifact.golden)))
    finally:
        classifier.close()
