"""The error tree: as drawn, and told apart by code and status."""

from __future__ import annotations

import re
from itertools import chain
from typing import TypeVar

from textclf import errors
from textclf.errors import (
    ClientDeadlineError,
    DeadlineExceededError,
    QueueFullError,
    RateLimitedError,
    RequestError,
    TextClassifierError,
)

_E = TypeVar("_E", bound=TextClassifierError)


def tree(error: type[TextClassifierError] = TextClassifierError, depth: int = 0) -> list[str]:
    """Draw the classes below ``error`` without the lines that join them."""
    status = f", status {error.http_status}" if issubclass(error, RequestError) else ""
    line = f"{depth} {error.__name__} exit {error.exit_code}{status}"
    return [line, *chain.from_iterable(tree(child, depth + 1) for child in error.__subclasses__())]


def descendants(error: type[_E]) -> list[type[_E]]:
    """Return ``error`` and every class below it."""
    return [error, *chain.from_iterable(descendants(child) for child in error.__subclasses__())]


def test_the_drawing_is_the_tree() -> None:
    """The docstring of the module draws every class in order, with its code and its status."""
    lines = re.findall(r"^ {4}([ │├└─]*)(\w+) +(exit .*)$", errors.__doc__ or "", re.MULTILINE)

    assert [f"{len(lead) // 4} {name} {codes}" for lead, name, codes in lines] == tree()


def test_exit_codes_are_unique() -> None:
    """A script's exit code names one class; 0 and 2 are taken by success and argparse."""
    codes = [error.exit_code for error in descendants(TextClassifierError)]

    assert len(set(codes)) == len(codes)
    assert not {0, 2} & set(codes)


def test_statuses_are_unique() -> None:
    """A status names one class, but for 429 and 504: by whose limit, the service's or another."""
    twins = {RateLimitedError: QueueFullError, ClientDeadlineError: DeadlineExceededError}
    statuses = [e.http_status for e in descendants(RequestError) if e not in twins]

    assert len(set(statuses)) == len(statuses)
    assert all(twin.http_status == other.http_status for twin, other in twins.items())
    assert all(400 <= status < 600 for status in statuses)


def test_every_error_says_what_it_is() -> None:
    """Each class has a docstring of its own: the OpenAPI document and readers use it."""
    assert [error for error in descendants(TextClassifierError) if not error.__doc__] == []
