"""MLServer's custom runtime, behind its adaptive batching (model-settings.json).

Two workers (settings.json) of one thread were faster than one of one or two, or none.
"""

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse

from benchmarks.peers.model import Model


class TextClassifier(MLModel):
    async def load(self) -> bool:
        self._classifier = Model(threads=1)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        texts = StringCodec.decode_input(payload.inputs[0])
        positive = np.array(self._classifier.positive(texts))
        return InferenceResponse(
            model_name=self.name,
            outputs=[NumpyCodec.encode_output("positive", positive.reshape(-1, 1))],
        )
