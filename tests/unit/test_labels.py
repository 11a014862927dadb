"""Naming the logits."""

from __future__ import annotations

from pathlib import Path

import pytest

from textclf.errors import LabelError
from textclf.labels import choose_positive, find_labels


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ('{"id2label": {"1": "good", "0": "bad"}}', ["bad", "good"]),
        ('{"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}', None),
        ('{"model_type": "roberta"}', None),
        (None, None),
    ],
    ids=["named", "only numbered", "not mentioned", "no file"],
)
def test_labels_of_a_config(config: str | None, expected: list[str] | None, tmp_path: Path) -> None:
    """Labels come in the order of the logits, where somebody named them."""
    if config:
        (tmp_path / "config.json").write_text(config, "utf-8")

    assert find_labels([tmp_path / "absent", tmp_path]) == expected


@pytest.mark.parametrize(
    "config",
    ["{", "[]", '{"id2label": {"1": "good", "2": "bad"}}', '{"id2label": ["a", "b"]}'],
    ids=["not JSON", "not an object", "not from 0", "a list"],
)
def test_labels_that_cannot_be_read(config: str, tmp_path: Path) -> None:
    """The message names the file and the option that replaces it."""
    (tmp_path / "config.json").write_text(config, "utf-8")

    with pytest.raises(LabelError, match=r"config.json cannot be read .* with --labels"):
        find_labels([tmp_path])


@pytest.mark.parametrize(
    ("labels", "asked", "expected"),
    [
        (["negative", "positive"], None, "positive"),
        (["POSITIVE", "NEGATIVE"], None, "POSITIVE"),
        (["bad", "good"], "good", "good"),
    ],
    ids=["usual", "capitals", "asked for"],
)
def test_positive_label(labels: list[str], asked: str | None, expected: str) -> None:
    """The positive label is the one asked for, or the one that says so itself."""
    assert choose_positive(labels, asked) == expected


@pytest.mark.parametrize(
    ("labels", "asked", "message"),
    [
        (["bad", "good"], None, "none of the labels bad, good is positive; .* --positive-label"),
        (["bad", "good"], "best", "best is not among the labels bad, good"),
        (["good"], None, "the labels are good; name two or more"),
        (["good", "good"], None, "each once, with --labels"),
        (["good", ""], None, "each once, with --labels"),
    ],
    ids=["none is positive", "unknown", "one", "twice", "empty"],
)
def test_labels_that_cannot_be_used(labels: list[str], asked: str | None, message: str) -> None:
    """The message names the labels and the option to give."""
    with pytest.raises(LabelError, match=message):
        choose_positive(labels, asked)
