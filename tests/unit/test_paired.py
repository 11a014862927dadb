"""Two versions are compared on pairs alone: noise first, and success only on enough of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from textclf.errors import EvidenceError, RolledBackError
from textclf.rollout.evidence import Comparison
from textclf.rollout.observation import Answer, Pair
from textclf.rollout.paired import compare
from textclf.rollout.pairs import PairSummary, summarise
from textclf.rollout.plan import Plan, Shadow, default_plan

PLAN = Plan(
    strategy="shadow",
    shadow=Shadow(mirror_percent=10, minimum_pairs=300, noise_pairs=100, limit_seconds=600.0),
)
SHAPE = ("$:object", "positive:boolean")


def pair(candidate: str = "true", shape: tuple[str, ...] = SHAPE) -> Pair:
    """Return a pair of which the stable version says true."""
    answers = [
        Answer(status=200, seconds=0.01, shape=kind, labels=(label,))
        for label, kind in (("true", SHAPE), (candidate, shape))
    ]
    return Pair(request_id="r", texts_sha256="t", stable=answers[0], candidate=answers[1])


class Recorded:
    """Pairs that come in at each look."""

    def __init__(self, a_look: Callable[[], list[Pair]]) -> None:
        self.recording: list[str] = []
        self.stopped = False
        self._a_look = a_look
        self._summaries: dict[str, PairSummary] = {}

    def record(self, comparison: Comparison) -> None:
        """Let pairs come in."""
        if comparison not in self.recording:
            self.recording.append(comparison)
            self._summaries[comparison] = summarise(())
        found = [pair()] * 100 if comparison == "noise" else self._a_look()
        self._summaries[comparison].extend(found)

    def read(self, comparison: Comparison) -> PairSummary:
        """Return what came in."""
        return self._summaries[comparison]

    def stop(self) -> None:
        """Remember that it was asked."""
        self.stopped = True


class Clock:
    """Time that passes by sleeping alone."""

    def __init__(self) -> None:
        self._now = 0.0

    def now(self) -> float:
        """Return seconds since the start."""
        return self._now

    def sleep(self, seconds: float) -> None:
        """Let them pass."""
        self._now += seconds


@pytest.fixture
def clock() -> Clock:
    """Time that has not begun."""
    return Clock()


def test_a_good_candidate_passes_once_there_are_enough_pairs(clock: Clock) -> None:
    """The stable version is compared with itself first."""
    pairs = Recorded(lambda: [pair()] * 100)

    found = compare(pairs, PLAN, clock)

    assert {finding.phase for finding in found} == {"Successful"}
    assert (pairs.recording, pairs.stopped) == (["noise", "shadow"], True)
    assert clock.now() == 2 * PLAN.look_seconds  # 300 pairs are there at the third look


@pytest.mark.parametrize(
    ("a_look", "said"),
    [
        (lambda: [pair(shape=("$:object", "positive:string"))], "positive is a string"),
        (lambda: [pair("false")] * 50 + [pair()] * 50, "disagree in the label"),
        (list, "no evidence within 600 s"),
    ],
    ids=["another type", "other labels", "no pairs"],
)
def test_a_bad_candidate_does_not(
    a_look: Callable[[], list[Pair]], said: str, clock: Clock
) -> None:
    """The reason is one line, and the recorder is stopped."""
    pairs = Recorded(a_look)

    with pytest.raises(RolledBackError, match=said) as caught:
        compare(pairs, PLAN, clock)

    assert "\n" not in str(caught.value)
    assert pairs.stopped


class Unread(Recorded):
    """Pairs that cannot be recorded at so many looks."""

    def __init__(self, looks: int) -> None:
        super().__init__(lambda: [pair()] * 100)
        self._left = looks

    def record(self, comparison: Comparison) -> None:
        """Fail, or let pairs come in."""
        self._left -= 1
        if self._left >= 0:
            raise EvidenceError("the recorder does not start")
        super().record(comparison)


def test_pairs_that_cannot_be_recorded_for_a_while(clock: Clock) -> None:
    """A recorder that fails is waited for, as the controller does."""
    assert {finding.phase for finding in compare(Unread(3), PLAN, clock)} == {"Successful"}
    assert clock.now() == 5 * PLAN.look_seconds


def test_pairs_that_can_never_be_recorded(clock: Clock) -> None:
    """The wait has the limit of the plan, and its reason is the recorder's."""
    pairs = Unread(10**6)

    with pytest.raises(RolledBackError, match="within 600 s: the recorder does not start"):
        compare(pairs, PLAN, clock)

    assert clock.now() == pytest.approx(600, abs=PLAN.look_seconds)
    assert pairs.stopped


def test_a_plan_without_a_shadow_compares_nothing(clock: Clock) -> None:
    """That is no success."""
    plan = default_plan("canary", mirrors=False, has_baseline=False)

    with pytest.raises(EvidenceError, match="nothing was compared"):
        compare(Recorded(list), plan, clock)
