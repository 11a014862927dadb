"""What a client sends and what it gets, with every limit.

The hot routes and BentoML's typed methods read and write these types and no others. They are strict
both ways: a number never passes for a text, nor ``"false"`` for ``false``.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, RootModel, StringConstraints

MAX_TEXT_CHARACTERS = 8_192
MAX_TEXTS = 64

# At least one character that is neither white space nor a control character.
_VISIBLE = r"[^\s\x00-\x1f\x7f-\x9f]"

Text = Annotated[
    str,
    StringConstraints(
        strict=True,
        strip_whitespace=True,
        min_length=1,
        max_length=MAX_TEXT_CHARACTERS,
        pattern=_VISIBLE,
    ),
    Field(description="A text to classify; blank texts are refused."),
]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class PredictRequest(RootModel[Annotated[list[Text], Field(min_length=1, max_length=1)]]):
    """A JSON array of exactly one text."""

    model_config = ConfigDict(
        strict=True,
        frozen=True,
        json_schema_extra={"example": ["MLOps is critical for robustness"]},
    )

    @property
    def texts(self) -> list[str]:
        """The texts, as the other request has them."""
        return self.root


class PredictResponse(_Strict):
    """Whether the text has the model's positive label: the original service's contract."""

    positive: Annotated[bool, Field(description="True if the model's positive label won.")]


class ClassifyRequest(_Strict):
    """1 to 64 texts of at most 8,192 characters each."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"texts": ["espresso is too strong", "a fine cup"]}}
    )

    texts: Annotated[list[Text], Field(min_length=1, max_length=MAX_TEXTS)]


class Prediction(_Strict):
    """The winning label of one text."""

    label: Annotated[str, Field(description="The label with the highest score.")]
    score: Annotated[float, Field(ge=0, le=1, description="Softmax probability of the label.")]
    truncated: Annotated[
        bool, Field(description="True if only the text's first tokens were read by the model.")
    ]


class ClassifyResponse(_Strict):
    """One prediction per text, in the order of the request."""

    model: Annotated[str, Field(description="Store tag of the model that answered.")]
    predictions: list[Prediction]


class Fault(BaseModel):
    """One thing that is wrong with a request's body; the input itself is never repeated."""

    pointer: Annotated[str, Field(description="JSON pointer (RFC 6901) to the faulty value.")]
    code: Annotated[str, Field(description="A stable name of the fault, such as too_long.")]
    detail: str


class Problem(BaseModel):
    """Every answer of 400 and above, as RFC 9457 lays it out."""

    type: Annotated[str, Field(description="Always about:blank: the status says what it is.")]
    title: Annotated[str, Field(description="The status in words.")]
    status: Annotated[int, Field(ge=400, le=599)]
    detail: Annotated[str, Field(description="What went wrong and what to do next.")]
    request_id: Annotated[str, Field(description="The same id as in X-Request-Id and in the log.")]


class ValidationProblem(Problem):
    """An answer of 422: where the body is wrong."""

    errors: Annotated[list[Fault], Field(min_length=1, description="Each fault, up to 128.")]
