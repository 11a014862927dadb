#!/usr/bin/env python
"""Simulate rollouts, and write how often and how soon candidates are said to have failed."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from scipy.stats import binomtest
from tqdm import tqdm

from scripts._command import run_command
from textclf.rollout.analysis import level_per_test
from textclf.rollout.plan import default_plan
from textclf.rollout.sequential import ANY_RATE, Floats
from textclf.rollout.simulation import (
    Looks,
    Rule,
    Schedule,
    Speed,
    simulate_batches,
    simulate_latency,
    simulate_pairs,
    simulate_rate,
)

_DOCS = Path(__file__).resolve().parents[1] / "docs"
_PAGE = "rollout-statistics.md"
_PLOT = "rollout-power.svg"
_BEGIN = "<!-- simulated: written by scripts/simulate_rollouts.py -->\n"
_END = "<!-- end of simulated -->\n"
_BATCH, _LOOKS = 50, 60
_NOISE_PAIRS = 1000
_BATCHED = 0.05
_MINIMA = (200, 500)
_SEED = 20

Draw = Callable[[np.random.Generator, Schedule], Looks]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One metric of one kind of candidate.

    Attributes:
        metric: As in findings.
        words: What the candidate and the traffic are like.
        draw: Simulates it.
    """

    metric: str
    words: str
    draw: Draw


Simulated = list[tuple[Case, Looks]]


def main(argv: Sequence[str] | None = None) -> int:
    """Simulate what ``argv`` says and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--rollouts", type=int, default=2000, metavar="N", help="of each kind (default: 2000)"
    )
    parser.add_argument(
        "--folder", type=Path, default=_DOCS, metavar="DIR", help=f"with {_PAGE} (default: docs)"
    )
    arguments = parser.parse_args(argv)
    return run_command(
        lambda: _run(arguments.rollouts, arguments.folder), interrupted="nothing was written"
    )


def _run(rollouts: int, folder: Path) -> int:
    page = folder / _PAGE
    schedule = Schedule(rollouts=rollouts, looks=_LOOKS, batch=_BATCH, reference_batch=_BATCH)
    generator = np.random.default_rng(_SEED)
    cases = [(True, case) for case in _harmless()] + [(False, case) for case in _faulty()]
    harmless: Simulated = []
    faulty: Simulated = []
    for is_harmless, case in tqdm(cases, disable=None, unit="case", file=sys.stderr):
        looks = case.draw(generator, schedule)
        (harmless if is_harmless else faulty).append((case, looks))
    text = _tables(harmless, faulty, schedule)
    _draw(faulty, folder / _PLOT)
    before, begin, rest = page.read_text("utf-8").partition(_BEGIN)
    _, end, after = rest.partition(_END)
    page.write_text(before + begin + text + end + after, "utf-8")
    print(text)
    return 0


def _harmless() -> Iterator[Case]:
    """Yield candidates that are no worse than allowed; the last few are just so."""
    rising = np.linspace(0.0, 0.06, _LOOKS)
    turning = 0.5 + 0.2 * np.sin(np.linspace(0, 2 * np.pi, _LOOKS))
    slowing = [Speed(median_seconds=0.03 * 2 ** (i / _LOOKS)) for i in range(_LOOKS)]
    same = [Speed()] * _LOOKS
    yield _errors("A/A, 1 % of both fail", 0.01, 0.01)
    yield _errors("A/A, both drift from 0 to 6 %", rising, rising)
    yield _classes("A/A, half of the predictions", 0.5, 0.5)
    yield _classes("A/A, both drift between 30 and 70 %", turning, turning)
    yield _batches("A/A, half; 5 % of requests have 64 texts that are alike", 0.5, 0.5)
    for name in ("p50", "p99"):
        yield _latency(name, "A/A", same, same)
        yield _latency(name, "A/A, both slow down to twice the time", slowing, slowing)
    yield _disagreement("A/A, 0.5 % of labels flip by themselves", 0.005, 0.005)
    yield _errors("just allowed: 2 % fail, of the reference 1 %", 0.02, 0.01)
    yield _classes("just allowed: 55 %, of the reference 50 %", 0.55, 0.5)
    yield _disagreement("just allowed: 2.5 % differ, of the noise 0.5 %", 0.025, 0.005)
    for name in ("p50", "p99"):
        slower = [Speed(median_seconds=0.033)] * _LOOKS
        yield _latency(name, "allowed: all take 10 % longer", slower, same)


def _faulty() -> Iterator[Case]:
    """Yield candidates that are worse than allowed."""
    same = [Speed()] * _LOOKS
    for rate in (1.0, 0.1, 0.05, 0.03, 0.02):
        yield _errors(f"{100 * rate:.0f} % fail, of the baseline none", rate, 0.0)
    yield _errors("5 % fail, of nine times as many stable requests none", 0.05, 0.0, times=9)
    for share in (0.8, 0.7, 0.65, 0.6):
        yield _classes(f"{100 * share:.0f} % of a label, of the baseline 50 %", share, 0.5)
    yield _batches("80 %, and 5 % of requests have 64 texts", 0.8, 0.5)
    for factor in (2.0, 1.5, 1.3):
        slower = [Speed(median_seconds=0.03 * factor)] * _LOOKS
        yield _latency("p50", f"all take x{factor:g}", slower, same)
    for factor in (3.0, 2.0, 1.5, 1.3):
        slower = [Speed(slowest_factor=factor)] * _LOOKS
        yield _latency("p99", f"the slowest 5 % take x{factor:g}", slower, same)
    for rate in (1.0, 0.1, 0.05, 0.03):
        yield _disagreement(f"{100 * rate:.0f} % of labels differ", rate, 0.0)


# A canary by the default plan; each of its steps is tested by itself.
_PLAN = default_plan("canary", mirrors=True, has_baseline=True)
_BUDGETS = _PLAN.budgets
_LEVEL = level_per_test(_BUDGETS) / len(_PLAN.steps)


def _errors(words: str, ours: float | Floats, theirs: float | Floats, times: int = 1) -> Case:
    rule = Rule(threshold=_BUDGETS.error_rate_increase, level=_LEVEL)

    def draw(generator: np.random.Generator, schedule: Schedule) -> Looks:
        wider = replace(schedule, reference_batch=times * schedule.reference_batch)
        return simulate_rate(generator, wider, (ours, theirs), rule)

    return Case(metric="error_rate", words=words, draw=draw)


def _classes(words: str, ours: float | Floats, theirs: float | Floats) -> Case:
    rule = Rule(threshold=_BUDGETS.class_mix_shift, level=_LEVEL, prior=ANY_RATE)
    return Case(
        metric="class_mix",
        words=words,
        draw=lambda generator, schedule: simulate_rate(generator, schedule, (ours, theirs), rule),
    )


def _batches(words: str, ours: float, theirs: float) -> Case:
    rule = Rule(threshold=_BUDGETS.class_mix_shift, level=_LEVEL, prior=ANY_RATE)
    return Case(
        metric="class_mix",
        words=words,
        draw=lambda generator, schedule: simulate_batches(
            generator, schedule, (ours, theirs), rule, batched=_BATCHED
        ),
    )


def _latency(name: str, words: str, ours: Sequence[Speed], theirs: Sequence[Speed]) -> Case:
    rule = Rule(threshold=_BUDGETS.latency_ratio, level=_LEVEL)
    return Case(
        metric=f"latency_{name}",
        words=words,
        draw=lambda generator, schedule: simulate_latency(
            generator, schedule, (ours, theirs), rule, quantile=float(name[1:]) / 100
        ),
    )


def _disagreement(words: str, ours: float, noise: float) -> Case:
    rule = Rule(threshold=_BUDGETS.disagreement_rate, level=_LEVEL)
    return Case(
        metric="disagreement_rate",
        words=words,
        draw=lambda generator, schedule: simulate_pairs(
            generator, schedule, (ours, noise), rule, noise_pairs=_NOISE_PAIRS
        ),
    )


def _tables(harmless: Simulated, faulty: Simulated, schedule: Schedule) -> str:
    """Return what was simulated in Markdown."""
    passed = " | ".join(f"passes at {minimum}" for minimum in _MINIMA)
    lines = [
        "",
        (
            f"{schedule.rollouts:,} rollouts a row, {schedule.looks} looks, each at "
            f"{schedule.batch} requests more, {schedule.looks * schedule.batch:,} in all; level "
            f"{_LEVEL:.2g} a test, as in each of the {len(_PLAN.steps)} steps of the default plan; "
            f"pairs after {_NOISE_PAIRS:,} pairs of noise."
        ),
        "",
        f"| metric | candidate that is no worse than allowed | failed | 95 % bound | {passed} |",
        f"|---|---|---:|---:|{'---:|' * len(_MINIMA)}",
    ]
    for case, looks in harmless:
        failed = int(looks.failed.any(axis=1).sum())
        most = binomtest(failed, schedule.rollouts).proportion_ci(0.9, "exact").high
        cells = f"{failed} | {100 * most:.2f} % | {_passes(looks)}"
        lines.append(f"| `{case.metric}` | {case.words} | {cells} |")
    lines += [
        "",
        f"| metric | fault | half failed by | 90 % failed by | {passed} |",
        f"|---|---|---:|---:|{'---:|' * len(_MINIMA)}",
    ]
    most_requests = schedule.looks * schedule.batch
    for case, looks in faulty:
        reached = [looks.requests_to_failure(share) for share in (0.5, 0.9)]
        cells = " | ".join(f"{n:,}" if n else f"over {most_requests:,}" for n in reached)
        lines.append(f"| `{case.metric}` | {case.words} | {cells} | {_passes(looks)} |")
    return "\n".join([*lines, "", ""])


def _passes(looks: Looks) -> str:
    return " | ".join(f"{100 * looks.passed_at(minimum):.1f} %" for minimum in _MINIMA)


def _draw(faulty: Simulated, path: Path) -> None:
    """Draw for each metric the share of rollouts that have failed against requests."""
    mpl.rcParams["svg.hashsalt"] = "rollouts"  # the same file for the same figures
    mpl.rcParams["svg.fonttype"] = "none"
    figure = Figure(figsize=(11, 9), layout="constrained")
    metrics = list(dict.fromkeys(case.metric for case, _ in faulty))
    grid = figure.subplots(3, 2, sharey=True).flat
    for metric, axes in zip(metrics, grid, strict=False):
        for case, looks in faulty:
            if case.metric == metric:
                axes.plot(looks.schedule.requests, looks.failed_by(), label=case.words)
        axes.set_title(metric, fontsize=11)
        axes.set_xlabel("pairs" if metric == "disagreement_rate" else "candidate's requests")
        axes.set_ylabel("said to have failed")
        axes.set_ylim(-0.02, 1.02)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8, loc="lower right")
    for axes in grid:
        axes.set_axis_off()
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg", metadata={"Date": None})
    lines = (line.rstrip() for line in drawn.getvalue().splitlines())
    path.write_text("\n".join([*lines, ""]), "utf-8")


if __name__ == "__main__":
    sys.exit(main())
