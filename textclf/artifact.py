"""The classifier folder: what a model in the store is, read, validated and written.

::

    model.onnx         the graph that is served
    tokenizer.json     Hugging Face tokenizers format
    classifier.json    a ``ClassifierDescription``
    golden.jsonl       texts with the label and score they must give
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
from textclf.errors import ArtifactChangedError, ArtifactError
from textclf.model_card import render_card

GRAPH = "model.onnx"
TOKENIZER = "tokenizer.json"
DESCRIPTION = "classifier.json"
GOLDEN = "golden.jsonl"
CARD = "MODEL_CARD.md"
HASHED_FILES = (GRAPH, TOKENIZER, GOLDEN)

_M = TypeVar("_M", bound=BaseModel)


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A classifier folder that was read and found whole."""

    folder: Path
    description: ClassifierDescription
    golden: tuple[GoldenExample, ...]

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


def read_artifact(folder: Path) -> Artifact:
    """Read a classifier folder and check each file against its recorded sha256.

    Raises:
        ArtifactError: A file is missing or cannot be read; the message names it.
        ArtifactChangedError: A file is not the one that classifier.json was written for.
    """
    description = _parse(
        ClassifierDescription, folder / DESCRIPTION, _read_text(folder, DESCRIPTION)
    )
    for name in HASHED_FILES:
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
    return Artifact(folder=folder, description=description, golden=golden)


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


def write_golden(path: Path, golden: Sequence[GoldenExample]) -> None:
    """Write a golden snapshot, one JSON object a line."""
    path.write_text("".join(example.model_dump_json() + "\n" for example in golden), "utf-8")


def write_description(folder: Path, description: ClassifierDescription) -> ClassifierDescription:
    """Write classifier.json and MODEL_CARD.md beside the files they describe, hashes included.

    Args:
        folder: Holds model.onnx, tokenizer.json and golden.jsonl already.
        description: Its ``files`` are replaced by the hashes of those files.

    Returns:
        The description as written.
    """
    hashes = {name: hash_file(folder / name) for name in HASHED_FILES}
    written = description.model_copy(update={"files": hashes})
    content = json.dumps(written.model_dump(mode="json"), indent=2, ensure_ascii=False)
    (folder / DESCRIPTION).write_text(content + "\n", "utf-8")
    (folder / CARD).write_text(render_card(written), "utf-8")
    return written


def hash_file(path: Path) -> str:
    """Return the sha256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
