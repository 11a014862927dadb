"""Texts that run together are of like length."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from textclf.batching import SHORTEST_TO_LONGEST, plan_batches

LENGTHS = st.lists(st.integers(1, 512), max_size=100)


@given(LENGTHS, st.integers(1, 16), st.booleans())
def test_every_text_is_in_exactly_one_batch(
    lengths: list[int], max_texts: int, equal: bool
) -> None:
    """No text is lost or answered twice, and no batch is larger than allowed."""
    batches = plan_batches(lengths, max_texts=max_texts, equal_lengths=equal)

    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    assert all(1 <= len(batch) <= max_texts for batch in batches)


@given(LENGTHS, st.integers(1, 16))
def test_padding_is_bounded(lengths: list[int], max_texts: int) -> None:
    """No text is padded by more than a fifth of its batch's longest."""
    for batch in plan_batches(lengths, max_texts=max_texts):
        own = [lengths[index] for index in batch]
        assert min(own) >= SHORTEST_TO_LONGEST * max(own)


@given(LENGTHS, st.integers(1, 16))
def test_without_a_mask_nothing_is_padded(lengths: list[int], max_texts: int) -> None:
    """A graph that cannot tell padding from text gets texts of one length."""
    for batch in plan_batches(lengths, max_texts=max_texts, equal_lengths=True):
        assert len({lengths[index] for index in batch}) == 1
