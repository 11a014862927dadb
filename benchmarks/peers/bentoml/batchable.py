"""BentoML with adaptive batching, which has one batch in flight.

Of one thread and two inside the session one was the faster. What waits for longer than
max_latency_ms is refused: with 100 most of 32 connections were, with 1000 next to none.
"""

import bentoml

from benchmarks.peers.model import Model


@bentoml.service
class TextClassifier:
    def __init__(self) -> None:
        self.model = Model(threads=1)

    @bentoml.api(batchable=True, max_batch_size=8, max_latency_ms=1000)
    def predict(self, texts: list[str]) -> list[bool]:
        return self.model.positive(texts)
