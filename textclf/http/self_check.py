"""The answers to golden texts, compared again and again while a model serves.

A start compares them all. Later a bit may flip in memory, or a CPU go bad: every minute a few of
them go through the queue like a small request, which is all that they cost those beside them, and
in half an hour or so all of them have come round.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

from textclf.errors import RequestError, TextClassifierError
from textclf.metrics import metrics

if TYPE_CHECKING:
    from textclf.classifier import Classifier

EVERY_SECONDS = 60.0
TEXTS = 8
_LOGGER = logging.getLogger("textclf.self_check")


async def check(replay: Awaitable[None]) -> None:
    """Wait until golden texts are replayed, and show whether they got the recorded answers.

    Raises:
        TextClassifierError: They did not; of a refused request nothing is shown.
    """
    began = time.perf_counter()
    try:
        await replay
    except RequestError:
        raise
    except Exception:
        metrics().check(passed=False, seconds=time.perf_counter() - began)
        raise
    metrics().check(passed=True, seconds=time.perf_counter() - began)


async def watch(classifier: Classifier) -> NoReturn:
    """Compare some answers each minute, until the same ones are wrong twice in a row.

    Raises:
        TextClassifierError: They are, and how.
    """
    golden = classifier.artifact.golden
    first = 0
    suspected = False
    while True:
        await asyncio.sleep(EVERY_SECONDS)
        metrics().gathered.write()  # a worker that nobody asks shows how it is, too
        examples = [golden[(first + i) % len(golden)] for i in range(min(TEXTS, len(golden)))]
        with suppress(RequestError):  # the queue is full: these come next time
            try:
                await check(classifier.replay([examples]))
            except RequestError:
                raise
            except TextClassifierError as exc:
                if suspected:
                    raise
                suspected = True
                _LOGGER.warning("asking again: %s", exc)
                await check(classifier.replay([examples]))
            suspected = False
            first += TEXTS
