"""SECURITY.md claims nothing that no test shows."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from tests.http.serving import PROJECT

PAGE = (PROJECT / "SECURITY.md").read_text("utf-8")
ROWS = re.findall(r"^\| (?!threat|---)(.+?) \| (.+?) \| (.+?) \|$", PAGE, re.MULTILINE)


@cache
def defined_in(path: str) -> set[str]:
    """Return the names of the tests in a file."""
    tree = ast.parse((PROJECT / path).read_text("utf-8"))
    defined = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    return {node.name for node in defined if node.name.startswith("test_")}


def test_the_table_is_read() -> None:
    """Every line of the table is a row with three cells."""
    lines = [line for line in PAGE.splitlines() if line.startswith("|")]

    assert len(ROWS) == len(lines) - 2 > 25


@pytest.mark.parametrize(("threat", "tests"), [(threat, tests) for threat, _, tests in ROWS])
def test_every_threat_names_tests_that_exist(threat: str, tests: str) -> None:
    """A row without a test, or with one that was renamed, is a claim that nothing bears out."""
    named = re.findall(r"`([^`:]+)::(\w+)`", tests)

    assert named, threat
    assert ", ".join(f"`{path}::{name}`" for path, name in named) == tests
    assert [f"{path}::{name}" for path, name in named if name not in defined_in(path)] == []
