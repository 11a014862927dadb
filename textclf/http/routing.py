"""Which route a path belongs to, and what a route is."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Self

from pydantic import BaseModel

from textclf.errors import NotFoundError, RequestError
from textclf.http.problems import Refusal, problem_details

if TYPE_CHECKING:
    from textclf.http.exchange import Exchange

JSON = "application/json"
READING = ("GET", "HEAD")
Parameters = Mapping[str, str | None]
_NO_PARAMETERS: Parameters = {}


class Answer(NamedTuple):
    """A whole answer of 200."""

    media_type: str
    body: bytes
    headers: Mapping[str, str] = {}

    @classmethod
    def of(cls, content: BaseModel) -> Self:
        """Return an answer in JSON."""
        return cls(JSON, content.model_dump_json().encode())


Handler = Callable[["Exchange", bytes], Awaitable[Answer | None]]


@dataclass(frozen=True, kw_only=True)
class Route:
    """What is done with the requests for a path.

    Attributes:
        name: The path, or what stands for all its paths in the log and in the labels of metrics,
            which have to be few.
        handler: Gets the exchange, and the body if the route predicts; returns the answer, or None
            if it sent one itself.
        pattern: Every path of the route, from its beginning to its end, if it has more than one;
            what its named groups match is in the exchange's ``parameters``.
        methods: Those it answers; none stands for any.
        predicts: A request is let in by its key once the model is ready; its body is read up to the
            limit, and its answer is worked on until the deadline.
        media_types: The types of body that a predicting route reads.
        refusal: How it says that there is no answer.
    """

    name: str
    handler: Handler
    pattern: re.Pattern[str] | None = None
    methods: tuple[str, ...] = READING
    predicts: bool = False
    media_types: tuple[str, ...] = (JSON,)
    refusal: Callable[[RequestError, str], Refusal] = problem_details


class RouteTable:
    """Finds the route of a path: one path of a name by a look, one of a pattern in their order.

    Attributes:
        predicting: Names of the routes that predict.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        routes = tuple(routes)
        self.predicting = [route.name for route in routes if route.predicts]
        self._named = {route.name: route for route in routes if route.pattern is None}
        self._patterns = [(r.pattern, r) for r in routes if r.pattern is not None]

    def find(self, path: str) -> tuple[Route, Parameters]:
        """Return the route of a path, or ``NOWHERE``, and the parameters in the path."""
        if route := self._named.get(path):
            return route, _NO_PARAMETERS
        for pattern, route in self._patterns:
            if match := pattern.fullmatch(path):
                return route, match.groupdict()
        return NOWHERE, _NO_PARAMETERS


def no_such_path() -> NotFoundError:
    """Return what a client learns of a path that nothing is at."""
    return NotFoundError("there is no such path; / lists those there are")


async def _refuse(_exchange: Exchange, _body: bytes) -> Answer | None:
    raise no_such_path()


NOWHERE = Route(name="other", handler=_refuse, methods=())
