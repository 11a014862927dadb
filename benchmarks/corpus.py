"""The texts that every system is asked about."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from benchmarks.errors import BenchmarkError

OWN = Path(__file__).with_name("corpus.txt")
MANY = 16  # texts in a request of several
_HEADER = "sentence\tlabel"


def read_corpus(path: Path = OWN) -> list[str]:
    """Return the texts of a file: one a line, or SST-2's ``sentence<TAB>label`` under that header.

    Raises:
        BenchmarkError: It cannot be read, or holds no text.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise BenchmarkError(
            f"cannot read {path}: {exc}; give a UTF-8 file with one text a line as --corpus"
        ) from exc
    if lines and lines[0].strip() == _HEADER:
        lines = [line.rpartition("\t")[0] for line in lines[1:]]
    texts = [line.strip() for line in lines if line.strip()]
    if not texts:
        raise BenchmarkError(f"{path} holds no text; give a file with one text a line as --corpus")
    return texts


def group_texts(texts: Sequence[str], size: int, *, seed: int) -> list[list[str]]:
    """Return the texts in random order, so many to a request.

    Args:
        texts: At least one.
        size: Texts in each group; the last one is filled with texts from the start.
        seed: Of the order.
    """
    shuffled = list(texts)
    random.Random(seed).shuffle(shuffled)  # noqa: S311  # an order, not a secret
    shuffled += [shuffled[index % len(texts)] for index in range(-len(texts) % size)]
    return [shuffled[start : start + size] for start in range(0, len(shuffled), size)]
