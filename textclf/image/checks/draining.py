"""Whether a service that is told to end loses a request: the decision, apart from the measuring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textclf.image.checks.check import Flaw

_MARGIN_SECONDS = 0.5  # between sending a request and its being seen


@dataclass(frozen=True, kw_only=True)
class Sent:
    """One request and what came of it; times are of one monotonic clock.

    Attributes:
        began: When it was sent.
        ended: When its answer was there, or it was known that none would come.
        status: Of the answer; 0 if none began.
        whole: Its answer came to its end.
        retry_after: The header field of its answer.
    """

    began: float
    ended: float
    status: int
    whole: bool
    retry_after: str = ""


def judge_end(requests: Sequence[Sent], *, sigterm_at: float, drain_seconds: float) -> str:
    """Say how many requests were answered and how many refused after SIGTERM.

    Until the drain period is over each request gets an answer; afterwards none is owed to a new
    one.

    Raises:
        Flaw: A request was lost, an answer cut short, or nothing was under way at SIGTERM.
    """
    owed_until = sigterm_at + drain_seconds - _MARGIN_SECONDS
    lost = [sent for sent in requests if not sent.status and sent.began < owed_until]
    cut = [sent for sent in requests if sent.status and not sent.whole]
    wrong = [sent for sent in requests if not _is_right(sent, sigterm_at)]
    answered = [s for s in requests if s.status == 200 and s.began < sigterm_at < s.ended]
    refused = [sent for sent in requests if sent.status == 503]
    for sent in lost:
        raise Flaw(
            f"{len(lost)} of {len(requests)} requests got no answer, the first of them sent "
            f"{_when(sent.began - sigterm_at)}"
        )
    if cut:
        raise Flaw(f"{len(cut)} of {len(requests)} answers were cut short")
    for sent in wrong:
        raise Flaw(
            f"a request sent {_when(sent.began - sigterm_at)} got status {sent.status}"
            + (" without Retry-After" if sent.status == 503 and not sent.retry_after else "")
        )
    if not answered:
        raise Flaw("no request that was under way at SIGTERM was answered with 200")
    return f"{len(answered)} under way were answered, {len(refused)} later ones got 503"


def _is_right(sent: Sent, sigterm_at: float) -> bool:
    if sent.status == 503:
        return bool(sent.retry_after) and sent.ended >= sigterm_at
    return sent.status in {0, 200}


def _when(seconds: float) -> str:
    return f"{abs(seconds):.2f} s {'before' if seconds < 0 else 'after'} SIGTERM"
