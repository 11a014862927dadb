"""Pushing a planned release to its repositories, and seeing that it is there."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from logging import getLogger

from textclf.errors import ImageError, PublishError
from textclf.image.publication import Published
from textclf.image.publishing import Image, Plan, Release, TagPlan, is_same
from textclf.image.registry import Held, Remote

_LOGGER = getLogger(__name__)


def look_at_all(remote: Remote, release: Release) -> dict[str, Held | None]:
    """Return what each tag of a release stands for in a repository.

    Raises:
        RegistryAccessError: The registry refuses to tell.
        PublishError: It cannot be reached.
    """
    _LOGGER.info("looking at %s", remote.name)
    return {tag: remote.look(tag) for tag in (*release.image_tags, *release.tags)}


def publish(plans: Sequence[Plan], remotes: Mapping[str, Remote]) -> Iterator[Published]:
    """Push to one repository after the other; yield each once it was seen to have it all.

    Args:
        plans: One a repository.
        remotes: The repositories, by name.

    Raises:
        RegistryAccessError: A registry refuses.
        PublishError: One cannot be reached, breaks off, or has something else than was pushed or
            than the first has.
    """
    digest = ""
    for plan in plans:
        pushed: list[str] = []
        try:
            made = _publish_to(remotes[plan.repository], plan, pushed)
            digest = _require_equal(plan.repository, made.digest, digest)
        except ImageError as exc:
            tags = ", ".join(pushed) or "none"
            raise type(exc)(f"{exc} (tags that {plan.repository} took so far: {tags})") from exc
        yield made


def _publish_to(remote: Remote, plan: Plan, pushed: list[str]) -> Published:
    started = time.monotonic()
    single = [tag for tag in plan.tags if len(tag.images) == 1]
    joint = [tag for tag in plan.tags if len(tag.images) > 1]
    manifests: dict[str, str] = {}
    for image in {tag.images[0].image_id: tag.images[0] for tag in single}.values():
        own = [tag for tag in single if tag.images == (image,)]
        manifests[image.architecture] = _publish_image(remote, own, pushed)
    (digest, *_) = manifests.values()
    if joint:
        digest = _publish_index(remote, joint, manifests, pushed)
    return Published(
        repository=plan.repository,
        digest=digest,
        manifests=manifests,
        tags=tuple(tag.tag for tag in plan.tags),
        pushed=tuple(pushed),
        published_at=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=time.monotonic() - started,
    )


def _publish_image(remote: Remote, tags: Sequence[TagPlan], pushed: list[str]) -> str:
    image = tags[0].images[0]
    digest = next((t.held.manifests[0].digest for t in tags if t.held and t.status == "there"), "")
    if digest:
        remote.pull(digest)  # so that docker pushes the layers as they are there, not anew
    for tag in tags:
        if tag.status != "there":
            _require_as_planned(remote, tag)
            _LOGGER.info("pushing %s", remote.reference(tag.tag))
            made = remote.push(image.image_id, tag.tag)
            pushed.append(tag.tag)
            digest = _require_equal(remote.reference(tag.tag), made, digest)
    verify(remote, digest, [image], [tag.tag for tag in tags])
    return digest


def _publish_index(
    remote: Remote, tags: Sequence[TagPlan], manifests: Mapping[str, str], pushed: list[str]
) -> str:
    images = tags[0].images
    digest = ""
    for tag in sorted(tags, key=lambda tag: tag.status != "there"):
        if tag.status == "there":
            made = remote.pull(tag.tag, platform=f"linux/{images[0].architecture}")
        else:
            _require_as_planned(remote, tag)
            _LOGGER.info("pushing the index %s", remote.reference(tag.tag))
            made = remote.push_index([*manifests.values()], tag.tag)
            pushed.append(tag.tag)
        digest = _require_equal(remote.reference(tag.tag), made, digest)
    verify(remote, digest, images, [tag.tag for tag in tags])
    return digest


def _require_as_planned(remote: Remote, tag: TagPlan) -> None:
    """Look once more: a registry cannot be told to take a tag only if it is free."""
    if remote.look(tag.tag) != tag.held:
        raise PublishError(
            f"{remote.reference(tag.tag)} was changed by someone else since it was looked at; run "
            "this again"
        )


def _require_equal(reference: str, made: str, digest: str) -> str:
    if digest not in {"", made}:
        raise PublishError(
            f"{reference} has {made}, but the same image is {digest} elsewhere; publish with the "
            "docker that pushed that, or build a new version"
        )
    return made


def verify(remote: Remote, digest: str, images: Sequence[Image], tags: Sequence[str]) -> None:
    """See that a repository has images under a digest and under every tag, and can be pulled from.

    What the registry has is asked of the registry: a pull alone shows nothing, as docker does not
    fetch what it has. That every layer is whole is the registry's word: it hashes what it takes.

    Raises:
        RegistryAccessError: The registry refuses.
        PublishError: It has something else, or nothing.
    """
    _LOGGER.info("verifying %s", remote.reference(digest))
    under_digest = remote.look(digest)
    for name in (digest, *tags):
        held = under_digest if name == digest else remote.look(name)
        if held is None or not is_same(held, images) or held != under_digest:
            expected = ", ".join(f"{image.image_id}" for image in images)
            raise PublishError(
                f"{remote.reference(name)} is {held or 'not there'}, not the image {expected} that "
                "was pushed; someone else may publish there: stop that, then run this again"
            )
    if len(images) == 1:  # what an index is made of was verified one by one
        pulled = remote.pull_image(digest)
        if pulled != images[0].image_id:
            raise PublishError(
                f"{remote.reference(digest)} is pulled as {pulled}, not as {images[0].image_id}; "
                "have the registry repaired, then run this again"
            )
