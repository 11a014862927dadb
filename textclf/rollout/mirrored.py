"""Mirrored requests as they come in: who mirrors has its answer before anything is done."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import httptools

_PATHS = (b"/predict", b"/classify")
_HEADERS = (b"authorization", b"content-type", b"x-request-id")
_BODY_BYTES = 4_194_304  # more than the service takes
_NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"


@dataclass(frozen=True, kw_only=True)
class Mirrored:
    """A request to predict, as it was mirrored."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def request_id(self) -> str:
        """What tells it from others; empty if nothing does."""
        return self.headers.get("x-request-id", "")


class MirrorConnection(asyncio.Protocol):
    """One connection of whoever mirrors; GET asks for counts."""

    def __init__(
        self, take: Callable[[Mirrored], None], count: Callable[[], Mapping[str, int]]
    ) -> None:
        """Wait for requests.

        Args:
            take: Is given each request to predict, and returns at once.
            count: Returns what a GET is answered with.
        """
        self._take = take
        self._count = count
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport
        self._begin()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what answers are written to."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - TCP has no other
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Read on."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.close()

    def on_url(self, url: bytes) -> None:
        """Take a part of the path, for the parser, as the next methods are."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header field, if versions need it."""
        if name.lower() in _HEADERS:
            self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._body += body
        if len(self._body) > _BODY_BYTES:
            self._transport.close()

    def on_message_complete(self) -> None:
        """Answer, and only then pass the request on."""
        path = self._url.partition(b"?")[0]
        if self._parser.get_method() == b"POST":
            self._transport.write(_NO_CONTENT)
            if path in _PATHS:
                body = bytes(self._body)
                self._take(Mirrored(path=path.decode(), headers=self._headers, body=body))
        else:
            self._transport.write(_counts(self._count()))
        if not self._parser.should_keep_alive():
            self._transport.close()
        self._begin()

    def _begin(self) -> None:
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body = bytearray()


def _counts(counts: Mapping[str, int]) -> bytes:
    body = json.dumps(counts).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body
