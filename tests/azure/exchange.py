"""A request, a response, and the table that leads from one to the other."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

_State = TypeVar("_State")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a client sent.

    Attributes:
        path: Without percent signs and without the query.
        headers: Names in lower case.
    """

    method: str
    host: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body, parsed."""
        return json.loads(self.body)


@dataclass(frozen=True, kw_only=True)
class Hold:
    """Stops a body half-way: ``reached`` is set there, and ``release`` is waited for."""

    reached: threading.Event
    release: threading.Event


@dataclass(frozen=True, kw_only=True)
class Response:
    """What a client gets.

    Attributes:
        cut_short: Close the connection after half of the body.
        hold: Where to stop after half of the body.
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    cut_short: bool = False
    hold: Hold | None = None


def answer_json(content: Any, status: int = 200) -> Response:
    """Return ``content`` as JSON."""
    body = json.dumps(content).encode()
    return Response(status=status, body=body, headers={"Content-Type": "application/json"})


Handler = Callable[[_State, Request, Mapping[str, str]], Response]
Route = tuple[str, str, str, Handler[_State]]
"""Method, host, path as a regular expression whose named groups the handler gets, handler."""


def find_route(
    routes: list[Route[_State]], request: Request
) -> tuple[Handler[_State], dict[str, str]] | None:
    """Return the handler of a request and what its path says."""
    for method, host, pattern, handler in routes:
        if (method, host) != (request.method, request.host):
            continue
        if match := re.fullmatch(pattern, request.path, re.IGNORECASE):
            return handler, match.groupdict()
    return None
