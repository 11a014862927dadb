"""A repository in a registry, as docker sees it: look, push, pull, and make an index.

Docker's own login is used; nothing here reads or prints credentials.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from textclf.errors import DockerError, ImageError, PublishError, RegistryAccessError
from textclf.image.docker import inspect_image, run_docker

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_HOST = r"(?:[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+(?::\d+)?|[A-Za-z0-9-]+:\d+|localhost)"
_REPOSITORY = re.compile(rf"{_HOST}(?:/{_COMPONENT})+")
_LOOPBACK = re.compile(r"(?:127(?:\.\d+){3}|localhost)(?::\d+)?")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_PUSHED = re.compile(rf"digest: ({_DIGEST.pattern}) size: \d+")
_PULLED = re.compile(rf"^Digest: ({_DIGEST.pattern})$", re.MULTILINE)

_LOOK_SECONDS = 60.0
_NOT_FOUND = re.compile("manifest unknown|name unknown|not found(?:: |$)", re.IGNORECASE)
_NO_DAEMON = re.compile("docker (?:daemon|API)|there is no docker command", re.IGNORECASE)
_AGAIN = "run this again: what is there is not pushed twice"
# What docker says, in the order of looking for it, and what it comes to.
_CAUSES: tuple[tuple[re.Pattern[str], type[ImageError], str], ...] = (
    (
        re.compile(
            "no basic auth credentials|unauthorized|denied|401 |403 |forbidden", re.IGNORECASE
        ),
        RegistryAccessError,
        "{host} refuses: {said}; log in with an account that may push there: docker login {host}",
    ),
    (  # of a manifest that does not have its digest, docker prints the bytes in decimal
        re.compile(r"unsupported manifest|manifest verification failed|(?:\b\d{1,3} ){20}"),
        PublishError,
        "{host} has something else under this digest; have it repaired, then run this again",
    ),
    (
        _NOT_FOUND,
        PublishError,
        "{host} does not have what it had just before; have it repaired, then run this again",
    ),
    (
        re.compile("unexpected http status: 5|no space left|unknown error", re.IGNORECASE),
        PublishError,
        "{host} fails by itself: {said}; see its log and whether its disk is full, then {again}",
    ),
    (re.compile(""), PublishError, "{said}; see that {host} runs, and {again}"),
)
_SAID_CHARACTERS = 300


def parse_repository(text: str) -> str:
    """Return the name of a repository, ``HOST[:PORT]/NAME``.

    Raises:
        ValueError: It is something else; the message does not repeat what may be a password.
    """
    if "@" in text and not _DIGEST.search(text):
        raise ValueError("a repository holds no credentials (not shown here); use docker login")
    if "://" in text:
        raise ValueError(f"{text}: leave the scheme out; docker chooses it")
    if "@" in text:
        raise ValueError(f"{text}: leave the digest out; it is what publishing yields")
    if ":" in text.rpartition("/")[2]:
        raise ValueError(f"{text}: leave the tag out; the tags come from the image's labels")
    if not _REPOSITORY.fullmatch(text):
        raise ValueError(
            f"{text!a} is no repository; give HOST/NAME in lower case, such as "
            "ghcr.io/owner/textclf or docker.io/owner/textclf"
        )
    return text


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a registry has of one image.

    Attributes:
        digest: Of the manifest.
        config: Digest of the configuration, which docker calls the image's id.
        layers: Digests of the compressed layers.
        architecture: As docker calls it, such as ``amd64``.
    """

    digest: str
    config: str
    layers: tuple[str, ...]
    architecture: str

    def is_image(self, image_id: str) -> bool:
        """Whether it is the image that docker knows by an id.

        The id is the configuration's digest, or the manifest's under containerd's image store.
        """
        return image_id in {self.config, self.digest}


@dataclass(frozen=True, kw_only=True)
class Held:
    """What a tag or a digest stands for in a registry.

    Attributes:
        manifests: One of each image.
        is_index: Whether it is an index, of one image an architecture.
    """

    manifests: tuple[Manifest, ...]
    is_index: bool

    def __str__(self) -> str:
        """Name every manifest, with the image it is of."""
        return ", ".join(f"{m.digest} (image {m.config})" for m in self.manifests)


class Remote:
    """A repository in a registry.

    Attributes:
        name: ``HOST[:PORT]/NAME``.
        host: The registry.
    """

    def __init__(self, name: str, *, timeout_seconds: float) -> None:
        self.name = name
        self.host = name.partition("/")[0]
        self._timeout_seconds = timeout_seconds
        self._look_seconds = min(_LOOK_SECONDS, timeout_seconds)
        self._insecure = ("--insecure",) if _LOOPBACK.fullmatch(self.host) else ()

    def reference(self, tag_or_digest: str) -> str:
        """Return the full name of a tag or a digest."""
        return f"{self.name}{'@' if ':' in tag_or_digest else ':'}{tag_or_digest}"

    def look(self, tag_or_digest: str) -> Held | None:
        """Return what a tag or a digest stands for, as the registry has it now; None if nothing.

        Raises:
            RegistryAccessError: The registry refuses to tell.
            PublishError: It cannot be reached, or has something that is no image.
        """
        reference = self.reference(tag_or_digest)
        with self._translated(f"cannot look at {reference}"):
            try:
                told = run_docker(
                    *("manifest", "inspect", *self._insecure, "--verbose", reference),
                    timeout_seconds=self._look_seconds,
                )
            except DockerError as exc:
                if "no such manifest" not in str(exc).lower():
                    raise
            else:
                return _parse_held(reference, told)
            self._confirm_absence(reference)
        return None

    def _confirm_absence(self, reference: str) -> None:
        """See by a pull: ``docker manifest`` says "no such manifest" of a wrong password too."""
        try:
            run_docker("pull", "--quiet", reference, timeout_seconds=self._timeout_seconds)
        except DockerError as exc:
            if _NOT_FOUND.search(str(exc)):
                return
            raise
        raise PublishError(
            f"docker pull finds {reference}, docker manifest inspect does not; run this again"
        )

    def push(self, image_id: str, tag: str) -> str:
        """Push an image of this daemon under a tag and return the manifest's digest.

        Blobs that the repository has are not uploaded again.

        Raises:
            RegistryAccessError: The registry refuses.
            PublishError: It cannot be reached, is full, or broke off.
        """
        reference = self.reference(tag)
        run_docker("tag", image_id, reference)
        with self._translated(f"cannot push {reference}"):
            told = run_docker("push", reference, timeout_seconds=self._timeout_seconds)
        return _find_digest(_PUSHED, told, f"docker push {reference}")

    def pull(self, tag_or_digest: str, *, platform: str | None = None) -> str:
        """Pull a tag or a digest and return the digest that the registry gave for it.

        Raises:
            RegistryAccessError: The registry refuses.
            PublishError: It cannot be reached, or has something else under the digest.
        """
        reference = self.reference(tag_or_digest)
        chosen = ("--platform", platform) if platform else ()
        with self._translated(f"cannot pull {reference}"):
            told = run_docker("pull", *chosen, reference, timeout_seconds=self._timeout_seconds)
        return _find_digest(_PULLED, told, f"docker pull {reference}")

    def pull_image(self, digest: str) -> str:
        """Pull a manifest and return the id of the image that docker has under it then.

        Docker asks the registry for what it does not have itself, so this shows that the digest can
        be pulled; what the registry has under it, ``look`` shows.

        Raises:
            RegistryAccessError: The registry refuses.
            PublishError: It cannot be reached, or has something else under the digest.
        """
        self.pull(digest)
        return str(inspect_image(self.reference(digest))["Id"])

    def push_index(self, digests: Sequence[str], tag: str) -> str:
        """Make an index of manifests that the repository has, and return its digest.

        Raises:
            RegistryAccessError: The registry refuses.
            PublishError: It cannot be reached, or broke off.
        """
        index = self.reference(tag)
        try:
            run_docker("manifest", "rm", index)  # docker keeps what an interrupted run drew up
        except DockerError as exc:
            if "no such manifest" not in str(exc).lower():
                raise
        with self._translated(f"cannot push the index {index}"):
            run_docker(
                *("manifest", "create", *self._insecure, index, *map(self.reference, digests)),
                timeout_seconds=self._look_seconds,
            )
            told = run_docker(
                *("manifest", "push", "--purge", *self._insecure, index),
                timeout_seconds=self._look_seconds,
            )
        return _find_digest(
            re.compile(f"({_DIGEST.pattern})"), told, f"docker manifest push {index}"
        )

    @contextmanager
    def _translated(self, failed: str) -> Iterator[None]:
        try:
            yield
        except DockerError as exc:
            raise self._translate(failed, exc) from exc

    def _translate(self, failed: str, exc: DockerError) -> ImageError:
        told = "".join(c if c.isprintable() else " " for c in str(exc).strip())
        if _NO_DAEMON.search(told):
            return exc
        if isinstance(exc.__cause__, subprocess.TimeoutExpired):
            return PublishError(
                f"{failed}: {self.host} did not finish within {exc.__cause__.timeout:g} s; see "
                f"whether it answers, give --timeout-seconds, and {_AGAIN}"
            )
        kind, form = next((kind, form) for sign, kind, form in _CAUSES if sign.search(told))
        said = told[:_SAID_CHARACTERS]
        return kind(f"{failed}: {form.format(host=self.host, said=said, again=_AGAIN)}")


def _parse_held(reference: str, told: str) -> Held:
    try:
        content = json.loads(told)
        entries = content if isinstance(content, list) else [content]
        return Held(
            manifests=tuple(_parse_manifest(entry) for entry in entries),
            is_index=isinstance(content, list),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as exc:
        raise PublishError(
            f"{reference} cannot be compared with an image ({exc!r}); see what it "
            "is: docker manifest inspect"
        ) from exc


def _parse_manifest(entry: dict[str, Any]) -> Manifest:
    content = entry.get("SchemaV2Manifest") or entry["OCIManifest"]
    return Manifest(
        digest=entry["Descriptor"]["digest"],
        config=content["config"]["digest"],
        layers=tuple(layer["digest"] for layer in content["layers"]),
        architecture=entry["Descriptor"].get("platform", {}).get("architecture", ""),
    )


def _find_digest(pattern: re.Pattern[str], told: str, command: str) -> str:
    found = pattern.findall(told)
    if not found:
        raise PublishError(f"{command} ended without telling a digest; see what it prints by hand")
    return str(found[-1])
