"""A plan is read whole, or refused with every fault and its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.http.serving import PROJECT
from textclf.errors import PlanError
from textclf.rollout.plan import Plan, Strategy, default_plan, read_plan, render_schema

EXAMPLE = PROJECT / "deploy" / "rollout.yaml"
SCHEMA = PROJECT / "deploy" / "rollout.schema.json"


def write(folder: Path, text: str) -> Path:
    """Write a plan into a file."""
    path = folder / "rollout.yaml"
    path.write_text(text, "utf-8")
    return path


def test_the_example_is_a_plan() -> None:
    """The committed rollout.yaml is read, and agrees with the schema."""
    plan = read_plan(EXAMPLE)

    assert [step.weight_percent for step in plan.steps] == [5, 20, 50]
    jsonschema.validate(yaml.safe_load(EXAMPLE.read_text("utf-8")), json.loads(SCHEMA.read_text()))


def test_the_schema_is_current() -> None:
    """deploy/rollout.schema.json is what plans are; run scripts/write_rollout_schema.py."""
    assert SCHEMA.read_text("utf-8") == render_schema()


@pytest.mark.parametrize("strategy", ["canary", "bluegreen", "shadow"])
@pytest.mark.parametrize("mirrors", [True, False])
@pytest.mark.parametrize("has_baseline", [True, False])
def test_without_a_file(strategy: Strategy, mirrors: bool, has_baseline: bool) -> None:
    """Each strategy has a default, which asks for what the engine has and is a plan by itself."""
    plan = default_plan(strategy, mirrors=mirrors, has_baseline=has_baseline)

    assert Plan.model_validate_json(plan.model_dump_json()) == plan
    assert (plan.shadow is not None) == (mirrors or strategy == "shadow")
    assert plan.baseline == (has_baseline and strategy == "canary")
    jsonschema.validate(plan.model_dump(mode="json"), json.loads(SCHEMA.read_text()))


def test_a_short_file_takes_the_defaults(tmp_path: Path) -> None:
    """What a plan leaves out has a default."""
    plan = read_plan(write(tmp_path, "strategy: canary\nsteps: [{weight_percent: 10}]\n"))

    assert (plan.steps[0].minimum_requests, plan.shadow, plan.baseline) == (500, None, False)


def test_every_fault_is_told_with_its_place(tmp_path: Path) -> None:
    """Wrong values, unknown and missing names and doubled keys come at once, each with its line."""
    path = write(
        tmp_path,
        "strategy: canary\n"
        "steps:\n"
        "  - weight_percent: 140\n"
        "    pause_secs: 3\n"
        "  - {pause_seconds: -1}\n"
        "baseline: 'yes'\n"
        "budgets:\n"
        "  level: 0\n"
        "baseline: 'no'\n",
    )
    with pytest.raises(PlanError) as caught:
        read_plan(path)

    told = [line.removeprefix(f"{path}:") for line in str(caught.value).splitlines()[1:]]
    assert told == [
        "9: baseline: is given twice",
        "3: steps[0].weight_percent: Input should be less than or equal to 100, got 140",
        "4: steps[0].pause_secs: Extra inputs are not permitted",
        "5: steps[1].weight_percent: Field required",
        "5: steps[1].pause_seconds: Input should be greater than or equal to 0, got -1",
        '6: baseline: Input should be a valid boolean, got "no"',
        "8: budgets.level: Input should be greater than 0, got 0",
    ]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"strategy": "shadow", "steps": []}, ["shadow: strategy shadow needs"]),
        ({"strategy": "shadow", "shadow": {}}, ["steps: strategy shadow moves no traffic"]),
        ({"steps": []}, ["steps: strategy canary needs at least one"]),
        ({"strategy": "bluegreen"}, ["steps: strategy bluegreen has one, of weight_percent 100"]),
        (
            {"steps": [{"weight_percent": 60}, {"weight_percent": 60}], "baseline": True},
            [
                "steps[0].weight_percent: must be at most 50",
                "steps[1].weight_percent: must be more than the 60 before",
                "steps[1].weight_percent: must be at most 50",
            ],
        ),
        (
            {"strategy": "bluegreen", "steps": [{"weight_percent": 100}], "baseline": True},
            ["baseline: strategy bluegreen has none"],
        ),
        ({"hold_limit_seconds": 1}, ["hold_limit_seconds: must be at least look_seconds"]),
        (
            {"shadow": {"noise_pairs": 3}},
            ["shadow.noise_pairs: must be 0 or at least 100, since fewer tell too little, got 3"],
        ),
    ],
    ids=["no shadow", "steps", "no steps", "not 100", "weights", "blue-green baseline", "hold",
         "thin noise"],
)  # fmt: skip
def test_a_plan_that_contradicts_itself(
    changes: dict[str, Any], expected: list[str], tmp_path: Path
) -> None:
    """What cannot be meant together is refused, all of it at once."""
    content = {"strategy": "canary", "steps": [{"weight_percent": 10}]} | changes
    with pytest.raises(PlanError) as caught:
        read_plan(write(tmp_path, yaml.safe_dump(content)))

    told = [line.split(": ", 1)[1] for line in str(caught.value).splitlines()[1:]]
    assert [line[: len(start)] for line, start in zip(told, expected, strict=True)] == expected


@pytest.mark.parametrize(("noise_pairs", "fits"), [(0, True), (3, False), (99, False), (100, True)])
def test_a_noise_floor_is_measured_well_or_not_at_all(noise_pairs: int, fits: bool) -> None:
    """The schema refuses what the plan does."""
    plan = default_plan("shadow", mirrors=True, has_baseline=False).model_dump(mode="json")
    plan["shadow"]["noise_pairs"] = noise_pairs

    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))
    assert validator.is_valid(plan) == fits


@pytest.mark.parametrize(
    "text",
    ["", "- canary", "canary", "a: [", "strategy: 2026-01-01", "&a [*a]", "? [1]\n: 2", "\x00"],
    ids=["empty", "list", "word", "cut short", "date", "endless", "list as name", "zero byte"],
)
def test_what_is_no_plan_at_all(text: str, tmp_path: Path) -> None:
    """Whatever the file holds, the answer is one error that names it."""
    path = write(tmp_path, text)
    with pytest.raises(PlanError, match=r"rollout\.yaml"):
        read_plan(path)


def test_a_missing_file_points_to_the_example(tmp_path: Path) -> None:
    """Who names a file that is not there learns where an example is."""
    with pytest.raises(PlanError, match=r"deploy/rollout\.yaml is an example"):
        read_plan(tmp_path / "none.yaml")
