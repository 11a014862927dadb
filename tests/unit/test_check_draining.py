"""Whether SIGTERM lost a request, decided from what was measured."""

from __future__ import annotations

from dataclasses import replace

import pytest

from textclf.image.checks.check import Flaw
from textclf.image.checks.draining import Sent, judge_end

SIGTERM_AT = 100.0
BEFORE = Sent(began=98.0, ended=99.0, status=200, whole=True)
UNDER_WAY = Sent(began=99.0, ended=101.0, status=200, whole=True)
LATER = Sent(began=100.5, ended=100.6, status=503, whole=True, retry_after="1")
GONE = Sent(began=103.0, ended=103.1, status=0, whole=False)
GOOD = [BEFORE, UNDER_WAY, LATER, GONE]


def judge(requests: list[Sent]) -> str:
    """Judge requests to a service that drains for 2 s."""
    return judge_end(requests, sigterm_at=SIGTERM_AT, drain_seconds=2)


def test_nothing_was_lost() -> None:
    """What was under way is answered, later requests are refused, and then none is owed."""
    assert judge(GOOD) == "1 under way were answered, 1 later ones got 503"


@pytest.mark.parametrize(
    ("request_", "found"),
    [
        (replace(UNDER_WAY, status=0, whole=False), "no answer.* 1.00 s before SIGTERM"),
        (replace(LATER, status=0, whole=False), "no answer.* 0.50 s after SIGTERM"),
        (replace(UNDER_WAY, whole=False), "1 of 5 answers were cut short"),
        (replace(UNDER_WAY, status=500), "1.00 s before SIGTERM got status 500"),
        (replace(LATER, retry_after=""), "status 503 without Retry-After"),
        (replace(BEFORE, status=503, retry_after="1"), "2.00 s before SIGTERM got status 503"),
    ],
    ids=["lost under way", "lost later", "cut", "500", "no Retry-After", "503 before SIGTERM"],
)
def test_a_lost_request(request_: Sent, found: str) -> None:
    """One request that got less than it was owed is enough."""
    with pytest.raises(Flaw, match=found):
        judge([*GOOD, request_])


def test_nothing_under_way() -> None:
    """A service that was idle has shown nothing."""
    with pytest.raises(Flaw, match="no request that was under way"):
        judge([BEFORE, LATER, GONE])
