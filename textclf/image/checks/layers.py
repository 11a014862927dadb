"""The files of an image, layer by layer, read once from what `docker save` writes."""

from __future__ import annotations

import hashlib
import io
import json
import posixpath
import subprocess
import tarfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import IO, Any, Literal

from textclf.errors import DockerError
from textclf.image.checks.check import INTERRUPTED, Unjudged
from textclf.image.checks.credentials import KEEP_BYTES, find_credentials

_BUFFER_BYTES = 1024 * 1024
_CHUNK_BYTES = 8 * 1024 * 1024
_MOST_KEPT_BYTES = 4 * 1024 * 1024
# Files whose contents checks read; of all others only the hash is kept.
_KEPT_NAMES = {
    "RECORD", "bento.yaml", "classifier.json", "pyvenv.cfg", "serving.txt", "model.yaml",
}  # fmt: skip
_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One file, folder or link of a layer.

    Attributes:
        path: From the root, without the slash that begins it.
        kind: What it is.
        mode: Permission bits.
        uid: Its owner.
        gid: Its group.
        size: Bytes of a file.
        sha256: Of a file, in hexadecimal.
        target: Where a symbolic link leads.
        content: Of the few files that checks read.
    """

    path: str
    kind: Literal["file", "folder", "link", "other"]
    mode: int
    uid: int
    gid: int
    size: int = 0
    sha256: str = ""
    target: str = ""
    content: bytes = b""


@dataclass
class Layer:
    """What one step of the build changed.

    Attributes:
        entries: By path; what later steps delete is still here.
        credentials: What looks like a credential: path and kind, never the value.
    """

    entries: dict[str, Entry] = field(default_factory=dict)
    credentials: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Contents:
    """Every layer of an image, from the base up.

    Attributes:
        layers: All of them.
        base_layers: How many of them are those of the base.
    """

    layers: Sequence[Layer]
    base_layers: int

    @cached_property
    def added(self) -> dict[str, Entry]:
        """What a container sees and the base does not have, or has otherwise, by path."""
        base = merge(self.layers[: self.base_layers])
        seen = merge(self.layers)
        return {path: entry for path, entry in seen.items() if base.get(path) != entry}


def merge(layers: Sequence[Layer]) -> dict[str, Entry]:
    """Lay layers upon each other.

    Source: https://github.com/opencontainers/image-spec/blob/main/layer.md#whiteouts
    """
    merged: dict[str, Entry] = {}
    for layer in layers:
        for path in layer.entries:
            folder, name = posixpath.split(path)
            if name == _OPAQUE:
                _remove_below(merged, folder)
            elif name.startswith(_WHITEOUT):
                gone = posixpath.join(folder, name.removeprefix(_WHITEOUT))
                merged.pop(gone, None)
                _remove_below(merged, gone)
        merged |= {
            path: entry
            for path, entry in layer.entries.items()
            if not posixpath.basename(path).startswith(_WHITEOUT)
        }
    return merged


def _remove_below(merged: dict[str, Entry], folder: str) -> None:
    for path in [path for path in merged if path.startswith(f"{folder}/")]:
        del merged[path]


def read_contents(
    described: dict[str, Any], base: dict[str, Any], *, closing: threading.Event
) -> Contents:
    """Save an image and read every layer of it.

    Args:
        described: What `docker image inspect` says of the image.
        base: What it says of its base.
        closing: Set where the whole run is being ended.

    Raises:
        DockerError: Docker cannot save it.
        Unjudged: The whole run is being ended.
    """
    image_id = described["Id"]
    theirs, ours = base["RootFS"]["Layers"], described["RootFS"]["Layers"]
    shared = sum(1 for _ in _common(theirs, ours))
    process = subprocess.Popen(  # noqa: S603
        ["docker", "save", image_id],  # noqa: S607 - as docker.py
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout  # noqa: S101 - for mypy, as PIPE makes it
    assert process.stderr  # noqa: S101
    try:
        layers = read_archive(_Interruptible(process.stdout, closing))
    except tarfile.TarError as exc:
        said = process.stderr.read().decode("utf-8", "replace").strip()
        raise DockerError(f"docker save {image_id} cannot be read ({exc}): {said}") from exc
    finally:
        process.kill()  # it has ended unless reading it has failed
        process.stdout.close()
        process.wait()
        process.stderr.close()
    return Contents(layers=layers, base_layers=shared if shared == len(theirs) else 0)


class _Interruptible(io.RawIOBase):
    """What a program writes, read until the whole run is being ended."""

    def __init__(self, stream: IO[bytes], closing: threading.Event) -> None:
        self._stream = stream
        self._closing = closing

    def read(self, size: int = -1) -> bytes:
        if self._closing.is_set():
            raise Unjudged(INTERRUPTED)
        return self._stream.read(size)


def _common(theirs: Sequence[str], ours: Sequence[str]) -> Iterator[str]:
    for left, right in zip(theirs, ours, strict=False):
        if left != right:
            return
        yield left


def read_archive(stream: io.RawIOBase | IO[bytes]) -> list[Layer]:
    """Read the layers of what `docker save` writes, from the base up.

    The manifest, which says their order, may come last, so that all are read on the way.

    Raises:
        tarfile.TarError: It is cut short, or no such archive.
    """
    layers: dict[str, Layer] = {}
    links: dict[str, str] = {}
    manifest: list[dict[str, Any]] = []
    with tarfile.open(fileobj=stream, mode="r|", bufsize=_BUFFER_BYTES) as archive:
        for member in archive:
            if member.issym():  # a layer that stands there already
                links[member.name] = posixpath.normpath(
                    posixpath.join(posixpath.dirname(member.name), member.linkname)
                )
            content = archive.extractfile(member) if member.isfile() else None
            if content is None:
                continue
            if member.name == "manifest.json":
                manifest = json.load(content)
            elif _is_layer(content):
                layers[member.name] = _read_layer(content)
    if len(manifest) != 1:
        raise tarfile.ReadError(f"its manifest names {len(manifest)} images")
    return [layers[links.get(name, name)] for name in manifest[0]["Layers"]]


def _is_layer(content: IO[bytes]) -> bool:
    assert isinstance(content, io.BufferedReader)  # noqa: S101 - as extractfile makes it
    head = content.peek(512)[:512]
    return head[257:262] == b"ustar" or head[:2] == b"\x1f\x8b" or head == bytes(512)


def _read_layer(content: IO[bytes]) -> Layer:
    layer = Layer()
    with tarfile.open(fileobj=content, mode="r|*", bufsize=_BUFFER_BYTES) as files:
        for member in files:
            path = posixpath.normpath(member.name).lstrip("/")
            if path != ".":
                layer.entries[path] = _entry(files, member, path, layer)
    return layer


def _entry(files: tarfile.TarFile, member: tarfile.TarInfo, path: str, layer: Layer) -> Entry:
    entry = Entry(
        path=path, kind="other", mode=member.mode & 0o7777, uid=member.uid, gid=member.gid
    )
    if member.issym():
        return replace(entry, kind="link", target=member.linkname)
    if member.isdir():
        return replace(entry, kind="folder")
    if member.islnk():
        first = layer.entries[posixpath.normpath(member.linkname).lstrip("/")]
        return replace(first, path=path)
    content = files.extractfile(member) if member.isfile() else None
    if content is None:
        return entry
    sha256, kept, found = _read_file(content, path)
    layer.credentials += [(path, kind) for kind in found]
    return replace(entry, kind="file", size=member.size, sha256=sha256, content=kept)


def _read_file(content: IO[bytes], path: str) -> tuple[str, bytes, list[str]]:
    """Return the hash, the content if checks read it, and the kinds of credentials in it."""
    digest = hashlib.sha256()
    keep = posixpath.basename(path) in _KEPT_NAMES
    kept, overlap, found = b"", b"", dict[str, None]()
    while chunk := content.read(_CHUNK_BYTES):
        digest.update(chunk)
        found |= dict.fromkeys(find_credentials(path, overlap + chunk))
        overlap = chunk[-KEEP_BYTES:]
        if keep and len(kept) < _MOST_KEPT_BYTES:
            kept += chunk
    return digest.hexdigest(), kept, list(found)
