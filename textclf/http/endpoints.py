"""What the two predicting routes do; the front door and BentoML's typed methods both call these."""

from __future__ import annotations

from collections.abc import Sequence

from textclf.http.lifecycle import Lifecycle
from textclf.metrics import Stages, metrics
from textclf.schema import (
    ClassifyRequest,
    ClassifyResponse,
    Prediction,
    PredictRequest,
    PredictResponse,
)


async def predict(
    lifecycle: Lifecycle, request: PredictRequest, stages: Stages | None = None
) -> PredictResponse:
    """Say whether the text has the model's positive label.

    Raises:
        NotReadyError: The model is not ready, or the service is draining.
        QueueFullError: Too many texts are waiting.
    """
    positive_label = lifecycle.require_ready().artifact.description.positive_label
    (prediction,) = await answer(lifecycle, request.root, stages)
    return PredictResponse(positive=prediction.label == positive_label)


async def classify(
    lifecycle: Lifecycle, request: ClassifyRequest, stages: Stages | None = None
) -> ClassifyResponse:
    """Return one prediction per text, in order.

    Raises:
        NotReadyError: The model is not ready, or the service is draining.
        QueueFullError: Too many texts are waiting.
    """
    return ClassifyResponse(
        model=lifecycle.tag, predictions=await answer(lifecycle, request.texts, stages)
    )


async def answer(
    lifecycle: Lifecycle, texts: Sequence[str], stages: Stages | None = None
) -> list[Prediction]:
    """Return one prediction per text, in order, and count them.

    Raises:
        NotReadyError: The model is not ready, or the service is draining.
        QueueFullError: Too many texts are waiting.
    """
    stages = stages or Stages()
    counts = metrics().gathered
    with counts.request():
        predictions = await lifecycle.require_ready().classify(texts, stages)
    counts.answer(predictions, stages)
    return predictions
