"""The environment of a worker: laid by uv from the pins in the worker's own header."""

from __future__ import annotations

import logging
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from textclf.azureml.redaction import redact
from textclf.azureml.supervision import Finished, StillRunningError, supervise
from textclf.errors import DownloadError, ModelImportError

_LAYING_SECONDS = 900.0
_ASKING_SECONDS = 60.0

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sdk:
    """One of Microsoft's two client libraries, and the program that runs it.

    Attributes:
        label: Its distribution and version, as the worker pins it.
        worker: A script with inline metadata (PEP 723).
    """

    label: str
    worker: Path


V1 = Sdk("azureml-core 1.61.0.post4", Path(__file__).with_name("v1_worker.py"))
V2 = Sdk("azure-ai-ml 1.35.2", Path(__file__).with_name("v2_worker.py"))


def lay_environment(sdk: Sdk) -> Path:
    """Return the Python of a worker's environment, which is laid if it is missing or stale.

    Raises:
        DownloadError: A package cannot be fetched.
        ModelImportError: There is no uv.
    """
    sync = ["sync", "--quiet", "--script", str(sdk.worker), "--python", sys.executable]
    if _uv(sdk, *sync, "--offline", timeout_seconds=_ASKING_SECONDS).code != 0:
        _LOGGER.info("laying the environment of %s (once)", sdk.label)
        _check(sdk, _uv(sdk, *sync, timeout_seconds=_LAYING_SECONDS))
    find = ["python", "find", "--script", str(sdk.worker)]
    found = _uv(sdk, *find, timeout_seconds=_ASKING_SECONDS)
    _check(sdk, found)
    return Path(found.output.strip())


def _uv(sdk: Sdk, *arguments: str, timeout_seconds: float) -> Finished:
    doing = f"laying the environment of {sdk.label}"
    try:
        return supervise([_find_uv(), *arguments], timeout_seconds=timeout_seconds, doing=doing)
    except StillRunningError as exc:
        raise DownloadError(
            f"{doing} took longer than {timeout_seconds:.0f} seconds; see that the package index "
            "can be reached, and retry"
        ) from exc
    except OSError as exc:
        raise ModelImportError(f"cannot run uv: {exc}; install it: pip install uv") from exc


def _find_uv() -> str:
    found = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if found is None:
        raise ModelImportError(
            f"there is no uv beside {sys.executable} or on PATH, which lays the environment of the "
            "Azure SDKs; install it: pip install uv"
        )
    return found


def _check(sdk: Sdk, finished: Finished) -> None:
    if finished.code != 0:
        lines = redact(finished.errors).strip().splitlines() or [f"exit code {finished.code}"]
        raise DownloadError(
            f"cannot lay the environment of {sdk.label}: uv says: {lines[-1].strip()}; see that "
            "the package index can be reached (UV_DEFAULT_INDEX, HTTPS_PROXY), and retry"
        )
