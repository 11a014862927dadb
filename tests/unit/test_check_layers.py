"""Reading an archive of `docker save`, in the form of old and of new versions of docker."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile

import pytest

from textclf.image.checks.layers import Contents, Layer, merge, read_archive


def pack(files: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    """Return a tar of files and symbolic links."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for name, target in (links or {}).items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            archive.addfile(member)
    return stream.getvalue()


def manifest(*layers: str) -> bytes:
    """Return the manifest of one image."""
    return json.dumps([{"Config": "c.json", "RepoTags": None, "Layers": layers}]).encode()


BASE = pack({"etc/keep": b"1", "etc/gone": b"2", "old/a": b"3", "opaque/b": b"4"})
UPPER = pack({"etc/.wh.gone": b"", ".wh.old": b"", "opaque/.wh..wh..opq": b"", "opaque/c": b"5"})


@pytest.mark.parametrize(
    "archive",
    [
        pack({"b/layer.tar": BASE, "u/layer.tar": UPPER, "c.json": b"{}",
              "manifest.json": manifest("b/layer.tar", "u/layer.tar")}),
        pack({"blobs/sha256/u": gzip.compress(UPPER), "blobs/sha256/c": b"{}",
              "manifest.json": manifest("blobs/sha256/b", "blobs/sha256/u"),
              "blobs/sha256/b": gzip.compress(BASE)}),
        pack({"x/layer.tar": BASE, "u/layer.tar": UPPER,
              "manifest.json": manifest("b/layer.tar", "u/layer.tar")},
             {"b/layer.tar": "../x/layer.tar"}),
    ],
    ids=["docker 20", "blobs, compressed, manifest in between", "a layer that is a link"],
)  # fmt: skip
def test_layers_are_read_in_order(archive: bytes) -> None:
    """Whatever their order in the archive, later layers delete from and add to earlier ones."""
    layers = read_archive(io.BytesIO(archive))

    assert set(merge(layers)) == {"etc/keep", "opaque/c"}
    assert "etc/gone" in layers[0].entries
    added = Contents(layers=layers, base_layers=1).added
    assert {path: entry.sha256 for path, entry in added.items()} == {
        "opaque/c": hashlib.sha256(b"5").hexdigest()
    }


def test_a_deleted_credential_is_found() -> None:
    """What a later layer deletes is in the image all the same, hard links included."""
    stream = io.BytesIO(pack({"home/.netrc": b"machine x"}))
    (layer, _) = read_archive(
        io.BytesIO(
            pack({"1": stream.getvalue(), "2": pack({"home/.wh..netrc": b""}),
                  "manifest.json": manifest("1", "2")})
        )
    )  # fmt: skip

    assert layer.credentials == [("home/.netrc", "credentials, by its name")]


@pytest.mark.parametrize(
    "archive", [b"", pack({"1": BASE}), pack({"1": BASE, "manifest.json": b"[]"})],
    ids=["empty", "no manifest", "no image"],
)  # fmt: skip
def test_what_is_no_image(archive: bytes) -> None:
    """An archive that was cut short is told from an empty image."""
    with pytest.raises(tarfile.TarError):
        read_archive(io.BytesIO(archive))


def test_an_empty_layer() -> None:
    """A step that changes no file leaves a layer without any."""
    archive = pack({"1": pack({}), "manifest.json": manifest("1")})

    assert read_archive(io.BytesIO(archive)) == [Layer()]
