"""What the figures were measured on, and with."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.paths import ROOT
from textclf.inference import cpu_model, has_vnni

_OURS = ("textclf", "bentoml", "onnxruntime", "tokenizers", "uvloop", "httptools", "numpy")
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)")
_NAME = re.compile(r"^[A-Za-z0-9._-]+")


def describe_machine() -> dict[str, Any]:
    """Return the CPU, its cores, the memory and the kernel."""
    return {
        "cpu": cpu_model() or platform.processor() or platform.machine(),
        "vnni": has_vnni(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "kernel": platform.release(),
    }


def describe_versions() -> dict[str, Any]:
    """Return the versions of this project's packages, of each peer's, and the commit."""
    return {
        "python": platform.python_version(),
        "commit": _commit(),
        "textclf": {name: found for name in _OURS if (found := _version(name))},
        "peers": {
            lock.parent.name: _pinned(lock)
            for lock in sorted((ROOT / "benchmarks" / "peers").glob("*/requirements.txt"))
        },
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _pinned(lock: Path) -> dict[str, str]:
    """Return what a peer asks for by name, in the versions of its lock."""
    asked = {
        _normal(found[0])
        for line in lock.with_suffix(".in").read_text("utf-8").splitlines()
        if (found := _NAME.match(line))
    }
    pins = (_PIN.match(line) for line in lock.read_text("utf-8").splitlines())
    return {pin[1]: pin[2] for pin in pins if pin and _normal(pin[1]) in asked}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _commit() -> str:
    told = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(told, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    except OSError:
        return ""
    return done.stdout.strip()
