"""One virtual environment a peer, from the lock in its folder."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.errors import BenchmarkError
from benchmarks.paths import KEPT, ROOT

PEERS = ROOT / "benchmarks" / "peers"
ENVIRONMENTS = KEPT / "environments"

# Kept out of the locks: an index's torch for Linux brings gigabytes of CUDA, which serves nothing
# here, and pip may be told of a CPU wheel beside it.
_INSTALLED_BY_PIP: Mapping[str, Sequence[str]] = {"infinity": ("torch==2.13.0",)}
_SETTINGS = {"UV_PYTHON_DOWNLOADS": "never", "UV_SYSTEM_CERTS": "true"}


def python_of(peer: str) -> Path:
    """Return the interpreter that a peer runs with, and make its environment if there is none.

    Args:
        peer: Folder of ``benchmarks/peers``; empty for this project's own interpreter.

    Raises:
        BenchmarkError: The environment could not be made.
    """
    if not peer:
        return Path(sys.executable)
    lock = PEERS / peer / "requirements.txt"
    extra = _INSTALLED_BY_PIP.get(peer, ())
    try:
        digest = hashlib.sha256(lock.read_bytes() + " ".join(extra).encode()).hexdigest()
    except OSError as exc:
        raise BenchmarkError(f"{peer} has no lock: {exc}; compile its requirements.in") from exc
    folder = ENVIRONMENTS / f"{peer}-{digest[:12]}"
    if not folder.is_dir():
        _build(peer, lock, extra, folder)
    return folder / "bin" / "python"


def _build(peer: str, lock: Path, extra: Sequence[str], folder: Path) -> None:
    """Make the environment under another name, so that an interrupted build leaves no half."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f"{peer}-", suffix=".tmp", dir=folder.parent))
    python = temporary / "bin" / "python"
    uv = shutil.which("uv") or str(ROOT / ".venv" / "bin" / "uv")
    print(f"{peer}: making its environment", file=sys.stderr, flush=True)  # noqa: T201 - minutes
    try:
        # Relocatable, as its commands name the interpreter by where it was made.
        venv = ["venv", "--quiet", "--clear", "--relocatable", "--python", sys.executable]
        _run(peer, [uv, *venv, str(temporary)])
        sync = ["pip", "sync", "--quiet", "--require-hashes", "--python", str(python)]
        _run(peer, [uv, *sync, str(lock)])
        if extra:
            _run(peer, [str(python), "-m", "pip", "install", "--quiet", *extra])
        temporary.rename(folder)
    except OSError as exc:
        if not folder.is_dir():  # or another process was faster, and has made the same
            raise BenchmarkError(f"{peer}: cannot make {folder}: {exc}; free it and retry") from exc
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _run(peer: str, command: Sequence[str]) -> None:
    done = subprocess.run(  # noqa: S603 - its own arguments
        command,
        env=os.environ | _SETTINGS,
        cwd=ROOT,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    if done.returncode:
        shown = " ".join(command)
        raise BenchmarkError(
            f"{peer}: its environment could not be made, {shown} ended with {done.returncode}; "
            f"see that uv and the package index can be reached, and retry:\n{done.stdout[-2000:]}"
        )
