"""How many CPUs this process may use: by affinity and by the quota of its control group."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_PROC = Path("/proc/self/cgroup")
_GROUPS = Path("/sys/fs/cgroup")


def usable_cpus(membership: Path = _PROC, groups: Path = _GROUPS) -> int:
    """Return how many threads can run at once without being held back; at least 1.

    A container sees every core of its host, yet may be given the time of a few. A quota of 1.5 CPUs
    counts as 1: a thread more would have both stopped for part of each period.

    Args:
        membership: Where the kernel says which control groups the process is in.
        groups: Where they are mounted.

    Source: https://docs.kernel.org/admin-guide/cgroup-v2.html#cpu-interface-files
    """
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([cpus, *map(int, _quotas(membership, groups))]))


def _quotas(membership: Path, groups: Path) -> Iterator[float]:
    """Yield the CPUs that each control group around the process allows, where it allows so many."""
    for line in _read(membership).splitlines():
        controllers, _, path = line.partition(":")[2].partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        inside = PurePosixPath(path.lstrip("/"))
        for group in (inside, *inside.parents):
            quota, period = _limit(groups, controllers, group)
            if quota.isdecimal() and period.isdecimal() and int(period):
                yield int(quota) / int(period)


def _limit(groups: Path, controllers: str, group: PurePosixPath) -> tuple[str, str]:
    if not controllers:  # version 2
        quota, _, period = _read(groups / group / "cpu.max").strip().partition(" ")
        return quota, period
    folder = groups / "cpu" / group
    quota = _read(folder / "cpu.cfs_quota_us").strip()  # -1: none
    return quota, _read(folder / "cpu.cfs_period_us").strip()


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii")
    except (OSError, UnicodeDecodeError):  # not Linux, no such controller, or a group of another
        return ""
