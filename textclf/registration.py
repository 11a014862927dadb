"""Registering a classifier folder: what the registry has, what would change, what was made."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from textclf import __version__
from textclf.artifact import Artifact, hash_file
from textclf.description import BatchInvariance, Evaluation
from textclf.errors import (
    ArtifactChangedError,
    ArtifactError,
    DownloadError,
    ModelImportError,
    RegistrationError,
)
from textclf.tables import Row, text_table
from textclf.version_tags import HASH_TAGS, read_evaluations, read_tag, write_tags

_FOLDER = "classifier"
_SHORT = 12  # characters of a sha256 that tell files apart for people


class Registry(Protocol):
    """What ``SdkClient`` says and does about registered models; see there."""

    def latest(self, name: str) -> dict[str, Any] | None:
        """Return the newest version of a model; None if there is none."""

    def fetch(self, name: str, version: str | None) -> dict[str, Any]:
        """Return a version, and where its files are."""

    def register(
        self,
        folder: Path,
        name: str,
        *,
        tags: dict[str, str],
        properties: dict[str, str],
        description: str,
    ) -> dict[str, Any]:
        """Upload a folder as a new version."""


@dataclass(frozen=True, kw_only=True)
class FileChange:
    """A file of the folder against the registered one.

    Attributes:
        status: ``new`` where the registry records no hash of such a file.
    """

    name: str
    size_bytes: int
    sha256: str
    status: Literal["same", "changed", "new"]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """An accuracy against the registered one; None where it was not measured."""

    dataset: str
    precision: str
    accuracy: float | None
    registered: float | None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a registration would do.

    Attributes:
        name: Of the model.
        artifact: What would be registered.
        files: All of them.
        figures: Those of the folder, then those that only the registered version has.
        tags: What would be written with the files.
        registered: The newest version, as the registry describes it; None if there is none.
    """

    name: str
    artifact: Artifact
    files: tuple[FileChange, ...]
    figures: tuple[Figure, ...]
    tags: Mapping[str, str]
    registered: Mapping[str, Any] | None

    @property
    def unchanged(self) -> bool:
        """Whether the newest version holds these very files already."""
        return all(file.status == "same" for file in self.files)

    @property
    def next_version(self) -> str | None:
        """The version it would become; None where versions are not numbers."""
        if self.registered is None:
            return "1"
        version = str(self.registered["version"])
        return str(int(version) + 1) if version.isdecimal() else None


def plan_registration(artifact: Artifact, name: str, registered: Mapping[str, Any] | None) -> Plan:
    """Compare a classifier folder with the newest registered version.

    Args:
        artifact: The folder, read and found whole.
        name: Of the model in the registry.
        registered: As ``Registry.latest`` says.

    Raises:
        ArtifactError: A file is missing.
        RegistrationError: What would have to be recorded does not fit into tags.
    """
    recorded = registered["tags"] if registered else {}
    files = tuple(
        _compare(artifact.folder / file, recorded.get(HASH_TAGS[file]))
        for file in HASH_TAGS
        if file in artifact.file_names
    )
    description = artifact.description
    return Plan(
        name=name,
        artifact=artifact,
        files=files,
        figures=tuple(_figures(description.evaluations, list(read_evaluations(recorded)))),
        tags=write_tags(description, {file.name: file.sha256 for file in files}),
        registered=registered,
    )


def _compare(path: Path, recorded: str | None) -> FileChange:
    if not path.is_file():
        raise ArtifactError(f"{path} is missing; import the model again")
    sha256 = hash_file(path)
    return FileChange(
        name=path.name,
        size_bytes=path.stat().st_size,
        sha256=sha256,
        status="new" if recorded is None else "same" if sha256 == recorded else "changed",
    )


def _figures(now: list[Evaluation], before: list[Evaluation]) -> Iterator[Figure]:
    measured = {(figure.dataset, figure.precision): figure.accuracy for figure in now}
    known = {(figure.dataset, figure.precision): figure.accuracy for figure in before}
    for dataset, precision in dict.fromkeys([*measured, *known]):
        yield Figure(
            dataset=dataset,
            precision=precision,
            accuracy=measured.get((dataset, precision)),
            registered=known.get((dataset, precision)),
        )


def render_plan(plan: Plan) -> str:
    """Return the tables a person decides by."""
    registered = plan.registered
    tags = registered["tags"] if registered else {}
    last = f"{plan.name}:{registered['version']}" if registered else "no version"
    description, lineage = plan.artifact.description, plan.artifact.description.lineage
    facts: list[Row] = [
        ("", "this folder", last),
        ("precision", description.precision.weights, tags.get("precision", "")),
        ("source", lineage.source, tags.get("source", "")),
        ("source URI", lineage.uri, read_tag(tags, "source_uri")),
        ("source version", lineage.version, tags.get("source_version", "")),
        *(_figure_row(figure) for figure in plan.figures),
        ("batch invariance", _invariance(description.batch_invariance), ""),
    ]
    files: list[Row] = [("file", "bytes", "sha256", f"against {last}")]
    files += [(f.name, f"{f.size_bytes:,}", f.sha256[:_SHORT], f.status) for f in plan.files]
    return f"{text_table(files)}\n\n{text_table([[_show(cell) for cell in row] for row in facts])}"


def _show(cell: str) -> str:
    """Return what a registry says, without what would steer a terminal."""
    return cell if cell.isprintable() else ascii(cell)


def _invariance(measured: BatchInvariance) -> str:
    return (
        f"largest score shift {measured.largest_score_shift:.4f}, "
        f"{measured.labels_flipped} of {measured.texts} labels flip"
    )


def _figure_row(figure: Figure) -> Row:
    name = f"accuracy, {figure.precision}, {figure.dataset}"
    return name, _rate(figure.accuracy), _rate(figure.registered)


def _rate(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def register(plan: Plan, registry: Registry) -> dict[str, Any]:
    """Register what was planned, and nothing that lies beside it, and see that it is there.

    Returns:
        The new version as ``Registry.latest`` would describe it.

    Raises:
        ArtifactChangedError: A file is not the one that was planned with.
        RegistrationError: There is no room for a copy, or the registry has something else now than
            was registered.
        ModelImportError: As ``SdkClient`` says.
    """
    with tempfile.TemporaryDirectory(prefix="textclf-") as parent:
        folder = Path(parent) / _FOLDER
        _copy(plan, folder)
        made = _upload(plan, registry, folder)
    try:
        held = registry.fetch(plan.name, made["version"])
    except ModelImportError as exc:
        raise RegistrationError(
            f"{plan.name}:{made['version']} was registered, but could not be looked at: {exc}"
        ) from exc
    _check(plan, held)
    return made


def _upload(plan: Plan, registry: Registry, folder: Path) -> dict[str, Any]:
    labels = ", ".join(plan.artifact.description.labels)
    description = f"Text classifier: {labels}"
    try:
        return registry.register(
            folder, plan.name, tags=dict(plan.tags), properties={}, description=description
        )
    except DownloadError as exc:
        raise DownloadError(
            f"{exc}; whether {plan.name} has a new version is not known: run this again, which "
            "registers nothing if it has"
        ) from exc


def _copy(plan: Plan, folder: Path) -> None:
    folder.mkdir()
    for file in plan.files:
        source = plan.artifact.folder / file.name
        try:
            sha256 = hash_file(Path(shutil.copyfile(source, folder / file.name)))
        except OSError as exc:
            raise RegistrationError(
                f"cannot copy {source} to {folder}: {exc}; nothing was registered: make room there "
                "or set TMPDIR to another folder"
            ) from exc
        if sha256 != file.sha256:
            raise ArtifactChangedError(
                f"{source} was changed while it was to be registered; nothing was registered: run "
                "this again"
            )


def _check(plan: Plan, held: Mapping[str, Any]) -> None:
    made = f"{plan.name}:{held['version']}"
    different = [tag for tag, value in plan.tags.items() if held["tags"].get(tag) != value]
    if different:
        raise RegistrationError(
            f"{made} was registered, but the registry has other values for its tags "
            f"{', '.join(different)}; archive {made} and register again"
        )
    names = sorted(Path(file["path"]).name for file in held["files"])
    if names != sorted(file.name for file in plan.files):
        raise RegistrationError(
            f"{made} was registered, but the registry lists the files {', '.join(names)}; archive "
            f"{made} and register again"
        )


def record(plan: Plan, made: Mapping[str, Any], workspace: str) -> str:
    """Return what was registered, where, when and by what, as JSON."""
    description = plan.artifact.description
    content = {
        "name": plan.name,
        "version": made["version"],
        "replaces": plan.registered["version"] if plan.registered else None,
        "workspace": workspace,
        "uri": made["uri"],
        "registered_at": made["created_at"],
        "registered_by": made["created_by"],
        "sdk": made["sdk"],
        "textclf": __version__,
        "files": {f.name: {"bytes": f.size_bytes, "sha256": f.sha256} for f in plan.files},
        "tags": dict(plan.tags),
        **description.model_dump(
            mode="json", include={"lineage", "precision", "batch_invariance", "evaluations"}
        ),
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
