"""Which texts become the golden snapshot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from textclf.errors import DataFileError
from textclf.golden import read_texts, record_golden
from textclf.schema import ClassifyRequest


def test_built_in_texts_are_requests() -> None:
    """Each built-in text could stand in a request, and comes once."""
    texts = read_texts(None)

    assert len(texts) >= 100
    assert len(set(texts)) == len(texts)
    for text in texts:
        assert ClassifyRequest(texts=[text]).texts == [text]


def test_texts_of_a_file(tmp_path: Path) -> None:
    """One text a line; blank, repeated and over-long ones are left out."""
    file = tmp_path / "texts.txt"
    file.write_text(f"  first \n\n\u2028 odd\u2028line\nfirst\n{'x' * 9000}\nlast", "utf-8")

    assert read_texts(file) == ["first", "odd\u2028line", "last"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\n \n", "holds no text"),
        (b"\xff\n", "cannot read .*one text a line"),
        (None, "texts.txt"),
    ],
    ids=["blank", "not UTF-8", "missing"],
)
def test_texts_that_cannot_be_used(content: bytes | None, message: str, tmp_path: Path) -> None:
    """The message names the file."""
    file = tmp_path / "texts.txt"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(DataFileError, match=message):
        read_texts(file)


def test_near_ties_are_left_out() -> None:
    """Scores that another CPU may turn round are no ground truth, with any number of labels."""
    scores = np.array([[0.1, 0.2, 0.7], [0.02, 0.47, 0.51], [0.5, 0.3, 0.2]], dtype=np.float32)

    golden = record_golden(["clear", "tie", "clear too"], scores, ["a", "b", "c"])

    assert [(g.text, g.label, g.score) for g in golden] == [
        ("clear", "c", 0.7),
        ("clear too", "a", 0.5),
    ]


def test_model_that_is_always_undecided() -> None:
    """A model with no clear answer at all is refused."""
    with pytest.raises(DataFileError, match=r"undecided on all 1 golden texts .* --golden-texts"):
        record_golden(["tie"], np.array([[0.5, 0.5]], dtype=np.float32), ["a", "b"])
