"""Results as pictures: SVG, one colour a system in all of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullLocator, PercentFormatter

from benchmarks.plan import OURS
from benchmarks.simulation import MOST_TEXTS, clairvoyant_padding, compare_orders, make_lengths

Results = Mapping[str, Any]
_SIZE_INCHES = (8.0, 4.8)
_PERCENTILES = ("p50", "p90", "p99", "p99.9")
_MARKERS = "os^Dv<>Ph*X"


def draw_plots(results: Results, folder: Path) -> list[Path]:
    """Draw what was measured and return the files.

    Args:
        results: Of a run.
        folder: Made if need be.
    """
    drawn = []
    plots: Mapping[str, Callable[[Axes, Results], bool]] = {
        "throughput": _throughput,
        "latency": _latency,
        "open-loop": _open_loop,
        "limit-by-length": _lengths,
        "memory": _memory,
    }
    for name, model in results["models"].items():
        for kind, draw in plots.items():
            figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
            axes = figure.subplots()
            if not draw(axes, model):
                continue
            axes.set_title(f"{axes.get_title()}: {name}", fontsize=11)
            drawn.append(_save(figure, folder / f"{kind}-{_slug(name)}.svg"))
    return drawn


def draw_padding(folder: Path) -> Path:
    """Draw what of all tokens is padding, in simulated time, and return the file."""
    lengths = make_lengths()
    shares: dict[str, dict[float, float]] = {}
    for compared in compare_orders(lengths):
        shares.setdefault(compared.order, {})[compared.load * 100] = compared.outcome.padding
    figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
    axes = figure.subplots()
    for marker, (order, padding) in zip(_MARKERS, shares.items(), strict=False):
        axes.plot(list(padding), list(padding.values()), label=order, marker=marker)
    clairvoyant = clairvoyant_padding(lengths, MOST_TEXTS)
    axes.axhline(clairvoyant, color="black", linewidth=1, linestyle="--", label="clairvoyant")
    axes.set_title("Padding as a share of all tokens, simulated", fontsize=11)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    _finish(axes, "texts that arrive, % of those that could be run without padding", "padding")
    return _save(figure, folder / "padding.svg")


def _save(figure: Figure, path: Path) -> Path:
    # A fixed salt keeps the ids in the file, and so the file, the same for the same figures.
    mpl.rcParams["svg.hashsalt"] = "benchmark"
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    return path


def _throughput(axes: Axes, model: Results) -> bool:
    axes.set_title("Share of the in-process limit, one text a request")
    drawn = False
    for name, system, style in _styled(model):
        loads = _single(system)
        if not loads:
            continue
        shares = [load["texts_per_second"] / system["calibration"] for load in loads]
        axes.plot([load["connections"] for load in loads], shares, label=name, **style)
        drawn = True
    axes.axhline(1.0, color="black", linewidth=1, linestyle="--")
    axes.set_ylim(bottom=0)
    _finish(axes, "connections", "texts/s ÷ limit", log_x=_counts(model))
    return drawn


def _latency(axes: Axes, model: Results) -> bool:
    wanted = 32
    axes.set_title(f"Latency at {wanted} connections, one text a request")
    drawn = False
    for name, system, style in _styled(model):
        for load in _single(system):
            latency = load["latency_ms"]
            if load["connections"] == wanted and latency:
                values = [latency[percentile] for percentile in _PERCENTILES]
                axes.plot(_PERCENTILES, values, label=name, **style)
                drawn = True
    _log_y(axes)
    _finish(axes, "percentile", "ms")
    return drawn


def _open_loop(axes: Axes, model: Results) -> bool:
    axes.set_title("Open loop: p99 from the scheduled moment")
    drawn = False
    for name, system, style in _styled(model):
        loads = [load for load in system["open"] if load["latency_ms"]]
        if loads:
            shares = [load["share"] * 100 for load in loads]
            axes.plot(shares, [load["latency_ms"]["p99"] for load in loads], label=name, **style)
            drawn = True
    _log_y(axes)
    _finish(axes, "load, % of the system's own maximum", "p99, ms")
    return drawn


def _lengths(axes: Axes, model: Results) -> bool:
    lengths = model.get("lengths", [])
    axes.set_title("In-process limit by length")
    tokens = [found["tokens"] for found in lengths]
    axes.plot(tokens, [found["texts_per_second"] for found in lengths], marker="o", label="limit")
    _log_y(axes)
    _finish(axes, "tokens a text", "texts/s", log_x=tokens)
    return bool(lengths)


def _memory(axes: Axes, model: Results) -> bool:
    axes.set_title("Resident memory when idle")
    systems = {n: s for n, s in model["systems"].items() if s.get("memory_after_bytes")}
    names = list(systems)[::-1]
    for offset, kind in ((0.2, "before"), (-0.2, "after")):
        sizes = [systems[name].get(f"memory_{kind}_bytes", 0) / 1e6 for name in names]
        places = [place + offset for place in range(len(names))]
        axes.barh(places, sizes, height=0.38, label=f"{kind} load")
    axes.axvline(model["graph_bytes"] / 1e6, color="black", linewidth=1, linestyle="--")
    axes.set_yticks(range(len(names)), names)
    _finish(axes, "MB (dashed: the model file)", "")
    return bool(systems)


def _styled(model: Results) -> list[tuple[str, Results, dict[str, Any]]]:
    colours = mpl.colormaps["tab10"]
    styled = []
    for index, (name, system) in enumerate(model["systems"].items()):
        style = {
            "color": colours(index % 10),
            "marker": _MARKERS[index % len(_MARKERS)],
            "linewidth": 2.6 if name == OURS else 1.2,
            "markersize": 5,
        }
        styled.append((name, system, style))
    return styled


def _single(system: Results) -> list[Results]:
    return [load for load in system["closed"] if load["texts_per_request"] == 1]


def _counts(model: Results) -> list[int]:
    return sorted(
        {load["connections"] for system in model["systems"].values() for load in _single(system)}
    )


def _log_y(axes: Axes) -> None:
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
    axes.yaxis.set_minor_locator(NullLocator())


def _finish(axes: Axes, x: str, y: str, *, log_x: Sequence[int] = ()) -> None:
    if log_x:
        axes.set_xscale("log", base=2)
        axes.set_xticks(log_x, [str(value) for value in log_x])
        axes.minorticks_off()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(visible=True, alpha=0.3)
    if len(axes.get_legend_handles_labels()[0]) > 1:
        axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)


def _slug(name: str) -> str:
    return "-".join(re.findall("[a-z0-9]+", name.lower()))
