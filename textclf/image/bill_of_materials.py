"""What an image is made of: a CycloneDX bill of materials, and its licences in a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component
from cyclonedx.model.tool import ToolRepository
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.utils import canonicalize_name

from textclf.errors import ImageError
from textclf.image.components import (
    image_component,
    image_labels,
    interpreter_component,
    kind,
    licence_names,
    model_component,
    os_component,
    own_component,
    package_component,
    python_component,
)
from textclf.image.docker import inspect_image
from textclf.image.inventory import Inventory, entry_points, read_inventory, resolve_requirements
from textclf.tables import markdown_table

SBOM = "sbom.cdx.json"
LICENCES = "licences.md"
UNKNOWN = "unknown"
_SCHEMA = SchemaVersion.V1_6  # not every scanner reads 1.7 yet
_LICENCES = """\
# Licences in {image}

As the packages declare them, by SPDX's names where there is no doubt which is meant. A component
with several has parts under each, or leaves the choice. "unknown" is what no machine can read: of
a deb, see `/usr/share/doc/<component>/copyright` in the image.

{counts}

## Components

{components}
"""


@dataclass(frozen=True, kw_only=True)
class Bill:
    """What was written: where, how many components, and of how many no licence is known."""

    sbom: Path
    licences: Path
    components: int
    unknown_licences: int


def write_bill(reference: str, folder: Path, *, created: datetime) -> Bill:
    """Write ``sbom.cdx.json`` and ``licences.md`` of an image of the local docker.

    The same image and ``created`` give the same bytes.

    Args:
        reference: A name or an id that the local docker knows.
        folder: Is there already; files of these names are replaced.
        created: When the image was made, with its time zone.

    Raises:
        DockerError: There is no such image, or it has no Python that answers.
        ImageError: The image lacks a label, or what it says of its parts cannot be read.
    """
    image = inspect_image(reference)
    inventory = read_inventory(image["Id"], reference)
    bom = make_bom(image, inventory, reference=reference, created=created)
    rendered = {SBOM: render_bom(bom, reference), LICENCES: render_licences(bom)}
    for name, text in rendered.items():
        (folder / name).write_text(text, "utf-8")
    return Bill(
        sbom=folder / SBOM,
        licences=folder / LICENCES,
        components=len(bom.components),
        unknown_licences=sum(not component.licenses for component in bom.components),
    )


def make_bom(
    image: Mapping[str, Any], inventory: Inventory, *, reference: str, created: datetime
) -> Bom:
    """Return the bill of materials of an image.

    The image depends on its model, interpreter and operating system, and on those Python
    distributions that no other one needs; these on what they need.

    Args:
        image: What ``docker image inspect`` says of it.
        inventory: What is installed in it.
        reference: What messages call it.
        created: When it was made, with its time zone.

    Raises:
        ImageError: A label is missing or unfit, or a requirement cannot be read.
    """
    labels = image_labels(image, reference)
    itself = image_component(image, labels)
    imported: dict[str, Component] = {}
    shadowed: list[Component] = []  # of another version than the one that is imported
    for distribution in inventory.python_distributions:
        component = python_component(distribution)
        first = imported.setdefault(canonicalize_name(distribution.name), component)
        if first != component:
            shadowed.append(component)
    others = [
        model_component(labels),
        interpreter_component(inventory),
        os_component(inventory),
        *(package_component(package, inventory) for package in inventory.os_packages),
        *shadowed,
    ]
    bom = Bom(
        serial_number=uuid5(NAMESPACE_URL, str(itself.purl)),
        metadata=BomMetaData(
            component=itself,
            timestamp=created.astimezone(UTC),
            tools=ToolRepository(components=[own_component()]),
        ),
        components=[*others, *imported.values()],
    )
    needs = resolve_requirements(inventory.python_distributions, inventory.marker_environment)
    bom.register_dependency(itself, [*others, *(imported[name] for name in entry_points(needs))])
    for name, needed in needs.items():
        bom.register_dependency(imported[name], [imported[each] for each in needed])
    return bom


def render_bom(bom: Bom, reference: str) -> str:
    """Return the bill as CycloneDX JSON that its schema accepts.

    Raises:
        ImageError: The schema refuses it: something in the image describes itself wrongly.
    """
    rendered = make_outputter(bom, OutputFormat.JSON, _SCHEMA).output_as_string(indent=2)
    if fault := JsonStrictValidator(_SCHEMA).validate_str(rendered):
        raise ImageError(
            f"the bill of materials of {reference} is not valid CycloneDX: {str(fault)[:500]}; "
            "pin another version of the package that describes itself so"
        )
    return rendered + "\n"


def render_licences(bom: Bom) -> str:
    """Return the licences as Markdown: how often each occurs, then each component with its own."""
    counts = Counter(name for each in bom.components for name in licence_names(each) or [UNKNOWN])
    most_first = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    rows = [
        [each.name, each.version or "", ", ".join(licence_names(each)) or UNKNOWN, kind(each)]
        for each in bom.components
    ]
    itself = bom.metadata.component
    return _LICENCES.format(
        image=f"{itself.name} {itself.version}" if itself else "",
        counts=markdown_table(
            ["licence", "components"], [[name, str(count)] for name, count in most_first]
        ),
        components=markdown_table(
            ["component", "version", "licence", "kind"],
            sorted(rows, key=lambda row: (row[0].lower(), row)),
        ),
    )
