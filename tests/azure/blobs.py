"""The storage account: what the Azure Blob service answers."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from tests.azure.entra import has_token
from tests.azure.exchange import Request, Response, Route
from tests.azure.registry import (
    ACCOUNT,
    ACCOUNT_KEY,
    BLOB_HOST,
    CONTAINER,
    SAS_SIGNATURE,
    Blob,
    Registry,
)

_OVERRIDES = ("rscc", "rscd", "rsce", "rscl", "rsct")  # header fields that a signature may fix


def _error(code: str, message: str, status: int) -> Response:
    body = f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code>'
    body += f"<Message>{escape(message)}</Message></Error>"
    return Response(
        status=status,
        body=body.encode(),
        headers={"Content-Type": "application/xml", "x-ms-error-code": code},
    )


def _refusal(registry: Registry, request: Request, needed: str) -> Response | None:
    if registry.datastore_credentials == "None" and has_token(request):
        return None
    if request.query.get("sig") not in {SAS_SIGNATURE, _sign(request.query)}:
        message = "Server failed to authenticate the request."
        return _error("AuthenticationFailed", message, 403)
    if needed not in request.query.get("sp", ""):
        message = "This request is not authorized to perform this operation using this permission."
        return _error("AuthorizationPermissionMismatch", message, 403)
    return None


def _failure(status: int) -> Response:
    message = "This request is not authorized to perform this operation."
    return _error("AuthorizationFailure", message, status)


def _sign(query: Mapping[str, str]) -> str:
    """Return what a client signs who has the account's key; Source: "Create a service SAS"."""
    resource = f"/blob/{ACCOUNT}/{CONTAINER}"
    names = ("si", "sip", "spr", "sv", "sr", "snapshot", "ses", *_OVERRIDES)
    parts = [*(query.get(name, "") for name in ("sp", "st", "se")), resource]
    parts += [query.get(name, "") for name in names]
    key = base64.b64decode(ACCOUNT_KEY)
    return base64.b64encode(hmac.digest(key, "\n".join(parts).encode(), "sha256")).decode()


def _read(registry: Registry, request: Request, parts: Mapping[str, str]) -> Response:
    if refusal := _refusal(registry, request, "r"):
        return refusal
    faults = registry.faults
    if faults.blob_status:
        return _failure(faults.blob_status)
    blob = registry.blobs.get(parts["path"])
    if blob is None:
        return _error("BlobNotFound", "The specified blob does not exist.", 404)
    if request.method == "HEAD":
        return Response(
            headers={
                **blob.headers,
                "Content-MD5": blob.md5,
                "Content-Length": str(len(blob.content)),
            }
        )
    if faults.blob_fail_times:
        faults.blob_fail_times -= 1
        return _error("ServerBusy", "The server is busy.", 503)
    cut_short = faults.blob_truncate_times > 0
    faults.blob_truncate_times -= cut_short
    return _content(registry, blob, request, cut_short=cut_short)


def _content(registry: Registry, blob: Blob, request: Request, *, cut_short: bool) -> Response:
    content = blob.content
    if registry.faults.blob_change:
        content = content[:-1] + bytes([content[-1] ^ 1])
    hold = registry.downloads if registry.faults.hold_downloads else None
    asked = request.headers.get("x-ms-range") or request.headers.get("range")
    if asked is None:
        headers = {**blob.headers, "Content-MD5": blob.md5}
        return Response(body=content, headers=headers, cut_short=cut_short, hold=hold)
    match = re.fullmatch(r"bytes=(\d+)-(\d*)", asked)
    if match is None or int(match[1]) >= len(content):
        return _error("InvalidRange", "The range specified is invalid.", 416)
    start, end = int(match[1]), min(int(match[2] or len(content)), len(content) - 1)
    span = f"bytes {start}-{end}/{len(content)}"
    return Response(
        status=206,
        body=content[start : end + 1],
        headers={**blob.headers, "Content-Range": span, "x-ms-blob-content-md5": blob.md5},
        cut_short=cut_short,
        hold=hold,
    )


def _write(registry: Registry, request: Request, parts: Mapping[str, str]) -> Response:
    refusal = _refusal(registry, request, "w")
    if refusal or registry.faults.upload_status:
        return refusal or _failure(registry.faults.upload_status or 403)
    path, what = parts["path"], request.query.get("comp")
    metadata = {
        name.removeprefix("x-ms-meta-"): value
        for name, value in request.headers.items()
        if name.startswith("x-ms-meta-")
    }
    if what == "metadata":
        return _write_metadata(registry, path, metadata)
    if not _intact(request):
        return _error("Md5Mismatch", "The MD5 value specified does not match the content.", 400)
    if what == "block":
        registry.blocks[path, request.query["blockid"]] = request.body
        return Response(status=201)
    content = request.body
    if what == "blocklist":
        ids = [item.text or "" for item in ET.fromstring(request.body)]  # noqa: S314 - from an SDK
        content = b"".join(registry.blocks.pop((path, block)) for block in ids)
    elif request.headers.get("if-none-match") == "*" and path in registry.blobs:
        return _error("BlobAlreadyExists", "The specified blob already exists.", 409)
    blob = registry.blobs[path] = Blob(content, metadata)
    return Response(status=201, headers=_stamps(blob))


def _write_metadata(registry: Registry, path: str, metadata: dict[str, str]) -> Response:
    blob = registry.blobs.get(path)
    if blob is None:
        return _error("BlobNotFound", "The specified blob does not exist.", 404)
    blob.metadata = metadata
    return Response(headers=_stamps(blob))


def _stamps(blob: Blob) -> dict[str, str]:
    return {name: blob.headers[name] for name in ("ETag", "Last-Modified")}


def _intact(request: Request) -> bool:
    digest = hashlib.md5(request.body, usedforsecurity=False).digest()
    stated = request.headers.get("content-md5")
    return stated is None or base64.b64decode(stated) == digest


def _list(registry: Registry, request: Request, _: Mapping[str, str]) -> Response:
    if refusal := _refusal(registry, request, "l"):
        return refusal
    prefix = request.query.get("prefix", "")
    delimiter = request.query.get("delimiter", "")
    blobs, folders = [], []
    for path in sorted(registry.blobs):
        if not path.startswith(prefix):
            continue
        below, mark, _rest = path.removeprefix(prefix).partition(delimiter or "\0")
        if mark:
            folders.append(prefix + below + mark)
        else:
            blobs.append(path)
    folder = prefix.rstrip("/") + "/"
    entries = [_entry(registry.faults.told(path, folder), registry.blobs[path]) for path in blobs]
    entries += [
        f"<BlobPrefix><Name>{escape(folder)}</Name></BlobPrefix>"
        for folder in dict.fromkeys(folders)
    ]
    body = (
        '<?xml version="1.0" encoding="utf-8"?>'
        f'<EnumerationResults ServiceEndpoint="https://{BLOB_HOST}/" ContainerName="{CONTAINER}">'
        f"<Prefix>{escape(prefix)}</Prefix><Blobs>{''.join(entries)}</Blobs><NextMarker />"
        "</EnumerationResults>"
    )
    return Response(body=body.encode(), headers={"Content-Type": "application/xml"})


def _entry(path: str, blob: Blob) -> str:
    metadata = "".join(f"<{k}>{escape(v)}</{k}>" for k, v in blob.metadata.items())
    return (
        f"<Blob><Name>{escape(path)}</Name><Properties>"
        f"<Creation-Time>{blob.last_modified}</Creation-Time>"
        f"<Last-Modified>{blob.last_modified}</Last-Modified>"
        f"<Etag>{escape(blob.headers['ETag'])}</Etag>"
        f"<Content-Length>{len(blob.content)}</Content-Length>"
        "<Content-Type>application/octet-stream</Content-Type>"
        f"<Content-MD5>{blob.md5}</Content-MD5><BlobType>BlockBlob</BlobType>"
        "<LeaseStatus>unlocked</LeaseStatus><LeaseState>available</LeaseState>"
        f"</Properties><Metadata>{metadata}</Metadata><OrMetadata /></Blob>"
    )


_BLOB = rf"/{CONTAINER}/(?P<path>.+)"
ROUTES: list[Route[Registry]] = [
    ("GET", BLOB_HOST, rf"/{CONTAINER}/?", _list),
    ("GET", BLOB_HOST, _BLOB, _read),
    ("HEAD", BLOB_HOST, _BLOB, _read),
    ("PUT", BLOB_HOST, _BLOB, _write),
]
