"""Images that are not on this machine yet: the one to check, and its base."""

from __future__ import annotations

import re
from typing import Any

from textclf.errors import CheckFailedError, DockerError
from textclf.image.docker import inspect_image, run_docker

BASE_NAME = "org.opencontainers.image.base.name"
BASE_DIGEST = "org.opencontainers.image.base.digest"
_TAG = re.compile(r":[\w.-]+$")


def find_image(reference: str) -> dict[str, Any]:
    """Return what `docker image inspect` says of an image, which is pulled unless it is here.

    Raises:
        DockerError: It is neither here nor where its name leads.
    """
    try:
        return inspect_image(reference)
    except DockerError as absent:
        try:
            run_docker("pull", reference)
        except DockerError as exc:
            raise DockerError(f"{absent}; {exc}") from exc
    return inspect_image(reference)


def find_base(described: dict[str, Any], given: str | None) -> dict[str, Any]:
    """Return what `docker image inspect` says of the base of an image.

    Its labels name it: a digest is either that of a manifest, which a registry knows, or an Id.

    Args:
        described: What docker says of the image.
        given: Reference of the base; None for the one that the labels name.

    Raises:
        CheckFailedError: They name none, or it cannot be had.
    """
    labels = described["Config"].get("Labels") or {}
    name, digest = labels.get(BASE_NAME, ""), labels.get(BASE_DIGEST, "")
    if not given and not name:
        raise CheckFailedError(f"the image has no label {BASE_NAME}; name its base with --base")
    try:
        if given or not digest:
            return find_image(given or name)
        try:
            return inspect_image(digest)
        except DockerError:
            return find_image(f"{_TAG.sub('', name.partition('@')[0])}@{digest}")
    except DockerError as exc:
        raise CheckFailedError(
            f"the base {given or name} cannot be looked at: {exc}; pull it, or name another with "
            "--base"
        ) from exc
