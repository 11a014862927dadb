"""A soak's report: a page or Markdown for people, JSON for machines."""

from __future__ import annotations

import html
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from tests.soak.verdict import Row, Verdict

_HEADINGS = (
    "fault", "held to", "times", "requests", "right", "refused", "lost", "wrong", "other 5xx",
    "other", "sent again", "silent", "recovered", "",
)  # fmt: skip
_STYLE = """
  body { font: 15px/1.45 system-ui, sans-serif; color: #1b1f24; max-width: 78rem; margin: 2rem auto;
         padding: 0 1rem; }
  h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
  .badge { color: #fff; border-radius: .3rem; padding: .1rem .6rem; text-transform: uppercase; }
  .passed { background: #1a7f37; } .failed { background: #b42318; }
  table { border-collapse: collapse; width: 100%; }
  th, td { text-align: left; vertical-align: top; padding: .25rem .6rem .25rem 0;
           border-bottom: 1px solid #d8dee4; }
  td.number, th.number { text-align: right; font-variant-numeric: tabular-nums;
                         white-space: nowrap; }
  td.bad { color: #b42318; font-weight: 600; } td.skipped { color: #9a6700; }
  small { color: #57606a; } svg { width: 100%; height: auto; }
"""
_LEGEND = (
    "Right: the recorded answer, or the refusal that had to come. Refused: an honest 429, 503 or "
    "504 in place of an answer. Lost: no whole answer. Wrong: another answer than the recorded "
    "one. Other 5xx: an error that is no refusal. Other: any answer that the contract does not "
    "have. Sent again: the connection was closed between two requests. Silent: the longest time "
    "without a right answer. Recovered: after the fault was gone. Wrong, other 5xx and other are "
    "never allowed, refused and lost only where a fault excuses them."
)


def write_report(verdict: Verdict, path: Path) -> None:
    """Write a report in the form that the name of ``path`` asks for, and JSON beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = json.dumps(verdict.to_json(), indent=1, default=str)
    path.with_suffix(".json").write_text(content + "\n", "utf-8")
    if path.suffix == ".html":
        path.write_text(_page(verdict), "utf-8")
    elif path.suffix == ".md":
        path.with_suffix(".svg").write_text(plot(verdict), "utf-8")
        path.write_text(_markdown(verdict, path.with_suffix(".svg").name), "utf-8")


def table(verdict: Verdict) -> str:
    """Return the table of faults as Markdown."""
    lines = [_HEADINGS, ["---"] * 2 + ["---:"] * 11 + ["---"], *map(_cells, verdict.rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def plot(verdict: Verdict) -> str:
    """Return memory and open files over time as SVG, the faults shaded."""
    mpl.rcParams["svg.hashsalt"] = "soak"
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    upper, lower = figure.subplots(2, sharex=True, height_ratios=(3, 1))
    if samples := verdict.samples:
        start = samples[0].at
        minutes = [(sample.at - start) / 60 for sample in samples]
        upper.plot(minutes, [s.private_mb for s in samples], label="private", color="#0969da")
        upper.plot(minutes, [s.rss_mb for s in samples], label="RSS", color="#8c959f")
        lower.plot(minutes, [s.descriptors for s in samples], color="#9a6700")
        _shade(upper, [(n, (a - start) / 60, (b - start) / 60) for n, a, b in verdict.windows])
        upper.legend(loc="lower right")
    upper.set_ylabel("MB, all processes")
    upper.set_ylim(bottom=0)
    lower.set_ylabel("open files")
    lower.set_ylim(bottom=0)
    lower.set_xlabel("minutes")
    upper.set_title(f"Memory of the service: {verdict.memory}", fontsize=10)
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg", metadata={"Date": None})
    return re.sub(r"^.*?(?=<svg)", "", drawn.getvalue(), flags=re.DOTALL)


def _shade(axes: object, windows: Sequence[tuple[str, float, float]]) -> None:
    for number, (name, began, ended) in enumerate(windows):
        axes.axvspan(began, ended, color="#fbefff" if number % 2 else "#ffebe9")  # type: ignore[attr-defined]
        if len(windows) <= 20:
            axes.text(began, 4, f" {name}", rotation=90, fontsize=6.5, va="bottom")  # type: ignore[attr-defined]


def _page(verdict: Verdict) -> str:
    rows = "".join(_page_row(row) for row in verdict.rows)
    headings = "".join(
        f"<th{' class=number' if 2 <= index < 13 else ''}>{heading}</th>"
        for index, heading in enumerate(_HEADINGS)
    )
    outcome = "passed" if verdict.passed else "failed"
    flaws = "".join(f"<li>{html.escape(flaw)}</li>" for flaw in _flaws(verdict))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>soak {outcome}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1><span class="badge {outcome}">{outcome}</span> {html.escape(_summary(verdict))}</h1>
{f"<ul>{flaws}</ul>" if flaws else ""}
<table><tr>{headings}</tr>{rows}</table>
<p><small>{_LEGEND}</small></p>
<h2>Memory and open files of the service that lived all the while</h2>
{plot(verdict)}
</body>
</html>
"""


def _page_row(row: Row) -> str:
    first, second, *rest = map(html.escape, _cells(row))
    note = f"<br><small>{html.escape(row.note)}</small>" if row.note else ""
    last = rest.pop()
    kind = "bad" if row.flaws else "skipped" if row.skipped else ""
    numbers = "".join(f'<td class="number">{cell}</td>' for cell in rest)
    return (
        f'<tr><td>{first}{note}</td><td>{second}</td>{numbers}<td class="{kind}">{last}</td></tr>\n'
    )


def _markdown(verdict: Verdict, image: str) -> str:
    flaws = "".join(f"- {flaw}\n" for flaw in _flaws(verdict))
    return (
        f"# Soak {'passed' if verdict.passed else 'FAILED'}\n\n{_summary(verdict)}\n\n{flaws}\n"
        f"{table(verdict)}\n{_LEGEND}\n\n![Memory and open files over time]({image})\n"
    )


def _summary(verdict: Verdict) -> str:
    return (
        f"{verdict.requests:,} requests in {verdict.seconds / 60:.1f} minutes to {verdict.model}; "
        f"{sum(row.counts['wrong'] for row in verdict.rows)} wrong answers, "
        f"{sum(row.counts['dishonest'] for row in verdict.rows)} 5xx that were no refusals; "
        f"memory {verdict.memory}"
    )


def _flaws(verdict: Verdict) -> list[str]:
    return verdict.flaws + [f"{row.fault}: {flaw}" for row in verdict.rows for flaw in row.flaws]


def _cells(row: Row) -> list[str]:
    times = [
        "" if seconds is None else f"{seconds:.2f} s"
        for seconds in (row.silence_seconds, row.recovery_seconds)
    ]
    names = ("sent", "right", "refused", "lost", "wrong", "dishonest", "odd", "retried")
    numbers = [str(row.counts[name]) for name in names]
    last = f"skipped: {row.skipped}" if row.skipped else "; ".join(row.flaws) or "held"
    return [row.fault, row.promise, str(row.planted), *numbers, *times, last]
