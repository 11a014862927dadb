"""Where a draft comes from, in terms that make a store tag."""

from __future__ import annotations

from datetime import UTC, datetime

from bentoml import Tag

import textclf
from textclf.description import Lineage
from textclf.drafting.options import ImportOptions
from textclf.errors import ModelImportError
from textclf.sources import FetchedModel

_LOCAL = "local"
_LONGEST = 300


def new_lineage(
    model: FetchedModel, options: ImportOptions, *, origin: str | None = None
) -> Lineage:
    """Return the lineage of a model that was fetched just now.

    Args:
        model: The model.
        options: What overrides its name and version.
        origin: Where it came from before that, if it says so.

    Raises:
        ModelImportError: Name and version make no store tag.
    """
    return _lineage(
        {
            "source": model.source,
            "uri": model.uri,
            "name": options.name or model.name,
            "version": options.version or model.version,
            "workspace": _printable(model.workspace),
            "registered_by": _printable(model.registered_by),
            "registered_at": _printable(model.registered_at),
            "origin": origin,
            "imported_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "importer": f"textclf {textclf.__version__}",
            "sdk": model.sdk,
        }
    )


def adopted_lineage(given: Lineage, model: FetchedModel, options: ImportOptions) -> Lineage:
    """Return the lineage of a classifier folder: its own, or that of the registry it came from.

    Raises:
        ModelImportError: Name and version make no store tag.
    """
    if model.source != _LOCAL:
        return new_lineage(model, options, origin=given.uri)
    overrides = {"name": options.name, "version": options.version}
    overridden = {field: value for field, value in overrides.items() if value is not None}
    return _lineage(given.model_dump() | overridden)


def _printable(text: str | None) -> str | None:
    """Return what a registry says without what would act on a terminal or break a line."""
    if text is None:
        return None
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:_LONGEST]


def _lineage(content: dict[str, str | None]) -> Lineage:
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
