"""What an assessment of a candidate may find."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

_Share = Annotated[float, Field(ge=0, lt=1)]


class Budgets(BaseModel):
    """How much worse than the stable version a candidate may be; docs/rollout-statistics.md."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    level: Annotated[float, Field(gt=0, le=0.2)] = Field(
        default=0.01,
        description="chance, over a whole rollout with any number of looks, that a candidate "
        "which is no worse than the stable version is said to have failed",
    )
    error_rate_increase: _Share = Field(
        default=0.01,
        description="of statuses from 500, over the reference's rate, as a share of requests",
    )
    latency_ratio: Annotated[float, Field(ge=1, le=100)] = Field(
        default=1.25,
        description="candidate's over reference's, of the median and of the 99th percentile",
    )
    class_mix_shift: _Share = Field(
        default=0.05, description="of any label's share of the predictions, up or down"
    )
    disagreement_rate: _Share = Field(
        default=0.02, description="of labels in pairs, over what the stable version has with itself"
    )
    score_shift: _Share = Field(
        default=0.05,
        description="that 99 % of pairs keep to, besides those that the stable version moves by "
        "more by itself",
    )
