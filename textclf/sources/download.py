"""Files over HTTPS: all of them, whole, in time and within limits; or none of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

from textclf.artifact import hash_file
from textclf.errors import DownloadError, UntrustedContentError
from textclf.sources.http_faults import client_fault, require_https
from textclf.sources.limits import Limits
from textclf.sources.paths import check_paths
from textclf.sources.transfer import Budget, RemoteFile, transfer

__all__ = ["Limits", "RemoteFile", "download", "without_request_logs"]

_MAX_SILENCE_SECONDS = 30.0
_CHATTY = ("httpx", "httpcore", "httpx2", "httpcore2")  # they log addresses with their queries


def download(files: Sequence[RemoteFile], target: Path, limits: Limits) -> None:
    """Download ``files`` below ``target``; on any failure nothing is left there.

    Every path is checked before the first byte is asked for. What may go away is tried again: 408,
    429, 5xx, and connections that fail or break. A file goes on where it broke off if the server
    gives it an ETag.

    Args:
        files: What to download; not trusted.
        target: An existing folder that holds none of them.
        limits: For all files together.

    Raises:
        UntrustedContentError: A path leads elsewhere, or a file is empty, compressed, or has
            another sha256.
        AccessError: A server refuses the credentials.
        SourceNotFoundError: A server has no such file.
        DownloadError: A server cannot be reached, or sends too much or too slowly.
    """
    check_paths(file.path for file in files)
    for file in files:
        require_https(file.url, repr(file.path))
    with TemporaryDirectory(prefix=".download-", dir=target) as folder, without_request_logs():
        asyncio.run(_download_all(files, Path(folder), limits))
        for file in files:
            (target / file.path).parent.mkdir(parents=True, exist_ok=True)
            (Path(folder) / file.path).rename(target / file.path)


@contextmanager
def without_request_logs() -> Iterator[None]:
    """Keep from the logs what HTTP libraries say of each request."""
    loggers = [logging.getLogger(name) for name in _CHATTY]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


async def _download_all(files: Sequence[RemoteFile], folder: Path, limits: Limits) -> None:
    name = ""
    try:
        # One clock over everything: a server that trickles its headers passes any read timeout.
        async with asyncio.timeout(limits.timeout_seconds), _client() as client:
            deadline = asyncio.get_running_loop().time() + limits.timeout_seconds
            budget = Budget(limits.max_bytes, deadline, limits)
            for file in files:
                name = file.name
                path = folder / file.path
                path.parent.mkdir(parents=True, exist_ok=True)
                await transfer(client, file, path, budget)
                _check(file, path)
                budget.free_bytes -= path.stat().st_size
    except TimeoutError as exc:
        raise DownloadError(
            f"cannot download {name}: it takes longer than {limits.timeout_seconds:g} s; allow "
            "more time with --timeout-seconds, or retry when the network is faster"
        ) from exc


def _check(file: RemoteFile, path: Path) -> None:
    if not path.stat().st_size:
        raise UntrustedContentError(
            f"{file.name} is empty; nothing was kept: register the model again and retry"
        )
    actual = hash_file(path) if file.sha256 else None
    if file.sha256 and actual != file.sha256.lower():
        raise UntrustedContentError(
            f"{file.name} has the sha256 {actual}, not {file.sha256.lower()} as expected; "
            "nothing was kept: find out which of the two is right before a retry"
        )


def _client() -> httpx.AsyncClient:
    try:
        return httpx.AsyncClient(timeout=_MAX_SILENCE_SECONDS)
    except (OSError, ValueError, ImportError, httpx.InvalidURL) as exc:
        raise client_fault(exc) from exc
