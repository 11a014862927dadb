"""Ray Serve with dynamic request batching, on a cluster of this machine alone.

Two replicas of one thread and one of two were equally fast; two use what a user would add. Each
replica listens for gRPC on a port of every address, which Ray Serve has no setting for.
"""

import os
import signal
import tempfile

import ray
from ray import serve
from starlette.requests import Request

from benchmarks.peers.model import Model


@serve.deployment(num_replicas=2, max_ongoing_requests=64)
class TextClassifier:
    def __init__(self) -> None:
        self.model = Model(threads=1)

    @serve.batch(max_batch_size=8, batch_wait_timeout_s=0.001)
    async def classify(self, requests: list[list[str]]) -> list[list[bool]]:
        positive = iter(self.model.positive([text for texts in requests for text in texts]))
        return [[next(positive) for _ in texts] for texts in requests]

    async def __call__(self, request: Request) -> list[bool]:
        return await self.classify(await request.json())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="ray-") as folder:
        ray.init(include_dashboard=False, _temp_dir=folder)
        serve.start(http_options={"host": "127.0.0.1", "port": int(os.environ["PORT"])})
        serve.run(TextClassifier.bind(), route_prefix="/predict")
        signal.sigwait({signal.SIGINT, signal.SIGTERM})
        serve.shutdown()
        ray.shutdown()
