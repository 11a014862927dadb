"""Texts become ids of at most max_tokens."""

from __future__ import annotations

from pathlib import Path

import pytest

from textclf.artifact import TOKENIZER
from textclf.errors import ArtifactError
from textclf.tokenization import Tokenizer


@pytest.mark.parametrize(
    ("text", "truncated"),
    [("fine", False), ("fine " * 5, False), ("fine " * 100, True)],
    ids=["short", "fits", "over the limit"],
)
def test_long_text_is_truncated_and_marked(
    masked_classifier_folder: Path, text: str, truncated: bool
) -> None:
    """The special tokens count, and the last one stays."""
    tokenizer = Tokenizer(masked_classifier_folder / TOKENIZER, max_tokens=30)

    (encoded, short) = tokenizer.encode([text, "fine"])

    assert encoded.truncated is truncated
    assert len(encoded.input_ids) <= 30
    assert (len(encoded.input_ids) == 30) is truncated
    assert encoded.input_ids[0] == short.input_ids[0]
    assert encoded.input_ids[-1] == short.input_ids[-1]


def test_file_that_is_no_tokenizer_is_refused(tmp_path: Path) -> None:
    """The message names the file and what to do."""
    path = tmp_path / TOKENIZER
    path.write_text("{}")

    with pytest.raises(ArtifactError, match=r"tokenizer\.json.*import the model again"):
        Tokenizer(path, max_tokens=8)
