"""What runs beside the service in each worker, from its start to its end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable

from textclf import telemetry
from textclf.http.keys_file import KeysFile
from textclf.http.listening import is_public, listening_hosts
from textclf.http.metrics_port import MetricsPort
from textclf.settings import Settings, read_workers_folder

_LOOPBACK = "127.0.0.1"
_AGAIN_SECONDS = 1.0
Work = Callable[[], Coroutine[None, None, None]]
_LOGGER = logging.getLogger("textclf.companions")


class Companions:
    """Reads the keys again when they change, and serves /metrics on a port of its own."""

    def __init__(self, settings: Settings, keys: KeysFile | None) -> None:
        self._settings = settings
        self._keys = keys
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin; returns at once."""
        hosts = listening_hosts()
        if self._keys is None:
            _warn_without_keys(hosts)
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(_keep(work)) for work in self._works(hosts)]

    async def stop(self) -> None:
        """End them all."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _works(self, hosts: list[str]) -> Iterable[Work]:
        if self._keys is not None:
            yield self._keys.watch
        if port := self._settings.metrics_port:
            yield MetricsPort(
                host=next(iter(hosts), _LOOPBACK),
                port=port,
                render=telemetry.render_metrics,
                check=self._keys.ring.check if self._keys and self._settings.metrics_key else None,
                shared=read_workers_folder(),
            ).hold


def _warn_without_keys(hosts: list[str]) -> None:
    from bentoml._internal.context import server_context  # noqa: PLC0415 - slow to import

    public = [host for host in hosts if is_public(host)]
    if public and server_context.worker_index in {None, 1}:  # once for all workers
        _LOGGER.warning(
            "listening on %s without keys: whoever reaches it gets predictions; "
            "set TEXTCLF_API_KEYS_FILE, or keep others out otherwise",
            ", ".join(public),
        )


async def _keep(work: Work) -> None:
    """Begin again after a fault, such as a full disk: a stolen key has to end some time."""
    told = ""
    while True:
        try:
            await work()
        except Exception as exc:
            if repr(exc) != told:
                _LOGGER.exception("a fault of ours; trying again each second")
            told = repr(exc)
        await asyncio.sleep(_AGAIN_SECONDS)
