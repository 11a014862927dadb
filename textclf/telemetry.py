"""What /metrics shows. No text of a request ever reaches it."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from textclf.metrics import metrics

_MOST_READINGS = 5
_APPENDED: dict[object, Callable[[bytes], bytes]] = {}
_WORKERS_GAUGES = re.compile(r"gauge_live\w*_(\d+)\.db")


def render_metrics() -> tuple[str, bytes]:
    """Return the media type and the metrics of every worker, ours and BentoML's, as text.

    What this worker has gathered is in it, and what others gathered until a moment ago. A worker's
    file of metrics may be read in the moment in which it is made, and is then too short for its own
    header; a moment later it is whole.
    """
    from bentoml._internal.configuration.containers import BentoMLContainer  # noqa: PLC0415

    metrics().gathered.write()
    _forget_dead_workers()
    client: Any = BentoMLContainer.metrics_client.get()
    page = _read_all(client)
    return client.CONTENT_TYPE_LATEST, b"".join([page, *(a(page) for a in [*_APPENDED.values()])])


def append_to_metrics(owner: object, lines: Callable[[bytes], bytes]) -> None:
    """Add what can only be told from the sums of all workers.

    Args:
        owner: Who can take it back.
        lines: Takes the page of metrics, and returns more of it; from any thread.
    """
    _APPENDED[owner] = lines


def append_no_more(owner: object) -> None:
    """Take back what an owner appends."""
    _APPENDED.pop(owner, None)


def _read_all(client: Any) -> bytes:
    for _ in range(_MOST_READINGS - 1):
        with suppress(struct.error, RuntimeError):
            return bytes(client.generate_latest())
    return bytes(client.generate_latest())


def refuse_usage_tracking() -> None:
    """Keep BentoML from reporting usage over the network; a value that is set already stands."""
    from bentoml._internal.utils.analytics import usage_stats  # noqa: PLC0415

    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
    usage_stats.do_not_track.cache_clear()  # the command line has asked already


def _forget_dead_workers() -> None:
    """Drop what is true only of a worker that lives, such as its queue, where none lives any more.

    Counts stay. A worker that is killed cannot do it, and BentoML starts another in its place.

    Source: https://prometheus.github.io/client_python/multiprocess/
    """
    from prometheus_client import CollectorRegistry, multiprocess  # noqa: PLC0415

    files: Any = multiprocess  # its functions carry no types
    with suppress(ValueError):  # metrics are kept in this process alone
        folder = files.MultiProcessCollector(CollectorRegistry())._path  # noqa: SLF001
        for file in Path(folder).iterdir():
            found = _WORKERS_GAUGES.fullmatch(file.name)
            if found and not _lives(found[1]):
                with suppress(FileNotFoundError):  # another worker was faster
                    files.mark_process_dead(int(found[1]), folder)


def _lives(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True
