"""BentoML as its guide to a first service has it: a plain API, with a thread a core."""

import bentoml

from benchmarks.peers.model import Model


# Two threads with one each inside the session were up to a fifth faster than one, and more than
# twice as fast as one with two inside.
@bentoml.service(threads=2)
class TextClassifier:
    def __init__(self) -> None:
        self.model = Model(threads=1)

    @bentoml.api
    def predict(self, text: str) -> bool:
        return self.model.positive([text])[0]

    @bentoml.api
    def classify(self, texts: list[str]) -> list[bool]:
        return self.model.positive(texts)
