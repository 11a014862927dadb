"""Where a model of the store is found, and whether it is still what was put there."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import bentoml
import yaml
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.models.model import Model
from bentoml.exceptions import BentoMLException, NotFound

from textclf.artifact import CARD, DESCRIPTION, TOKENIZER, Artifact, hash_file, read_artifact
from textclf.description import ClassifierDescription
from textclf.errors import (
    ArtifactChangedError,
    ArtifactError,
    ArtifactMissingError,
    StoreError,
    TagTakenError,
)

LATEST = "sentiment:latest"
MODEL_YAML = "model.yaml"
REFERENCE = Path(__file__).resolve().parents[2] / "models" / "reference"
_LATEST = "latest"
# Given one recipe, another CPU may choose another variant of the graph.
_DEPENDS_ON_THE_MACHINE = {"batch_invariance", "precision", "evaluations", "files"}

_LOGGER = logging.getLogger(__name__)


def resolve(model: str) -> Path:
    """Return the classifier folder that a setting or a command names.

    Args:
        model: A store tag or a folder; empty for what is served by default: the store's newest
            model, or the reference model of a clone where the store has none.

    Raises:
        ArtifactError: The store has no such model, or a damaged one.
    """
    if not model:
        try:
            return locate(LATEST)
        except ArtifactMissingError:
            if not REFERENCE.is_dir():
                raise
            _LOGGER.warning("the store has no %s; taking the reference model", LATEST)
            return REFERENCE
    return Path(model) if is_folder(model) else locate(model)


def is_folder(model: str) -> bool:
    """Say whether a setting or a command names a folder, rather than a store tag."""
    return "/" in model or (model != "" and Path(model).is_dir())


def locate(tag: str) -> Path:
    """Return the classifier folder that the store holds under ``tag``.

    Raises:
        ArtifactMissingError: The store has no such model.
        ArtifactError: It has one that cannot be read.
    """
    try:
        wanted = bentoml.Tag.from_taglike(tag)
    except (BentoMLException, ValueError) as exc:
        raise _missing(tag, exc) from exc
    try:
        model = bentoml.models.get(tag)
    except NotFound as exc:
        raise _missing(tag, exc) from exc
    except (BentoMLException, OSError, ValueError, yaml.YAMLError) as exc:
        raise ArtifactError(
            f"the store cannot give model {tag}: {exc}; delete it there and import it again"
        ) from exc
    # BentoML takes any version that merely begins like the one asked for.
    if wanted.version not in {None, _LATEST, model.tag.version}:
        raise ArtifactMissingError(
            f"the store has no model {tag}, only {model.tag}; import it with "
            "scripts/import_model.py or ask for the other one"
        )
    _require_unchanged(Path(model.path), model.info.metadata)
    return Path(model.path)


def _require_unchanged(folder: Path, metadata: dict[str, Any]) -> None:
    """Check the files that hold no hash of themselves; the description has those of the rest."""
    for name in (DESCRIPTION, CARD):
        path = folder / name
        if not path.is_file():
            raise ArtifactError(f"{path} is missing; delete the model and import it again")
        if hash_file(path) != metadata.get("files", {}).get(name):
            raise ArtifactChangedError(
                f"{path} has another sha256 than {MODEL_YAML} records; delete the model and "
                "import it again"
            )


def _missing(tag: str, exc: Exception) -> ArtifactMissingError:
    return ArtifactMissingError(
        f"the store has no model {tag}: {exc}; import one with scripts/import_model.py"
    )


def find(description: ClassifierDescription, *, by_recipe: bool = False) -> Artifact | None:
    """Return the model that the store holds under the tag of this one, if it is the same.

    The graph, the tokenizer, the golden texts and the description count; where a model came from
    and when does not.

    Args:
        description: Of the model to look for.
        by_recipe: Compare what models were made from rather than what was made of it: another
            machine may choose another variant of the graph. Both have to know their recipe.

    Raises:
        StoreError: The store cannot be reached.
        TagTakenError: It holds another model, or a damaged one, under the same tag.
    """
    return find_in(open_store(description.tag), description, by_recipe=by_recipe)


def open_store(tag: str) -> Path:
    """Return the folder of the store.

    Raises:
        StoreError: It cannot be opened; ``tag`` is what is to be written.
    """
    try:
        return Path(BentoMLContainer.model_store_dir.get()).resolve()
    except OSError as exc:
        raise StoreError(
            f"the model store cannot be opened: {exc}; {tag} is to be written there: set "
            "BENTOML_HOME to a folder that can be written"
        ) from exc


def model_folder(store: Path, tag: str) -> Path:
    """Return the folder that a model has in the store, whether it is there or not."""
    return store / bentoml.Tag.from_str(tag).path()


def find_in(store: Path, description: ClassifierDescription, *, by_recipe: bool) -> Artifact | None:
    """Look in an open store, as ``find`` does."""
    folder = model_folder(store, description.tag)
    if not folder.exists():
        return None
    try:
        held = _read_whole(folder)
    except ArtifactError as exc:
        raise TagTakenError(
            f"the store has a damaged {description.tag} ({exc}); remove it with `bentoml models "
            f"delete {description.tag}` or give another --version"
        ) from exc
    if differing := _differences(description, held.description, by_recipe=by_recipe):
        raise TagTakenError(
            f"the store has another model under {description.tag} (it differs in "
            f"{', '.join(differing)}); give another --version"
        )
    return held


def _read_whole(folder: Path) -> Artifact:
    if not (folder / MODEL_YAML).is_file():
        raise ArtifactError(f"{folder / MODEL_YAML} is missing")
    _require_unchanged(folder, Model.from_path(folder).info.metadata)
    return read_artifact(folder)


def _differences(
    ours: ClassifierDescription, theirs: ClassifierDescription, *, by_recipe: bool
) -> list[str]:
    left_out = {"lineage"}
    if by_recipe and ours.recipe and theirs.recipe:
        left_out |= _DEPENDS_ON_THE_MACHINE
    left, right = _fields(ours, left_out), _fields(theirs, left_out)
    return [field for field in left if left[field] != right.get(field)]


def _fields(description: ClassifierDescription, left_out: set[str]) -> dict[str, Any]:
    fields = description.model_dump(exclude=left_out)
    hashes = {TOKENIZER: description.files.get(TOKENIZER)}
    return fields | (fields.pop("recipe") or {"recipe": None}) | hashes
