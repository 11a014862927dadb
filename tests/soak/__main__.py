"""``python -m tests.soak``: plant faults in a service under load, and report what came of it."""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.soak.answers import record_answers
from tests.soak.ground import MODEL, build_bento
from tests.soak.lanes import FAULTS, Soak
from tests.soak.report import table, write_report
from tests.soak.verdict import Verdict, judge_soak
from textclf.termination import ending_on_sigterm

_LONG_MINUTES = 10.0
_FORMS = (".html", ".md", ".json")


def main(argv: Sequence[str] | None = None) -> int:
    """Soak, and return 0 if nothing was off, 1 if something was."""
    arguments = _parse(argv)
    logging.disable(logging.INFO)
    began = time.monotonic()
    _say("asking the classifier itself for the right answers")
    answers = record_answers(MODEL)
    with ending_on_sigterm(), tempfile.TemporaryDirectory(prefix="textclf-soak-") as name:
        soak = Soak(
            folder=Path(name),
            answers=answers,
            minutes=arguments.minutes,
            hold_seconds=arguments.hold_seconds
            or (3.0 if arguments.minutes < _LONG_MINUTES else 8.0),
            say=_say,
            faults=[fault for fault in FAULTS if arguments.only in fault.name],
            bento=build_bento(Path(name) / "bentoml") if arguments.bento else None,
        )
        soak.run()
    verdict = judge_soak(soak, began=began, ended=time.monotonic())
    write_report(verdict, arguments.report)
    _tell(verdict, arguments.report)
    return 0 if verdict.passed else 1


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument(
        "--minutes",
        type=float,
        default=0.0,
        help="how long; every fault is planted once at least (default: %(default)s, just once)",
    )
    parser.add_argument(
        "--hold-seconds",
        type=float,
        help="how long a fault lasts, if its length is not its own (default: 3; 8 in a long run)",
    )
    parser.add_argument(
        "--bento", action="store_true", help="build a Bento and serve it in place of this tree"
    )
    parser.add_argument(
        "--only", default="", metavar="WORDS", help="plant the faults that have these in their name"
    )
    parser.add_argument(
        "--report",
        type=Path,
        default=Path("dist/soak.html"),
        help="a file .html, .md or .json; JSON is always beside it (default: %(default)s)",
    )
    arguments = parser.parse_args(argv)
    if arguments.report.suffix not in _FORMS:
        parser.error(f"--report has to end in {', '.join(_FORMS)}")
    return arguments


def _say(words: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {words}", file=sys.stderr, flush=True)  # noqa: T201


def _tell(verdict: Verdict, report: Path) -> None:
    print(table(verdict))  # noqa: T201
    for flaw in verdict.flaws:
        print(flaw)  # noqa: T201
    print(f"memory: {verdict.memory}")  # noqa: T201
    print(f"{'passed' if verdict.passed else 'FAILED'}; the report is {report}")  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
