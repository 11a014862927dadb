"""What a process says of itself is so, above all when it has run out of something."""

from __future__ import annotations

import os
import resource

import pytest

from textclf.process import ProcessReading, read_process


def test_a_process_is_read() -> None:
    """As the operating system has it."""
    with open(os.devnull, "rb"):  # noqa: PTH123 - to have it open
        reading = read_process(ProcessReading())

    assert reading.open_files > 3
    assert reading.resident_bytes > 1_000_000
    assert reading.open_files_limit == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert read_process(reading) is reading


def test_one_that_may_open_no_more_files_has_as_many_as_it_may() -> None:
    """To count them takes a file; its memory is what it was."""
    before = ProcessReading(resident_bytes=5)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        reading = read_process(before)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert (reading.open_files, reading.open_files_limit) == (3, 3)
    assert reading.resident_bytes == before.resident_bytes


@pytest.mark.parametrize("at", [0.0, 1e-9])
def test_a_reading_of_long_ago_is_none_of_now(at: float) -> None:
    """It is read anew."""
    assert read_process(ProcessReading(at=at)).cpu_seconds > 0
