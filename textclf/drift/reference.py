"""The distribution that a model's traffic is compared with: drift.json."""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

FeatureName = Literal["labels", "scores", "lengths", "characters_per_token", "unknown_tokens"]
Origin = Literal["given", "golden"]
LEAST_REFERENCE_TEXTS = 50
OTHERS = "(others)"
_MOST_BINS = 10
_TEXTS_PER_BIN = 20
_LEAST_OF_A_LABEL = 5  # rarer ones share a bin: chance alone would make much of them


class Observation(NamedTuple):
    """What is known of one text besides its words.

    Attributes:
        label: The answer.
        score: Of that label.
        tokens: That the model has read, special tokens included.
        characters: Of the text.
        unknown: Tokens that the tokenizer has no id for; None where it has one for everything.
        truncated: Whether the model read only the beginning.
    """

    label: str
    score: float
    tokens: int
    characters: int
    unknown: int | None
    truncated: bool


class _Recorded(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Feature(_Recorded):
    """How the texts are spread over the bins of one feature.

    Bin i holds what is at most ``edges[i]`` and in no bin before it; the last one holds the rest.
    Labels have no edges: a bin each, and one for those that are in none.
    """

    name: FeatureName
    bins: Annotated[list[str], Field(min_length=1)]
    edges: list[float] = []
    counts: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]

    @property
    def texts(self) -> int:
        """How many texts were counted."""
        return sum(self.counts)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(self.counts) != len(self.bins) or len(set(self.bins)) != len(self.bins):
            raise ValueError(f"{self.name} has no count for each of its bins")
        numeric = self.name != "labels"
        if self.edges != sorted(set(self.edges)) or len(self.edges) != numeric * (
            len(self.bins) - 1
        ):
            raise ValueError(f"{self.name} has no ascending edge between each two bins")
        if not self.texts:
            raise ValueError(f"{self.name} counts no text")
        return self


class Reference(_Recorded):
    """What drift.json holds."""

    format_version: Literal[1] = 1
    origin: Annotated[
        Origin, Field(description="Texts that were given as a reference, or the golden texts.")
    ]
    texts: Annotated[int, Field(ge=LEAST_REFERENCE_TEXTS)]
    features: Annotated[list[Feature], Field(min_length=1)]

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = [feature.name for feature in self.features]
        if len(set(names)) != len(names):
            raise ValueError(f"features are not distinct: {names}")
        return self


def describe_texts(
    observations: Sequence[Observation], labels: Sequence[str], origin: Origin
) -> Reference | None:
    """Return the distribution of some texts; None if they are too few to compare with.

    Args:
        observations: One per text.
        labels: That the classifier has.
        origin: Where the texts are from.
    """
    if len(observations) < LEAST_REFERENCE_TEXTS:
        return None
    values: dict[FeatureName, list[float]] = {
        "scores": [o.score for o in observations],
        "lengths": [o.tokens for o in observations],
        "characters_per_token": [v for o in observations if (v := characters_per_token(o))],
        "unknown_tokens": [v for o in observations if (v := unknown_tokens(o)) is not None],
    }
    features = [_labels((o.label for o in observations), labels)]
    features += [_quantiles(name, some) for name, some in values.items() if some]
    return Reference(origin=origin, texts=len(observations), features=features)


def characters_per_token(observation: Observation) -> float | None:
    """Return how long a token is; None for a truncated text, whose tokens are not all counted.

    A tokenizer has few long tokens for a language, a spelling or a case that it was not made for,
    also where it has an id for each byte and so no unknown token.

    Source: Rust et al., How Good is Your Tokenizer?, 2021, https://aclanthology.org/2021.acl-long.243
    """
    return None if observation.truncated else observation.characters / observation.tokens


def unknown_tokens(observation: Observation) -> float | None:
    """Return the share of unknown tokens; None where the tokenizer has none."""
    return None if observation.unknown is None else observation.unknown / observation.tokens


def _labels(answers: Iterable[str], labels: Sequence[str]) -> Feature:
    found = Counter(answers)
    rare = [label for label in labels if found[label] < _LEAST_OF_A_LABEL]
    if len(rare) < 2 or len(labels) < 3:
        rare = []
    counts = {label: found[label] for label in labels if label not in rare}
    if rare:
        counts[OTHERS] = sum(found[label] for label in rare)
    return Feature(name="labels", bins=list(counts), counts=list(counts.values()))


def _quantiles(name: FeatureName, values: Sequence[float]) -> Feature:
    """Return bins of about equal share, as far as equal values allow."""
    ordered = sorted(float(f"{value:.4g}") for value in values)  # edges that a person can read
    wanted = max(2, min(_MOST_BINS, len(ordered) // _TEXTS_PER_BIN))
    ranks = [math.ceil(len(ordered) * step / wanted) - 1 for step in range(1, wanted)]
    # Where all values are one, it is its own edge, so that larger ones are seen.
    edges = sorted({ordered[rank] for rank in ranks} - {ordered[-1]}) or [ordered[-1]]
    counts = Counter(bisect_left(edges, value) for value in values)
    return Feature(
        name=name,
        bins=list(_names(edges, whole=name == "lengths")),
        edges=edges,
        counts=[counts[index] for index in range(len(edges) + 1)],
    )


def _names(edges: Sequence[float], *, whole: bool) -> Iterator[str]:
    yield f"<= {edges[0]:g}"
    for lower, upper in itertools.pairwise(edges):
        yield f"{lower + whole:g} to {upper:g}"
    yield f"> {edges[-1]:g}"
