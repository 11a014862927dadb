"""Which of the variants that were tried is served: a pure decision."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from textclf.description import BatchInvariance, PrecisionChoice
from textclf.errors import PrecisionError
from textclf.optimization.choosing import fastest
from textclf.optimization.gate import Answers, compare
from textclf.optimization.trial import Trial
from textclf.optimization.variants import Variant

SCORES = np.array([[0.1, 0.9], [0.8, 0.2]], dtype=np.float32)
NONE = np.zeros((0, 2), dtype=np.float32)


def trial(name: str, speedup: float, *, holds: bool = True) -> Trial:
    """Return a trial as if it had been run; its name begins with its precision."""
    invariance = BatchInvariance(
        invariant=holds, texts=2, largest_score_shift=0 if holds else 0.5, labels_flipped=0
    )
    answers = Answers(golden=SCORES, labelled=NONE, longest=NONE, batch_invariance=invariance)
    return Trial(
        variant=Variant(
            name=name, weights=name.split(maxsplit=1)[0], method="", build=lambda *_: None
        ),
        path=Path(name),
        answers=answers,
        comparison=compare(answers, answers, np.zeros(0, dtype=np.int64)),
        times={},
        speedup=speedup,
    )


FOUND = trial("fp32", 1.0)


@pytest.mark.parametrize(
    ("others", "requested", "expected"),
    [
        ([], "auto", "fp32"),
        ([trial("fp32 fused", 1.2), trial("int8 a", 2.0), trial("int8 b", 2.5)], "auto", "int8 b"),
        ([trial("fp32 fused", 1.2), trial("int8 a", 2.0, holds=False)], "auto", "fp32 fused"),
        ([trial("fp32 fused", 1.02), trial("int8 a", 0.8)], "auto", "fp32"),
        ([trial("fp32 fused", 0.9)], "fp32", "fp32"),
        ([trial("fp32 fused", 1.2), trial("int8 a", 0.8)], "int8", "int8 a"),
    ],
    ids=[
        "nothing else", "fastest", "fastest is refused", "no faster than noise", "fp32 stays",
        "slower int8 that was asked for",
    ],
)  # fmt: skip
def test_the_fastest_that_holds(
    others: list[Trial], requested: PrecisionChoice, expected: str
) -> None:
    """The graph as found stays unless something that holds is faster by more than noise."""
    assert fastest([FOUND, *others], requested, {}).variant.name == expected


def test_no_int8_holds() -> None:
    """The message has the figures of each, and what could not be made."""
    refused = trial("int8 per token", 2.0, holds=False)

    with pytest.raises(PrecisionError) as error:
        fastest([FOUND, refused], "int8", {"int8 static": "not tried: too large"})

    assert str(error.value) == (
        "no int8 variant of the graph may be served: int8 per token: in batches a score moves by "
        "0.5000 and 0 of 2 labels flip; int8 static: not tried: too large. Import it with "
        "--precision fp32"
    )
