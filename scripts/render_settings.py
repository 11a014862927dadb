#!/usr/bin/env python
"""Write the settings table of README.md from textclf.settings."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from textclf.settings import PREFIX, Settings

README = Path(__file__).resolve().parents[1] / "README.md"
BEGIN = "<!-- settings: written by scripts/render_settings.py -->\n"
END = "<!-- end of settings -->\n"


def main() -> int:
    """Rewrite what stands between the markers, and say where."""
    README.write_text(with_settings(README.read_text("utf-8")), "utf-8")
    print(README)
    return 0


def with_settings(text: str) -> str:
    """Return ``text`` with the table of today's settings between its markers."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    return before + begin + render() + end + after


def render() -> str:
    """Return one row of Markdown a setting: its variable, default, allowed values and meaning."""
    fields: dict[str, dict[str, Any]] = Settings.model_json_schema()["properties"]
    rows = ["| variable | default | allowed | meaning |", "|---|---|---|---|"]
    for name, schema in fields.items():
        cells = (
            f"`{PREFIX}{name.upper()}`",
            _default(schema["default"]),
            _allowed(schema),
            schema["description"],
        )
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def _default(value: object) -> str:
    if value in ("", None):
        return ""
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _allowed(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    bounds = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤"}
    limits = [f"{sign} {schema[key]:g}" for key, sign in bounds.items() if key in schema]
    return ", ".join(limits) or ("a path" if "anyOf" in schema else "text")


if __name__ == "__main__":
    sys.exit(main())
