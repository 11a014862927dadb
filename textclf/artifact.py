"""The classifier folder: what a model in the store is, read, validated and written.

::

    model.onnx         the graph that is served
    tokenizer.json     Hugging Face tokenizers format
    classifier.json    a ``ClassifierDescription``
    golden.jsonl       texts with the label and score they must give
    drift.json         a ``Reference`` that traffic is compared with; older folders have none
    MODEL_CARD.md      rendered from classifier.json
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from textclf.description import ClassifierDescription, GoldenExample
from textclf.drift import Reference
from textclf.errors import ArtifactChangedError, ArtifactError
from textclf.model_card import render_card

GRAPH = "model.onnx"
TOKENIZER = "tokenizer.json"
DESCRIPTION = "classifier.json"
GOLDEN = "golden.jsonl"
DRIFT = "drift.json"
CARD = "MODEL_CARD.md"
REQUIRED_FILES = (GRAPH, TOKENIZER, GOLDEN)

_M = TypeVar("_M", bound=BaseModel)


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A classifier folder that was read and found whole.

    Attributes:
        folder: Where it is.
        description: What classifier.json says.
        golden: Texts with the answers that they must get.
        reference: What traffic is compared with; None if the folder has no drift.json.
    """

    folder: Path
    description: ClassifierDescription
    golden: tuple[GoldenExample, ...]
    reference: Reference | None = None

    @property
    def graph_path(self) -> Path:
        """Path of the ONNX graph."""
        return self.folder / GRAPH

    @property
    def tokenizer_path(self) -> Path:
        """Path of tokenizer.json."""
        return self.folder / TOKENIZER

    @property
    def tag(self) -> str:
        """Name and version, as the model's store tag has them: in lower case."""
        return self.description.tag

    @property
    def file_names(self) -> tuple[str, ...]:
        """Names of its files, as far as they are part of it."""
        return (*hashed_files(self.description), DESCRIPTION, CARD)


def hashed_files(description: ClassifierDescription) -> tuple[str, ...]:
    """Return the names of the files that classifier.json records the sha256 of."""
    optional = [DRIFT] if DRIFT in description.files else []
    return (*REQUIRED_FILES, *optional)


def read_artifact(folder: Path) -> Artifact:
    """Read a classifier folder and check each file against its recorded sha256.

    Raises:
        ArtifactError: A file is missing or cannot be read; the message names it.
        ArtifactChangedError: A file is not the one that classifier.json was written for.
    """
    description = _parse(
        ClassifierDescription, folder / DESCRIPTION, _read_text(folder, DESCRIPTION)
    )
    for name in hashed_files(description):
        path = folder / name
        if not path.is_file():
            raise ArtifactError(f"{path} is missing; import the model again")
        if hash_file(path) != description.files.get(name):
            raise ArtifactChangedError(
                f"{path} has another sha256 than {DESCRIPTION} records; import the model again"
            )
    golden = read_golden(folder / GOLDEN)
    unknown = {example.label for example in golden} - set(description.labels)
    if unknown:
        raise ArtifactError(f"{folder / GOLDEN} has labels the classifier lacks: {sorted(unknown)}")
    return Artifact(
        folder=folder,
        description=description,
        golden=golden,
        reference=_read_reference(folder, description),
    )


def read_golden(path: Path) -> tuple[GoldenExample, ...]:
    """Read a golden snapshot.

    Raises:
        ArtifactError: Names the line that cannot be read, or says that there is none.
    """
    lines = _read_text(path.parent, path.name).split("\n")  # never splitlines: texts hold U+2028
    golden = tuple(
        _parse(GoldenExample, f"{path}, line {number}", line)
        for number, line in enumerate(lines, start=1)
        if line
    )
    if not golden:
        raise ArtifactError(f"{path} holds no example; import the model again")
    return golden


def write_reference(folder: Path, reference: Reference) -> None:
    """Write drift.json."""
    (folder / DRIFT).write_text(reference.model_dump_json(indent=2) + "\n", "utf-8")


def write_golden(path: Path, golden: Sequence[GoldenExample]) -> None:
    """Write a golden snapshot, one JSON object a line."""
    path.write_text("".join(example.model_dump_json() + "\n" for example in golden), "utf-8")


def write_description(folder: Path, description: ClassifierDescription) -> ClassifierDescription:
    """Write classifier.json and MODEL_CARD.md beside the files they describe, hashes included.

    Args:
        folder: Holds model.onnx, tokenizer.json and golden.jsonl already, and may hold drift.json.
        description: Its ``files`` are replaced by the hashes of those files.

    Returns:
        The description as written.
    """
    present = (*REQUIRED_FILES, *([DRIFT] if (folder / DRIFT).is_file() else []))
    hashes = {name: hash_file(folder / name) for name in present}
    written = description.model_copy(update={"files": hashes})
    content = json.dumps(written.model_dump(mode="json"), indent=2, ensure_ascii=False)
    (folder / DESCRIPTION).write_text(content + "\n", "utf-8")
    (folder / CARD).write_text(render_card(written), "utf-8")
    return written


def hash_file(path: Path) -> str:
    """Return the sha256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_reference(folder: Path, description: ClassifierDescription) -> Reference | None:
    if DRIFT not in description.files:
        return None
    return _parse(Reference, folder / DRIFT, _read_text(folder, DRIFT))


def _read_text(folder: Path, name: str) -> str:
    path = folder / name
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise ArtifactError(
            f"cannot read {path}: {exc}; is {folder} a classifier folder? "
            "Import one or set TEXTCLF_MODEL to another"
        ) from exc


def _parse(model: type[_M], where: object, content: str) -> _M:
    try:
        return model.model_validate_json(content)
    except ValidationError as exc:
        faults = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'content'}: {e['msg']}" for e in exc.errors()
        )
        raise ArtifactError(f"{where} is not valid: {faults}; import the model again") from exc
