"""What a rollout does and what it may find: ``rollout.yaml``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from textclf.errors import PlanError
from textclf.rollout.budgets import Budgets
from textclf.rollout.finding import LEAST_TRIALS

Strategy = Literal["canary", "bluegreen", "shadow"]
_Percent = Annotated[int, Field(ge=1, le=100)]
_Seconds = Annotated[float, Field(ge=0)]
_PositiveSeconds = Annotated[float, Field(gt=0)]
_Count = Annotated[int, Field(ge=1)]
_STRICT = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
_WHOLE_FILE = "the plan"


class Step(BaseModel):
    """A share of the requests for the candidate, until the evidence is in."""

    model_config = _STRICT

    weight_percent: _Percent = Field(description="of all requests, for the candidate")
    pause_seconds: _Seconds = Field(default=300.0, description="least time at this weight")
    minimum_requests: _Count = Field(
        default=500, description="that the candidate must have ended at this weight before the next"
    )


class Shadow(BaseModel):
    """Requests that both versions answer; clients see the stable version's answers alone."""

    model_config = _STRICT

    mirror_percent: _Percent = Field(
        default=50, description="of all requests; Azure ML takes no more than 50"
    )
    minimum_pairs: _Count = Field(default=1000, description="answers to compare before any traffic")
    noise_pairs: Annotated[int, Field(ge=0)] = Field(
        default=1000,
        description="of the stable version with itself, measured first; 0 for none, else at least "
        f"{LEAST_TRIALS}, since fewer tell too little",
        json_schema_extra={"anyOf": [{"const": 0}, {"minimum": LEAST_TRIALS}]},
    )
    limit_seconds: _PositiveSeconds = Field(
        default=3600.0, description="longest time for either comparison; after it the rollout ends"
    )


class Plan(BaseModel):
    """A rollout, from the stable version to a candidate."""

    model_config = _STRICT

    strategy: Strategy = Field(description="how traffic moves")
    shadow: Shadow | None = Field(
        default=None, description="what comes before any traffic; null for none"
    )
    steps: tuple[Step, ...] = Field(
        default=(), description="in order; all traffic follows the last"
    )
    baseline: bool = Field(
        default=False,
        description="whether the candidate is compared with a fresh copy of the stable version "
        "that gets an equal share, rather than with the stable version",
    )
    budgets: Budgets = Field(default_factory=Budgets, description="what an assessment may find")
    look_seconds: _PositiveSeconds = Field(
        default=15.0, description="between two looks at the evidence"
    )
    hold_limit_seconds: _PositiveSeconds = Field(
        default=600.0,
        description="longest wait for evidence that is thin or missing; then all goes back",
    )

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if faults := list(_contradictions(self)):
            raise PydanticCustomError("contradiction", "{faults}", {"faults": "\n".join(faults)})
        return self


def _contradictions(plan: Plan) -> Iterator[str]:
    weights = [step.weight_percent for step in plan.steps]
    if plan.strategy == "shadow" and plan.shadow is None:
        yield "shadow: strategy shadow needs it"
    if plan.shadow and 0 < plan.shadow.noise_pairs < LEAST_TRIALS:
        yield (
            f"shadow.noise_pairs: must be 0 or at least {LEAST_TRIALS}, since fewer tell too "
            f"little, got {plan.shadow.noise_pairs}"
        )
    if plan.strategy == "shadow" and weights:
        yield "steps: strategy shadow moves no traffic; leave them out"
    if plan.strategy == "bluegreen" and weights != [100]:
        yield f"steps: strategy bluegreen has one, of weight_percent 100, got {weights}"
    if plan.strategy == "canary" and not weights:
        yield "steps: strategy canary needs at least one"
    if plan.strategy != "canary" and plan.baseline:
        yield f"baseline: strategy {plan.strategy} has none; only canary does"
    yield from _weight_faults(weights, baseline=plan.baseline and plan.strategy == "canary")
    if plan.hold_limit_seconds < plan.look_seconds:
        yield (
            f"hold_limit_seconds: must be at least look_seconds, which is {plan.look_seconds:g}, "
            f"got {plan.hold_limit_seconds:g}"
        )


def _weight_faults(weights: Sequence[int], *, baseline: bool) -> Iterator[str]:
    for i, weight in enumerate(weights):
        place = f"steps[{i}].weight_percent"
        if i and weight <= weights[i - 1]:
            yield f"{place}: must be more than the {weights[i - 1]} before, got {weight}"
        if baseline and weight > 50:
            yield f"{place}: must be at most 50, since the baseline gets as much, got {weight}"


def default_plan(strategy: Strategy, *, mirrors: bool, has_baseline: bool) -> Plan:
    """Return what is done without a file, with as much evidence as the engine can give.

    Args:
        strategy: How traffic moves.
        mirrors: Whether requests can be mirrored, and pairs of answers recorded.
        has_baseline: Whether a share can go to a fresh copy of the stable version.
    """
    shadow = Shadow() if mirrors or strategy == "shadow" else None
    if strategy == "canary":
        steps = tuple(Step(weight_percent=weight) for weight in (5, 20, 50))
        return Plan(strategy=strategy, shadow=shadow, steps=steps, baseline=has_baseline)
    if strategy == "bluegreen":
        bake = Step(weight_percent=100, pause_seconds=900.0, minimum_requests=1000)
        return Plan(strategy=strategy, shadow=shadow, steps=(bake,))
    return Plan(strategy=strategy, shadow=shadow)


def read_plan(path: Path) -> Plan:
    """Read a plan.

    Raises:
        PlanError: It cannot be read, or has faults: one line each, with its place.
    """
    try:
        text = path.read_text("utf-8")
        root = yaml.compose(text, yaml.SafeLoader)
        content = json.dumps(yaml.safe_load(text), default=str)
    except (OSError, ValueError, yaml.YAMLError) as exc:
        raise PlanError(
            f"{path} cannot be read as YAML: {exc}; deploy/rollout.yaml is an example"
        ) from exc
    faults = [f"{path}:{line}: {fault}" for line, fault in _doubled(root)]
    try:
        plan = Plan.model_validate_json(content)
    except ValidationError as exc:
        faults += [_tell(path, root, place, fault) for place, fault in _faults(exc)]
    if faults:
        raise PlanError("\n".join([f"{path} is no plan; correct and run again:", *faults]))
    return plan


def _faults(error: ValidationError) -> Iterator[tuple[str, str]]:
    """Return the place and the words of each fault."""
    for fault in error.errors(include_url=False):
        if fault["type"] == "contradiction":
            for line in fault["msg"].splitlines():
                place, _, words = line.partition(": ")
                yield place, words
        else:
            got = "" if fault["type"] in {"missing", "extra_forbidden"} else _got(fault["input"])
            yield _place(fault["loc"]), fault["msg"] + got


def _got(value: Any) -> str:
    return f", got {json.dumps(value)[:80]}"


def _place(steps: tuple[int | str, ...]) -> str:
    parts = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    return "".join(parts).removeprefix(".") or _WHOLE_FILE


def _tell(path: Path, root: yaml.Node | None, place: str, fault: str) -> str:
    return f"{path}:{_line(root, place)}: {place}: {fault}"


def _line(root: yaml.Node | None, place: str) -> int:
    """Return the line of a place, or of the innermost thing around it that the file has."""
    node, line = root, 1
    for step in [] if place == _WHOLE_FILE else place.replace("[", ".").replace("]", "").split("."):
        found = _below(node, step)
        if found is None:
            break
        key, node = found
        line = key.start_mark.line + 1
    return line


def _below(node: yaml.Node | None, step: str) -> tuple[yaml.Node, yaml.Node] | None:
    """Return what names a member of a node, and the member."""
    if isinstance(node, yaml.MappingNode):
        return next((pair for pair in node.value if pair[0].value == step), None)
    if isinstance(node, yaml.SequenceNode) and step.isdecimal() and int(step) < len(node.value):
        return node.value[int(step)], node.value[int(step)]
    return None


def _doubled(node: yaml.Node | None) -> Iterator[tuple[int, str]]:
    """Return the lines of keys that a mapping has already: YAML would take the last in silence."""
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if key.value in seen:
                yield key.start_mark.line + 1, f"{key.value}: is given twice"
            seen.add(key.value)
            yield from _doubled(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _doubled(value)


def render_schema() -> str:
    """Return the JSON schema of plans, for editors and validators."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Plan.model_json_schema(),
    }
    return json.dumps(schema, indent=2) + "\n"
