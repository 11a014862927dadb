"""Refusals at the door: what an overloaded queue would refuse gets its answer as soon as it came.

To answer a request costs about the same whether it is refused or not, but for the model's part.
With two refused for each that is answered, that is a third of a CPU which the model lacks. These
refusals read nothing, start nothing, are counted by the second, and differ in nothing else.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterable
from contextlib import suppress

from textclf.errors import QueueFullError, UnauthorizedError
from textclf.http.exchange import REQUEST_ID
from textclf.http.keys import KeyRing
from textclf.http.lifecycle import Lifecycle
from textclf.http.problems import MEDIA_TYPE, problem_details
from textclf.metrics import metrics

_PLACE = "PLACE-OF-THE-REQUEST-ID"
_FIELDS = (
    "content-type: {media_type}\r\nretry-after: {after}\r\nx-request-id: {request_id}\r\n"
    "x-model: {model}\r\ncache-control: no-store\r\nx-content-type-options: nosniff\r\n"
)
_LOG_SECONDS = 1.0
_LOGGER = logging.getLogger("textclf.access")


class Shedder:
    """Says which requests an overloaded queue refuses anyway, and how."""

    def __init__(
        self, lifecycle: Lifecycle, paths: Iterable[str], keys: KeyRing | None = None
    ) -> None:
        """Shed nothing yet.

        Args:
            lifecycle: Has the queue.
            paths: That predict; they are asked with POST and refuse with problem details.
            keys: That open them; a request without one is heard, and refused for that.
        """
        self._lifecycle = lifecycle
        self._keys = keys
        self._shed = {path.encode(): 0 for path in paths}
        self._counted = dict(self._shed)
        self._logged = 0
        self._logging: asyncio.TimerHandle | None = None
        self._made: dict[tuple[int, str], tuple[bytes, bytes]] = {}

    def refusal(self, path: bytes, fields: list[tuple[bytes, bytes]]) -> tuple[bytes, bytes] | None:
        """Return the fields and the body of a refusal; None for what has to be heard.

        Args:
            path: As in the request line.
            fields: Of the request.
        """
        if path not in self._shed or not self._may_ask(fields):
            return None
        after = self._lifecycle.overloaded_seconds()
        if after is None:
            return None
        self._note(path)
        given = next((value for name, value in fields if name == b"x-request-id"), b"")
        is_usable = REQUEST_ID.fullmatch(given.decode("latin-1")) is not None
        request_id = given if is_usable else os.urandom(16).hex().encode()
        known = self._made.get((after, self._lifecycle.tag))
        head, body = known or self._make(after, self._lifecycle.tag)
        place = _PLACE.encode()
        body = body.replace(place, request_id)
        return head.replace(place, request_id) + b"content-length: %d\r\n" % len(body), body

    def _may_ask(self, fields: list[tuple[bytes, bytes]]) -> bool:
        if self._keys is None:
            return True
        given = next((value for name, value in fields if name == b"authorization"), b"")
        with suppress(UnauthorizedError):
            return bool(self._keys.check(given.decode("latin-1")))
        return False

    def _make(self, after: int, model: str) -> tuple[bytes, bytes]:
        error = QueueFullError(f"more than can be worked off is waiting; try again in {after} s")
        head = _FIELDS.format(media_type=MEDIA_TYPE, after=after, request_id=_PLACE, model=model)
        made = head.encode(), problem_details(error, _PLACE).body
        if len(self._made) > 100:
            self._made.clear()
        self._made[after, model] = made
        return made

    def _note(self, path: bytes) -> None:
        self._shed[path] += 1
        if self._logging is None:
            metrics().gathered.look(self, self._count)
            self._logging = asyncio.get_running_loop().call_later(_LOG_SECONDS, self._log)

    def _count(self) -> None:
        """Count what was shed since the last time; from any thread, one at a time."""
        for path, shed in self._shed.items():
            if new := shed - self._counted[path]:
                self._counted[path] = shed
                metrics().answered(path.decode(), "POST", QueueFullError.http_status)[0].inc(new)
                metrics().refusal(QueueFullError.reason).inc(new)

    def _log(self) -> None:
        self._logging = None
        shed = sum(self._shed.values())
        told = {"requests": shed - self._logged, "status": QueueFullError.http_status}
        self._logged = shed
        _LOGGER.info("refused at the door", extra=told | {"model": self._lifecycle.tag})
