"""What the two predicting routes do; the front door and BentoML's typed methods both call these."""

from __future__ import annotations

from collections.abc import Sequence

from textclf.http.lifecycle import Lifecycle
from textclf.schema import (
    ClassifyRequest,
    ClassifyResponse,
    Prediction,
    PredictRequest,
    PredictResponse,
)
from textclf.telemetry import metrics


async def predict(lifecycle: Lifecycle, request: PredictRequest) -> PredictResponse:
    """Say whether the text has the model's positive label.

    Raises:
        NotReadyError: The model is not ready, or the service is draining.
        QueueFullError: Too many texts are waiting.
    """
    positive_label = lifecycle.require_ready().artifact.description.positive_label
    (prediction,) = await _answer(lifecycle, request.root)
    return PredictResponse(positive=prediction.label == positive_label)


async def classify(lifecycle: Lifecycle, request: ClassifyRequest) -> ClassifyResponse:
    """Return one prediction per text, in order.

    Raises:
        NotReadyError: The model is not ready, or the service is draining.
        QueueFullError: Too many texts are waiting.
    """
    return ClassifyResponse(
        model=lifecycle.tag, predictions=await _answer(lifecycle, request.texts)
    )


async def _answer(lifecycle: Lifecycle, texts: Sequence[str]) -> list[Prediction]:
    counts = metrics()
    with counts.requests_in_progress.track_inprogress():
        predictions = await lifecycle.require_ready().classify(texts)
    for prediction in predictions:
        counts.predicted(prediction.label).inc()
        if prediction.truncated:
            counts.truncated_texts.inc()
    return predictions
