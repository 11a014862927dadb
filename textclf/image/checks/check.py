"""What a check is, and the list of them all.

A check is one function that takes a ``Subject`` and is decorated with ``@check``. The first
sentence of its docstring is what people read. It raises ``Flaw`` if the sentence is not true, and
may return what it measured.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from textclf.errors import (
    AnswerCheckError,
    CheckFailedError,
    ContractCheckError,
    OperationCheckError,
    SafetyCheckError,
)

if TYPE_CHECKING:
    from textclf.image.checks.subject import Subject

Kind = type[CheckFailedError]
Outcome = Literal["passed", "failed", "error", "skipped"]
Run = Callable[["Subject"], str | None]

# Which class names the exit code if checks of several fail: each presupposes those before it.
ORDER: tuple[Kind, ...] = (
    ContractCheckError,
    AnswerCheckError,
    SafetyCheckError,
    OperationCheckError,
)

INTERRUPTED = "the checks were interrupted"


class Flaw(Exception):  # noqa: N818 - it is no error of the checker
    """What a check found: what was expected, and what was there instead."""


class Unjudged(Exception):  # noqa: N818 - it is no error of the checker
    """A check cannot be made here; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that has to be true of an image.

    Attributes:
        name: What ``--only`` takes.
        kind: The class of error that its failure is.
        sentence: What has to be true.
        run: Raises ``Flaw`` if it is not; returns what was measured, if anything was.
    """

    name: str
    kind: Kind
    sentence: str
    run: Run


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came of one check.

    Attributes:
        check: The check.
        outcome: An ``error`` is a check that could not be made; it never counts as passed.
        detail: What was measured, found or in the way; may be empty.
        seconds: How long it took, waiting for others included.
    """

    check: Check
    outcome: Outcome
    detail: str
    seconds: float


CHECKS: list[Check] = []


def check(kind: Kind) -> Callable[[Run], Run]:
    """Put the decorated function on the list of checks."""

    def register(run: Run) -> Run:
        sentence = " ".join((run.__doc__ or "").partition("\n\n")[0].split())
        name = run.__name__.replace("_", "-")
        CHECKS.append(Check(name=name, kind=kind, sentence=sentence, run=run))
        return run

    return register
