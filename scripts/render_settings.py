#!/usr/bin/env python
"""Write the settings tables of README.md and docs/settings.md from textclf.settings."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from textclf.settings import PREFIX, Settings

PROJECT = Path(__file__).resolve().parents[1]
README = PROJECT / "README.md"
PAGE = PROJECT / "docs" / "settings.md"
BEGIN = "<!-- settings: written by scripts/render_settings.py -->\n"
END = "<!-- end of settings -->\n"
# Those that a first deployment sets; the page has all.
MOST_USED = (
    "model", "inference_threads", "max_queue_texts", "request_timeout_seconds", "drain_seconds",
    "api_keys_file", "log_level",
)  # fmt: skip


def main() -> int:
    """Rewrite what stands between the markers of both, and say where."""
    for path, names in ((README, MOST_USED), (PAGE, tuple(Settings.model_fields))):
        path.write_text(with_settings(path.read_text("utf-8"), names), "utf-8")
        print(path)
    return 0


def with_settings(text: str, names: Sequence[str]) -> str:
    """Return ``text`` with the table of these settings, as they are today, between its markers."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    return before + begin + render(names) + end + after


def render(names: Sequence[str]) -> str:
    """Return one row of Markdown a setting: its variable, default, allowed values and meaning."""
    fields: dict[str, dict[str, Any]] = Settings.model_json_schema()["properties"]
    rows = ["| variable | default | allowed | meaning |", "|---|---|---|---|"]
    for name in names:
        schema = fields[name]
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
    if isinstance(value, bool):
        return f"`{value}`".lower()
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _allowed(schema: dict[str, Any]) -> str:
    if schema.get("type") == "boolean":
        return "`true`, `false`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    bounds = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤"}
    limits = [f"{sign} {schema[key]:g}" for key, sign in bounds.items() if key in schema]
    return ", ".join(limits) or ("a path" if "anyOf" in schema else "text")


if __name__ == "__main__":
    sys.exit(main())
