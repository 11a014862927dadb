"""What tests spoil in a service that is ready."""

from __future__ import annotations

import time
from typing import Any

from textclf.classifier import Classifier
from textclf.errors import InferenceError
from textclf.http.lifecycle import Lifecycle


def only_graph(classifier: Classifier) -> Any:
    """Return the graph that runs every batch from now on, also a text that is alone."""
    classifier._engine._wide = None
    return classifier._engine._graph


def break_the_graph(lifecycle: Lifecycle) -> None:
    """Let every batch fail."""

    def scores(_batch: object) -> None:
        raise InferenceError("the graph broke")

    only_graph(lifecycle.require_ready()).scores = scores


def slow_the_graph(lifecycle: Lifecycle) -> None:
    """Let every batch take longer than it may."""
    graph = only_graph(lifecycle.require_ready())
    scores = graph.scores

    def slow_scores(batch: Any) -> Any:
        time.sleep(0.2)
        return scores(batch)

    graph.scores = slow_scores
