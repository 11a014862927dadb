"""What the two predicting routes do; the front door and BentoML's typed methods both call these."""

from __future__ import annotations

from textclf.http.lifecycle import Lifecycle
from textclf.schema import ClassifyRequest, ClassifyResponse, PredictRequest, PredictResponse
from textclf.telemetry import metrics


async def predict(lifecycle: Lifecycle, request: PredictRequest) -> PredictResponse:
    """Say whether the text has the model's positive label.

    Raises:
        NotReadyError: The model is not ready, or the service is draining.
        QueueFullError: Too many texts are waiting.
    """
    positive_label = lifecycle.require_ready().artifact.description.positive_label
    answer = await classify(lifecycle, ClassifyRequest.model_construct(texts=request.root))
    return PredictResponse(positive=answer.predictions[0].label == positive_label)


async def classify(lifecycle: Lifecycle, request: ClassifyRequest) -> ClassifyResponse:
    """Return one prediction per text, in order.

    Raises:
        NotReadyError: The model is not ready, or the service is draining.
        QueueFullError: Too many texts are waiting.
    """
    with metrics().requests_in_progress.track_inprogress():
        predictions = await lifecycle.require_ready().classify(request.texts)
    for prediction in predictions:
        metrics().predictions.labels(prediction.label).inc()
    metrics().truncated_texts.inc(sum(prediction.truncated for prediction in predictions))
    return ClassifyResponse(model=lifecycle.tag, predictions=predictions)
