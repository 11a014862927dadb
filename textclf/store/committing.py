"""How a model gets into the BentoML model store: as a whole, or not at all.

BentoML's own ``models.create`` makes the final folder first and copies into it, and its listing
shows any folder, so an import that is killed leaves half a model for ``latest`` to point to. Here a
model is staged beside the store, on the same filesystem, and renamed into it whole.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import bentoml
from bentoml._internal.models.model import Model, ModelInfo
from bentoml.models import ModelContext, ModelOptions

from textclf.artifact import (
    Artifact,
    hash_file,
    read_artifact,
)
from textclf.errors import (
    StoreError,
)
from textclf.store.reading import MODEL_YAML, find_in, model_folder, open_store

_LATEST = "latest"
_LOCK = "lock"

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Committed:
    """A model that the store holds.

    Attributes:
        tag: Its tag.
        path: Its folder.
        already_there: Whether the store held the same model before.
    """

    tag: str
    path: Path
    already_there: bool


def commit(artifact: Artifact, *, by_recipe: bool = False) -> Committed:
    """Put a classifier folder into the store as a whole, or leave the store as it was.

    Imports wait for each other. What a killed one left behind is removed, and ``latest`` is set to
    the newest model, whichever import wrote it.

    Args:
        artifact: The folder.
        by_recipe: How a model that is there is compared, as ``find`` says.

    Raises:
        ArtifactChangedError: The folder changed while it was copied.
        StoreError: The store cannot be written; the message names it and the bytes needed.
        TagTakenError: It holds another model under the same tag.
    """
    store = open_store(artifact.tag)
    folder = model_folder(store, artifact.tag)
    with _translated(store, artifact):
        staging = _staging_folder(store)
        with _exclusive(staging):
            held = find_in(store, artifact.description, by_recipe=by_recipe)
            staged = None if held else _stage(artifact, staging)
            latest = _draft_latest(folder.parent, staged, staging)
            with _uninterrupted():
                if staged:
                    _publish(staged, folder)
                _point_latest(latest, folder.parent)
    return Committed(artifact.tag, folder, already_there=staged is None)


@contextmanager
def _translated(store: Path, artifact: Artifact) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise StoreError(
            f"cannot write {artifact.tag} to {store}: {exc.strerror or exc}; "
            f"{_needed_bytes(artifact):,} bytes are needed there: free some space or set "
            "BENTOML_HOME to a folder that can be written"
        ) from exc


def _needed_bytes(artifact: Artifact) -> int:
    return sum((artifact.folder / name).stat().st_size for name in artifact.file_names)


def _staging_folder(store: Path) -> Path:
    """Return a sibling of the store: inside it, BentoML would list whatever is staged."""
    staging = store.with_name(f".{store.name}-staging")
    staging.mkdir(exist_ok=True)
    if staging.stat().st_dev != store.stat().st_dev:
        raise OSError(errno.EXDEV, f"it is another filesystem than {staging}", str(store))
    return staging


@contextmanager
def _exclusive(staging: Path) -> Iterator[None]:
    with (staging / _LOCK).open("a") as lock:  # closing it unlocks, and so does any death
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _LOGGER.info("waiting for another import to end (it holds %s)", lock.name)
            fcntl.flock(lock, fcntl.LOCK_EX)
        _clear(staging)  # what an import that was killed has left
        try:
            yield
        finally:
            _clear(staging)


def _clear(staging: Path) -> None:
    for entry in staging.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name != _LOCK:
            entry.unlink()


def _stage(artifact: Artifact, staging: Path) -> Path:
    if shutil.disk_usage(staging).free < _needed_bytes(artifact):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    staged = staging / model_folder(staging, artifact.tag).name
    staged.mkdir()
    for name in artifact.file_names:
        shutil.copyfile(artifact.folder / name, staged / name)
    _write_model_yaml(artifact, staged)
    read_artifact(staged)  # each file against its sha256, as it arrived
    for path in (*staged.iterdir(), staged):
        _flush(path)
    return staged


def _write_model_yaml(artifact: Artifact, staged: Path) -> None:
    description = artifact.description
    info = ModelInfo(
        tag=bentoml.Tag.from_str(artifact.tag),
        module="",
        api_version="v1",
        signatures={},
        labels={"task": "text-classification", "source": description.lineage.source},
        options=ModelOptions(),
        metadata=description.model_dump(
            mode="json", include={"labels", "lineage"}, exclude_none=True
        )
        | {"files": {name: hash_file(staged / name) for name in artifact.file_names}},
        context=ModelContext("onnxruntime", {"onnxruntime": version("onnxruntime")}),
    )
    with (staged / MODEL_YAML).open("w", encoding="utf-8") as file:
        info.dump(file)


def _publish(staged: Path, folder: Path) -> None:
    folder.parent.mkdir(exist_ok=True)
    staged.rename(folder)
    _flush(folder.parent)


def _draft_latest(models: Path, staged: Path | None, staging: Path) -> Path:
    """Write the name of the newest model, as BentoML does when the file is missing.

    It is written before the model is published, while a full disk still undoes nothing.
    """
    held = sorted(models.iterdir()) if models.is_dir() else []
    times = {folder.name: _creation_time(folder) for folder in [*held, *filter(None, [staged])]}
    known = {name: time for name, time in times.items() if time is not None}
    draft = staging / _LATEST
    draft.write_text(max(known, key=lambda name: known[name]), "utf-8")
    _flush(draft)
    return draft


def _point_latest(draft: Path, models: Path) -> None:
    draft.replace(models / _LATEST)
    _flush(models)


def _creation_time(folder: Path) -> datetime | None:
    if not (folder / MODEL_YAML).is_file():
        return None
    try:
        return Model.from_path(folder).creation_time
    except Exception:  # noqa: BLE001 - BentoML lets through whatever its YAML leads to
        _LOGGER.warning("%s is damaged and cannot be the latest; remove it", folder)
        return None


def _flush(path: Path) -> None:
    """Wait until a file, or the entries of a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ignore Ctrl-C and SIGTERM: between here and the end a model is in the store."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    previous = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
