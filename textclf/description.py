"""What a classifier says of itself: the types of classifier.json and golden.jsonl."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

PrecisionChoice = Literal["auto", "fp32", "int8"]
InputRole = Literal["input_ids", "attention_mask", "token_type_ids"]
SCORE_TOLERANCE = 0.01  # how far a score may move with the CPU or the company of the text
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Described(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Lineage(_Described):
    """Where a model comes from and what brought it here."""

    source: Annotated[str, Field(description="Kind of source, such as local or azureml.")]
    uri: Annotated[str, Field(description="Where it was found, without any secret.")]
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=60)]
    version: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=60)]
    workspace: Annotated[str | None, Field(description="Where in the registry it is.")] = None
    registered_by: Annotated[str | None, Field(description="As the registry says.")] = None
    registered_at: Annotated[str | None, Field(description="UTC, ISO 8601.")] = None
    origin: Annotated[
        str | None, Field(description="Where a classifier folder came from before that.")
    ] = None
    imported_at: Annotated[str, Field(description="UTC, ISO 8601.")]
    importer: Annotated[str, Field(description="textclf and its version.")]
    sdk: Annotated[str | None, Field(description="Client library that fetched it.")] = None


class TriedVariant(_Described):
    """A way to store the graph that an import tried, and what came of it.

    Differences are from the graph as it was found, over the golden and the labelled texts.
    """

    name: str
    verdict: Annotated[str, Field(description="Chosen, held, or why it was refused or not tried.")]
    size_bytes: Annotated[int | None, Field(ge=0)] = None
    milliseconds: Annotated[
        dict[str, float], Field(description="Median of one run, by texts x tokens.")
    ] = {}
    speedup: Annotated[float | None, Field(description="Geometric mean over those.")] = None
    agreement: Annotated[float | None, Field(ge=0, le=1, description="Of labels.")] = None
    accuracy: Annotated[float | None, Field(ge=0, le=1)] = None
    largest_score_shift: Annotated[float | None, Field(ge=0, le=1)] = None
    batch_score_shift: Annotated[
        float | None, Field(ge=0, le=1, description="Largest between alone and batched.")
    ] = None
    batch_labels_flipped: Annotated[int | None, Field(ge=0)] = None


class Precision(_Described):
    """How the numbers in the graph are stored, and what was done to make it so."""

    weights: Annotated[str, Field(description="Such as fp32 or int8.")]
    method: Annotated[str, Field(description="What the optimiser did, in a sentence.")] = "as found"
    variants: list[TriedVariant] = []


class Recipe(_Described):
    """What an import was made from and asked for, by which the same import is known again.

    Two imports of one graph may choose another variant, since one CPU is not like another.
    """

    graph_sha256: Annotated[Sha256, Field(description="Of the graph as it was found.")]
    golden_texts_sha256: Sha256
    evaluation_sha256: Sha256 | None
    reference_texts_sha256: Sha256 | None = None
    precision: PrecisionChoice


class BatchInvariance(_Described):
    """Whether an answer depends on the texts that share its batch, as measured.

    ``invariant`` is False for a graph whose scores moved by more than 0.01 or whose labels flipped;
    such a graph is served one text at a time.
    """

    invariant: bool
    texts: Annotated[int, Field(ge=1)]
    largest_score_shift: Annotated[float, Field(ge=0, le=1)]
    labels_flipped: Annotated[int, Field(ge=0)]


class Evaluation(_Described):
    """One figure that was measured on a labelled data set."""

    dataset: str
    sentences: Annotated[int, Field(ge=1)]
    precision: Annotated[str, Field(description="Precision of the graph that was measured.")]
    accuracy: Annotated[float, Field(ge=0, le=1)]


class ClassifierDescription(_Described):
    """Everything about a classifier that its graph and its tokenizer do not say themselves."""

    format_version: Literal[1] = 1
    labels: Annotated[list[str], Field(min_length=2, description="In the order of the logits.")]
    positive_label: str
    inputs: Annotated[
        dict[InputRole, str], Field(description="Role of each input to its name in the graph.")
    ]
    output: Annotated[str, Field(description="Name of the logits in the graph.")]
    pad_token_id: Annotated[int, Field(ge=0)]
    max_tokens: Annotated[int, Field(ge=2, description="Longest input, special tokens included.")]
    batch_invariance: BatchInvariance
    lineage: Lineage
    precision: Precision
    recipe: Recipe | None = None
    evaluations: list[Evaluation] = []
    training: Annotated[
        dict[str, str], Field(description="How it was trained: a heading to a paragraph each.")
    ] = {}
    files: dict[str, Sha256] = {}

    @property
    def tag(self) -> str:
        """Name and version, as the model's store tag has them: in lower case."""
        return f"sentiment:{self.lineage.name}-{self.lineage.version}".lower()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.labels)) != len(self.labels):
            raise ValueError(f"labels are not distinct: {self.labels}")
        if self.positive_label not in self.labels:
            raise ValueError(f"positive_label {self.positive_label!r} is not among {self.labels}")
        if "input_ids" not in self.inputs:
            raise ValueError("inputs has no input_ids")
        return self


class GoldenExample(_Described):
    """A text with the answer that its model gave when the snapshot was taken."""

    text: Annotated[str, Field(min_length=1)]
    label: str
    score: Annotated[float, Field(ge=0, le=1, description="Of that label, alone in its batch.")]
