"""Which fault is planted: a file says, in the processes that a variable names it to.

Apart from ``faulty``, which plants as soon as it is imported.
"""

from __future__ import annotations

import os
from pathlib import Path

FAULT_FILE = "ROLLOUT_FAULT_FILE"


def planted() -> str:
    """Return the name of the fault that is planted now; empty for none."""
    try:
        return Path(os.environ[FAULT_FILE]).read_text("utf-8").strip()
    except OSError:
        return ""
