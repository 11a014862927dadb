"""A line is JSON, or short for people; lines are gathered."""

from __future__ import annotations

import asyncio
import errno
import io
import json
import logging

import pytest

from textclf import logs


class Terminal(io.StringIO):
    """A stream that somebody looks at."""

    def isatty(self) -> bool:
        """Say so."""
        return True


def test_log_record_is_one_json_object(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fields given as extra stand beside time, level and message; an exception stays in line."""
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    logs.configure_logging("INFO")
    logger = logging.getLogger("textclf.test")

    logger.debug("not at this level")
    logger.info("two\nlines", extra={"status": 200})
    try:
        int("no number")
    except ValueError:
        logger.exception("failed")

    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    assert (first["level"], first["message"], first["status"]) == ("INFO", "two\nlines", 200)
    assert first["time"].endswith("Z")
    assert "ValueError: invalid literal" in second["exception"]


def test_lines_are_gathered_until_there_is_trouble() -> None:
    """On an event loop a line waits a moment; a warning takes all that wait with it."""
    written = asyncio.Event()

    class Stream(io.StringIO):
        def flush(self) -> None:
            written.set()

    stream = Stream()
    handler = logs.GatheringHandler(stream)
    line, warning = (
        logging.makeLogRecord({"msg": name, "levelno": level, "levelname": name})
        for name, level in (("line", logging.INFO), ("warning", logging.WARNING))
    )

    async def serve() -> list[str]:
        seen = []
        for record in (line, warning, line):
            handler.handle(record)
            seen.append(stream.getvalue())
        written.clear()
        await written.wait()
        return seen

    assert asyncio.run(asyncio.wait_for(serve(), 10)) == ["", *["line\nwarning\n"] * 2]
    assert stream.getvalue() == "line\nwarning\nline\n"
    handler.handle(line)  # no loop runs any more
    assert stream.getvalue().endswith("line\nline\n")


@pytest.mark.parametrize(
    ("stream", "form", "colour", "expected"),
    [
        (io.StringIO, "auto", True, "{"),
        (Terminal, "auto", True, "slow \x1b[2mstatus=200 request_id=a\x1b[0m\n"),
        (Terminal, "auto", False, "WARNING slow status=200 request_id=a\n"),
        (Terminal, "json", True, "{"),
        (io.StringIO, "text", True, "WARNING slow status=200 request_id=a\n"),
    ],
    ids=["a file", "a terminal", "NO_COLOR", "JSON on a terminal", "text in a file"],
)
def test_lines_on_a_terminal_are_for_people(
    monkeypatch: pytest.MonkeyPatch,
    stream: type[io.StringIO],
    form: logs.LogFormat,
    colour: bool,
    expected: str,
) -> None:
    """Colours reach nothing but a terminal, and not where they are not wanted."""
    written = stream()
    monkeypatch.setattr("sys.stderr", written)
    logs.configure_logging("INFO", form, colour=colour)

    logging.getLogger("textclf.test").warning("slow", extra={"request_id": "a", "status": 200})

    line = written.getvalue()
    assert line.startswith(expected) or line.endswith(expected)
    assert ("\x1b[" in line) is ("\x1b[" in expected)


def test_a_traceback_follows_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """What somebody at a terminal needs most is readable there."""
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    logs.configure_logging("INFO", colour=False)
    try:
        int("no number")
    except ValueError:
        logging.getLogger("textclf.test").exception("failed")

    first, second, *_, last = terminal.getvalue().splitlines()
    assert first.endswith("ERROR   failed")
    assert second == "Traceback (most recent call last):"
    assert last.startswith("ValueError: invalid literal")


def test_a_log_that_cannot_be_written_disturbs_nobody() -> None:
    """Lines are dropped while the disk is full, and written again afterwards."""

    class Stream(io.StringIO):
        full = True

        def write(self, text: str) -> int:
            if self.full:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(text)

    stream = Stream()
    handler = logs.GatheringHandler(stream)
    handler.handle(logging.makeLogRecord({"msg": "lost", "levelno": logging.ERROR}))
    stream.full = False
    handler.handle(logging.makeLogRecord({"msg": "kept", "levelno": logging.ERROR}))

    assert stream.getvalue() == "kept\n"
