#!/usr/bin/env python
"""Write the table of docs/metrics.md from textclf.metrics."""

from __future__ import annotations

import sys
from pathlib import Path

from prometheus_client.metrics import MetricWrapperBase

from textclf.metrics import metrics

PAGE = Path(__file__).resolve().parents[1] / "docs" / "metrics.md"
BEGIN = "<!-- metrics: written by scripts/render_metrics.py -->\n"
END = "<!-- end of metrics -->\n"


def main() -> int:
    """Rewrite what stands between the markers, and say where."""
    PAGE.write_text(with_metrics(PAGE.read_text("utf-8")), "utf-8")
    print(PAGE)
    return 0


def with_metrics(text: str) -> str:
    """Return ``text`` with the table of today's metrics between its markers."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    return before + begin + render() + end + after


def render() -> str:
    """Return one row of Markdown a metric: its name, type, labels and meaning."""
    rows = ["| metric | type | labels | meaning |", "|---|---|---|---|"]
    for metric in vars(metrics()).values():
        if isinstance(metric, MetricWrapperBase):
            (family,) = metric.describe()
            labels = ", ".join(f"`{label}`" for label in metric._labelnames)  # noqa: SLF001
            total = "_total" if family.type == "counter" else ""
            cells = (f"`{family.name}{total}`", family.type, labels, family.documentation)
            rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    sys.exit(main())
