"""The CPUs that may be used are those of the container, not those of its host."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from textclf.cpus import usable_cpus

AVAILABLE = len(os.sched_getaffinity(0))


def write(root: Path, files: dict[str, str]) -> Path:
    """Write files below a folder and return it."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


@pytest.mark.parametrize(
    ("membership", "files", "expected"),
    [
        ("0::/\n", {"cpu.max": "100000 100000"}, 1),
        ("0::/\n", {"cpu.max": "150000 100000"}, 1),
        ("0::/\n", {"cpu.max": "50000 100000"}, 1),
        ("0::/\n", {"cpu.max": "max 100000"}, AVAILABLE),
        ("0::/\n", {"cpu.max": "6400000 100000"}, AVAILABLE),
        ("0::/a/b\n", {"a/cpu.max": "100000 100000", "a/b/cpu.max": "max 100000"}, 1),
        ("4:cpu,cpuacct:/x\n", {"cpu/x/cpu.cfs_quota_us": "100000\n",
                               "cpu/x/cpu.cfs_period_us": "100000\n"}, 1),
        ("4:cpu,cpuacct:/x\n", {"cpu/x/cpu.cfs_quota_us": "-1\n",
                               "cpu/x/cpu.cfs_period_us": "100000\n"}, AVAILABLE),
        ("4:memory:/x\n", {"cpu/x/cpu.cfs_quota_us": "100000",
                          "cpu/x/cpu.cfs_period_us": "100000"}, AVAILABLE),
        ("0::/\n", {}, AVAILABLE),
        ("nothing known\n\n0::/\n", {"cpu.max": "100000 100000"}, 1),
    ],
    ids=["one", "one and a half", "half of one", "no quota", "more than there are",
         "of a group around it", "version 1", "version 1 without a quota", "another controller",
         "no file", "lines of another kind"],
)  # fmt: skip
def test_quota_is_heeded(
    tmp_path: Path, membership: str, files: dict[str, str], expected: int
) -> None:
    """Whole CPUs count, at least one, and never more than the affinity allows."""
    listed = tmp_path / "cgroup"
    listed.write_text(membership)

    assert usable_cpus(listed, write(tmp_path / "groups", files)) == expected


def test_system_without_control_groups(tmp_path: Path) -> None:
    """The affinity alone counts."""
    assert usable_cpus(tmp_path / "none", tmp_path) == AVAILABLE
