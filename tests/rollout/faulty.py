"""The real service, with faults that a file plants in it while it runs.

A fault is planted where the model answers, so that status, metrics, log and latency are those that
a candidate with such a fault would have.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from service import TextClassifier
from textclf import telemetry
from textclf.classifier import Classifier
from textclf.http.lifecycle import Lifecycle
from textclf.schema import Prediction, PredictResponse

__all__ = ["FAULT_FILE", "TextClassifier"]

FAULT_FILE = "ROLLOUT_FAULT_FILE"
_LIVES_FOR = 20  # requests, of a worker that crashes
_SLOWER_BY = 0.35  # of the time in the model: 0.3 of the whole

_draw = random.Random()  # noqa: S311 - faults, not secrets


def planted() -> str:
    """Return the name of the fault that is planted now; empty for none."""
    try:
        return Path(os.environ[FAULT_FILE]).read_text("utf-8").strip()
    except OSError:
        return ""


class Faulty:
    """A classifier that does what the fault says."""

    requests = 0

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier

    def __getattr__(self, name: str) -> Any:
        """Be the classifier in all else."""
        return getattr(self._classifier, name)

    async def classify(self, texts: Sequence[str]) -> list[Prediction]:
        """Classify, or not, or wrongly."""
        fault = planted()
        began = time.perf_counter()
        if fault == "errors" or (fault == "some errors" and _draw.random() < 0.05):
            raise RuntimeError("a fault was planted")
        if fault == "hang":
            await asyncio.sleep(3600)
        if fault == "crash loop":
            Faulty.requests += 1
            if Faulty.requests > _LIVES_FOR:
                os._exit(1)
        predictions = await self._classifier.classify(texts)
        if fault == "slow":
            await asyncio.sleep(_SLOWER_BY * (time.perf_counter() - began))
        return [self._distort(prediction, fault) for prediction in predictions]

    def _distort(self, prediction: Prediction, fault: str) -> Prediction:
        if fault == "flipped labels" or (fault == "disagreement" and _draw.random() < 0.05):
            labels = self._classifier.artifact.description.labels
            other = next(label for label in labels if label != prediction.label)
            return prediction.model_copy(update={"label": other})
        if fault == "scores that are no numbers":
            return prediction.model_copy(update={"score": float("nan")})
        return prediction


def _plant() -> None:
    require_ready = Lifecycle.require_ready
    render_metrics = telemetry.render_metrics
    dump: Callable[[Any], str] = PredictResponse.model_dump_json

    def require_faulty(self: Lifecycle) -> Any:
        return Faulty(require_ready(self))

    def render() -> tuple[str, bytes]:
        if planted() == "no metrics":
            return "text/plain; version=0.0.4", b"process_start_time_seconds 1\n"
        return render_metrics()

    def dump_text(self: PredictResponse) -> str:
        if planted() == "text for a boolean":
            return f'{{"positive":"{str(self.positive).lower()}"}}'
        return dump(self)

    for owner, name, planting in (
        (Lifecycle, "require_ready", require_faulty),
        (telemetry, "render_metrics", render),
        (PredictResponse, "model_dump_json", dump_text),
    ):
        setattr(owner, name, planting)


_plant()
