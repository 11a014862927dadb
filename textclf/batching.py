"""Which texts run together. Pure: lengths in, indices out."""

from __future__ import annotations

from collections.abc import Sequence

SHORTEST_TO_LONGEST = 0.8  # a batch pads each of its texts by a fifth at the most


def plan_batches(
    lengths: Sequence[int], *, max_texts: int, equal_lengths: bool = False
) -> list[list[int]]:
    """Group texts of like length.

    Args:
        lengths: Tokens of each text.
        max_texts: Most texts in one batch.
        equal_lengths: Put only texts of the same length together, for a graph without a mask.

    Returns:
        Batches of indices into ``lengths``; every index stands in exactly one of them.
    """
    shortest_share = 1.0 if equal_lengths else SHORTEST_TO_LONGEST
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: lengths[i], reverse=True):
        batch = batches[-1] if batches else []
        fits = batch and lengths[index] >= shortest_share * lengths[batch[0]]
        if fits and len(batch) < max_texts:
            batch.append(index)
        else:
            batches.append([index])
    return batches
