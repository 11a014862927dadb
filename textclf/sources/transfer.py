"""One file over HTTPS: tried again, gone on with where it broke off, stopped at its limits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from tqdm import tqdm

from textclf.errors import DownloadError
from textclf.sources.http_faults import (
    TransientError,
    check_response,
    place_of,
    require_https,
    transport_fault,
    unsendable,
)
from textclf.sources.limits import Limits

_TRIES = 4
_BACKOFF_SECONDS = 0.5  # before the second try; doubled before each further one
_MAX_REDIRECTS = 5


@dataclass(frozen=True, kw_only=True, repr=False)
class RemoteFile:
    """A file to download, as its registry describes it.

    Attributes:
        path: Where it goes below the target folder; not trusted.
        url: Over https; its query may hold a secret.
        headers: To be sent to the host of ``url`` and to no other.
        sha256: In hexadecimal, if it is known beforehand.
    """

    path: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    sha256: str | None = None

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"{self.path!r} from {place_of(self.url)}"

    def __repr__(self) -> str:
        """Leave out what may be secret."""
        return f"RemoteFile(path={self.path!r}, url={place_of(self.url)!r}, sha256={self.sha256!r})"


@dataclass
class Budget:
    """What is left of the limits.

    Attributes:
        free_bytes: That the file at hand may have.
        deadline: By the clock of the event loop.
        limits: As they were.
    """

    free_bytes: int
    deadline: float
    limits: Limits

    def seconds(self) -> float:
        """Return the time that is left."""
        return self.deadline - asyncio.get_running_loop().time()


@dataclass
class _Part:
    """What there is of a file, and the version that it is of."""

    path: Path
    etag: str | None = None

    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def range(self) -> dict[str, str]:
        size = self.size()
        return {"Range": f"bytes={size}-", "If-Range": self.etag} if size and self.etag else {}


async def transfer(client: httpx.AsyncClient, file: RemoteFile, path: Path, budget: Budget) -> None:
    """Write a file to ``path``; what is there after a failure is of no use.

    Raises:
        TextClassifierError: As ``download`` says.
        TimeoutError: Never; the caller's clock raises it.
    """
    part = _Part(path)
    pause_seconds = _BACKOFF_SECONDS
    for tries in range(1, _TRIES + 1):
        try:
            await _try(client, file, part, budget)
        except TransientError as exc:
            says = f"cannot download {file.name}: {exc.reason}"
            if tries == _TRIES:
                raise DownloadError(f"{says}, {tries} times in a row; {exc.remedy}") from exc
            wait_seconds = max(pause_seconds, exc.wait_seconds or 0)
            if wait_seconds >= budget.seconds():
                raise DownloadError(
                    f"{says} and can be tried again only in {wait_seconds:.0f} s, which is more "
                    "than --timeout-seconds leaves; retry later"
                ) from exc
            await asyncio.sleep(wait_seconds)
            pause_seconds *= 2
        else:
            return


async def _try(client: httpx.AsyncClient, file: RemoteFile, part: _Part, budget: Budget) -> None:
    """Download a file, or what is missing of it."""
    try:
        async with _answer(client, file, part.range()) as response:
            if response.status_code == 416 and part.range():
                _start_anew(part)
            check_response(response, file.name)
            if response.status_code == 206:
                _check_rest(response, part)
                offset = part.size()
            else:
                offset, part.etag = 0, _strong_etag(response)
            await _receive(response, part.path, offset, file, budget)
    except httpx.TransportError as exc:
        raise transport_fault(exc, file.name, httpx.URL(file.url).host) from exc


@asynccontextmanager
async def _answer(
    client: httpx.AsyncClient, file: RemoteFile, conditions: Mapping[str, str]
) -> AsyncIterator[httpx.Response]:
    """Ask for a file and follow redirects; the file's headers go to its own host alone."""
    url, headers = httpx.URL(file.url), _headers(file)
    for _ in range(_MAX_REDIRECTS + 1):
        headers.update({"Accept-Encoding": "identity", **conditions})
        response = await client.send(client.build_request("GET", url, headers=headers), stream=True)
        try:
            if response.next_request is None:
                yield response
                return
            new_url = require_https(response.next_request.url, file.name)
        finally:
            await response.aclose()
        if new_url.netloc != url.netloc:
            headers = httpx.Headers()
        url = new_url
    raise DownloadError(
        f"cannot download {file.name}: it redirects more than {_MAX_REDIRECTS} times; give the "
        "address that it leads to"
    )


def _headers(file: RemoteFile) -> httpx.Headers:
    try:
        return httpx.Headers(dict(file.headers))
    except UnicodeEncodeError as exc:
        raise unsendable(file.name) from exc


async def _receive(
    response: httpx.Response, path: Path, offset: int, file: RemoteFile, budget: Budget
) -> None:
    length = response.headers.get("Content-Length")
    size = offset + int(length) if length else None
    _check_size(size or 0, file, budget)
    with (
        path.open("r+b" if offset else "wb") as out,
        tqdm(
            desc=file.path,
            initial=offset,
            total=size,
            unit="B",
            unit_scale=True,
            disable=None,
            delay=2,
        ) as bar,
    ):
        out.seek(offset)
        async for chunk in response.aiter_raw():
            _check_size(out.tell() + len(chunk), file, budget)
            out.write(chunk)
            bar.update(len(chunk))


def _check_size(size_bytes: int, file: RemoteFile, budget: Budget) -> None:
    if size_bytes > budget.free_bytes:
        raise DownloadError(
            f"cannot download {file.name}: the files together are larger than "
            f"{budget.limits.max_bytes} bytes; allow more with --max-bytes, or import a smaller "
            "model"
        )


def _check_rest(response: httpx.Response, part: _Part) -> None:
    """Refuse the rest of another version, or of another place."""
    starts = response.headers.get("Content-Range", "").startswith(f"bytes {part.size()}-")
    if not starts or response.headers.get("ETag", part.etag) != part.etag or not part.range():
        _start_anew(part)


def _start_anew(part: _Part) -> None:
    part.etag = None
    raise TransientError("it does not go on where it broke off", "retry later")


def _strong_etag(response: httpx.Response) -> str | None:
    etag = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else None  # If-Range takes no weak one: RFC 9110, 13.1.5
