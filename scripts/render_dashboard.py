#!/usr/bin/env python
"""Draw the panels of the dashboard from what a Prometheus answers to their queries."""

from __future__ import annotations

import argparse
import math
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import matplotlib as mpl
from matplotlib.figure import Figure
from PIL import Image

from scripts._command import exit_codes, positive_number, run_command
from scripts.write_dashboard import OF, ROWS, Panel
from textclf.errors import EvidenceError

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "dashboard.png"
_POINTS = 60
_COLUMNS = 4
_COLOURS = 128
_MOST_IN_LEGEND = 6
_FACTORS = {"percentunit": (100, "%"), "bytes": (1 / 2**20, "MiB"), "s": (1000, "ms")}
_UNITS = {"reqps": "requests/s", "ops": "texts/s", "short": ""}
_MANY_SECONDS = 2.0
Series = tuple[str, list[float], list[float]]


def main(argv: Sequence[str] | None = None) -> int:
    """Draw, and say where to."""
    arguments = _parser().parse_args(argv)
    return run_command(lambda: _run(arguments), interrupted="nothing was drawn")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=exit_codes("the picture is drawn", [EvidenceError]),
    )
    parser.add_argument("prometheus", help="its URL, such as http://127.0.0.1:9090")
    parser.add_argument("--seconds", type=positive_number, default=300, help="how far back it goes")
    parser.add_argument(
        "--rate-interval", default="30s", help="of the rates (default: %(default)s)"
    )
    parser.add_argument("--output", type=Path, default=PICTURE, help="default: %(default)s")
    return parser


def _run(arguments: argparse.Namespace) -> int:
    end = time.time()
    chosen = {"$of": OF, "$job": ".*", "$instance": ".*"}
    chosen["$__rate_interval"] = arguments.rate_interval
    answers: list[tuple[Panel, list[Series]]] = []
    for panel in (panel for members in ROWS.values() for panel in members):
        series: list[Series] = []
        for expression, legend in panel.queries.items():
            for variable, value in chosen.items():
                expression = expression.replace(variable, value)  # noqa: PLW2901
            span = (end - arguments.seconds, end)
            series += _ask(arguments.prometheus, expression, legend, span)
        answers.append((panel, series))
    draw(answers, arguments.output)
    print(arguments.output)
    return 0


def _ask(url: str, expression: str, legend: str, span: tuple[float, float]) -> list[Series]:
    start, end = span
    step = (end - start) / _POINTS
    asked: dict[str, str | float] = {"query": expression, "start": start, "end": end, "step": step}
    address = f"{url.rstrip('/')}/api/v1/query_range"
    try:
        answer: dict[str, Any] = httpx.get(address, params=asked, timeout=30).json()
    except (httpx.HTTPError, ValueError) as exc:
        raise EvidenceError(f"no Prometheus answers at {url}: {exc}; see that it runs") from exc
    if answer.get("status") != "success":
        raise EvidenceError(f"{url} refuses {expression}: {answer.get('error')}; see its version")
    return [
        (
            _name(legend, found["metric"]),
            [(float(at) - start) / 60 for at, _ in found["values"]],
            [float(value) for _, value in found["values"]],
        )
        for found in answer["data"]["result"]
    ]


def _name(legend: str, labels: dict[str, str]) -> str:
    if not legend:
        wanted = ("model", "version", "precision", "graph")
        return "\n".join(f"{name}: {labels.get(name, '')}" for name in wanted)
    return re.sub(r"{{(\w+)}}", lambda match: labels.get(match[1], ""), legend)


def draw(answers: Sequence[tuple[Panel, list[Series]]], output: Path) -> None:
    """Draw each panel with its series into one picture.

    Raises:
        EvidenceError: A panel has none.
    """
    mpl.rcParams.update({"svg.fonttype": "none", "font.size": 7})
    rows = math.ceil(len(answers) / _COLUMNS)
    figure = Figure(figsize=(_COLUMNS * 3.4, rows * 2.1), layout="constrained")
    axes = list(figure.subplots(rows, _COLUMNS).flat)
    for axis, (panel, series) in zip(axes, answers, strict=False):
        if not series:
            raise EvidenceError(f"nothing answers the panel {panel.title!r}; send requests first")
        axis.set_title(panel.title, fontsize=8, fontweight="bold")
        _DRAWING[panel.kind](axis, panel, series)
    for axis in axes[-_COLUMNS:]:
        axis.set_xlabel("minutes")
    for axis in axes[len(answers) :]:
        axis.set_axis_off()
    figure.savefig(output, dpi=100)
    if output.suffix == ".png":  # a quarter of the size, and no eye sees it
        with Image.open(output) as drawn:
            reduced = drawn.convert("RGB").quantize(_COLOURS)
        reduced.save(output, optimize=True)


def _draw_lines(axis: Any, panel: Panel, series: Sequence[Series]) -> None:
    factor, unit = _FACTORS.get(panel.unit, (1, _UNITS.get(panel.unit, panel.unit)))
    most = max((value for _, _, values in series for value in values), default=0.0)
    if panel.unit == "s" and most > _MANY_SECONDS:
        factor, unit = 1, "s"
    shown = sorted(series, key=lambda found: -max(found[2]))
    scaled = [(name, at, [value * factor for value in values]) for name, at, values in shown]
    if panel.stack and len({len(at) for _, at, _ in scaled}) == 1:
        names = [name for name, _, _ in scaled]
        axis.stackplot(scaled[0][1], *(values for _, _, values in scaled), labels=names, alpha=0.7)
    else:
        for index, (name, at, values) in enumerate(scaled):
            label = name if index < _MOST_IN_LEGEND else None
            axis.plot(at, values, label=label, linewidth=1)
    axis.axhline(0, linewidth=0)  # a flat line has room above it, then
    axis.set_ylim(bottom=0)
    axis.set_ylabel(unit)
    axis.legend(fontsize=5.5, loc="best", framealpha=0.6)
    axis.grid(visible=True, linewidth=0.3)


def _draw_heatmap(axis: Any, _panel: Panel, series: Sequence[Series]) -> None:
    """Draw how many fell into each bucket; a series has those of the buckets below it too."""
    ordered = sorted(series, key=lambda found: float(found[0]))
    times = sorted({at for _, ats, _ in ordered for at in ats})
    below = [0.0] * len(times)
    rows = []
    for _, ats, values in ordered:
        at_most = dict(zip(ats, values, strict=True))
        counts = [at_most.get(at, 0.0) for at in times]
        rows.append([max(0.0, one - other) for one, other in zip(counts, below, strict=True)])
        below = counts
    axis.pcolormesh(
        times, range(len(rows)), rows, cmap="Oranges", shading="nearest", rasterized=True
    )
    step = math.ceil(len(ordered) / 8)
    axis.set_yticks(range(0, len(ordered), step), [name for name, _, _ in ordered[::step]])


def _draw_table(axis: Any, _panel: Panel, series: Sequence[Series]) -> None:
    axis.set_axis_off()
    axis.text(0.02, 0.9, "\n\n".join(name for name, _, _ in series), va="top", fontsize=8)


_DRAWING = {"timeseries": _draw_lines, "heatmap": _draw_heatmap, "table": _draw_table}


if __name__ == "__main__":
    sys.exit(main())
