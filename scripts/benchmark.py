#!/usr/bin/env python
"""Measure this project, its peers and the in-process limit side by side."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.catalogue import SYSTEMS
from benchmarks.corpus import OWN
from benchmarks.environments import python_of
from benchmarks.errors import BenchmarkError
from benchmarks.measure import run_plan
from benchmarks.models import NAMES, make_model
from benchmarks.paths import ROOT
from benchmarks.plan import Plan, make_plan
from benchmarks.plots import draw_padding, draw_plots
from benchmarks.report import (
    render_guards,
    render_results,
    show_plots,
    write_between_markers,
)
from benchmarks.targets import list_guards
from scripts._command import exit_codes, run_command

_RESULTS = ROOT / "benchmarks" / "results"
_README = ROOT / "benchmarks" / "README.md"
_GUARD_FAILED = 1
_FAILED = 3
_JSON, _TABLES = "results.json", "results.md"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure what ``argv`` names and return the exit code."""
    arguments = _parser().parse_args(argv)

    def work() -> int:
        try:
            return _run(arguments)
        except BenchmarkError as exc:
            print(f"error: {exc}", file=sys.stderr)
            return _FAILED

    return run_command(
        work,
        interrupted=f"what was measured before is in {arguments.output_folder / _JSON}",
        level=logging.WARNING,
    )


def _run(arguments: argparse.Namespace) -> int:
    folder: Path = arguments.output_folder
    if arguments.render:
        results = json.loads((folder / _JSON).read_text("utf-8"))
    else:
        results = _measure(arguments, folder)
    tables = render_results(results)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _TABLES).write_text(tables, "utf-8")
    plots = draw_plots(results, folder)
    if arguments.readme:
        shown = [draw_padding(folder), *plots]
        write_between_markers(_README, tables + "\n" + show_plots(shown, _README.parent))
    print(json.dumps(results, indent=2) if arguments.json else tables)
    if not arguments.guard:
        return 0
    guards = list_guards(results)
    print(render_guards(guards), file=sys.stderr)
    return 0 if all(guard.is_met for guard in guards) else _GUARD_FAILED


def _measure(arguments: argparse.Namespace, folder: Path) -> Mapping[str, Any]:
    only = arguments.only
    systems = [system for system in SYSTEMS if not only or system.name in only]
    plan = make_plan(
        "quick" if arguments.quick else "full",
        [(system.name, system.many is not None) for system in systems],
    )
    _make_environments(plan)
    models = [make_model(name, arguments.fp32) for name in NAMES[: len(plan.models)]]
    folder.mkdir(parents=True, exist_ok=True)
    minutes = plan.predicted_seconds() / 60
    print(f"measuring, about {minutes:.0f} minutes", file=sys.stderr, flush=True)

    def save(results: Mapping[str, Any]) -> None:
        (folder / _JSON).write_text(json.dumps(results, indent=2) + "\n", "utf-8")

    return run_plan(plan, models, arguments.corpus, save)


def _make_environments(plan: Plan) -> None:
    """Make what is missing before the clock runs."""
    visited = {visit.system for model in plan.models for visit in model.visits}
    for system in SYSTEMS:
        if system.name in visited:
            python_of(system.peer)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=exit_codes("measured", (), refused="a bound of --guard was missed")
        + f"\n  {_FAILED:<4} a part could not be made or measured",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--quick", action="store_true", help="the reference model and a few peers, in 4 minutes"
    )
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="a system; repeatable"
    )
    parser.add_argument(
        "--corpus",
        type=Path,
        default=OWN,
        metavar="FILE",
        help="one text a line, or sentence TAB label under that header (default: built in)",
    )
    parser.add_argument(
        "--fp32",
        type=Path,
        metavar="FILE",
        help="fp32 graph of the reference model (default: its architecture, random weights)",
    )
    parser.add_argument(
        "--output-folder",
        type=Path,
        default=_RESULTS,
        metavar="DIR",
        help="for the results, the tables and the plots (default: benchmarks/results)",
    )
    parser.add_argument(
        "--render", action="store_true", help="measure nothing: render the results in that folder"
    )
    parser.add_argument(
        "--readme", action="store_true", help="write the tables into benchmarks/README.md too"
    )
    parser.add_argument(
        "--guard", action="store_true", help="fail if a ratio is below a generous bound"
    )
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
