#!/usr/bin/env python
"""Write a page on whether the texts of a model became unlike its reference, when, and how.

The metrics come from a Prometheus, or from pages of one service that were saved from time to time,
`curl -o 1200.prom http://127.0.0.1:3000/metrics`; the time of a page is that of its file.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from scripts._command import exit_codes, run_command
from textclf.drift.distance import LEAST_TEXTS
from textclf.drift_report import Recording, from_pages, from_prometheus, render_page, review
from textclf.drift_report.review import WINDOW_TEXTS
from textclf.errors import EvidenceError

_INTERRUPTED = "no page was written"


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page that ``argv`` asks for; returns the exit code."""
    arguments = _parser().parse_args(argv)
    return run_command(lambda: _run(arguments), interrupted=_INTERRUPTED)


def _run(arguments: argparse.Namespace) -> int:
    found = review(_read(arguments), window_texts=arguments.window_texts)
    arguments.output.write_text(render_page(found), "utf-8")
    drifted = ", ".join(feature.name for feature in found.drifted) or "nothing"
    print(f"{arguments.output}: {drifted if found.enough else 'too few texts; nothing'} drifted")
    return 0


def _read(arguments: argparse.Namespace) -> Recording:
    if arguments.pages:
        return from_pages(arguments.pages, arguments.model)
    end = arguments.end or datetime.now(UTC)
    return from_prometheus(
        arguments.prometheus,
        end - timedelta(hours=arguments.hours),
        end,
        selector=arguments.selector,
        model=arguments.model,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=exit_codes("written", [EvidenceError], interrupted=_INTERRUPTED),
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--prometheus", metavar="URL", help="ask a Prometheus")
    source.add_argument(
        "--pages", nargs="+", type=Path, metavar="FILE", help="read saved pages of /metrics"
    )
    parser.add_argument(
        "--hours", type=float, default=24.0, help="length of the range (default: %(default)s)"
    )
    parser.add_argument(
        "--end", type=_time, metavar="TIME", help="of the range, in ISO 8601 (default: now)"
    )
    parser.add_argument(
        "--selector",
        default="",
        metavar="MATCHERS",
        help="""such as 'job="textclf"', where Prometheus scrapes more than one service""",
    )
    parser.add_argument("--model", metavar="TAG", help="(default: the one with most texts)")
    parser.add_argument(
        "--window-texts",
        type=_window,
        default=WINDOW_TEXTS,
        metavar="N",
        help="texts that are compared at each moment (default: %(default)s)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("drift.html"),
        metavar="FILE",
        help="page to write (default: %(default)s)",
    )
    return parser


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _window(text: str) -> int:
    number = int(text)
    if number < LEAST_TEXTS:
        raise argparse.ArgumentTypeError(f"must be at least {LEAST_TEXTS}, got {number}")
    return number


if __name__ == "__main__":
    sys.exit(main())
