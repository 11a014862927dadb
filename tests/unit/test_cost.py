"""A cost model says what was measured."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textclf.cost import UNMEASURED, CostModel, fit_cost

SHAPES = [(1, 8), (1, 32), (1, 64), (2, 32), (4, 32), (8, 32)]
PART = st.one_of(st.just(0.0), st.floats(1e-7, 1e-2))


@given(PART, st.floats(1e-7, 1e-2), PART)
def test_what_follows_a_model_gives_it_back(run: float, token: float, pair: float) -> None:
    """Also where a part is zero."""
    model = CostModel(run, token, pair)

    fitted = fit_cost({shape: model.seconds(*shape) for shape in SHAPES})

    for shape in [*SHAPES, (16, 128)]:
        assert fitted.seconds(*shape) == pytest.approx(model.seconds(*shape), rel=0.01)


@given(st.lists(st.floats(1e-4, 1.0), min_size=len(SHAPES), max_size=len(SHAPES)))
def test_no_part_is_below_zero(seconds: list[float]) -> None:
    """However odd the measurements, a longer text never costs less, and each costs something."""
    fitted = fit_cost(dict(zip(SHAPES, seconds, strict=True)))

    assert min(fitted.run_seconds, fitted.token_seconds, fitted.pair_seconds) >= 0
    assert 0 < fitted.text_seconds(8) <= fitted.text_seconds(9)


def test_runs_that_all_take_the_same_tell_nothing() -> None:
    """Then the model of an unmeasured graph serves."""
    assert fit_cost({(1, 8): 0.01, (1, 64): 0.01}) == UNMEASURED
