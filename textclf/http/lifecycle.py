"""Which model this process serves, and whether it may answer yet.

::

    starting ──► ready ──► draining
        └──────► failed ──────┘
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import threading
from types import FrameType
from typing import Literal

from textclf import store
from textclf.artifact import read_artifact
from textclf.classifier import Classifier, ServingOptions
from textclf.engine import QueueLimits
from textclf.errors import NotReadyError, TextClassifierError
from textclf.settings import Settings

State = Literal["starting", "ready", "failed", "draining"]


_NOT_READY: dict[State, tuple[str, dict[str, str]]] = {
    "starting": (
        "the model is being loaded and checked; try again in a second",
        {"Retry-After": "1"},
    ),
    "failed": (
        "the model failed its checks at start-up; the service's log says how",
        {"Retry-After": "60"},
    ),
    "draining": (
        "the service is shutting down; try again to reach another replica",
        {"Retry-After": "1", "Connection": "close"},
    ),
}
_LOGGER = logging.getLogger("textclf.lifecycle")


class Lifecycle:
    """Loads the model when the server starts, replays its golden snapshot, and drains on SIGTERM.

    Attributes:
        state: Only ``ready`` gives predictions.
        tag: Store tag of the model that is served; until it is read, the tag asked for.
    """

    def __init__(self, settings: Settings) -> None:
        self.state: State = "starting"
        self.tag = "unread" if store.is_folder(settings.model) else settings.model or store.LATEST
        self._settings = settings
        self._classifier: Classifier | None = None
        self._loading: asyncio.Task[None] | None = None

    def require_ready(self) -> Classifier:
        """Return the classifier.

        Raises:
            NotReadyError: Unless the state is ready.
        """
        if self.state == "ready" and self._classifier is not None:
            return self._classifier
        detail, headers = _NOT_READY.get(self.state, _NOT_READY["starting"])
        raise NotReadyError(detail, headers=headers)

    def start(self) -> None:
        """Begin to load the model, and heed SIGTERM; returns at once."""
        loop = asyncio.get_running_loop()
        self._loading = loop.create_task(self.load())
        if threading.current_thread() is threading.main_thread():
            self._heed_sigterm(loop)

    async def load(self) -> None:
        """Load the model and replay its golden snapshot; the state says how it went."""
        try:
            self._classifier = await asyncio.to_thread(self._open)
            await self._classifier.replay_golden()
        except TextClassifierError as exc:
            self._settle("failed")
            _LOGGER.error("not ready: %s", exc, extra={"model": self.tag})  # noqa: TRY400
        except Exception:
            self._settle("failed")
            _LOGGER.exception("not ready: a fault of ours", extra={"model": self.tag})
        else:
            collect_seldom()
            self._settle("ready")
            _LOGGER.info("ready", extra={"model": self.tag, **self._classifier.tuning.summary})

    async def close(self) -> None:
        """Let running batches end."""
        if self._loading is not None:
            self._loading.cancel()
        if self._classifier is not None:
            await asyncio.to_thread(self._classifier.close)

    def _settle(self, state: State) -> None:
        if self.state == "starting":  # SIGTERM may have come first
            self.state = state

    def _open(self) -> Classifier:
        artifact = read_artifact(store.resolve(self._settings.model))
        self.tag = artifact.tag
        return Classifier(artifact, _serving_options(self._settings))

    def _heed_sigterm(self, loop: asyncio.AbstractEventLoop) -> None:
        """Drain first, then let the server's own handler stop it.

        uvicorn closes its listening socket as soon as it hears SIGTERM, while load balancers still
        send requests until they have seen a failing readiness probe.
        """
        stop = signal.getsignal(signal.SIGTERM)

        def shut_down() -> None:
            if callable(stop):
                stop(signal.SIGTERM, None)

        def drain() -> None:
            self.state = "draining"
            _LOGGER.info("draining", extra={"model": self.tag})
            loop.call_later(self._settings.drain_seconds, shut_down)

        def on_sigterm(_signal: int, _frame: FrameType | None) -> None:
            loop.call_soon_threadsafe(drain)

        signal.signal(signal.SIGTERM, on_sigterm)


def collect_seldom() -> None:
    """Keep what was loaded out of every garbage collection from now on.

    A full collection walks every object there is, for longer than most requests take. What a
    request makes is freed as it ends, so that collections find next to nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def _serving_options(settings: Settings) -> ServingOptions:
    return ServingOptions(
        threads=settings.inference_threads,
        lone_text_threads=settings.lone_text_threads,
        max_batch_texts=settings.max_batch_texts,
        max_batch_tokens=settings.max_batch_tokens,
        queue=QueueLimits(texts=settings.max_queue_texts, tokens=settings.max_queue_tokens),
        cache_texts=settings.cache_texts,
        tune=True,
        tuning_file=settings.tuning_file,
    )
