"""What a bill of materials says, and what it is refused for."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from textclf.errors import ImageError
from textclf.image import inside
from textclf.image.bill_of_materials import make_bom, render_bom, render_licences
from textclf.image.inventory import Distribution, Inventory, OsPackage

CREATED = datetime(2026, 3, 1, 12, tzinfo=UTC)
ENVIRONMENT = inside.marker_environment()
IMAGE: dict[str, Any] = {
    "Id": "sha256:" + "1" * 64,
    "Architecture": "amd64",
    "Config": {
        "Labels": {
            "org.opencontainers.image.title": "textclf",
            "org.opencontainers.image.version": "0.3.1",
            "org.opencontainers.image.licenses": "Apache-2.0",
            "org.opencontainers.image.source": "https://git.example.com/textclf.git",
            "org.opencontainers.image.revision": "",
            "textclf.model.tag": "sentiment:reference-2",
            "textclf.model.sha256": "a" * 64,
        }
    },
}
LIBEXAMPLE = OsPackage(
    name="libexample1",
    version="1:2.0-1+b1",
    architecture="amd64",
    source="example",
    source_version="1:2.0-1",
    maintainer="A Debian Developer <developer@debian.example>",
    home_page="not a page",
    licences=("Expat", "GPL-2+"),
)
PROSE = LIBEXAMPLE.model_copy(
    update={"name": "prose", "source": "prose", "source_version": "1:2.0-1+b1", "licences": ()}
)


def installed(*, reverse: bool = False, **changes: Any) -> Inventory:
    """Return what is installed in an image, in either order."""
    step = -1 if reverse else 1
    fields: dict[str, Any] = {
        "os_release": {"ID": "debian", "VERSION_ID": "12"},
        "os_packages": (LIBEXAMPLE, PROSE)[::step],
        "python_distributions": (
            Distribution(name="Tiny_Root", version="1.0", requires=("tiny.leaf>=1",)),
            Distribution(
                name="tiny-leaf",
                version="2.0",
                license_expression="MIT OR Apache-2.0",
                author_email="Ann <ann@example.org>, bob@example.org",
                project_urls=("Changelog, https://c.example", "Home-Page, https://h.example"),
            ),
        )[::step],
        "marker_environment": ENVIRONMENT,
    }
    return Inventory(**fields | changes)


def bill(inventory: Inventory, created: datetime = CREATED) -> str:
    """Return the bill of an image in which these things are installed."""
    return render_bom(make_bom(IMAGE, inventory, reference="x:1", created=created), "x:1")


def by_name(bom: str) -> dict[str, Any]:
    """Return the components of a bill by their names."""
    return {component["name"]: component for component in json.loads(bom)["components"]}


def test_components() -> None:
    """Each component says what it is, where it comes from and what is known of its licence."""
    components = by_name(bill(installed()))

    assert components["sentiment"]["type"] == "machine-learning-model"
    assert components["sentiment"]["version"] == "reference-2"
    assert components["sentiment"]["hashes"] == [{"alg": "SHA-256", "content": "a" * 64}]
    assert components["debian"]["type"] == "operating-system"
    assert components["CPython"]["cpe"].startswith("cpe:2.3:a:python:python:3.")
    assert components["libexample1"]["purl"] == (
        "pkg:deb/debian/libexample1@1:2.0-1%2Bb1"
        "?arch=amd64&distro=debian-12&upstream=example%401:2.0-1"
    )
    assert [each["license"]["id"] for each in components["libexample1"]["licenses"]] == [
        "GPL-2.0-or-later",
        "MIT",
    ]
    assert "licenses" not in components["prose"]
    assert "upstream" not in components["prose"]["purl"]
    assert "externalReferences" not in components["libexample1"]
    leaf = components["tiny-leaf"]
    assert leaf["purl"] == "pkg:pypi/tiny-leaf@2.0"
    assert leaf["licenses"][0]["expression"] == "MIT OR Apache-2.0"
    assert leaf["authors"] == [{"name": "Ann"}, {"name": "bob@example.org"}]
    assert leaf["externalReferences"][0]["url"] == "https://h.example"


def test_the_image_itself() -> None:
    """The bill is of this very image, and tells what its parts depend on."""
    described = json.loads(bill(installed()))
    itself = described["metadata"]["component"]
    depends = {each["ref"]: each.get("dependsOn", []) for each in described["dependencies"]}

    assert (itself["type"], itself["name"], itself["version"]) == ("container", "textclf", "0.3.1")
    assert itself["purl"] == f"pkg:oci/textclf@{IMAGE['Id']}?arch=amd64"
    assert itself["externalReferences"][0]["url"] == "https://git.example.com/textclf.git"
    assert "org.opencontainers.image.revision" not in {
        each["name"] for each in itself["properties"]
    }
    assert depends["pkg:pypi/tiny-root@1.0"] == ["pkg:pypi/tiny-leaf@2.0"]
    assert "pkg:pypi/tiny-root@1.0" in depends[itself["bom-ref"]]
    assert "pkg:pypi/tiny-leaf@2.0" not in depends[itself["bom-ref"]]
    assert "model:sentiment:reference-2" in depends[itself["bom-ref"]]


def test_a_shadowed_distribution_is_listed() -> None:
    """Two versions of one distribution are both in the image, so both are in the bill."""
    two = tuple(Distribution(name="setuptools", version=version) for version in ("80", "65"))
    described = json.loads(bill(installed(python_distributions=two)))
    (root,) = [
        each["dependsOn"] for each in described["dependencies"] if each["ref"].startswith("pkg:oci")
    ]

    assert {"pkg:pypi/setuptools@80", "pkg:pypi/setuptools@65"} <= set(root)


def test_the_same_image_gives_the_same_bytes() -> None:
    """Neither the order in which things were found nor the time zone changes a byte."""
    elsewhere = CREATED.astimezone(timezone(timedelta(hours=5)))
    first, second = bill(installed()), bill(installed(reverse=True), elsewhere)

    assert first == second
    assert json.loads(first)["metadata"]["timestamp"] == "2026-03-01T12:00:00+00:00"
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(first) is None


def test_the_serial_number_is_the_images() -> None:
    """Another image has another serial number, whatever is in it."""
    other = IMAGE | {"Id": "sha256:" + "2" * 64}
    first, second = (
        make_bom(image, installed(), reference="x", created=CREATED) for image in (IMAGE, other)
    )

    assert first.serial_number != second.serial_number


def test_a_bill_that_breaks_the_schema_is_refused() -> None:
    """What the schema refuses is not written."""
    bom = make_bom(IMAGE, installed(), reference="x:1", created=CREATED)
    bom.version = -1

    with pytest.raises(ImageError, match="of x:1 is not valid CycloneDX"):
        render_bom(bom, "x:1")


@pytest.mark.parametrize(
    ("label", "value"),
    [
        ("org.opencontainers.image.version", ""),
        ("textclf.model.tag", "sentiment"),
        ("textclf.model.sha256", "A" * 64),
        ("org.opencontainers.image.title", None),
    ],
    ids=["empty", "no version in the tag", "no sha256", "missing"],
)
def test_unfit_labels_are_refused(label: str, value: str | None) -> None:
    """An image that does not say what it is gets no bill; the message names the label."""
    labels = {**IMAGE["Config"]["Labels"], label: value}
    image = IMAGE | {"Config": {"Labels": {k: v for k, v in labels.items() if v is not None}}}

    with pytest.raises(ImageError, match=f"x:1 lacks a fit label {label};"):
        make_bom(image, installed(), reference="x:1", created=CREATED)


def test_licences_in_a_table() -> None:
    """The most frequent licence is first, then each component with its own, by name."""
    bom = make_bom(IMAGE, installed(), reference="x:1", created=CREATED)
    lines = render_licences(bom).splitlines()
    tables = [line for line in lines if line.startswith("| ")]
    names = [line.split(" | ")[0].strip("| ") for line in tables]

    assert lines[0] == "# Licences in textclf 0.3.1"
    assert tables[2] == "| unknown | 4 |"
    assert "| MIT OR Apache-2.0 | 1 |" in tables
    assert "| libexample1 | 1:2.0-1+b1 | GPL-2.0-or-later, MIT | deb |" in tables
    assert "| Tiny_Root | 1.0 | unknown | pypi |" in tables
    listed = names[names.index("component") + 2 :]
    assert listed == sorted(listed, key=str.lower)
    assert len(listed) == len(bom.components)
