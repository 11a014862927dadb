"""The log: one JSON object a line, or a short line for whoever looks at a terminal.

No text of a request ever reaches it. What BentoML, its supervisor and uvicorn say is of the same
form, and goes the same way.
"""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import sys
import time
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from typing import Literal, TextIO

LOGGER = logging.getLogger("textclf")
LogFormat = Literal["auto", "json", "text"]

_GATHER_SECONDS = 0.2
_ENCODE = json.JSONEncoder(ensure_ascii=False, default=str).encode
_RECORD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
_BOLD_RED, _RED, _YELLOW, _DIM = "1;31", "31", "33", "2"
_COLOURS = {
    logging.DEBUG: _DIM,
    logging.WARNING: _YELLOW,
    logging.ERROR: _RED,
    logging.CRITICAL: _BOLD_RED,
}
_IDS = ("request_id", "trace_id", "span_id")
_OTHERS = ("bentoml", "circus", "uvicorn.error")


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, message, and whatever ``extra`` was given."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as JSON, without a line break."""
        entry: dict[str, object] = {
            "time": f"{_to_the_second(int(record.created))}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "message": record.getMessage(),
        }
        if not _is_ours(record):
            entry["logger"] = record.name
        entry |= {k: v for k, v in vars(record).items() if k not in _RECORD_FIELDS}
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return _ENCODE(entry)


class TextFormatter(logging.Formatter):
    """A short line for people: the time of day, the level, the message, and what was added."""

    def __init__(self, *, colour: bool) -> None:
        super().__init__()
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as a line, and the lines of its traceback after it."""
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        extra = {k: v for k, v in vars(record).items() if k not in _RECORD_FIELDS}
        ids = {name: extra.pop(name) for name in _IDS if name in extra}  # long, and seldom read
        parts = [
            self._paint(f"{clock}.{int(record.msecs):03d}", _DIM),
            self._paint(f"{record.levelname:<7}", _COLOURS.get(record.levelno, "")),
            record.getMessage() if _is_ours(record) else f"{record.name}: {record.getMessage()}",
        ]
        if extra or ids:
            parts.append(self._paint(_in_short(extra | ids), _DIM))
        trace = f"\n{self.formatException(record.exc_info)}" if record.exc_info else ""
        return " ".join(parts) + trace

    def _paint(self, text: str, colour: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._colour and colour else text


class GatheringHandler(logging.StreamHandler[TextIO]):
    """Writes lines a few times a second; a warning or worse, and what precedes it, at once.

    A write lets go of the interpreter, which the event loop then has to win back from the threads
    that run batches.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._lines: list[str] = []
        self._waiting: asyncio.AbstractEventLoop | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Take a line."""
        try:
            self._lines.append(self.format(record) + self.terminator)
        except Exception:  # noqa: BLE001 - as every handler of the standard library does
            self.handleError(record)
        if record.levelno >= logging.WARNING or not self._write_later():
            self.flush()

    def flush(self) -> None:
        """Write what was taken."""
        with self.lock or nullcontext():
            lines, self._lines = self._lines, []
            self._waiting = None
            with suppress(OSError):  # the disk is full, or nobody reads: answers go on
                if lines:
                    self.stream.write("".join(lines))
                super().flush()

    def _write_later(self) -> bool:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # another thread, or no service
            return False
        if self._waiting is not loop:
            self._waiting = loop
            loop.call_later(_GATHER_SECONDS, self.flush)
        return True


def configure_logging(level: str, form: LogFormat = "auto", *, colour: bool = True) -> None:
    """Send the log to stderr, and with it what BentoML and uvicorn say.

    What no line of it shows is not looked up either.

    Args:
        level: Least level of ours that is logged; the others have BentoML's levels.
        form: ``auto`` is ``text`` where stderr is a terminal, and ``json`` elsewhere.
        colour: Whether a terminal may be sent colours.

    Source: https://docs.python.org/3/howto/logging.html#optimization
    """
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None  # noqa: SLF001 - as its source says
    terminal = sys.stderr.isatty()
    handler = GatheringHandler(sys.stderr)
    handler.setFormatter(
        TextFormatter(colour=colour and terminal)
        if form == "text" or (form == "auto" and terminal)
        else JsonFormatter()
    )
    LOGGER.handlers = [handler]
    LOGGER.propagate = False
    LOGGER.setLevel(level)
    _take_over(handler)


def flush() -> None:
    """Write what was logged so far; a server that was told to stop ends without doing so."""
    for handler in LOGGER.handlers:
        handler.flush()


def _take_over(handler: logging.Handler) -> None:
    """Let the handler have what a server's other parts log, which goes to stdout otherwise.

    BentoML's command line has set up their logging before it imports the service.
    """
    from bentoml._internal.log import TraceRecordFilter  # noqa: PLC0415 - slow

    for logger in (logging.getLogger(), *map(logging.getLogger, _OTHERS)):
        filters = [kind for known in logger.handlers for kind in known.filters]
        if any(isinstance(kind, TraceRecordFilter) for kind in filters):
            logger.handlers, logger.propagate = [handler], False


def _is_ours(record: logging.LogRecord) -> bool:
    return record.name.startswith("textclf")


def _in_short(extra: Mapping[str, object]) -> str:
    return " ".join(
        f"{name}={value if isinstance(value, str) else _ENCODE(value)}"
        for name, value in extra.items()
    )


@functools.lru_cache(maxsize=1)
def _to_the_second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
