"""Tests that hold at every look: their level by simulation, their bounds by what they are."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import beta

from textclf.rollout.sequential import (
    ANY_RATE,
    RARE,
    Floats,
    Prior,
    bounds,
    bounds_of_increase,
    log_evidence,
    log_evidence_of_increase,
    standard_errors_of_increase,
)

ROLLOUTS = 2000
LEVEL = 0.05
LIMIT = math.log(1 / LEVEL)
COUNTS = st.tuples(st.integers(0, 400), st.integers(1, 400)).map(lambda c: (min(c), c[1]))


def draw(rate: float | Floats, requests: int, seed: int) -> Floats:
    """Return successes after every request of every rollout."""
    shape = (ROLLOUTS, requests)
    drawn = np.random.default_rng(seed).random(shape) < np.broadcast_to(rate, shape)
    return np.asarray(drawn.cumsum(axis=1), np.float64)


def ever(evidence: Floats) -> float:
    """Return the share of rollouts whose evidence is over the limit at any look."""
    return float((evidence > LIMIT).any(axis=1).mean())


@pytest.mark.parametrize("prior", [ANY_RATE, RARE], ids=["any rate", "rare"])
@pytest.mark.parametrize("rate", [0.002, 0.01, 0.1, 0.5])
def test_the_level_holds_though_every_request_is_looked_at(rate: float, prior: Prior) -> None:
    """The true rate is ever excluded in no more rollouts than the level says."""
    seen = draw(rate, 1000, seed=1)

    assert ever(log_evidence(seen, np.arange(1, 1001), rate, prior)) <= LEVEL


def test_a_plain_interval_does_not_hold_its_level() -> None:
    """Looking again and again at two standard errors excludes the truth in most rollouts."""
    n = np.arange(1, 1001)
    errors = (draw(0.5, 1000, seed=1) - n / 2) / np.sqrt(n / 4)

    assert (abs(errors) > 2)[:, 20:].any(axis=1).mean() > 5 * LEVEL


@pytest.mark.parametrize(
    ("rate", "margin", "prior"),
    [(0.01, 0.0, RARE), (0.01, 0.01, RARE), (0.0, 0.02, RARE), (0.5, 0.0, ANY_RATE)],
    ids=["A/A", "just allowed", "just allowed, over none", "A/A of a label"],
)
@pytest.mark.parametrize("times", [1, 9], ids=["baseline", "stable with nine tenths"])
def test_the_level_holds_for_two_rates(
    rate: float, margin: float, prior: Prior, times: int
) -> None:
    """A candidate that is as much worse as it may be is seldom said to be worse than that."""
    looks = np.arange(5, 501, 5)
    ours = draw(rate + margin, 500, seed=2)[:, 4::5]
    theirs = np.random.default_rng(3).binomial(5 * times, rate, ours.shape).cumsum(axis=1)

    evidence = log_evidence_of_increase(
        (ours, looks), (theirs, times * looks), margin=margin, prior=prior
    )

    assert ever(evidence) <= LEVEL


@pytest.mark.parametrize(
    "rates",
    [np.linspace(0, 0.1, 1000), 0.5 + 0.4 * np.sin(np.linspace(0, 20, 1000)), np.r_[:1000] > 500],
    ids=["rising", "turning", "from none to all"],
)
def test_the_level_holds_while_traffic_drifts(rates: Floats) -> None:
    """Two versions whose rates drift together are told apart in no more rollouts."""
    looks = np.arange(5, 1001, 5)
    ours, theirs = (draw(rates, 1000, seed)[:, 4::5] for seed in (4, 5))

    assert ever(log_evidence_of_increase((ours, looks), (theirs, looks))) <= LEVEL


def test_the_level_holds_for_trials_that_give_fractions() -> None:
    """Shares of several texts count like texts."""
    drawn = np.random.default_rng(6).binomial(3, 0.2, (ROLLOUTS, 500)) / 3

    assert ever(log_evidence(drawn.cumsum(axis=1), np.arange(1, 501), 0.2)) <= LEVEL


@pytest.mark.parametrize("prior", [ANY_RATE, RARE], ids=["any rate", "rare"])
def test_evidence_is_an_average_of_likelihood_ratios(prior: Prior) -> None:
    """The closed form is what integration gives."""

    def ratio(other: float) -> float:
        return float(beta.pdf(other, *prior) * (other / 0.1) ** 3 * ((1 - other) / 0.9) ** 17)

    average, _ = quad(ratio, 0, 1)

    assert float(log_evidence(3, 20, 0.1, prior)) == pytest.approx(math.log(average), abs=1e-6)


@given(counts=COUNTS, reference=COUNTS, margin=st.floats(-0.5, 0.5))
def test_evidence_of_an_increase_is_the_least_over_all_pairs_of_rates(
    counts: tuple[int, int], reference: tuple[int, int], margin: float
) -> None:
    """No pair of rates that obeys the claim has less evidence against it."""
    found = float(log_evidence_of_increase(counts, reference, margin=margin))
    rates = np.linspace(max(0, -margin), min(1, 1 - margin), 999)[1:-1]
    everywhere = log_evidence(*counts, rates + margin) + log_evidence(*reference, rates)

    assert found <= everywhere.min() + 1e-6
    if found == -math.inf:
        assert counts[0] / counts[1] - reference[0] / reference[1] <= margin


@given(counts=COUNTS, reference=COUNTS, margin=st.floats(-0.9, 0.9))
def test_a_bound_is_where_the_evidence_reaches_the_limit(
    counts: tuple[int, int], reference: tuple[int, int], margin: float
) -> None:
    """The lower bound is over a margin exactly if the evidence for more is beyond the limit."""
    evidence = float(log_evidence_of_increase(counts, reference, margin=margin))
    lower, upper = bounds_of_increase(counts, reference, LEVEL)
    increase = counts[0] / counts[1] - reference[0] / reference[1]

    assert -1 <= lower <= increase <= upper <= 1
    if abs(lower - margin) > 1e-4:
        assert (evidence > LIMIT) == (lower > margin)


@given(counts=COUNTS)
def test_bounds_of_one_rate_surround_what_was_seen(counts: tuple[int, int]) -> None:
    """The evidence at a bound inside of 0 and 1 is the limit."""
    lower, upper = bounds(*counts, LEVEL)

    assert 0 <= lower <= counts[0] / counts[1] <= upper <= 1
    for bound in (lower, upper):
        if 0 < bound < 1:
            assert float(log_evidence(*counts, bound)) == pytest.approx(LIMIT, abs=0.05)


def test_nothing_is_known_without_trials() -> None:
    """Bounds are as wide as can be, and there is no evidence."""
    assert bounds(0, 0, LEVEL) == (0.0, 1.0)
    assert bounds_of_increase((0, 0), (5, 10), LEVEL) == (-1.0, 1.0)
    assert bounds_of_increase((5, 10), (0, 0), LEVEL) == (-1.0, 1.0)
    assert float(log_evidence_of_increase((10, 10), (0, 0))) == -math.inf
    assert float(standard_errors_of_increase((0, 0), (0, 0))) == 0.0


def test_bounds_tighten_with_trials() -> None:
    """Ten times the requests, a third of the width."""
    widths = [
        upper - lower for lower, upper in (bounds(n // 20, n, LEVEL, RARE) for n in (1000, 10_000))
    ]

    assert widths[1] < widths[0] / 2.5


def test_standard_errors_are_those_of_two_proportions() -> None:
    """30 of 100 against 10 of 100 are 3.5 standard errors apart."""
    assert float(standard_errors_of_increase((30, 100), (10, 100))) == pytest.approx(3.5355, 1e-4)
