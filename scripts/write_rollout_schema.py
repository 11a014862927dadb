#!/usr/bin/env python
"""Write deploy/rollout.schema.json, which editors check a rollout.yaml against."""

from __future__ import annotations

import sys
from pathlib import Path

from textclf.rollout.plan import render_schema

SCHEMA = Path(__file__).resolve().parents[1] / "deploy" / "rollout.schema.json"


def main() -> int:
    """Write the schema and say where."""
    SCHEMA.write_text(render_schema(), "utf-8")
    print(SCHEMA)
    return 0


if __name__ == "__main__":
    sys.exit(main())
