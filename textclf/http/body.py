"""Reading a request's body, never more of it than the limit."""

from __future__ import annotations

import sys

from starlette.types import Receive

from textclf.errors import BodyTooLargeError, ClientGoneError

_MOST_DIGITS = 20


async def read_body(receive: Receive, *, declared: str, max_bytes: int) -> bytes:
    """Return the whole body.

    Args:
        receive: Gives its parts.
        declared: The Content-Length, if there is one.
        max_bytes: Most that is read.

    Raises:
        BodyTooLargeError: It is longer than ``max_bytes``, as declared or as counted.
        ClientGoneError: The client went away before its end.
    """
    if (read_length(declared) or 0) > max_bytes:
        raise _too_large(max_bytes)
    chunks: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError("the connection was closed before the body's end")
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > max_bytes:
            raise _too_large(max_bytes)
        more = message.get("more_body", False)
    return b"".join(chunks)


def read_length(declared: str) -> int | None:
    """Return the bytes of a Content-Length, which may have thousands of zeros before it."""
    if not declared.isdecimal():
        return None
    digits = declared.lstrip("0") or "0"
    return int(digits) if len(digits) <= _MOST_DIGITS else sys.maxsize


def _too_large(max_bytes: int) -> BodyTooLargeError:
    return BodyTooLargeError(
        f"the body is over {max_bytes} bytes; send fewer texts a request",
        headers={"Connection": "close"},  # what was not read must not be taken for a request
    )
