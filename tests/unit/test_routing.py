"""A path has one route, whatever else it looks like."""

from __future__ import annotations

import re

import pytest

from textclf.http.exchange import Exchange
from textclf.http.routing import Answer, Route, RouteTable


async def answer(_exchange: Exchange, _body: bytes) -> Answer:
    """Answer every request alike."""
    return Answer("text/plain", b"fine")


def below(name: str, pattern: str) -> Route:
    """Return a route with a pattern."""
    return Route(name=name, pattern=re.compile(pattern), handler=answer)


TABLE = RouteTable(
    [
        below("/page/{name}", r"/page/(?P<name>[^/]+)"),
        below("/page", r"/page/.*"),
        Route(name="/page/about", handler=answer),
    ]
)


@pytest.mark.parametrize(
    ("path", "name", "parameters"),
    [
        ("/page/about", "/page/about", {}),
        ("/page/a", "/page/{name}", {"name": "a"}),
        ("/page/a/b", "/page", {}),
        ("/page/{name}", "/page/{name}", {"name": "{name}"}),
        ("/page", "other", {}),
        ("/page/about\n", "/page/{name}", {"name": "about\n"}),
    ],
    ids=["named", "parameter", "second pattern", "a name", "no whole match", "line break"],
)
def test_route_of_a_path(path: str, name: str, parameters: dict[str, str]) -> None:
    """A path's own route is first, then the first pattern that all of it matches."""
    route, found = TABLE.find(path)

    assert (route.name, found) == (name, parameters)
