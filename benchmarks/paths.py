"""Where the project is, and where the benchmark keeps what it makes."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[1]
KEPT = ROOT / ".benchmark"
