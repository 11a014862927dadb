"""What an image is published as: what it says of itself, and which tags it gets where."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from textclf.errors import PublishError
from textclf.image.evidence import Report
from textclf.image.registry import Held
from textclf.tables import Row, text_table

_LABEL = "org.opencontainers.image."
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_REVISION = re.compile(r"[0-9a-f]{40}")
_SHORT = 12  # characters of a revision or a digest that tell commits and images apart for people
_LATEST = "latest"


@dataclass(frozen=True, kw_only=True)
class Image:
    """An image of this daemon that may be published.

    Attributes:
        name: As it was given.
        image_id: What docker knows it by.
        version: From its labels, as are ``revision`` and ``model``.
        revision: The commit it was built from.
        model: Store tag and sha256 of the model that it serves; empty where it does not say.
        architecture: As docker calls it, such as ``amd64``.
        layers: How many it has.
        report: Says that it passed its checks.
    """

    name: str
    image_id: str
    version: str
    revision: str
    model: tuple[str, str]
    architecture: str
    layers: int
    report: Report


def read_image(name: str, inspected: Mapping[str, Any], report: Report) -> Image:
    """Take from an image's labels what it is published as.

    Args:
        name: As it was given.
        inspected: What docker says of it.
        report: Of its checks.

    Raises:
        PublishError: A label is missing or cannot become a tag, or the clone had changes that no
            commit holds.
    """
    labels = inspected["Config"].get("Labels") or {}
    version = _read_label(name, labels, "version", _TAG)
    revision = _read_label(name, labels, "revision", _REVISION)
    if "-dirty" in version or version == _LATEST:
        raise PublishError(
            f"{name} is version {version}, which names no commit; commit, and build and check "
            "the image again"
        )
    return Image(
        name=name,
        image_id=inspected["Id"],
        version=version,
        revision=revision,
        model=(labels.get("textclf.model.tag", ""), labels.get("textclf.model.sha256", "")),
        architecture=inspected["Architecture"],
        layers=len(inspected["RootFS"]["Layers"]),
        report=report,
    )


def _read_label(name: str, labels: Mapping[str, str], label: str, form: re.Pattern[str]) -> str:
    value = labels.get(_LABEL + label)
    if value is None:
        raise PublishError(
            f"{name} has no label {_LABEL}{label}; build it with scripts/build_image.py"
        )
    if not form.fullmatch(value):
        raise PublishError(
            f"label {_LABEL}{label} of {name} is {value!a}, which does not match "
            f"{form.pattern}; build the image with scripts/build_image.py"
        )
    return value


@dataclass(frozen=True, kw_only=True)
class Release:
    """What is published together: an image, or one for each architecture.

    Attributes:
        images: Of one version, one commit and one model.
        tags: What they are published under, the version first.
    """

    images: tuple[Image, ...]
    tags: tuple[str, ...]

    @property
    def version(self) -> str:
        """What the first tag is."""
        return self.tags[0]

    @property
    def is_index(self) -> bool:
        """Whether an index holds the images together."""
        return len(self.images) > 1

    @property
    def image_tags(self) -> dict[str, Image]:
        """Tags of the single images that an index is made of."""
        return {f"{self.version}-{i.architecture}": i for i in self.images} if self.is_index else {}


def make_release(images: Sequence[Image], *, latest: bool) -> Release:
    """See that images belong together, and choose their tags.

    Args:
        images: At least one.
        latest: Whether they get the tag ``latest`` too.

    Raises:
        PublishError: They differ in more than the architecture, or not in it.
    """
    first = images[0]
    for other in images[1:]:
        for what in ("version", "revision", "model"):
            if getattr(first, what) != getattr(other, what):
                raise PublishError(
                    f"{first.name} and {other.name} differ in their {what}: "
                    f"{getattr(first, what)}, {getattr(other, what)}; build both from one commit "
                    "with one model"
                )
    architectures = [image.architecture for image in images]
    if len(set(architectures)) < len(architectures):
        raise PublishError(
            f"{', '.join(image.name for image in images)} are for {', '.join(architectures)}; give "
            "one image an architecture"
        )
    tags = (first.version, f"sha-{first.revision[:_SHORT]}", *([_LATEST] if latest else []))
    release = Release(images=tuple(images), tags=tags)
    too_long = [tag for tag in release.image_tags if not _TAG.fullmatch(tag)]
    if too_long:
        raise PublishError(f"{too_long[0]} is too long for a tag; shorten the version")
    return release


@dataclass(frozen=True, kw_only=True)
class TagPlan:
    """What happens to a tag of a repository.

    Attributes:
        images: What it will stand for; an index, if there are several.
        held: What it stands for now; None if nothing.
        status: ``there`` if that is the same already.
    """

    tag: str
    images: tuple[Image, ...]
    held: Held | None
    status: Literal["new", "there", "moves"]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What happens to a repository: to the tags of single images first, then to the release's."""

    repository: str
    tags: tuple[TagPlan, ...]

    @property
    def unchanged(self) -> bool:
        """Whether the repository has it all."""
        return all(tag.status == "there" for tag in self.tags)


def plan_repository(repository: str, release: Release, held: Mapping[str, Held | None]) -> Plan:
    """Compare a release with what a repository has.

    The version, and the version with an architecture, are immutable. ``sha-<commit>`` stands for
    the last image of a commit, which gets another version once the commit is tagged, and
    ``latest`` for the last of branch main: these two move.

    Args:
        repository: Its name.
        release: What is to be published.
        held: What every tag of the release stands for in the repository.

    Raises:
        PublishError: A version stands for something else.
    """
    wanted: dict[str, tuple[Image, ...]] = {t: (i,) for t, i in release.image_tags.items()}
    wanted |= dict.fromkeys(release.tags, release.images)
    fixed = {release.version, *release.image_tags}
    tags = []
    for tag, images in wanted.items():
        now = held[tag]
        there = now is not None and is_same(now, images)
        if now is not None and not there and tag in fixed:
            ids = ", ".join(image.image_id for image in images)
            raise PublishError(
                f"{repository}:{tag} is taken: it is {now}, not the image {ids}; a version is "
                "never overwritten: publish what it stands for, or commit and build a new version"
            )
        status: Literal["new", "there", "moves"]
        status = "there" if there else "new" if now is None else "moves"
        tags.append(TagPlan(tag=tag, images=images, held=now, status=status))
    return Plan(repository=repository, tags=tuple(tags))


def is_same(held: Held, images: Sequence[Image]) -> bool:
    """Say whether what a registry has is these images, each whole, and nothing else."""
    if held.is_index != (len(images) > 1) or len(held.manifests) != len(images):
        return False
    return all(
        any(
            manifest.is_image(image.image_id)
            and len(manifest.layers) == image.layers
            and manifest.architecture == image.architecture
            for manifest in held.manifests
        )
        for image in images
    )


def render_plan(release: Release, plans: Iterable[Plan]) -> str:
    """Return the tables a person decides by."""
    images: list[Row] = [("image", "architecture", "id", "model", "checked")]
    images += [
        (i.name, i.architecture, _short(i.image_id), i.model[0], i.report.started_at)
        for i in release.images
    ]
    tags: list[Row] = [("repository", "tag", "now", "")]
    for plan in plans:
        for tag in plan.tags:
            now = ", ".join(_short(m.config) for m in tag.held.manifests) if tag.held else ""
            tags.append((plan.repository, tag.tag, now, tag.status))
    return f"{text_table(images)}\n\n{text_table(tags)}"


def _short(digest: str) -> str:
    return digest.removeprefix("sha256:")[:_SHORT]
