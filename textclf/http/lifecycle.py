"""Which model this process serves, and whether it may answer yet.

::

    starting ──► ready ──► draining
        │          ▼          │
        └──────► failed ──────┘
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import signal
import struct
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from importlib import import_module
from types import FrameType
from typing import TYPE_CHECKING, Literal

import textclf
from textclf import store, telemetry
from textclf.artifact import GRAPH, Artifact, read_artifact
from textclf.drift import DriftMonitor
from textclf.errors import NotReadyError, TextClassifierError
from textclf.http import self_check
from textclf.metrics import metrics
from textclf.settings import Settings

if TYPE_CHECKING:
    from textclf.classifier import Classifier

State = Literal["starting", "ready", "failed", "draining"]


_NOT_READY: dict[State, tuple[str, dict[str, str]]] = {
    "starting": (
        "the model is being loaded and checked; try again in a second",
        {"Retry-After": "1"},
    ),
    "failed": (
        "the model failed its checks; the service's log says how",
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
        self._reading: Future[Artifact] | None = None
        self._loading: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None

    def require_ready(self) -> Classifier:
        """Return the classifier.

        Raises:
            NotReadyError: Unless the state is ready.
        """
        if self.state == "ready" and self._classifier is not None:
            return self._classifier
        detail, headers = _NOT_READY.get(self.state, _NOT_READY["starting"])
        raise NotReadyError(detail, headers=headers)

    def overloaded_seconds(self) -> int | None:
        """Return when to come again if the model is ready, but every call is refused by now."""
        if self.state != "ready" or self._classifier is None:
            return None
        return self._classifier.overloaded_seconds()

    def read_ahead(self) -> Future[Artifact]:
        """Begin to read the model while the server is still being put together; returns at once."""
        pool = ThreadPoolExecutor(1, "reading")
        self._reading = pool.submit(self._read)
        pool.shutdown(wait=False)
        return self._reading

    def start(self) -> None:
        """Begin to load the model, and heed SIGTERM; returns at once."""
        loop = asyncio.get_running_loop()
        self._loading = loop.create_task(self.load())
        if threading.current_thread() is threading.main_thread():
            self._heed_sigterm(loop)

    async def load(self) -> None:
        """Load the model and replay its golden snapshot; the state says how it went."""
        try:
            artifact = await asyncio.wrap_future(self._reading or self.read_ahead())
            self._classifier = await asyncio.to_thread(self._open, artifact)
            await self_check.check(self._classifier.replay_golden())
        except TextClassifierError as exc:
            self._settle("failed")
            _LOGGER.error("not ready: %s", exc, extra={"model": self.tag})  # noqa: TRY400
        except Exception:
            self._settle("failed")
            _LOGGER.exception("not ready: a fault of ours", extra={"model": self.tag})
        else:
            _settle_memory()
            await asyncio.to_thread(self._watch_drift, artifact)
            self._settle("ready")
            self._watching = asyncio.create_task(self._watch(self._classifier))
            _LOGGER.info("ready", extra={"model": self.tag, **self._classifier.tuning.summary})

    async def close(self) -> None:
        """Let running batches end."""
        telemetry.append_no_more(self)
        for task in (self._loading, self._watching):
            if task is not None:
                task.cancel()
        if self._classifier is not None:
            await asyncio.to_thread(self._classifier.close)
        metrics().gathered.write()

    async def _watch(self, classifier: Classifier) -> None:
        """Give no answers any more once they are wrong."""
        try:
            await self_check.watch(classifier)
        except TextClassifierError as exc:
            if self.state == "ready":
                self._enter("failed")
            _LOGGER.error("ready no more: %s", exc, extra={"model": self.tag})  # noqa: TRY400
        except Exception:
            _LOGGER.exception("golden answers are compared no more: a fault of ours")

    def _watch_drift(self, artifact: Artifact) -> None:
        """Compare what all workers count from now on with the reference, at each scrape."""
        page = b""  # what was counted so far, if it can be read: other workers may be starting too
        with suppress(struct.error, RuntimeError, ValueError, OSError):
            page = telemetry.render_metrics()[1]
        monitor = DriftMonitor(self.tag, artifact.reference, page)
        telemetry.append_to_metrics(self, monitor.render)
        if artifact.reference is None:
            _LOGGER.warning(
                "drift of the traffic is not measured: the model has no reference distribution; "
                "import it again with --reference-texts",
                extra={"model": self.tag},
            )
        elif artifact.reference.origin == "golden":
            _LOGGER.info(
                "drift is measured against %d golden texts and alerts no one; import the model "
                "with --reference-texts",
                artifact.reference.texts,
                extra={"model": self.tag},
            )

    def _settle(self, state: State) -> None:
        if self.state == "starting":  # SIGTERM may have come first
            self._enter(state)
        metrics().gathered.write()

    def _enter(self, state: State) -> None:
        self.state = state
        metrics().ready.set(state == "ready")

    def _read(self) -> Artifact:
        # Slow to import, and not wanted with the module: BentoML's arbiter, which answers nothing,
        # imports the service too.
        import_module("textclf.classifier")
        artifact = read_artifact(store.resolve(self._settings.model))
        self.tag = artifact.tag
        metrics().serve(
            artifact.description.labels,
            model=artifact.tag,
            version=textclf.__version__,
            precision=artifact.description.precision.weights,
            graph=artifact.description.files.get(GRAPH, "")[:12],
        )
        return artifact

    def _open(self, artifact: Artifact) -> Classifier:
        from textclf.classifier import Classifier, ServingOptions  # noqa: PLC0415 - as above

        return Classifier(artifact, ServingOptions.from_settings(self._settings))

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
            self._enter("draining")
            _LOGGER.info("draining", extra={"model": self.tag})
            loop.call_later(self._settings.drain_seconds, shut_down)

        def on_sigterm(_signal: int, _frame: FrameType | None) -> None:
            loop.call_soon_threadsafe(drain)

        signal.signal(signal.SIGTERM, on_sigterm)


def _settle_memory() -> None:
    """Give back what loading has freed, and keep what it left out of every garbage collection.

    A full collection walks every object there is, for longer than most requests take. What a
    request makes is freed as it ends, so that collections find next to nothing. And glibc keeps
    what onnxruntime frees on opening a graph, about the half of the graph's size.

    Source: https://man7.org/linux/man-pages/man3/malloc_trim.3.html
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    with suppress(OSError, AttributeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)
