"""What a batch costs, from measurements; batches are chosen by it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np

Shape = tuple[int, int]  # texts, tokens of the longest


@dataclass(frozen=True)
class CostModel:
    """Seconds that a run takes, whatever the tokens are.

    Attributes:
        run_seconds: For each run.
        token_seconds: For each token, padding included.
        pair_seconds: For each pair of tokens of a text, which attention looks at.
    """

    run_seconds: float
    token_seconds: float
    pair_seconds: float

    def seconds(self, texts: int, tokens: int) -> float:
        """Return what a run on ``texts`` of ``tokens`` each takes."""
        return self.run_seconds + texts * self.text_seconds(tokens)

    def text_seconds(self, tokens: int) -> float:
        """Return what a text of so many tokens takes of a run."""
        return tokens * (self.token_seconds + self.pair_seconds * tokens)


# Near enough to any encoder before one was measured: a run costs what five tokens cost.
UNMEASURED = CostModel(2.5e-4, 5e-5, 0)


def fit_cost(measured: Mapping[Shape, float]) -> CostModel:
    """Return the model that is nearest to measured seconds, relative to each.

    No part of it is below zero: of all ways to leave parts out, the nearest that holds to that.

    Args:
        measured: Seconds of a run by its shape; at least one.
    """
    shapes = np.array(list(measured), dtype=float)
    seconds = np.array(list(measured.values()))
    texts, tokens = shapes[:, 0], shapes[:, 1]
    parts = np.stack([np.ones_like(texts), texts * tokens, texts * tokens**2], axis=1)
    parts /= seconds[:, None]
    best, least = np.zeros(3), np.inf
    for kept in (list(c) for size in (1, 2, 3) for c in combinations(range(3), size)):
        found, *_ = np.linalg.lstsq(parts[:, kept], np.ones_like(seconds), rcond=None)
        error = float(((parts[:, kept] @ found - 1) ** 2).sum())
        if (found >= 0).all() and error < least:
            best, least = np.zeros(3), error
            best[kept] = found
    run, token, pair = best.tolist()
    return CostModel(run, token, pair) if token or pair else UNMEASURED
