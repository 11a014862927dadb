"""The page itself: HTML with its pictures in it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2
import matplotlib as mpl
import matplotlib.dates
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from textclf.drift.distance import LEAST_TEXTS
from textclf.drift_report.review import FeatureReview, Review

_TEMPLATE = Path(__file__).with_name("page.html.j2")
_BEFORE, _AFTER, _LIMIT = "#8c959f", "#0969da", "#b42318"
_TITLES = {
    "labels": "labels",
    "scores": "scores of the answers",
    "lengths": "lengths, in tokens",
    "characters_per_token": "characters per token",
    "unknown_tokens": "share of unknown tokens",
}
_LEAST_SHOWN = 0.3  # of the distance, so that a quiet feature looks quiet


def render_page(review: Review) -> str:
    """Return a page of HTML that needs no other file and runs no script."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(_TEMPLATE.read_text("utf-8"))
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "drift", "font.size": 9}):
        picture = _draw(review)
    mood, verdict, sentence = _judge(review)
    return template.render(
        review=review,
        recording=review.recording,
        mood=mood,
        verdict=verdict,
        sentence=sentence,
        rows=[_row(feature) for feature in review.features],
        when=_when,
        picture=picture,
        least=LEAST_TEXTS,
    )


def _judge(review: Review) -> tuple[str, str, str]:
    """Return the colour of the verdict, the verdict, and what it means."""
    texts = f"the last {max(feature.texts for feature in review.features):,.0f} texts"
    if not review.enough:
        return "open", "too few texts", f"{texts} are too few: {LEAST_TEXTS} say something."
    if not review.drifted:
        return "good", "no drift", f"{texts.capitalize()} are like those of the reference."
    names = [feature.name.replace("_", " ") for feature in review.drifted]
    joined = " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
    unlike = f"{texts.capitalize()} are unlike the reference in their {joined}."
    advice = "A model is right only on texts like those it knows: look at what is sent."
    return "bad", "drift", f"{unlike} {advice}"


def _row(feature: FeatureReview) -> dict[str, str]:
    last = feature.last
    name, before, after = feature.most_moved
    state = "drifted" if feature.since is not None else "as before"
    return {
        "feature": _TITLES.get(feature.name, feature.name),
        "state": state if last else "too few",
        "texts": f"{feature.texts:,.0f}",
        "distance": f"{last.distance:.2f}" if last else "",
        "threshold": f"{last.threshold:.2f}" if last else "",
        "since": _when(feature.since) if feature.since is not None else "",
        "moved": f"{name}: {before:.0%} → {after:.0%}",
    }


def _draw(review: Review) -> Markup:
    rows = len(review.features)
    figure = Figure(figsize=(9.6, 1.9 * rows), layout="constrained")
    grid = figure.subplots(rows, 2, squeeze=False, width_ratios=[1, 1.15])
    for feature, (left, right) in zip(review.features, grid, strict=True):
        _draw_distance(left, feature)
        _draw_shares(right, feature)
    start, *_, end = map(_days, review.recording.times)
    for left in grid[:, 0]:
        left.set_xlim(start, end)
    for axes in grid[0]:
        axes.legend(loc="lower right", bbox_to_anchor=(1, 0.98), frameon=False, fontsize=8, ncols=2)
    return _svg(figure)


def _draw_distance(axes: Axes, feature: FeatureReview) -> None:
    times = [_days(point.at) for point in feature.points]
    distances = [point.distance for point in feature.points]
    limits = [point.threshold for point in feature.points]
    axes.plot(times, distances, color=_AFTER, linewidth=1.6, marker=".", ms=3, label="distance")
    axes.plot(times, limits, color=_LIMIT, linewidth=1, linestyle="--", label="threshold")
    over = [point.drifted for point in feature.points]
    axes.fill_between(times, limits, distances, where=over, color=_LIMIT, alpha=0.15)
    axes.set_ylim(0, 1.2 * max([*limits, *distances, _LEAST_SHOWN]))
    dates: Any = matplotlib.dates  # has no types
    locator = dates.AutoDateLocator(minticks=3, maxticks=6, tz=UTC)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator, tz=UTC))
    axes.set_title(_TITLES.get(feature.name, feature.name), loc="left", fontweight="bold")
    axes.spines[["top", "right"]].set_visible(False)


def _draw_shares(axes: Axes, feature: FeatureReview) -> None:
    places = range(len(feature.bins))
    axes.bar([p - 0.2 for p in places], feature.before, 0.4, color=_BEFORE, label="reference")
    axes.bar([p + 0.2 for p in places], feature.after, 0.4, color=_AFTER, label="last window")
    axes.set_xticks(list(places), _short(feature.bins), fontsize=7)
    if len(feature.bins) > 4 and max(map(len, _short(feature.bins))) > 8:
        axes.tick_params("x", labelrotation=40)
    axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    axes.set_ylim(0, max([*feature.before, *feature.after]) * 1.3)
    axes.spines[["top", "right"]].set_visible(False)


def _short(bins: Sequence[str]) -> list[str]:
    """Return names that fit below a bar: of a range, where it ends."""
    if len(bins) <= 4 or not bins[-1].startswith("> "):
        return list(bins)
    ends = [float(name.split()[-1]) for name in bins]
    return [*(f"≤ {end:.3g}" for end in ends[:-1]), f"> {ends[-1]:.3g}"]


def _svg(figure: Figure) -> Markup:
    """Return a picture for a page; its text is text, which matplotlib has escaped."""
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    content = file.getvalue()
    return Markup(content[content.index("<svg") :])  # noqa: S704 - drawn here, from numbers


def _days(at: float) -> float:
    """Return a time as matplotlib has it: in days since 1970."""
    return at / 86_400


def _when(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")
