"""Texts to token ids, with the tokenizers library alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

from tokenizers import Tokenizer as FastTokenizer

from textclf.errors import ArtifactError


@dataclass(frozen=True, slots=True)
class TokenizedText:
    """The ids of one text, special tokens included.

    Attributes:
        input_ids: At most ``max_tokens`` ids, unpadded.
        truncated: True if the text had more tokens than that.
    """

    input_ids: list[int]
    truncated: bool


def stretch(ids: Sequence[int], tokens: int) -> list[int]:
    """Return the input_ids of a text, cut or repeated to so many tokens."""
    return list(islice(cycle(ids), tokens))


class Tokenizer:
    """Turns texts into ids of at most ``max_tokens`` each; safe to share between threads."""

    def __init__(self, path: Path, *, max_tokens: int) -> None:
        """Read a tokenizer.json.

        Raises:
            ArtifactError: The file is no tokenizer.
        """
        try:
            tokenizer = FastTokenizer.from_file(str(path))
        except Exception as exc:  # tokenizers raises bare Exception
            raise ArtifactError(f"cannot read {path}: {exc}; import the model again") from exc
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_tokens)
        self._tokenizer = tokenizer
        self._unknown_id = _unknown_id(tokenizer)

    def encode(self, texts: Sequence[str]) -> list[TokenizedText]:
        """Return one entry per text, in order."""
        return [
            TokenizedText(encoding.ids, truncated=bool(encoding.overflowing))
            for encoding in self._tokenizer.encode_batch_fast(list(texts))
        ]

    def count_unknown(self, ids: Sequence[int]) -> int | None:
        """Return how many ids stand for an unknown token; None for a tokenizer that has none."""
        return None if self._unknown_id is None else ids.count(self._unknown_id)


def _unknown_id(tokenizer: FastTokenizer) -> int | None:
    """Return the id of what the model has no token for; None where it has one for every byte."""
    model = json.loads(tokenizer.to_str())["model"]
    if model.get("byte_fallback"):
        return None
    if model.get("unk_token"):
        found: int | None = tokenizer.token_to_id(model["unk_token"])
        return found
    unknown: int | None = model.get("unk_id")  # of Unigram
    return unknown
