"""CycloneDX components: one for the image, and one for each thing that is in it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from cyclonedx.model import (
    ExternalReference,
    ExternalReferenceType,
    HashAlgorithm,
    HashType,
    Property,
    XsUri,
)
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.contact import OrganizationalContact, OrganizationalEntity
from cyclonedx.model.license import LicenseExpression
from packageurl import PackageURL
from packaging.utils import canonicalize_name

from textclf import __version__
from textclf.errors import ImageError
from textclf.image.inventory import Distribution, Inventory, OsPackage
from textclf.image.licences import declared

_OCI = "org.opencontainers.image."
_MODEL = "textclf.model."
_NEEDED_LABELS = {
    f"{_OCI}title": r".+",
    f"{_OCI}version": r".+",
    f"{_OCI}licenses": r".+",
    f"{_MODEL}tag": r"[^:]+:[^:]+",
    f"{_MODEL}sha256": r"[0-9a-f]{64}",
}


def image_labels(image: Mapping[str, Any], reference: str) -> dict[str, str]:
    """Return the labels of an image.

    Args:
        image: What ``docker image inspect`` says of it.
        reference: What messages call it.

    Raises:
        ImageError: A label that the bill needs is missing or malformed.
    """
    labels = dict(image["Config"]["Labels"] or {})
    unfit = [n for n, form in _NEEDED_LABELS.items() if not re.fullmatch(form, labels.get(n, ""))]
    if unfit:
        raise ImageError(
            f"{reference} lacks a fit label {', '.join(unfit)}; "
            "build the image with scripts/build_image.py"
        )
    return labels


def image_component(image: Mapping[str, Any], labels: Mapping[str, str]) -> Component:
    """Return the image itself; its package URL has its id, which names every layer."""
    purl = PackageURL(
        "oci", None, labels[f"{_OCI}title"], image["Id"], {"arch": image["Architecture"]}
    )
    return Component(
        type=ComponentType.CONTAINER,
        name=labels[f"{_OCI}title"],
        version=labels[f"{_OCI}version"],
        purl=purl,
        bom_ref=str(purl),
        licenses=declared([labels[f"{_OCI}licenses"]]),
        external_references=_page(labels.get(f"{_OCI}source"), ExternalReferenceType.VCS),
        properties=[
            Property(name=name, value=value)
            for name, value in labels.items()
            if name.startswith((_OCI, _MODEL)) and value
        ],
    )


def model_component(labels: Mapping[str, str]) -> Component:
    """Return the model, by its store tag and the sha256 of its graph."""
    name, _, version = labels[f"{_MODEL}tag"].partition(":")
    return Component(
        type=ComponentType.MACHINE_LEARNING_MODEL,
        name=name,
        version=version,
        bom_ref=f"model:{name}:{version}",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=labels[f"{_MODEL}sha256"])],
    )


def interpreter_component(inventory: Inventory) -> Component:
    """Return the Python that runs, which no package manager knows in images made from source."""
    version = inventory.marker_environment["python_full_version"]
    return Component(
        type=ComponentType.PLATFORM,
        name=inventory.marker_environment["platform_python_implementation"],
        version=version,
        bom_ref=f"python:{version}",
        cpe=f"cpe:2.3:a:python:python:{version}:*:*:*:*:*:*:*",
        licenses=declared(["PSF-2.0"]),
    )


def os_component(inventory: Inventory) -> Component:
    """Return the operating system; scanners choose their list of vulnerabilities by it."""
    name, version = _distro(inventory)
    return Component(
        type=ComponentType.OPERATING_SYSTEM, name=name, version=version, bom_ref=f"os:{name}"
    )


def package_component(package: OsPackage, inventory: Inventory) -> Component:
    """Return a package of the operating system.

    Source: ``upstream`` is Syft's and Grype's way to say which source package a package is made
    from, of which Debian's security tracker speaks.
    """
    distro, release = _distro(inventory)
    qualifiers = {"arch": package.architecture, "distro": f"{distro}-{release}"}
    if (package.source, package.source_version) != (package.name, package.version):
        qualifiers["upstream"] = f"{package.source}@{package.source_version}"
    purl = PackageURL("deb", distro, package.name, package.version, qualifiers)
    return Component(
        type=ComponentType.LIBRARY,
        name=package.name,
        version=package.version,
        purl=purl,
        bom_ref=str(purl),
        licenses=declared(package.spdx_licences),
        supplier=OrganizationalEntity(name=package.maintainer) if package.maintainer else None,
        external_references=_page(package.home_page),
    )


def python_component(distribution: Distribution) -> Component:
    """Return a Python distribution."""
    name = canonicalize_name(distribution.name)
    purl = PackageURL("pypi", None, name, distribution.version)
    return Component(
        type=ComponentType.LIBRARY,
        name=distribution.name,
        version=distribution.version,
        description=distribution.summary,
        purl=purl,
        bom_ref=str(purl),
        licenses=declared(distribution.licences),
        authors=[OrganizationalContact(name=name) for name in distribution.authors],
        external_references=_page(distribution.website),
    )


def own_component() -> Component:
    """Return textclf, as the tool that writes the bill."""
    return Component(type=ComponentType.APPLICATION, name="textclf", version=__version__)


def licence_names(component: Component) -> list[str]:
    """Return the names of a component's licences, in order."""
    return sorted(
        licence.value if isinstance(licence, LicenseExpression) else licence.id or licence.name
        for licence in component.licenses
    )


def kind(component: Component) -> str:
    """Return what sort of thing a component is, in a word."""
    return component.purl.type if component.purl else component.type.value


def _distro(inventory: Inventory) -> tuple[str, str]:
    release = inventory.os_release
    version = release.get("VERSION_ID") or release.get("VERSION_CODENAME") or "unstable"
    return release.get("ID", "debian"), version


def _page(
    url: str | None, kind: ExternalReferenceType = ExternalReferenceType.WEBSITE
) -> Iterable[ExternalReference]:
    if url and re.fullmatch(r"https?://[^\s<>\"{}|\\^`]+", url):
        yield ExternalReference(type=kind, url=XsUri(url))
