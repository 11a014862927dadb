"""A disk without room ends no worker; what it counted is lost at the worst."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

# The disk refuses beyond so many bytes; a soak does it on one that is really full.
SCRIPT = """
import errno, os, sys
from prometheus_client import Counter, multiprocess, CollectorRegistry, generate_latest
from textclf.metric_files import take_room_for_metrics
take_room_for_metrics()
allocate = os.posix_fallocate
def refuse(file, offset, size):
    on_disk = not os.readlink(f"/proc/self/fd/{file}").startswith("/memfd:")
    if on_disk and size > int(sys.argv[1]):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    allocate(file, offset, size)
os.posix_fallocate = refuse
counter = Counter("counted", "Counts.", ["name"])
for name in range(2000):
    counter.labels(f"{name:0100d}").inc()
    counter.labels("again").inc()
assert counter.labels("again")._value.get() == 2000
registry = CollectorRegistry()
multiprocess.MultiProcessCollector(registry)
print(generate_latest(registry).decode().count("counted_total{"))
"""


@pytest.mark.parametrize(
    ("room", "least", "most"),
    [(1 << 30, 2001, 2001), (1 << 17, 100, 1000), (1000, 0, 0)],
    ids=["room for all", "room for some", "no room at all"],
)
def test_values_go_where_there_is_room(tmp_path: Path, room: int, least: int, most: int) -> None:
    """What does not fit into the file is counted in memory; the file stays readable."""
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(room)],
        env=os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert run.returncode == 0, run.stderr
    assert least <= int(run.stdout) <= most
    assert ("no room for their file" in run.stderr) == (room < 1 << 30)


def test_room_is_taken_before_it_is_needed(tmp_path: Path) -> None:
    """A file has blocks for all of its length from the beginning."""
    script = SCRIPT.partition("allocate =")[0] + 'Counter("counted", "Counts.").inc()'
    environ = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", script], env=environ, check=True)

    (file,) = tmp_path.iterdir()
    assert file.stat().st_blocks * 512 >= file.stat().st_size > 0
