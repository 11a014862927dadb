"""What is called drift is more than chance, and a large shift is called drift."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2

from textclf.drift import LEAST_TEXTS, corrected_psi, threshold
from textclf.drift.distance import FALSE_ALARM_RATE, LARGE_SHIFT, _chi_square_quantile, psi

WINDOWS = 2_000
counts = st.lists(st.integers(0, 500), min_size=2, max_size=12).filter(any)


@given(counts=counts, factor=st.integers(1, 20))
def test_equal_samples_are_not_apart(counts: list[int], factor: int) -> None:
    """The distance of a sample from itself is 0, and so that of more of the same."""
    assert psi(counts, counts) == 0
    assert corrected_psi(counts, [factor * count for count in counts]) == 0


@given(pairs=st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500)), min_size=2))
def test_the_distance_has_no_side_and_no_order(pairs: list[tuple[int, int]]) -> None:
    """Neither of the two samples is special, nor any bin; it is never negative."""
    ours, theirs = zip(*pairs, strict=True)
    moved_ours, moved_theirs = zip(*reversed(pairs), strict=True)

    assert psi(ours, theirs) == pytest.approx(psi(theirs, ours))
    assert psi(ours, theirs) == pytest.approx(psi(moved_ours, moved_theirs))
    assert psi(ours, theirs) >= 0


def test_the_index_is_the_one_that_is_defined() -> None:
    """Of many texts it is the sum in the books, where no bin is empty."""
    expected, found = np.array([0.2, 0.3, 0.5]), np.array([0.4, 0.3, 0.3])
    by_hand = float(((found - expected) * np.log(found / expected)).sum())

    many = [(1e9 * shares).tolist() for shares in (found, expected)]
    assert psi(*many) == pytest.approx(by_hand)
    assert corrected_psi(*many) == pytest.approx(by_hand)


@pytest.mark.parametrize("freedom", range(1, 30))
def test_the_quantile_is_chi_squares(freedom: int) -> None:
    """The approximation errs to the safe side, and by 4 % at the most."""
    exact = chi2.ppf(1 - FALSE_ALARM_RATE, freedom)

    assert exact <= _chi_square_quantile(freedom) <= 1.04 * exact


@pytest.mark.parametrize("texts", [LEAST_TEXTS, 2_000])
@pytest.mark.parametrize(
    "shares",
    [[0.5, 0.5], [0.1] * 10, [0.97, 0.03], [0.999, 0.001], 1 / np.arange(1, 21)],
    ids=["two labels", "ten quantiles", "a rare label", "hardly any unknown", "many labels"],
)
@pytest.mark.parametrize("reference_texts", [50, 176, 872])
def test_chance_alone_raises_no_alarm(
    shares: Sequence[float], texts: int, reference_texts: int
) -> None:
    """Of 2,000 windows of the same traffic ten cross the threshold at the most.

    One in a thousand is promised, of which 2,000 windows show up to eight; bins that hold hardly
    any text are not quite as chi-square has them.
    """
    generator = np.random.default_rng(8)
    known = np.array(shares) / np.sum(shares)
    references = generator.multinomial(reference_texts, known, WINDOWS)
    windows = generator.multinomial(texts, known, WINDOWS)
    limit = threshold(len(known), texts, reference_texts)

    found = [corrected_psi(w, r) for w, r in zip(windows, references, strict=True)]

    assert sum(distance > limit for distance in found) / WINDOWS <= 0.005


@pytest.mark.parametrize("texts", [50, LEAST_TEXTS, 1_000])
def test_what_is_taken_off_is_what_chance_makes_of_it(texts: int) -> None:
    """The raw index of the same traffic grows as windows shrink; less the correction it is flat."""
    generator = np.random.default_rng(9)
    windows = generator.multinomial(texts, [0.1] * 10, WINDOWS)
    references = generator.multinomial(872, [0.1] * 10, WINDOWS)
    raw = np.mean([psi(w, r) for w, r in zip(windows, references, strict=True)])
    noise = 9 * (1 / texts + 1 / 872)

    assert raw == pytest.approx(noise, rel=0.15)


# Share of windows of 200 texts and of 1,000 that are over the threshold, against 872 texts; as
# docs/drift.md has it.
POWER = {
    "labels 50:50 to 60:40": ([0.5, 0.5], [0.6, 0.4], 0.0, 0.0),
    "labels 50:50 to 70:30": ([0.5, 0.5], [0.7, 0.3], 0.10, 0.02),
    "labels 50:50 to 75:25": ([0.5, 0.5], [0.75, 0.25], 0.58, 0.69),
    "labels 50:50 to 80:20": ([0.5, 0.5], [0.8, 0.2], 0.96, 1.0),
    "one label only": ([0.5, 0.5], [0.0, 1.0], 1.0, 1.0),
    "a third of the lengths doubled": ([0.1] * 10, [0.067] * 9 + [0.397], 0.99, 1.0),
    "a fifth has unknown tokens, where 1 % had": ([0.99, 0.01], [0.8, 0.2], 1.0, 1.0),
}


@pytest.mark.parametrize("name", POWER)
def test_a_shift_is_seen(name: str) -> None:
    """A large shift is seen in few texts; a small one is not worth waking somebody."""
    before, after, *shares = POWER[name]
    generator = np.random.default_rng(10)
    for texts, share in zip((LEAST_TEXTS, 1_000), shares, strict=True):
        windows = generator.multinomial(texts, np.array(after) / sum(after), WINDOWS)
        references = generator.multinomial(872, before, WINDOWS)
        limit = threshold(len(before), texts, 872)
        alarms = np.mean(
            [corrected_psi(w, r) > limit for w, r in zip(windows, references, strict=True)]
        )
        assert alarms == pytest.approx(share, abs=0.04)


def test_a_thin_reference_widens_the_threshold() -> None:
    """Of few texts on either side more is asked; of many, a large shift."""
    assert threshold(10, 10_000, 2_000) == LARGE_SHIFT
    assert threshold(10, 200, 872) == LARGE_SHIFT
    assert threshold(10, 200, 50) > threshold(10, 10_000, 50) > 1.4 * LARGE_SHIFT
