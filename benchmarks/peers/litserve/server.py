"""LitServe: a process that answers HTTP, and workers that run the model.

Two workers of one thread answered up to twice as many as one worker of two.
"""

import os

import litserve

from benchmarks.peers.model import Model


class TextClassifier(litserve.LitAPI):
    def setup(self, device):
        self.model = Model(threads=1)

    def decode_request(self, request):
        return request["texts"]

    def predict(self, texts):
        return self.model.positive(texts)

    def encode_response(self, positive):
        return {"positive": positive}


if __name__ == "__main__":
    server = litserve.LitServer(TextClassifier(), accelerator="cpu", workers_per_device=2)
    server.run(host="127.0.0.1", port=int(os.environ["PORT"]), generate_client_file=False)
