"""The classifier that every peer serves: texts to booleans, with onnxruntime and tokenizers.

Environment:
    MODEL_FILE: ONNX graph of a sequence classifier.
    TOKENIZER_FILE: Its tokenizer.json.
    MAX_TOKENS: Texts are cut to so many tokens.
    PAD_TOKEN_ID: What fills a batch up to its longest text.
    POSITIVE_INDEX: Which logit stands for the positive label.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import onnxruntime as ort
from tokenizers import Encoding, Tokenizer


class Model:
    """Says of texts whether they are positive; safe to share between threads."""

    def __init__(self, *, threads: int) -> None:
        """Open the files that the environment names, with ``threads`` inside the session."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._session = ort.InferenceSession(
            os.environ["MODEL_FILE"], options, providers=["CPUExecutionProvider"]
        )
        self._inputs = {given.name for given in self._session.get_inputs()}
        self._tokenizer = Tokenizer.from_file(os.environ["TOKENIZER_FILE"])
        self._tokenizer.enable_truncation(int(os.environ.get("MAX_TOKENS", "128")))
        self._tokenizer.no_padding()
        self._pad = int(os.environ.get("PAD_TOKEN_ID", "0"))
        self._positive = int(os.environ.get("POSITIVE_INDEX", "1"))

    def positive(self, texts: Sequence[str]) -> list[bool]:
        """Answer for each text, in order."""
        encodings = self._tokenizer.encode_batch_fast(list(texts))
        if "attention_mask" in self._inputs:
            return self._run(encodings)
        # Without a mask padding would be read as text, so texts are run one length at a time.
        places = defaultdict(list)
        for place, encoding in enumerate(encodings):
            places[len(encoding.ids)].append(place)
        answers = dict[int, bool]()
        for alike in places.values():
            batch = [encodings[place] for place in alike]
            answers.update(zip(alike, self._run(batch), strict=True))
        return [answers[place] for place in range(len(answers))]

    def _run(self, encodings: Sequence[Encoding]) -> list[bool]:
        longest = max(len(encoding.ids) for encoding in encodings)
        ids = np.full((len(encodings), longest), self._pad, dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, encoding in enumerate(encodings):
            ids[row, : len(encoding.ids)] = encoding.ids
            mask[row, : len(encoding.ids)] = 1
        feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        feeds = {name: array for name, array in feeds.items() if name in self._inputs}
        (logits, *_) = self._session.run(None, feeds)
        return [bool(best == self._positive) for best in logits.argmax(axis=1)]
