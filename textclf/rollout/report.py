"""A rollout on one page: what was decided, why, and what was seen on the way."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import matplotlib as mpl
import yaml
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

_TEMPLATE = Path(__file__).with_name("report.html.j2")
_MOODS = {"promoted": "good", "passed": "good", "rolled back": "bad", "refused": "bad"}
_COLOURS = {"candidate": "#0969da", "baseline": "#8250df", "mirrored": "#9a6700"}
_TITLES = {
    "error_rate": "errors: candidate's rate less the reference's",
    "latency_p50": "median latency: candidate's over the reference's",
    "latency_p99": "p99 latency: candidate's over the reference's",
    "class_mix": "class mix: largest shift of a label's share",
    "pair_error_rate": "pairs: candidate alone failed",
    "disagreement_rate": "pairs: labels disagree",
    "score_shift": "pairs: scores moved too far",
    "pair_latency_p50": "pairs: median latency, over stable's",
    "pair_latency_p99": "pairs: p99 latency, over stable's",
    "accuracy": "pairs: labels known, candidate worse",
}
_COLUMNS = 2

Verdict = Mapping[str, Any]


class _Point(NamedTuple):
    """What one look found of one metric."""

    at: float
    stage: str
    finding: Mapping[str, Any]


def render_report(verdict: Verdict) -> str:
    """Return a page of HTML that needs no other file and runs no script."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=False
    )
    template = environment.from_string(_TEMPLATE.read_text("utf-8"))
    looks = verdict["looks"]
    stages = [
        {"name": name, "looks": len(some), "last": some[-1]}
        for name, group in groupby(looks, key=lambda look: look["stage"])
        if (some := list(group))
    ]
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "rollout", "font.size": 9}):
        weights, metrics = _draw_weights(verdict), _draw_metrics(verdict)
    return template.render(
        verdict=verdict,
        mood=_MOODS.get(verdict["decision"], "open"),
        facts=_list_facts(verdict),
        weights=weights,
        metrics=metrics,
        stages=stages,
        number=_number,
        plan=yaml.safe_dump(verdict["plan"], sort_keys=False),
    )


def _list_facts(verdict: Verdict) -> list[tuple[str, str]]:
    versions = [
        (part, "  ".join(filter(None, (version["model"], version["url"], version["digest"]))))
        for part, version in verdict["versions"].items()
    ]
    took = "not ended" if verdict["seconds"] is None else f"{verdict['seconds']:.0f} s"
    weights = verdict["weights"]
    return [
        *versions,
        ("engine", verdict["traffic"]),
        ("began, took", f"{verdict['started_at']}, {took}"),
        ("candidate's share now", f"{weights['candidate_percent']} %"),
        ("requests it answered", str(verdict["candidate_requests"])),
        ("looks", str(len(verdict["looks"]))),
    ]


def _draw_weights(verdict: Verdict) -> Markup:
    began = _seconds(verdict["started_at"])
    moves = [(_seconds(move["at"]) - began, move["weights"]) for move in verdict["moves"]]
    looks = [_seconds(look["at"]) - began for look in verdict["looks"]]
    end = max([at for at, _ in moves] + looks + [1.0]) * 1.02
    figure = Figure(figsize=(9.6, 2.6), layout="constrained")
    axes = figure.subplots()
    for name, key in (
        ("mirrored", "mirror_percent"),
        ("candidate", "candidate_percent"),
        ("baseline", "baseline_percent"),  # dashed, over what is mostly its equal
    ):
        shares = [0, *(weights[key] for _, weights in moves)]
        if any(shares):
            times = [0.0, *(at for at, _ in moves), end]
            axes.stairs(
                shares,
                times,
                baseline=None,
                label=name,
                color=_COLOURS[name],
                linewidth=2,
                linestyle="--" if name == "baseline" else "-",
            )
    marks = [("abort", "x", "#b42318"), ("hold", "|", "#9a6700")]
    for action, marker, colour in marks:
        times = [
            at for at, look in zip(looks, verdict["looks"], strict=True) if look["action"] == action
        ]
        if times:
            axes.plot(times, [0] * len(times), marker, color=colour, label=action, clip_on=False)
    axes.set(xlim=(0, end), ylim=(-2, 104), xlabel="seconds", ylabel="% of requests")
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside upper right", frameon=False, ncols=5)
    return _svg(figure)


def _draw_metrics(verdict: Verdict) -> Markup | None:
    began = _seconds(verdict["started_at"])
    seen: dict[str, list[_Point]] = {}
    for look in verdict["looks"]:
        at = _seconds(look["at"]) - began
        for finding in look["findings"]:
            if finding["metric"] in _TITLES and finding["value"] is not None:
                point = _Point(at, look["stage"], finding)
                seen.setdefault(finding["metric"], []).append(point)
    names = [name for name in _TITLES if name in seen]
    if not names:
        return None
    rows = -(-len(names) // _COLUMNS)
    figure = Figure(figsize=(9.6, 2.1 * rows), layout="constrained")
    grid = list(figure.subplots(rows, _COLUMNS, squeeze=False, sharex=True).flat)
    for name, axes in zip(names, grid, strict=False):
        _draw_metric(axes, _TITLES[name], seen[name])
    for axes in grid[len(names) :]:
        axes.set_axis_off()
    grid[0].set_xlim(0, max(_seconds(look["at"]) - began for look in verdict["looks"]) * 1.02 + 1)
    return _svg(figure)


def _draw_metric(axes: Axes, title: str, points: Sequence[_Point]) -> None:
    colour = _COLOURS["candidate"]
    for _, group in groupby(points, key=lambda point: point.stage):  # each counts from its start
        some = list(group)
        axes.plot(
            [p.at for p in some], [p.finding["value"] for p in some], "o-", ms=3, color=colour
        )
        bounded = [p for p in some if None not in (p.finding["lower"], p.finding["upper"])]
        lower, upper = ([p.finding[side] for p in bounded] for side in ("lower", "upper"))
        axes.fill_between([p.at for p in bounded], lower, upper, color=colour, alpha=0.12)
        axes.vlines([p.at for p in bounded], lower, upper, color=colour, alpha=0.35, linewidth=1)
    threshold = points[-1].finding["threshold"]
    axes.axhline(threshold, color="#b42318", linestyle="--", linewidth=1)
    # Few requests have bounds far off; near the budget is where a person looks.
    shown = [p.finding["value"] for p in points] + [threshold]
    shown += [p.finding["lower"] for p in points if p.finding["lower"] is not None]
    axes.set_ylim(0.0, max(shown) * 1.5 or None)
    axes.set_title(title, fontsize=9, loc="left")


def _svg(figure: Figure) -> Markup:
    """Return a picture for a page; its text is text, which matplotlib has escaped."""
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    content = file.getvalue()
    return Markup(content[content.index("<svg") :])  # noqa: S704 - drawn here, from numbers


def _seconds(at: str) -> float:
    return datetime.fromisoformat(at).timestamp()


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
